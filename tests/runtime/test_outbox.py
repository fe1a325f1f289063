"""What a tick's commands become."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from rayflow.errors import BadQuery
from rayflow.evaluator.commands import Finish, LookUp
from rayflow.lang.codec import dumps, with_conditions
from rayflow.records import ReductionRow
from rayflow.runtime.outbox import Outbox
from rayflow.store.memory import MemoryStore
from rayflow.values.witnesses import OF_CODE, OF_DEFINITION, OF_VALUE, Witness

TASK = b"t" * 20
CODE: Witness = (OF_CODE, ("lab:Point", b"c" * 20))
CLASS: Witness = (OF_DEFINITION, ("lab:Point",))
VALUE: Witness = (OF_VALUE, (b"v" * 20, None))


class Asked:
    """A carrier that notes what it is asked to check, and answers that all of it holds, or nothing at all."""

    def __init__(self) -> None:
        self.questions: list[list[Witness]] = []
        self.is_lost = False

    def check(self, witnesses: Sequence[Witness], then: Callable[[Mapping[Witness, bool]], None]) -> None:
        self.questions.append(sorted(witnesses))
        then({} if self.is_lost else dict.fromkeys(witnesses, True))


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def hop(asked: Asked) -> Callable[[], bool]:
    """Looks up one more call whose result depends on a class: whether it holds."""
    store = MemoryStore()
    events: list[Any] = []
    outbox = Outbox(store, asked, events.append)
    keys = [bytes([number]) * 20 for number in range(9)]
    for key in keys:
        term = with_conditions(dumps([1]), (CLASS, CODE, VALUE))
        store.append([ReductionRow(key, TASK, "single", term, None, None, None, "e", None, 1)])
    store.commit()

    def look_up(*, begins: bool = False) -> bool:
        if begins:
            outbox.refresh()
        outbox.carry_out([LookUp(1, keys.pop(), TASK)])
        return bool(events.pop().candidates[0].verdict)

    return look_up


def test_the_code_is_compared_once_in_an_execution_and_values_each_time(asked: Asked, hop: Any) -> None:
    assert hop() and hop() and hop()
    assert asked.questions == [sorted([CLASS, CODE, VALUE]), [VALUE], [VALUE]]


def test_the_next_execution_compares_the_code_anew(asked: Asked, hop: Any) -> None:
    assert hop() and hop(begins=True)
    assert asked.questions == [sorted([CLASS, CODE, VALUE])] * 2


def test_code_that_could_not_be_compared_is_asked_for_again(asked: Asked, hop: Any) -> None:
    asked.is_lost = True
    assert not hop()
    asked.is_lost = False
    assert hop()
    assert asked.questions == [sorted([CLASS, CODE, VALUE])] * 2


def test_an_execution_ends_although_the_store_cannot_tell_what_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(execution_id: str) -> list[Any]:
        raise BadQuery("a file is damaged")

    store, told = MemoryStore(), list[str]()
    monkeypatch.setattr(store, "open_jobs", damaged)
    outbox = Outbox(store, Asked(), print, warned=told.append)
    outbox.carry_out([Finish("e", 1, is_torn=True)])
    assert outbox.finished["e"].outcome == 1
    assert told == ["Jobs of e that were lost may stay open in the records: a file is damaged"]
