"""A dashboard that is played: it answers as that of a Ray cluster does, and runs nothing."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

TOKEN = "secret"


class PlayedDashboard:
    """Answers as a dashboard with a token does; keeps packages and jobs in memory."""

    def __init__(self) -> None:
        self.packages: dict[str, bytes] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.most_bytes = 1 << 30
        """It takes no larger request."""
        self.is_mute = False
        """Whether it starts a job, but does not answer that it has."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def _answer(self, status: int, value: Any = "") -> None:
                body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def handle_any(self) -> None:
                outer.asked.append(f"{self.command} {self.path}")
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                given = self.headers.get("Authorization")
                if given != f"Bearer {TOKEN}":
                    return self._answer(403 if given else 401, "who are you?")
                name = self.path.rpartition("/")[2]
                if self.path == "/api/version":
                    return self._answer(200, {"ray_version": "2.60.0"})
                if self.path.startswith("/api/packages/gcs/"):
                    if len(data) > outer.most_bytes:
                        return self._answer(413, "Maximum request body size exceeded")
                    if self.command == "PUT":
                        outer.packages[name] = data
                    return self._answer(200 if name in outer.packages else 404)
                if self.path == "/api/jobs/" and self.command == "POST":
                    wanted = json.loads(data)
                    if wanted["submission_id"] in outer.jobs:
                        return self._answer(500, f"ValueError: Job {wanted['submission_id']} already exists. Use")
                    start_time = len(outer.jobs)
                    outer.jobs[wanted["submission_id"]] = {**wanted, "status": "PENDING", "start_time": start_time}
                    if outer.is_mute:
                        return None
                    return self._answer(200, {"submission_id": wanted["submission_id"]})
                if self.path == "/api/jobs/":
                    return self._answer(200, [*outer.jobs.values(), {"submission_id": None, "status": "RUNNING"}])
                if self.path.startswith("/api/jobs/"):
                    return self._answer(200, outer.jobs[name]) if name in outer.jobs else self._answer(404)
                return self._answer(404)

            do_GET = do_PUT = do_POST = handle_any

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
