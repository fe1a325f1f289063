"""What a tick's commands become."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import pytest

from rayflow.errors import BadQuery
from rayflow.evaluator.commands import Command, Finish, LookUp, Record, Remember
from rayflow.evaluator.messages import Submitted
from rayflow.lang.terms.codec import dumps, with_conditions
from rayflow.records import ReductionRow
from rayflow.runtime.draft import Draft
from rayflow.runtime.listener import LoopListener
from rayflow.runtime.outbox import LARGEST_TERM_BYTES, Outbox
from rayflow.store.open import open_store
from rayflow.store.store import Store
from rayflow.values.digests import digest
from rayflow.values.witnesses import OF_CODE, OF_DEFINITION, OF_VALUE, Witness

TASK = b"t" * 20
CODE: Witness = (OF_CODE, ("lab:Point", b"c" * 20))
CLASS: Witness = (OF_DEFINITION, ("lab:Point",))
VALUE: Witness = (OF_VALUE, (b"v" * 20, None))


class Asked:
    """A carrier that notes what it is asked to check, and answers that all of it is valid, or nothing at all."""

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
    store = open_store(":memory:")
    events: list[Any] = []
    outbox = Outbox(store, asked, events.append)
    keys = [bytes([number]) * 20 for number in range(9)]
    for key in keys:
        term = with_conditions(dumps([1]), (CLASS, CODE, VALUE))
        store.append([ReductionRow(key, TASK, "single", term, None, None, None, "e", None, 1)])
    store.commit()

    def look_up(*, begins: bool = False) -> bool:
        if begins:
            outbox.begin(Submitted(0, "e", b"", {}))
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

    store, told = open_store(":memory:"), list[tuple[str, str]]()
    monkeypatch.setattr(store, "open_jobs", damaged)
    listener = LoopListener(warned=lambda execution_id, text: told.append((execution_id, text)))
    outbox = Outbox(store, Asked(), print, listener=listener)
    outbox.carry_out([Finish("e", 1, is_torn=True)])
    assert outbox.finished["e"].outcome == 1
    assert told == [("e", "Jobs of e that were lost may stay open in the records: a file is damaged")]


def test_each_type_of_command_is_carried_out() -> None:
    carried_out = Outbox(open_store(":memory:"), Asked(), print)._in_order.keys() | {Record, Remember}
    assert carried_out == set(get_args(Command))


def test_a_warning_that_no_execution_alone_concerns_reaches_each_open_execution_once(asked: Asked) -> None:
    asked.is_lost = True
    store, told, found = open_store(":memory:"), list[tuple[str, str]](), list[Any]()
    term = with_conditions(dumps([1]), (CLASS,))
    store.append([ReductionRow(b"k" * 20, TASK, "single", term, None, None, None, "e", None, 1)])
    outbox = Outbox(store, asked, found.append, listener=LoopListener(lambda name, text: told.append((name, text))))
    for name in "ab":
        outbox.begin(Submitted(0, name, b"", {}))
    for asker in (1, 2):
        outbox.carry_out([LookUp(asker, b"k" * 20, TASK)])
    outbox.carry_out([Finish("a", 1)])
    outbox.begin(Submitted(0, "c", b"", {}))
    outbox.carry_out([LookUp(3, b"k" * 20, TASK)])
    assert [name for name, text in told if text.startswith("lab.Point is gone")] == ["a", "b", "c"] and len(told) == 3


def test_what_a_dropped_draft_holds_never_reaches_the_store_and_a_kept_one_is_there_at_once() -> None:
    store, large = open_store(":memory:"), bytes(LARGEST_TERM_BYTES + 1)
    reduction = ReductionRow(b"k" * 20, TASK, "single", large, None, None, None, "e", None, 1)
    for is_kept in (False, True):
        draft = Draft(store)
        Outbox(store, Asked(), print, sink=draft).carry_out([Remember(reduction)])
        assert not store.pending() and not store.has_blob(digest("term", large))
        if is_kept:
            draft.keep()
        assert [len(rows) for rows in Store(store.folder).look_up([(b"k" * 20, TASK)])] == [is_kept]
    assert store.has_blob(digest("term", large))
