"""What a tick's commands become."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import pytest

from rayflow.errors import BadQuery
from rayflow.evaluator.commands import Command, Finish, LookUp, LookUpVector, Record, Remember
from rayflow.evaluator.messages import LookedUp, Submitted
from rayflow.lang.terms.codec import dumps, with_conditions
from rayflow.record_columns import Columns, Same
from rayflow.records import SHALLOW_VALUE, JobRow, ReductionRow
from rayflow.runtime.draft import Draft
from rayflow.runtime.keeping.beside import ABOUT_WAITS
from rayflow.runtime.listener import LoopListener
from rayflow.runtime.outbox import LARGEST_TERM_BYTES, Outbox
from rayflow.store.open import open_store
from rayflow.store.store import Store
from rayflow.values.digests import digest
from rayflow.values.refs import Encoded, ValueRef
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
    carried_out = Outbox(open_store(":memory:"), Asked(), print)._in_order.keys() | {Record, Remember, LookUpVector}
    assert carried_out | ABOUT_WAITS == set(get_args(Command))


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


@pytest.mark.parametrize("is_far", [True, False])
def test_where_a_question_is_a_trip_the_blobs_of_all_look_ups_are_asked_for_together(
    is_far: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(":memory:")
    there, lost = digest("large", b"1"), digest("large", b"2")
    store.put_blob(there, Encoded("bytes", b"", (b"1",)))
    keys = [bytes([number]) * 20 for number in range(3)]
    for key, blob in zip(keys, (there, lost, there), strict=True):
        term = dumps([ValueRef(blob, "bytes", 1, "bytes")])
        store.append([ReductionRow(key, TASK, "single", term, None, None, None, "e", None, 1)])
    store.commit()
    together: list[set[bytes]] = []
    have_blobs = Store.have_blobs

    def asked_together(store: Store, names: Sequence[bytes]) -> dict[bytes, bool]:
        together.append(set(names))
        answers = have_blobs(store, names)
        monkeypatch.setattr(Store, "has_blob", None)  # nothing asks once more
        return answers

    monkeypatch.setattr(store.folder, "remote", is_far)
    monkeypatch.setattr(Store, "have_blobs", asked_together)
    events: list[Any] = []
    Outbox(store, Asked(), events.append).carry_out([LookUp(asker, key, TASK) for asker, key in enumerate(keys)])
    assert [each.candidates[0].verdict for each in events] == [True, False, True]
    assert together == ([{there, lost}] if is_far else [])


@pytest.fixture
def three_hops() -> Any:
    """A store with a reduction of key 1, one of key 3 that depends on a value, two of key 4, and none of key 2."""
    store = open_store(":memory:")
    conditional = with_conditions(dumps(3), (VALUE,))
    terms = {1: [dumps(1)], 3: [conditional], 4: [dumps(40), dumps(41)]}
    for number, of_key in terms.items():
        for at, term in enumerate(of_key):
            store.append([ReductionRow(KEYS[number], TASK, "single", term, None, None, None, "e", 0.5, at)])
    return store


KEYS = [bytes([number]) * 20 for number in range(9)]


def test_a_vector_of_look_ups_is_answered_at_once_and_what_depends_on_more_is_answered_later_by_number(
    three_hops: Store, asked: Asked
) -> None:
    found: list[Any] = []
    Outbox(three_hops, asked, found.append).carry_out([LookUpVector(100, KEYS[1:5], TASK)])
    whole, later = found
    assert (whole.first, list(whole.later), sorted(whole.found)) == (100, [2], [0, 3])
    assert [each.term for each in whole.found[3]] == [dumps(41), dumps(40)]
    assert (later.asker, later.candidates[0].term[:1]) == (102, b"W") and asked.questions == [[VALUE]]


def test_a_look_up_finds_the_same_candidates_in_a_vector_and_alone(three_hops: Store, asked: Asked) -> None:
    found: list[Any] = []
    outbox = Outbox(three_hops, asked, found.append)
    outbox.carry_out([LookUpVector(100, KEYS[1:5], TASK)])
    in_vector = {0: (), 1: (), 2: found[1].candidates, 3: ()} | found[0].found
    found.clear()
    outbox.carry_out([LookUp(number, key, TASK) for number, key in enumerate(KEYS[1:5])])
    assert {each.asker: each.candidates for each in found} == in_vector and len(in_vector[3]) == 2


def test_the_store_is_asked_once_for_all_look_ups_of_a_tick(three_hops: Store, asked: Asked, monkeypatch: Any) -> None:
    questions: list[Any] = []
    look_up = three_hops.look_up
    monkeypatch.setattr(three_hops, "look_up", lambda asked: questions.append(asked) or look_up(asked))
    found: list[Any] = []
    outbox = Outbox(three_hops, asked, found.append)
    outbox.carry_out([LookUpVector(1, KEYS[1:3], TASK), LookUp(3, KEYS[1], TASK), LookUpVector(4, KEYS[1:2], TASK)])
    assert questions == [[(KEYS[number], TASK) for number in (1, 1, 2, 1)]]
    assert sorted(type(each).__name__ for each in found) == ["LookedUp", "LookedUpVector", "LookedUpVector"]


def test_told_values_answer_the_look_ups_that_want_them_beside_vectors(
    three_hops: Store, asked: Asked, monkeypatch: Any
) -> None:
    questions: list[Any] = []

    def told_values(asked: Sequence[tuple[bytes, bytes]]) -> list[list[ReductionRow]]:
        questions.append(asked)
        row = ReductionRow(b"", TASK, SHALLOW_VALUE, dumps("told"), None, TASK, None, "", None, 9)
        return [[row._replace(eval_hash=key)] for key, _ in asked]

    monkeypatch.setattr(three_hops, "told_values", told_values)
    found: list[Any] = []
    alone = [LookUp(0, KEYS[2], TASK), LookUp(1, KEYS[5], TASK, True), LookUp(2, KEYS[5], TASK)]
    vector = LookUpVector(10, KEYS[4:6], TASK)
    Outbox(three_hops, asked, found.append).carry_out([*alone, vector, LookUp(3, KEYS[4], TASK, True)])
    assert questions == [[(KEYS[5], TASK), (KEYS[4], TASK)]]
    terms = {each.asker: [candidate.term for candidate in each.candidates] for each in found if type(each) is LookedUp}
    assert (terms[0], terms[1], terms[2], terms[3]) == ([], [dumps("told")], [], [dumps("told"), dumps(41), dumps(40)])


def reductions(terms: Sequence[bytes]) -> Columns:
    return Columns.of(
        ReductionRow,
        len(terms),
        eval_hash=KEYS[: len(terms)],
        term=terms,
        **{name: Same(TASK if name == "task_hash" else None) for name in ReductionRow._fields[1:3]},
        **{name: Same(None) for name in ReductionRow._fields[4:9]},
        at=Same(1),
    )


class Noted:
    """A sink that notes what it is given."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.columns: list[Columns] = []
        self.put_blob = lambda name, encoded: None

    def append(self, rows: Any, columns: Any = ()) -> None:
        self.rows.extend(rows)
        self.columns.extend(columns)


