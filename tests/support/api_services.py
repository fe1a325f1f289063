"""A service in this process, asked by its API without a network."""

from __future__ import annotations

import json
from typing import Any

from projects import Project
from starlette.testclient import TestClient

from rayflow import config as configuration
from rayflow.runtime.protocol.reports import Silent
from rayflow.service.http_api import api_of
from rayflow.service.service import Service

TOKEN = "the token of this test"


class Told(Silent):
    """A reporter that keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warned(self, text: str) -> None:
        self.warnings.append(text)


class ApiService:
    """The inline service of a project whose flows are in flow.py, and requests to its API."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.told = Told()
        project.forget()
        self.service = Service(configuration.load(project.path, inline=True), ["flow.py"], self.told)
        self.service.hold()
        self.service.open()
        self.web = TestClient(api_of(self.service, TOKEN), raise_server_exceptions=False)
        self.web.__enter__()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The answer to a request with the token. Fails for an error."""
        status, answer = self.answer(method, path, body, **headers)
        assert status == 200, answer
        return answer

    def answer(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and answer of a request with the token. body: JSON, or bytes. headers: dashes as underscores."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {"authorization": f"Bearer {TOKEN}", **{name.replace("_", "-"): text for name, text in headers.items()}}
        response = self.web.request(method, path, content=content, headers=given)
        is_json = response.headers.get("content-type", "").startswith("application/json")
        return response.status_code, response.json() if is_json else response.text

    def start(self, task: str, *, headers: dict[str, str] | None = None, **body: Any) -> str:
        """Start a run; its id. body: fields beside the task's name."""
        answer = self.ask("POST", "/api/runs", {"task": task, **body}, **(headers or {}))
        return str(answer["run_id"])

    def result(self, run: str) -> dict[str, Any]:
        """What a run has come to, when it has ended."""
        while True:
            answer: dict[str, Any] = self.ask("GET", f"/api/runs/{run}/result?wait=20")
            if answer["state"] in ("done", "failed", "cancelled"):
                return answer

    def state(self, run: str) -> str:
        """The state of a run."""
        return str(self.ask("GET", f"/api/runs/{run}")["state"])

    def close(self) -> None:
        """End the service."""
        self.web.__exit__()
        self.service.close()
        self.project.forget()
