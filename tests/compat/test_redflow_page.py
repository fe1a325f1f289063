"""The programs of the page about redflow run, and a run goes on when their worker is killed."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from projects import REPOSITORY, Project
from waiting import until

from rayflow import config as configuration
from rayflow.client.service_places import place_of
from rayflow.compat.redflow import create_client

PAGE = (REPOSITORY / "rayflow" / "docs" / "coming-from-redflow.md").read_text()
PROGRAMS = dict(re.findall(r"^```python fragment\n# (\w+\.py)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))


class Worker:
    """The page's worker, in a process of its own."""

    def __init__(self, folder: Path, store: str, log: Path) -> None:
        with log.open("ab") as out:
            self.process = subprocess.Popen([sys.executable, "worker.py"], cwd=folder, stdout=out, stderr=out)

        def is_up() -> bool:
            place = place_of(configuration.load(store=store).store)
            return self.process.poll() is not None or (place is not None and place.pid == self.process.pid)

        until(is_up, 120, what="the worker does not listen")
        assert self.process.poll() is None, log.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.mark.slow
def test_a_run_of_the_page_goes_on_after_its_worker_was_killed_and_does_no_step_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYFLOW_HOME", str(project.path / "home"))
    noted = "open('done', 'a').write(f'{user}\\n'); "
    workflows = PROGRAMS["my_workflows.py"].replace('"1h"', '"3s"').replace("return f", f"{noted}return f")
    (project.path / "my_workflows.py").write_text(workflows)
    (project.path / "worker.py").write_text(PROGRAMS["worker.py"].replace('url="runs"', 'url="runs", inline=True'))
    log, store = project.path / "log", "runs"

    async def steps(id: str) -> list[Any]:
        client = create_client(url=store)
        found = await client.get_run_steps(id)
        await client.close()
        return [(step["name"], step["status"]) for step in found]

    async def start() -> str:
        client = create_client(url=store)
        handle = await client.run_by_name("send-welcome-email", {"user": "ada"}, idempotency_key="ada")
        await client.close()
        return handle.id

    async def result(id: str) -> Any:
        client = create_client(url=store)
        found = await client.wait_for_result(id, timeout_ms=120_000)
        await client.close()
        return found

    worker = Worker(project.path, store, log)
    try:
        id = asyncio.run(start())
        until(lambda: ("let them settle in", "running") in asyncio.run(steps(id)))
        worker.kill()
        began = time.monotonic()
        worker = Worker(project.path, store, log)
        assert asyncio.run(result(id)) == {"sent": "ada@example.com"}
        assert time.monotonic() - began < 100
        assert (project.path / "done").read_text() == "ada\n"
        assert asyncio.run(steps(id)) == [
            ("look up", "succeeded"), ("let them settle in", "succeeded"), ("send", "succeeded"),
        ]  # fmt: skip
    finally:
        worker.kill()
