"""Workflows are defined, and errors and settings are made, with redflow's names."""

from __future__ import annotations

import asyncio
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rayflow.compat import redflow
from rayflow.compat.redflow import (
    CanceledError,
    CronTrigger,
    EventTrigger,
    InputValidationError,
    NonRetriableError,
    OutputSerializationError,
    RateLimitExceededError,
    RedflowError,
    RetryAfterError,
    StartWorkerOptions,
    TimeoutError,
    UnknownWorkflowError,
    WaitForInputError,
    WorkflowDefinition,
    WorkflowHandlerContext,
    create_client,
    define_workflow,
    get_default_client,
    get_default_registry,
    is_terminal_status,
    set_default_client,
    start_worker,
    wait_for_input,
    workflow,
)
from rayflow.compat.redflow.types import ALL_STATUSES
from rayflow.errors import BadArguments, UserError

pytestmark = pytest.mark.usefixtures("workflows")


async def handler(ctx: WorkflowHandlerContext[Any]) -> Any:
    """Give the input back."""
    return ctx.input


def test_a_decorated_handler_is_a_definition_with_its_settings() -> None:
    definition = workflow("settings", queue="slow", max_attempts=7, event=[EventTrigger("news", id="mine")])(handler)
    assert isinstance(definition, WorkflowDefinition)
    assert (definition.name, definition.handler) == ("settings", handler)
    options = definition.options
    assert (options.queue, options.max_attempts, options.event) == ("slow", 7, [EventTrigger("news", "mine")])
    plain = define_workflow("plain", handler=handler).options
    assert (plain.queue, plain.most_attempts, plain.event, plain.retries) == ("default", 3, [], None)


def test_the_registry_has_the_definitions_and_a_later_one_of_a_name_replaces_an_earlier_one() -> None:
    async def other(ctx: WorkflowHandlerContext[Any]) -> None: ...

    first, second = define_workflow("first", handler=handler), define_workflow("second", handler=handler)
    registry = get_default_registry()
    assert registry.list() == [first, second]
    assert registry.get("first") is first and registry.get("third") is None
    again = define_workflow("first", handler=other)
    assert registry.list() == [again, second]
    registry.clear()
    assert registry.list() == []


@pytest.mark.parametrize("name", ["send-welcome-email", "order/flow", "Äpfel.kaufen", "7 days", "a_b", "<7e>", "-"])
def test_each_name_has_a_flow_of_its_own_whose_name_tells_it(name: str) -> None:
    from rayflow.compat.redflow.run_views import workflow_of

    names = {each: define_workflow(each, handler=handler).flow.fullname for each in (name, f"{name}x", f"x{name}")}
    assert len(set(names.values())) == 3
    assert {each: workflow_of(flow) for each, flow in names.items()} == {each: each for each in names}


def test_a_handler_may_have_captured_what_cannot_be_kept_and_the_flow_has_the_same_name_all_the_same() -> None:
    def make(captured: Any) -> WorkflowDefinition:
        async def captures(ctx: WorkflowHandlerContext[Any]) -> Any:
            return captured

        return define_workflow("captures", handler=captures)

    loop = asyncio.new_event_loop()
    try:
        assert make(loop).flow.fullname == make(1).flow.fullname == "redflow.captures"
    finally:
        loop.close()


@pytest.mark.parametrize("trigger", [CronTrigger("every day"), CronTrigger("0 9 * * *", timezone="Mars/Olympus")])
def test_a_wrong_cron_trigger_is_refused_where_it_is_defined(trigger: CronTrigger) -> None:
    with pytest.raises(BadArguments):
        define_workflow("ticks", handler=handler, cron=[trigger])


# --- errors -----------------------------------------------------------------------------------------------------------

ERRORS = [
    (InputValidationError("wrong", ["issue"]), "validation"), (UnknownWorkflowError("nobody's"), "unknown_workflow"),
    (OutputSerializationError("no", "why"), "serialization"), (CanceledError(), "canceled"),
    (TimeoutError(), "timeout"), (NonRetriableError("never"), "non_retriable"),
    (RetryAfterError("busy", "30s"), "retry_after"),
    (WaitForInputError("fill it in", int), "wait_for_input"), (RateLimitExceededError("later", 500), "rate_limit"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "kind"), ERRORS, ids=[kind for _, kind in ERRORS])
def test_an_error_has_a_kind_and_crosses_processes_whole(error: RedflowError, kind: str) -> None:
    assert error.kind == kind
    assert isinstance(error, UserError)
    sent = pickle.loads(pickle.dumps(error))
    assert (type(sent), str(sent), vars(sent)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize(
    ("given", "after"),
    [(1500, 1500), (1.9, 1), ("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("2h", 7_200_000), ("1.5 H", 5_400_000),
     ("1d", 86_400_000), (datetime.now(UTC) - timedelta(days=1), 0), (datetime.now() - timedelta(days=1), 0)],
)  # fmt: skip
def test_a_delay_is_milliseconds_a_text_or_a_datetime(given: Any, after: int) -> None:
    assert RetryAfterError("busy", given).retry_after_ms == after


def test_a_delay_until_a_moment_to_come_is_the_time_until_then() -> None:
    delay = RetryAfterError("busy", datetime.now() + timedelta(minutes=10)).retry_after_ms
    assert 590_000 < delay <= 600_000


@pytest.mark.parametrize("given", ["soon", "5w", -1, None, True, float("inf")])
def test_a_delay_that_is_no_time_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="retry_after"):
        RetryAfterError("busy", given)


def test_a_request_for_input_has_a_message_and_a_class_for_its_form() -> None:
    asked = wait_for_input("  Approve it ", dict)
    assert (asked.input_message, asked.schema) == ("Approve it", dict)
    assert wait_for_input(" ").input_message == "Waiting for input"
    with pytest.raises(TypeError, match="schema"):
        wait_for_input("Approve it", {"type": "object"})


# --- clients and workers ----------------------------------------------------------------------------------------------


def test_a_status_is_terminal_or_not() -> None:
    assert [each for each in ALL_STATUSES if is_terminal_status(each)] == ["succeeded", "failed", "canceled"]


def test_the_default_client_is_made_once_or_is_the_one_that_was_set() -> None:
    assert get_default_client() is get_default_client()
    mine = create_client(app="mine")
    set_default_client(mine)
    assert get_default_client() is mine


@pytest.mark.parametrize("url", ["redis://127.0.0.1:6379", "rediss://redis.example", "unix:///tmp/redis"])
def test_the_address_of_a_redis_is_refused_and_the_message_says_what_to_give(url: str) -> None:
    with pytest.raises(BadArguments, match="store"):
        create_client(url=url)
    with pytest.raises(BadArguments, match="store"):
        asyncio.run(start_worker(StartWorkerOptions(app="me", url=url)))


def test_a_worker_has_a_name() -> None:
    with pytest.raises(ValueError, match="app"):
        asyncio.run(start_worker(StartWorkerOptions(app=" ")))


@pytest.mark.parametrize("name", redflow.__all__)
def test_a_public_name_has_a_docstring(name: str) -> None:
    found = getattr(redflow, name)
    assert name == "RunStatus" or found.__doc__
