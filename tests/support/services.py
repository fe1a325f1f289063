"""Services that tests start, ask, kill and start again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from projects import Project
from waiting import until

from rayflow.client.addresses import ServiceAddress
from rayflow.client.client import Client


class RunningService:
    """The service of a project's store, and its life: it may be killed, and started again.

    targets: the files with the flows. flags: of `rayflow serve`.
    """

    def __init__(self, project: Project, *targets: str, flags: tuple[str, ...] = ("--inline",)) -> None:
        self.project = project
        self._targets = targets or ("flow.py",)
        self._flags = flags
        self.home = project.path.parent / "home"
        self.log = project.path.parent / "service.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, waits: bool = True, port: int = 0) -> RunningService:
        """Start a process. waits: until it answers. port: where it listens; 0 for any."""
        command = [sys.executable, "-m", "rayflow", "serve", *self._targets, "--port", str(port), *self._flags]
        environment = {**os.environ, "RAYFLOW_HOME": str(self.home), **self.project.environment}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.project.path, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        if waits:
            until(lambda: self.is_up() or self.process is None or self.process.poll() is not None, 300)
            assert self.is_up(), self.log.read_text()
        return self

    def is_up(self) -> bool:
        """Whether the process that runs answers."""
        note = self._note()
        return note is not None and self.process is not None and note["pid"] == self.process.pid

    def _note(self) -> dict[str, Any] | None:
        for note in (self.home / "services").glob("*.json") if self.home.exists() else ():
            found: dict[str, Any] = json.loads(note.read_text())
            return found
        return None

    @property
    def address(self) -> ServiceAddress:
        """Where the process listens."""
        note = self._note()
        assert note is not None, self.log.read_text()
        return ServiceAddress(note["url"], note["token"])

    @property
    def client(self) -> Client:
        """A client of the process that runs."""
        return Client(self.address)

    def kill(self) -> None:
        """End the process as a power cut does."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask the process to end. Gives its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        process = self.process
        assert process is not None
        process.send_signal(number)
        code = process.wait(60)
        self.process = None
        return code

    def close(self) -> None:
        """End the process, if there is one."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def ledger(project: Project, name: str = "ledger.txt") -> Counter[str]:
    """How often each thing was done outside: the lines of a file."""
    file = Path(project.path, name)
    return Counter(file.read_text().splitlines()) if file.exists() else Counter()
