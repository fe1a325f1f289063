"""What must still be true for a value to be: found when the value is encoded, checked in batches."""

from __future__ import annotations

import collections
import dataclasses
import fractions
import pathlib
import sys
import types
from collections.abc import Sequence
from typing import Any

import numpy
import pytest

from rayflow.lang.packing.pack import pack
from rayflow.lang.terms.codec import blobs_of, dumps, loads, read, witnesses_of
from rayflow.values import witnesses
from rayflow.values.encoding.encoding import make_ref
from rayflow.values.objects import hooks
from rayflow.values.witnesses import OF_DEFINITION, OF_TASK, VALIDATORS, ValidatorAt, check, needs_worker, notice


@pytest.fixture(autouse=True)
def no_classes(monkeypatch):
    """What a value's class is witnessed by has tests of its own."""
    monkeypatch.setattr(hooks, "definition_witness", lambda of: None)
    hooks.forget()
    yield
    hooks.forget()


class Page:
    """A value that holds while a page of a book is as it was."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __rayflow_witness__(self) -> witnesses.Witness | None:
        return ("page", (self.number,)) if self.number else None


class Opaque:
    def __init__(self, inside: Any) -> None:
        self.inside = inside


@dataclasses.dataclass
class Holder:
    name: str
    page: Page


SECOND = ("page", (2,))


@pytest.fixture
def kinds(monkeypatch):
    """Adds validators of other forms of witnesses: functions of a module that is made for the test."""
    module = types.ModuleType("validators_of_a_test")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def add(form: str, validate: witnesses.Validator, *, on_worker: bool = False) -> None:
        setattr(module, form, validate)
        monkeypatch.setitem(VALIDATORS, form, ValidatorAt(module.__name__, form, on_worker))

    return add


@pytest.mark.parametrize(
    "value",
    [
        Page(2), [Page(2)], {"k": [Page(2), 1]}, {Page(2): 1}, Holder("a", Page(2)), Opaque([Page(2)]),
        [[Page(2)] * 3, "x" * 10_000], numpy.array([Page(2), None], dtype=object), [Page(2), Page(2), Page(0)],
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_witness_is_found_wherever_its_value_stands(value: Any) -> None:
    ref, _ = make_ref(value)
    assert ref.witnesses == (SECOND,)
    kept: list[Any] = []
    packed = dumps(pack(value, lambda *each: kept.append(each)))
    assert witnesses_of(packed) == (SECOND,)
    assert witnesses_of(dumps(loads(packed))) == (SECOND,)


def test_a_deeply_nested_value_carries_its_witnesses() -> None:
    deep: Any = Page(2)
    for _ in range(5_000):
        deep = [deep]
    assert make_ref(deep)[0].witnesses == (SECOND,)


def test_a_value_without_witnesses_is_packed_without_a_front() -> None:
    packed = dumps(pack([Opaque(1), "x"], lambda *_: None))
    assert packed[:1] == b"\x80" and witnesses_of(packed) == () and witnesses_of(dumps(3)) == ()


def test_a_term_lists_the_witnesses_of_all_its_values_once_and_each_reference_keeps_its_own() -> None:
    term = [Page(1), Page(2), Opaque([Page(2), Page(3)]), Opaque(None), numpy.arange(1000)]
    packed = dumps(pack(term, lambda *_: None))
    assert sorted(witnesses_of(packed)) == [("page", (number,)) for number in (1, 2, 3)]
    again = loads(packed)
    assert [ref.witnesses for ref in again[:4]] == [
        (("page", (1,)),), (SECOND,), (SECOND, ("page", (3,))), ()
    ]  # fmt: skip
    assert blobs_of(packed) == (again[4].digest,)
    assert again[4].witnesses == () and again[3].digest == make_ref(Opaque(None))[0].digest


def test_a_damaged_front_is_an_error_and_not_a_crash() -> None:
    packed = dumps(pack([Page(2)], lambda *_: None))
    for damaged in (packed[:9], packed[:5] + b"xxxx" + packed[9:]):
        with pytest.raises(ValueError, match="not a packed term"):
            read(damaged)
        with pytest.raises(ValueError, match="not a packed term"):
            witnesses_of(damaged)


def test_what_one_object_notices_inside_another_counts_for_both() -> None:
    with witnesses.WitnessCollector() as outer:
        make_ref(Page(2))
        notice((OF_TASK, ("lab.f", b"h")))
    assert list(outer.found) == [SECOND, (OF_TASK, ("lab.f", b"h"))]
    notice(SECOND)  # nobody listens


def test_each_kind_is_asked_once_for_all_of_its_payloads(kinds) -> None:
    asked: list[Any] = []

    def validate(payloads: Sequence[tuple[Any, ...]], store: Any) -> list[bool]:
        asked.append((list(payloads), store))
        return [number > 1 for (number,) in payloads]

    kinds("page", validate)
    found = check([("page", (1,)), SECOND, ("page", (3,))], "the store")
    assert list(found.values()) == [False, True, True]
    assert asked == [([(1,), (2,), (3,)], "the store")]


def test_a_validator_that_fails_and_a_kind_without_one_do_not_hold_and_say_so(kinds) -> None:
    def broken(payloads: Sequence[tuple[Any, ...]], store: Any) -> list[bool]:
        raise OSError("no disk")

    kinds("page", broken)
    kinds("short", lambda payloads, store: [])
    warned: list[str] = []
    found = check([SECOND, ("unheard", ()), ("short", ())], None, warned.append)
    assert set(found.values()) == {False}
    assert "OSError: no disk" in warned[0]
    assert "nothing here validates values of the kind 'unheard'" in warned[1]
    assert "0 answers to 1 questions" in warned[2]


def test_a_kind_that_is_unknown_here_may_be_known_where_the_users_code_is(kinds) -> None:
    kinds("near", lambda payloads, store: [True])
    kinds("far", lambda payloads, store: [True], on_worker=True)
    assert [needs_worker((kind, ())) for kind in ("near", "far", "unheard")] == [False, True, True]


# --- classes of the project -------------------------------------------------------------------------------------------


def test_a_value_of_a_class_of_the_project_holds_while_the_class_is_there(monkeypatch) -> None:
    monkeypatch.undo()
    hooks.forget()
    values = [Holder("a", Page(0)), collections.OrderedDict(a=1), pathlib.Path("x"), fractions.Fraction(1, 2)]
    found = make_ref(values)[0].witnesses
    assert found == ((OF_DEFINITION, (f"{__name__}:Holder",)), (OF_DEFINITION, (f"{__name__}:Page",)))
    gone, lost = (OF_DEFINITION, (f"{__name__}:Nobody",)), (OF_DEFINITION, ("no.such.module:Nobody",))
    # A module that nobody has imported is read, and not imported for this.
    later, nowhere = (OF_DEFINITION, ("antigravity:webbrowser",)), (OF_DEFINITION, ("antigravity:Anything",))
    assert check([*found, gone, lost, later, nowhere], None) == {
        found[0]: True, found[1]: True, gone: False, lost: False, later: True, nowhere: False
    }  # fmt: skip
    assert "antigravity" not in sys.modules


@pytest.mark.slow
def test_a_class_that_travels_with_its_values_is_no_witness(monkeypatch) -> None:
    monkeypatch.undo()
    hooks.forget()

    class Local:
        pass

    assert make_ref(Local())[0].witnesses == ()
