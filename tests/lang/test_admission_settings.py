"""What `@flow` says about admission: settings that are checked where they are written, and keys of the arguments."""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass
from typing import Any

import pytest

from rayflow import debounce, flow, limit, rate, task
from rayflow.errors import BadArguments, BadOption
from rayflow.lang.admission.keys import key_of
from rayflow.lang.admission.settings import AdmissionSettings


@dataclass
class Order:
    id: int
    tenant: Any


@task
def lazy_order() -> Order:
    return Order(1, "t")


def settings_of(**settings: Any) -> AdmissionSettings | None:
    """The settings of a flow with the parameters order and size."""

    @flow(**settings)
    def handle(order: Order, size: int = 3) -> int:
        return order.id

    assert handle.flow_settings is not None
    return handle.flow_settings.admission


def test_a_flow_that_asks_nothing_has_no_settings() -> None:
    assert settings_of() is None


def test_a_number_is_a_limit_for_all_runs_of_a_flow() -> None:
    assert settings_of(max_concurrency=5) == settings_of(max_concurrency=[limit(5)])


def test_durations_become_microseconds() -> None:
    found = settings_of(throttle=rate(10, "1m"), debounce=debounce("{order.id}", 0.5, max_wait="5m"))
    assert found is not None and found.debounce is not None
    assert found.throttles[0].per_us == 60_000_000
    assert (found.debounce.quiet_us, found.debounce.max_wait_us) == (500_000, 300_000_000)


@pytest.mark.parametrize(
    ("settings", "has_keys"),
    [
        ({"queue": "billing", "priority": 3}, False),
        ({"mutex": "one at a time"}, False),
        ({"mutex": "{order.tenant}"}, True),
        ({"throttle": [rate(1, 1), rate(1, 1, key=lambda size: size)]}, True),
    ],
)
def test_it_is_known_whether_the_arguments_of_a_run_count(settings: dict[str, Any], has_keys: bool) -> None:
    found = settings_of(**settings)
    assert found is not None
    assert found.has_keys is has_keys


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"queue": 3}, "queue is the name"),
        ({"priority": "high"}, "priority is a whole number"),
        ({"priority": 2_000_000}, "priority is a whole number"),
        ({"mutex": "{buyer.id}"}, "names 'buyer', which is not a parameter"),
        ({"mutex": "{}"}, "which is not a parameter"),
        ({"mutex": "{order.pay()}"}, "nothing is called"),
        ({"mutex": "{order.__class__}"}, "nothing is called"),
        ({"mutex": "{order!r}"}, "without ! and :"),
        ({"mutex": "{size:>9}"}, "without ! and :"),
        ({"mutex": "{order"}, "no template"),
        ({"mutex": ""}, "a template such as"),
        ({"mutex": 7}, "a template such as"),
        ({"mutex": lambda customer: customer}, "takes 'customer', which is not a parameter"),
        ({"fairness": Order}, "a template such as"),
        ({"release_on_wait": True}, "it needs mutex="),
        ({"max_concurrency": 0}, "from 1 to"),
        ({"max_concurrency": "5"}, "takes a number, limit"),
        ({"max_concurrency": rate(1, 1)}, "takes a number, limit"),
        ({"max_concurrency": limit(2, key="{x}")}, "max_concurrency: the template names 'x'"),
        ({"throttle": 5}, "throttle takes rate"),
        ({"rate_limit": [5]}, "rate_limit takes rate"),
        ({"debounce": "30s"}, "debounce takes debounce"),
        ({"debounce": debounce("{order.id}", 1, keep="all")}, "one parameter"),
    ],
)
def test_a_wrong_setting_is_refused_where_the_flow_is_defined(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadOption, match=message):
        settings_of(**settings)


def test_an_async_function_is_no_key() -> None:
    async def key(order: Order) -> str:
        return "k"

    with pytest.raises(BadOption, match="async"):
        settings_of(mutex=key)


@pytest.mark.parametrize(
    "make",
    [
        lambda: limit(True), lambda: rate(1.5, 1), lambda: rate(1, 0), lambda: rate(1, "soon"),  # type: ignore[arg-type]  # that is what is refused

        lambda: debounce("k", "10s", max_wait="5s"), lambda: debounce("k", "10s", keep="some"),
    ],
)  # fmt: skip
def test_wrong_numbers_are_refused_where_they_are_written(make: Any) -> None:
    with pytest.raises(BadOption):
        make()


def test_a_debounce_that_keeps_all_needs_a_parameter_that_is_a_list() -> None:
    @flow(debounce=debounce("k", 1, keep="all"))
    def takes_list(items: list[int]) -> int:
        return len(items)

    @flow(debounce=debounce("k", 1, keep="all"))
    def takes_anything(items):  # type: ignore[no-untyped-def]  # nothing is known of it
        return items

    with pytest.raises(BadOption, match="items is <class 'int'>"):

        @flow(debounce=debounce("k", 1, keep="all"))
        def takes_number(items: int) -> int:
            return items


# --- keys -------------------------------------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("template", "key"),
    [
        ("tenant:{order.tenant}/{size}", "tenant:t/3"),
        ("{data[a][0]}", "x"),
        ("{data.a[0]}", "x"),
        ("{color}", "red"),
        ("{unique}", "00000000-0000-0000-0000-000000000007"),
        ("{{{size}}}", "{3}"),
        ("constant", "constant"),
    ],
)
def test_a_template_takes_attributes_and_items_of_arguments(template: str, key: str) -> None:
    data = {"a": ["x"]}
    arguments = {"order": Order(1, "t"), "size": 3, "data": data, "color": Color.RED, "unique": uuid.UUID(int=7)}
    assert key_of(template, arguments, "here") == key


def test_a_function_gets_the_arguments_that_it_names_and_may_say_that_there_is_no_key() -> None:
    assert key_of(lambda size, order: f"{order.id}-{size}", {"order": Order(1, "t"), "size": 3}, "here") == "1-3"
    assert key_of(lambda order: None, {"order": 1}, "here") is None


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("{order.tenant}", "gives None of type NoneType"),
        ("{order}", "of type Order"),
        ("{order.buyer}", r"\{order.buyer\} cannot be found: order is Order"),
        ("{size[0]}", "cannot be found: size is 3"),
        ("{late.id}", "late is not computed yet: it is lazy_order"),
        (lambda late: late, "late is not computed yet"),
        (lambda order: order, "the function gives"),
        (lambda size: "x" * 2_000, "2,000 characters"),
    ],
)
def test_a_key_that_cannot_be_found_says_why(key: Any, message: str) -> None:
    with pytest.raises(BadArguments, match=message):
        key_of(key, {"order": Order(1, None), "size": 3, "late": lazy_order()}, "here")
