"""When runs of workflows may run, with redflow's names, under a clock that stands still."""

from __future__ import annotations

from typing import Any

import pytest

from rayflow.compat.redflow import (
    RateLimitExceededError,
    WorkflowDebounceOptions,
    WorkflowDefinition,
    WorkflowHandlerContext,
    WorkflowRateLimitOptions,
    define_workflow,
)
from rayflow.errors import BadOption, RateLimited
from rayflow.testing import Rehearsal, RehearsedRun

pytestmark = pytest.mark.usefixtures("workflows")


def waiting(**settings: Any) -> WorkflowDefinition:
    """A workflow that waits for ten seconds, and gives its input back."""

    async def handler(ctx: WorkflowHandlerContext[Any]) -> Any:
        await ctx.step.wait_for("a little", "10s")
        return ctx.input

    return define_workflow("waits", handler=handler, **settings)


def states(runs: list[RehearsedRun]) -> list[str]:
    return [run.state() for run in runs]


def tenant(given: dict[str, str]) -> str:
    return given["tenant"]


def starts(rehearsal: Rehearsal, definition: WorkflowDefinition, *tenants: str) -> list[RehearsedRun]:
    return [
        rehearsal.start(definition.flow({"tenant": each, "n": number})) for number, each in enumerate(tenants, 1)
    ]


def test_one_run_of_a_mutex_runs_at_a_time_until_its_end(rehearsal: Rehearsal) -> None:
    runs = starts(rehearsal, waiting(mutex=tenant), "a", "a", "b")
    assert states(runs) == ["waiting", "queued", "waiting"]
    rehearsal.skip("11s")
    assert states(runs) == ["done", "waiting", "done"]
    assert runs[1].result() == {"tenant": "a", "n": 2}


def test_throttled_runs_wait_until_there_is_room(rehearsal: Rehearsal) -> None:
    async def handler(ctx: WorkflowHandlerContext[Any]) -> int:
        return ctx.input["n"]  # type: ignore[no-any-return]

    rate = WorkflowRateLimitOptions(key=tenant, limit=1, period="1m")
    runs = starts(rehearsal, define_workflow("throttled", handler=handler, throttle=rate), "a", "a", "b")
    assert states(runs) == ["done", "queued", "done"]
    rehearsal.skip("2m")
    assert states(runs) == ["done", "done", "done"]


def test_starts_above_a_rate_limit_are_refused(rehearsal: Rehearsal) -> None:
    limited = waiting(rate_limit=WorkflowRateLimitOptions(key=lambda given: given["tenant"], limit=2, period=60_000))
    starts(rehearsal, limited, "a", "a", "b")
    with pytest.raises(RateLimited) as raised:
        starts(rehearsal, limited, "a")
    assert 0 < raised.value.retry_after <= 60
    assert RateLimitExceededError("later", 500).retry_after_ms == 500


def test_starts_that_come_shortly_after_one_another_become_one_run_with_the_last_input(rehearsal: Rehearsal) -> None:
    done: list[int] = []

    async def handler(ctx: WorkflowHandlerContext[Any]) -> int:
        await ctx.step.run("note", done.append, ctx.input["n"])
        return ctx.input["n"]  # type: ignore[no-any-return]

    debounce = WorkflowDebounceOptions(key=tenant, period="30s", timeout="5m")
    runs = starts(rehearsal, define_workflow("debounced", handler=handler, debounce=debounce), "a", "a", "a")
    rehearsal.skip("29s")
    assert done == []
    assert [run.result() for run in runs] == [3, 3, 3]
    assert done == [3]


def test_a_run_that_waits_takes_none_of_the_places_of_max_concurrency(rehearsal: Rehearsal) -> None:
    one = waiting()
    assert one.options.max_concurrency == 1
    assert states(starts(rehearsal, one, "a", "a", "a")) == ["waiting"] * 3


@pytest.mark.parametrize(
    "settings",
    [
        {"max_concurrency": 0},
        {"throttle": WorkflowRateLimitOptions(key=tenant, limit=0, period="1m")},
        {"rate_limit": WorkflowRateLimitOptions(key=tenant, limit=1, period="soon")},
        {"debounce": WorkflowDebounceOptions(key=tenant, period=0)},
    ],
)
def test_wrong_settings_are_refused_where_they_are_defined(settings: dict[str, Any]) -> None:
    with pytest.raises(BadOption):
        waiting(**settings)
