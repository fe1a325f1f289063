"""What `run_inline` gets to know of the handler that it runs: the parts of its result, as the handler makes them.

In: steps and ends, as they happen in this process. Out: records. Never: runs anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rayflow.compat.redflow.types import RunStreamRecord


@dataclass(slots=True)
class InlineStepResult:
    """A step of a rehearsed run. status: succeeded or failed."""

    name: str
    status: str
    output: Any = None
    error: Any = None


@dataclass(slots=True)
class InlineRunResult:
    """What a rehearsed run has come to: its output, or its error; its steps, in the order of their ends; and what its
    handler has written to its stream."""

    output: Any = None
    error: BaseException | None = None
    steps: list[InlineStepResult] = field(default_factory=list)
    stream: list[RunStreamRecord] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        """Whether there is no error."""
        return self.error is None


@dataclass(slots=True)
class InlineRun:
    """A run of `run_inline`. run_id, attempt, max_attempts: what its handler is told. overrides: the values of steps
    that are not done, by name. result: of the latest entry of the handler."""

    run_id: str
    attempt: int
    max_attempts: int
    overrides: Mapping[str, Any]
    result: InlineRunResult = field(default_factory=InlineRunResult)


_runs: dict[str, InlineRun] = {}


def keep(token: str, run: InlineRun) -> None:
    """Let the handler of this process find a run."""
    _runs[token] = run


def drop(token: str) -> None:
    """The run is over."""
    _runs.pop(token, None)


def entered(token: str) -> InlineRun:
    """The run whose handler is entered, perhaps again: nothing has happened in it yet."""
    run = _runs[token]
    run.result = InlineRunResult()
    return run
