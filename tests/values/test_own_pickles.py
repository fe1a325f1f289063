"""Classes that say themselves how they are pickled, members of enums, and the order of attributes."""

from __future__ import annotations

import datetime
import enum
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rayflow.testing.contracts import check_handler, check_other_processes
from rayflow.values.encoding.encoding import decode, make_ref
from rayflow.values.encoding.identity import value_hash


def _with(value: Any, **attributes: Any) -> Any:
    for name, part in attributes.items():
        object.__setattr__(value, name, part)
    return value


def _check_back(value: Any) -> None:
    for again in (decode(make_ref(value)[1]), decode(make_ref([value])[1])[0]):
        assert type(again) is type(value)
        assert again.unit == value.unit


# --- classes that say themselves how they are pickled -----------------------------------------------------------------


class OwnArray(np.ndarray):  # type: ignore[type-arg]
    def __reduce__(self) -> Any:
        make, arguments, state = super().__reduce__()
        return make, arguments, (*state, getattr(self, "unit", None))

    def __setstate__(self, state: Any) -> None:
        self.unit = state[-1]
        super().__setstate__(state[:-1])


class OwnNumber(float):
    def __new__(cls, value: float, unit: str) -> OwnNumber:
        made = super().__new__(cls, value)
        made.unit = unit
        made.cache = object()
        return made

    def __getnewargs__(self) -> tuple[float, str]:  # type: ignore[override]
        return float(self), self.unit

    def __getstate__(self) -> None:
        return None


class OwnMoment(datetime.datetime):
    def __reduce_ex__(self, protocol: Any) -> Any:
        return _own_moment, (self.replace(tzinfo=None).isoformat(), self.unit)  # type: ignore[attr-defined]


def _own_moment(text: str, unit: str) -> OwnMoment:
    return _with(OwnMoment.fromisoformat(text), unit=unit)


@pytest.mark.parametrize(
    "make",
    [
        lambda unit: _with(np.arange(3).view(OwnArray), unit=unit),
        lambda unit: OwnNumber(1.5, unit),
        lambda unit: _with(OwnMoment(2024, 1, 2), unit=unit),
    ],
)
def test_a_class_that_reduces_itself_is_known_by_what_it_says(make: Callable[[str], Any]) -> None:
    check_handler(lambda: make("m"), [make("km")])
    _check_back(make("m"))


# --- enums ------------------------------------------------------------------------------------------------------------


def _colours(red: Any, label: str = "x") -> Any:
    made: Any = enum.Enum("Colours", {"RED": red}, module=__name__)
    made.RED.label = label
    return made


def test_what_a_member_of_an_enum_holds_counts() -> None:
    held = [_colours(1).RED, _colours(2).RED, _colours(1, "y").RED, _colours((1, {"a": 2})).RED]
    assert len({value_hash(each) for each in held}) == len(held)
    assert value_hash(_colours(1).RED) == value_hash(_colours(1).RED)


class Odd(enum.Enum):
    LOCKED = functools.partial(print)
    OTHER = (1, 2)


class Day(datetime.date, enum.Enum):
    FIRST = 2024, 1, 1


def test_members_of_an_enum_stay_themselves_whatever_they_hold() -> None:
    Odd.LOCKED.opposite, Odd.OTHER.opposite = Odd.OTHER, Odd.LOCKED  # type: ignore[attr-defined]
    for member in (*Odd, *Day):
        assert decode(make_ref([member])[1]) == [member]
        assert decode(make_ref(member)[1]) is member


# --- the order of attributes ------------------------------------------------------------------------------------------


class SetOfSlots:
    __slots__ = frozenset({"first", "second", "third", "fourth"})

    def __init__(self) -> None:
        self.first = self.second = self.third = self.fourth = 1


def slotted() -> SetOfSlots:
    return SetOfSlots()


@pytest.mark.slow
def test_slots_have_no_order_even_when_their_names_are_a_set() -> None:
    check_handler(slotted)
    check_other_processes(slotted)


class Measured:
    """Not a dataclass: an object of a class that no handler knows."""

    @functools.cached_property
    def scale(self) -> float:
        return 1.0


def test_what_was_put_in_place_of_a_cached_property_counts() -> None:
    plain, set_by_hand, other = Measured(), Measured(), Measured()
    set_by_hand.scale, other.scale = 2.0, 3.0
    assert len({value_hash(plain), value_hash(set_by_hand), value_hash(other)}) == 3