def test_columns_reach_the_sink_as_columns_unless_one_of_their_terms_becomes_a_blob() -> None:
    for large, are_columns in ((b"", True), (bytes(LARGEST_TERM_BYTES + 1), False)):
        sink, columns = Noted(), reductions([dumps(1), large])
        Outbox(open_store(":memory:"), Asked(), print, sink=sink).carry_out([Record((), (columns,))])
        assert (len(sink.columns), len(sink.rows)) == ((1, 0) if are_columns else (0, 2))
    assert [row.term_blob is not None for row in sink.rows] == [False, True]


def jobs(count: int, **fields: Any) -> Columns:
    same = dict.fromkeys(JobRow._fields) | {"execution_id": "e"} | fields
    return Columns.of(JobRow, count, **{name: Same(value) for name, value in same.items()} | {"job_id": KEYS[:count]})


def test_each_closing_row_in_columns_is_heard_and_an_opening_one_is_not() -> None:
    heard: list[JobRow] = []
    listener = LoopListener(job_ended=heard.append)
    outbox = Outbox(open_store(":memory:"), Asked(), print, sink=Noted(), listener=listener)
    closing = jobs(3, finished_at=5, status="done", how="computed", traceback="...")
    outbox.carry_out([Record((), (jobs(2, status="open"), closing))])
    assert [(row.job_id, row.traceback) for row in heard] == [(key, None) for key in KEYS[:3]]


def test_a_resumed_execution_does_not_record_again_in_columns_what_it_had_done(monkeypatch: pytest.MonkeyPatch) -> None:
    store, sink = open_store(":memory:"), Noted()
    monkeypatch.setattr(store, "done_jobs", lambda execution_id: frozenset(KEYS[:2]))
    outbox = Outbox(store, Asked(), print, sink=sink)
    outbox.begin(Submitted(0, "e", b"", {}, life=1))
    outbox.carry_out([Record((), (jobs(3, finished_at=5, status="done", how="shared"),))])
    assert [row.job_id for row in sink.rows] == [KEYS[2]] and not sink.columns
