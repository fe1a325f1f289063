"""What a handler gets: its input, its run, and its steps.

In: the parts. Out: `WorkflowHandlerContext`. Never: does a step.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from rayflow.compat.redflow.steps import StepApi
from rayflow.compat.redflow.streams import WorkflowStreamWriter
from rayflow.compat.redflow.types import RunContext

Input = TypeVar("Input")


@dataclass(frozen=True, slots=True)
class WorkflowResumeContext:
    """What a person has filled in, when a run goes on that has waited for input."""

    form: Any | None = None


@dataclass(slots=True)
class WorkflowHandlerContext(Generic[Input]):
    """The argument of a handler.

    input: of the run, as its schema makes it. run: what the handler knows of its run. step: the steps. resume: the form
    that a person has filled in, after a `wait_for_input`. stream: of a workflow with `stream=True`; None for others.
    signal: never set: the handler of a cancelled run is not
    entered again. A step gets a signal of its own.
    """

    input: Input
    run: RunContext
    step: StepApi
    resume: WorkflowResumeContext | None = None
    stream: WorkflowStreamWriter | None = None
    signal: asyncio.Event = field(default_factory=asyncio.Event, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.input, self.run, self.step, self.resume, self.stream)
