"""`run_inline`: one attempt of a workflow, rehearsed in this process.

In: a workflow, its input, values in place of steps. Out: its output or error, and its steps. Never: waits, uses Ray, or
touches the project's store.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

from rayflow.compat.redflow import inline_runs
from rayflow.compat.redflow.inline_runs import InlineRun, InlineRunResult, InlineStepResult
from rayflow.compat.redflow.workflow import WorkflowDefinition
from rayflow.testing.rehearsals import Rehearsal


async def run_inline(
    definition: WorkflowDefinition,
    input: Any = None,
    *,
    run_id: str = "test-run-1",
    attempt: int = 1,
    max_attempts: int = 3,
    timeout_s: float | None = 30.0,
    step_overrides: Mapping[str, Any] | None = None,
) -> InlineRunResult:
    """One attempt of a workflow's handler, in a rehearsal: time that it waits is skipped, and the runs that its steps
    start are rehearsed, too.

    run_id, attempt, max_attempts: what the handler is told. timeout_s: the seconds of this machine that it may take;
    then the error is a TimeoutError. step_overrides: the values of steps, by name, in place of what the steps would do.
    """
    token = uuid.uuid4().hex
    run = InlineRun(run_id, attempt, max_attempts, step_overrides or {})
    inline_runs.keep(token, run)
    try:
        await asyncio.wait_for(asyncio.to_thread(_rehearse, definition, input, token), timeout_s)
    except Exception as error:
        run.result.error = error
    finally:
        inline_runs.drop(token)
    return run.result


def _rehearse(definition: WorkflowDefinition, input: Any, token: str) -> None:
    rehearsal = Rehearsal()
    rehearsal.start(definition.flow(input, {"inline": token})).result()


__all__ = ["InlineRunResult", "InlineStepResult", "run_inline"]
