"""Effects, waits and flows as they are written: what they become, and what is refused where it is written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rayflow import (
    Event,
    NonRetriable,
    RetryAfter,
    RunRef,
    any_of,
    child,
    continue_as,
    effect,
    emit,
    event,
    first,
    flow,
    join,
    sleep,
    sleep_until,
    spawn,
    task,
    wait_for_event,
    within,
)
from rayflow.errors import BadArguments, BadOption
from rayflow.keeper.conditions import holds
from rayflow.lang.events.event_values import event_of, event_term, run_ref_term
from rayflow.lang.packing.pack import pack
from rayflow.lang.terms.codec import loads
from rayflow.lang.terms.outcomes import pack_outcome, unpack_outcome
from rayflow.values.encoding.identity import value_hash
from rayflow.values.failures import Failure, failure_from_exception


@effect(retries=2)
def charge(x: int) -> int:
    return x


@task
def pure(x: int) -> int:
    return x


# --- effects ----------------------------------------------------------------------------------------------------------


def test_an_effect_is_a_task_whose_entry_says_so() -> None:
    assert charge.is_effect
    assert charge.entry().is_effect
    assert not pure.entry().is_effect


@pytest.mark.parametrize("name", ["cache", "cache_scope", "cache_for", "check_valid", "prov"])
def test_an_effect_with_an_option_of_the_cache_is_refused_where_it_is_written(name: str) -> None:
    given: dict[str, Any] = {
        name: {"cache_scope": "none", "cache_for": "1d", "check_valid": "shallow"}.get(name, False)
    }
    with pytest.raises(BadOption, match=f"an effect has no option '{name}'"):
        effect(**given)(lambda x: x)
    with pytest.raises(BadOption, match=f"an effect has no option '{name}'"):
        charge.options(**given)


@pytest.mark.parametrize("name", ["on_unknown", "on_changed", "on_cancel"])
def test_an_option_of_effects_is_refused_on_other_tasks(name: str) -> None:
    value = {"on_unknown": "fail", "on_changed": "keep", "on_cancel": "kill"}[name]
    with pytest.raises(BadOption, match="belongs to an effect"):
        pure.options(**{name: value})
    assert charge.options(**{name: value})


def test_errors_of_bodies_say_when_they_are_tried_again_and_survive_their_pickles() -> None:
    failure = failure_from_exception(RetryAfter("400ms", "rate limit"))
    assert failure.retry_after_seconds == 0.4
    assert failure.message == "rate limit (after 0.4 s)"
    assert failure.pickled is not None
    assert failure_from_exception(NonRetriable("no")).retry_after_seconds is None
    with pytest.raises(BadArguments, match="a duration"):
        RetryAfter("soon")


# --- durations and moments --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [("400ms", 0.4), ("5s", 5), ("30m", 1800), ("2h", 7200), ("7d", 604800), (1.5, 1.5), (timedelta(hours=1), 3600)],
)
def test_a_duration_is_seconds_or_a_text_or_a_timedelta(duration: Any, seconds: float) -> None:
    assert repr(sleep(duration)) == f"sleep({float(seconds)!r})"


@pytest.mark.parametrize("duration", ["soon", -1, True, None, [1], "1 fortnight", timedelta(days=-1), 1e12])
def test_what_is_no_duration_is_refused(duration: Any) -> None:
    with pytest.raises(BadArguments):
        sleep(duration)


def test_a_lazy_duration_becomes_seconds_when_it_is_known() -> None:
    assert repr(sleep(pure(1))) == f"sleep(seconds({pure(1)!r}))"


def test_a_moment_has_a_time_zone() -> None:
    assert repr(sleep_until(datetime(2027, 1, 1, tzinfo=UTC))) == "sleep_until(1798761600000000)"
    with pytest.raises(BadArguments, match="has no time zone, so nobody knows when that is"):
        sleep_until(datetime(2027, 1, 1))
    with pytest.raises(BadArguments, match="takes a datetime"):
        sleep_until("tomorrow")  # type: ignore[arg-type]  # that is what is refused


# --- conditions -------------------------------------------------------------------------------------------------------

PAID = {"id": "1", "name": "paid", "key": "k", "data": {"amount": 7, "tags": ["a", "b"]}, "time": 5, "number": 9}


@pytest.mark.parametrize(
    ("where", "is_met"),
    [
        (event.data["amount"] > 5, True),
        (event.data["amount"] > 7, False),
        ((event.data["amount"] > 5) & (event.key == "k"), True),
        ((event.data["amount"] > 9) | (event.number == 9), True),
        (~(event.key == "k"), False),
        (event.data["tags"][1] == "b", True),
        (event.data["lacking"] == 1, False),
        (event.data["amount"] < "text", False),
        (event.name == "paid", True),
    ],
)
def test_a_condition_is_met_by_the_data_of_an_event_alone(where: Any, is_met: bool) -> None:
    [condition] = [each.condition for each in [event("paid", where=where)]]
    assert condition is not None
    assert holds(loads(condition), PAID) is is_met


@pytest.mark.parametrize(
    "where",
    [event.data.upper() == "A", event.data["a"] + 1 > 2, event.data["a"](1), event.data.color],
    ids=["method", "sum", "call", "attribute"],
)
def test_a_condition_that_needs_the_users_code_is_refused(where: Any) -> None:
    with pytest.raises(BadArguments, match="where= cannot hold"):
        wait_for_event("paid", where=where)


def test_a_subscription_compares_with_plain_values() -> None:
    with pytest.raises(BadArguments, match="plain values"):
        event("paid", where=event.data["amount"] > pure(1))


# --- flows ------------------------------------------------------------------------------------------------------------


def test_a_flow_is_a_task_with_settings() -> None:
    @flow
    def apologize(run_id: str) -> str:
        return run_id

    @flow(on=[event("a"), event("b", where=event.key == "k")], timeout="2h", on_failure=apologize, retries=1)
    def handle(data: Any) -> Any:
        return data

    settings = handle.flow_settings
    assert settings is not None
    assert [name for name, _ in settings.on] == ["a", "b"]
    assert settings.on[0][1] is None
    assert settings.on[1][1] is not None
    assert (settings.timeout_seconds, settings.on_failure) == (7200, apologize.fullname)
    assert handle.entry().options == {"retries": 1}
    assert pure.flow_settings is None


@pytest.mark.parametrize(
    "settings", [{"on": "a"}, {"on": ["a"]}, {"timeout": "soon"}, {"on_failure": 3}, {"queue": ""}]
)
def test_a_wrong_setting_of_a_flow_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(BadOption):
        flow(**settings)(lambda data: data)


# --- what is refused, and values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        first, any_of, lambda: child(3), lambda: spawn("run"), lambda: continue_as(pure(1) + 1), lambda: join(3),  # type: ignore[arg-type]  # that is what is refused

        lambda: emit(""), lambda: wait_for_event(""), lambda: wait_for_event("a", take="mine"),  # type: ignore[arg-type]  # likewise

        lambda: wait_for_event("a", since="later"), lambda: within(pure(1), "soon"),
    ],
)  # fmt: skip
def test_a_wait_that_makes_no_sense_is_refused_where_it_is_written(make: Callable[[], Any]) -> None:
    with pytest.raises(BadArguments):
        make()


def test_an_event_and_a_reference_are_the_same_values_when_a_core_has_made_them() -> None:
    made = event_term("1", "paid", "k", {"amount": 5}, 1_700_000_000_000_000, 9)
    assert repr(made).startswith("event('1', 'paid'")
    value = event_of("1", "paid", "k", {"amount": 5}, 1_700_000_000_000_000, 9)
    assert value == Event("1", "paid", "k", {"amount": 5}, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), 9)
    packed = pack(RunRef("r"), lambda *_: None)
    assert value_hash(packed) == value_hash(run_ref_term("r"))


def test_an_outcome_comes_back_from_its_bytes_whatever_it_is() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError("outer", [1, 2]) from inner
    except ValueError as error:
        failure = failure_from_exception(error)
    for outcome in (failure, None, 3, [1, {"a": (2.5, "x")}], {"failure": 1}):
        again = unpack_outcome(pack_outcome(outcome))
        assert again == outcome
        assert type(again) is type(outcome)
    assert isinstance(unpack_outcome(pack_outcome(failure)), Failure)
    for rubbish in (b"rubbish", pack_outcome(1)[:-3]):
        with pytest.raises(ValueError, match="not a packed"):
            unpack_outcome(rubbish)
