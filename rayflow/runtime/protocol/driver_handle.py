"""The questions that an execution on a cluster may ask the driver that has submitted it.

In: nothing. Out: a protocol, `DriverHandle`. Never: logic.
"""

from __future__ import annotations

from typing import Any, Protocol

from rayflow.config import Config
from rayflow.evaluator import commands
from rayflow.runtime.clock import Clock
from rayflow.runtime.live.outlook import Outlook
from rayflow.runtime.protocol.attempts import WorkerContext
from rayflow.runtime.protocol.requests import Request


class DriverHandle(Protocol):
    """The driver, as the cluster sees it."""

    config: Config
    clock: Clock

    def worker_context(self, request: Request, channel: str = "") -> WorkerContext:
        """The settings that a worker needs to run this request's tasks. channel: where to send their prints."""

    def outlook(self) -> Outlook:
        """The forecast of one execution, from what the store knows of its tasks."""

    def report_end(self, request: Request, finish: commands.Finish) -> None:
        """Tell the reporter how an execution ended."""

    def record_cancelled(self, request: Request, by: str) -> None:
        """Record that an execution was cancelled, when its scheduler cannot do so any more."""

    def value_of(self, finish: commands.Finish) -> Any:
        """The result as an object; raises the failure as its own exception."""
