"""Symbolic terms as bytes: what goes in comes out, shared where it was shared, and nothing but plain data is read."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflow.lang.terms.codec import (
    blobs_of,
    children,
    content_digest,
    dumps,
    loads,
    may_have,
    read,
    with_children,
    with_conditions,
    witnesses_of,
)
from rayflow.lang.terms.expressions import Form, Operation, Quoted, TaskCall, TaskRef
from rayflow.values.refs import TaggedTree, ValueRef

SMALL = ValueRef(b"s" * 20, "Point", 10, "pickle5", b"inline", (), "Point()")
LARGE = ValueRef(
    b"l" * 20, "ndarray", 10_000, "numpy", None, (("task", ("lab.w", b"w" * 20)), ("page", (1, "one")))
)

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5), st.binary(max_size=5),
    st.complex_numbers(allow_nan=False),
)  # fmt: skip
KEYS = st.text(max_size=3)


NAMED = st.fixed_dictionaries({"y": SCALARS, "z": SCALARS})
RUNS = st.builds(
    lambda rows, tasks, length: [
        TaskCall(tasks[place % len(tasks)], args, kwargs, options, length)
        for place, (args, kwargs, options) in enumerate(rows)
    ],
    st.tuples(st.integers(0, 2), st.sampled_from([st.none(), NAMED]), st.sampled_from([st.none(), NAMED])).flatmap(
        lambda of: st.lists(st.tuples(st.tuples(*[SCALARS] * of[0]), of[1], of[2]), min_size=8, max_size=20)
    ),
    st.sampled_from([["lab.f"], ["lab.f", "lab.g"]]),
    st.sampled_from([None, 2]),
)
"""Lists of calls with scalars only; most of them are written as runs."""


def bigger(terms: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    many = st.lists(terms, max_size=3)
    named = st.dictionaries(KEYS, terms, max_size=2)
    return st.one_of(
        many,
        st.builds(lambda term, run: [*run, term, *run[:2]], terms, RUNS),
        many.map(tuple),
        named,
        st.builds(TaskCall, KEYS, many.map(tuple), named.map(lambda d: d or None), named.map(lambda d: d or None)),
        st.builds(Operation, KEYS, many.map(tuple)),
        st.builds(Form, KEYS, many.map(tuple)),
        st.builds(lambda term: Quoted(term, b"q" * 20), terms),
        st.builds(lambda parts: TaggedTree("dataclass", ("lab.P", "x"), tuple(parts)), many),
        st.builds(lambda a, k: TaskRef("lab.f", b"h" * 20, tuple(a), k), many, named),
    )


TERMS = st.recursive(
    st.one_of(
        SCALARS, st.sampled_from([SMALL, LARGE]), RUNS, RUNS.map(tuple), RUNS.map(lambda run: dict(enumerate(run)))
    ),
    bigger,
    max_leaves=12,
)  # fmt: skip


def shape(term: Any) -> Any:
    """A term as nested tuples that can be compared."""
    kind = type(term)
    if kind in (list, tuple):
        return (kind.__name__, *map(shape, term))
    if kind is dict:
        return ("dict", *((key, shape(value)) for key, value in term.items()))
    if kind in (TaskCall, Operation, Form, Quoted, TaggedTree, TaskRef):
        names = [name for name in kind.__slots__ if name not in ("_shared", "header", "parts")]
        own = [(name, shape(getattr(term, name))) for name in sorted(names)]
        return (kind.__name__, *own, *map(shape, children(term)))
    if kind is ValueRef:
        return ("ref", term.digest, term.inline, term.witnesses)
    return (kind.__name__, repr(term))


@pytest.mark.slow
@given(TERMS)
def test_a_term_comes_back_as_it_was(term: Any) -> None:
    assert shape(loads(dumps(term))) == shape(term)


@given(TERMS)
def test_the_parts_of_an_expression_put_together_again_give_it_again(term: Any) -> None:
    if type(term) in (TaskCall, Operation, Form, Quoted, TaggedTree, TaskRef, list, dict):
        assert shape(with_children(term, children(term))) == shape(term)


@given(TERMS)
def test_the_blobs_of_a_packed_term_are_read_off_its_front(term: Any) -> None:
    expected = {LARGE.digest} if "b'" + "l" * 20 in repr(shape(term)) else set()
    assert set(blobs_of(dumps(term))) == expected


@given(st.binary(max_size=40))
def test_bytes_that_are_no_term_are_a_value_error(data: bytes) -> None:
    try:
        loads(data)
    except ValueError:
        pass


@pytest.mark.parametrize("thing", [os.system, [object], (1, 2, 3), ((), (), [(99, (), ())]), {"a": 1}])
def test_a_pickle_of_something_else_is_refused(thing: Any) -> None:
    with pytest.raises(ValueError, match="not a packed term"):
        loads(pickle.dumps(thing))


def test_a_damaged_term_is_a_value_error_wherever_it_is_cut() -> None:
    data = dumps([TaskCall("lab.f", (1, [LARGE])), {"a": SMALL}, plain_calls(10)])
    for length in range(len(data)):
        with pytest.raises(ValueError):
            loads(data[:length])


def test_an_expression_in_two_places_is_read_back_as_one_and_marked_so() -> None:
    once, twice = TaskCall("lab.f", (1,)), TaskCall("lab.f", (1,))
    (a, b), c = loads(dumps([[once, once], twice]))
    assert a is b and a is not c
    assert (a._shared, c._shared) == (True, False)


def test_expressions_in_a_container_in_two_places_are_shared() -> None:
    inner = [TaskCall("lab.f", (TaskCall("lab.g"),))]
    term = loads(dumps([inner, [inner]]))
    assert term[0] is term[1][0]
    assert term[0][0]._shared and not term[0][0]._args[0]._shared


def plain_calls(count: int, task: str = "lab.f") -> list[TaskCall]:
    return [TaskCall(task, (number, "x"), {"y": number}, None, 2) for number in range(count)]


@pytest.mark.parametrize(
    "around", [list, tuple, lambda calls: dict(enumerate(calls)), lambda calls: Form("seq", tuple(calls))]
)
def test_plain_calls_that_stand_together_take_few_bytes_and_come_back_each_as_it_was(around: Any) -> None:
    term = around(plain_calls(200))
    packed = dumps(term)
    assert len(packed) < 200 * 14
    head, again = read(packed)
    assert shape(again) == shape(term) and head.calls == (("lab.f", 2, ("y",)),)
    found = children(again)[1::2] if type(again) is dict else children(again)
    assert len({id(call) for call in found}) == 200 and not any(call._shared for call in found)


def test_a_call_among_many_that_stands_elsewhere_too_is_read_back_as_one_and_marked_so() -> None:
    calls = plain_calls(20)
    for term in ([calls, calls[3]], [calls[3], calls], [calls, [*calls[:3], calls[3]]][::-1]):
        again = loads(dumps(term))
        assert shape(again) == shape(term)
    (many, one), (first, rest) = loads(dumps([calls, calls[3]])), loads(dumps([calls[3], calls]))
    assert many[3] is one and [call._shared for call in many] == [place == 3 for place in range(20)]
    assert rest[3] is first and [call._shared for call in rest] == [place == 3 for place in range(20)]
    twice = loads(dumps([*calls, calls[3]]))
    assert twice[3] is twice[-1] and [call._shared for call in twice[:-1]] == [place == 3 for place in range(20)]
    again, lazy = loads(dumps([calls, Operation("add", (calls, calls))]))
    assert lazy._args[0] is lazy._args[1] is again and all(call._shared for call in again)
    again, copy = loads(dumps([calls, list(calls)]))
    assert again is not copy and all(a is b and a._shared for a, b in zip(again, copy, strict=True))


def test_calls_of_several_tasks_keep_their_places() -> None:
    calls = [call for pair in zip(plain_calls(20), plain_calls(20, "lab.g"), strict=True) for call in pair]
    head, again = read(dumps(calls))
    assert shape(again) == shape(calls)
    assert set(head.calls) == {("lab.f", 2, ("y",)), ("lab.g", 2, ("y",))}


@pytest.mark.parametrize(
    "odd",
    [
        None, TaskCall("lab.f"), TaskCall("lab.f", ([1],)), Operation("add", (1, 2)), SMALL,
        TaskCall("lab.g", (SMALL,)),
        TaskCall("lab.f", (1, "x"), {"y": 1}, None, 3), TaskCall("lab.f", (1,), {"y": 1}, None, 2),
        TaskCall("lab.f", (1, "x"), {"z": 1}, None, 2), TaskCall("lab.f", (1, "x"), {"y": 1}, {"y": 1}, 2),
    ],
)
def test_something_else_among_plain_calls_keeps_its_place(odd: Any) -> None:
    for place in (0, 5, 20):
        calls: list[Any] = plain_calls(20)
        calls.insert(place, odd)
        assert shape(loads(dumps(calls))) == shape(calls)
    empty = [TaskCall("lab.f") for _ in range(20)]
    assert shape(loads(dumps(empty))) == shape(empty)


def test_plain_calls_of_an_earlier_version_are_read() -> None:
    nodes = [(5, "lab.f", 1, (), (), None, (number,), ()) for number in range(20)]
    packed = pickle.dumps(((("lab.f", 1, ()),), (), [*nodes, (0, tuple(range(20)), None)]), protocol=5)
    assert shape(loads(packed)) == shape([TaskCall("lab.f", (number,)) for number in range(20)])


@pytest.mark.parametrize("columns", [(), ((1, 2), (3,)), ((1,), (2,), (3,))])
def test_damaged_columns_are_a_value_error(columns: Any) -> None:
    node = (12, "lab.f", 2, (), (), None, columns, ())
    for last in ((0, [0, 1], None), (0, [0, 1 << 60], None), (0, (0,), None)):
        with pytest.raises(ValueError, match="not a packed term"):
            loads(pickle.dumps(((), (), [node, last]), protocol=5))


def test_a_doubled_chain_is_written_once_for_each_link() -> None:
    term: Any = TaskCall("lab.f", ())
    for _ in range(200):
        term = TaskCall("lab.f", (term, term))
    assert len(dumps(term)) < 20_000
    assert loads(dumps(term))._args[0]._shared


@pytest.mark.slow
def test_a_hundred_thousand_links_need_no_recursion() -> None:
    term: Any = TaskCall("lab.f", ())
    for _ in range(100_000):
        term = Operation("add", (term, 1))
    again = loads(dumps(term))
    depth = 0
    while type(again) is Operation:
        again, depth = again._args[0], depth + 1
    assert depth == 100_000
    assert len(content_digest(term)) == 20


def test_the_head_tells_calls_and_tasks_without_a_walk() -> None:
    term = [TaskCall("lab.f", (1,), {"y": 2}), TaskCall("lab.f", (3,), {"y": 4}), TaskRef("lab.g", b"g" * 20), LARGE]
    head, _ = read(dumps(term))
    assert head.calls == (("lab.f", 1, ("y",)),)
    assert set(head.tasks) == {("lab.g", b"g" * 20), ("lab.w", b"w" * 20)}


def test_what_is_not_symbolic_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"builtins\.object is not symbolic"):
        dumps([object()])


# --- the identity of quoted terms -------------------------------------------------------------------------------------


def test_equal_terms_have_one_identity_whatever_their_sharing() -> None:
    def call() -> TaskCall:
        return TaskCall("lab.f", (1,))

    shared = call()
    assert content_digest([shared, shared]) == content_digest([call(), call()])
    assert content_digest({call(), 2, 1}) == content_digest({1, 2, call()})
    different = [
        call(), TaskCall("lab.f", (2,)), TaskCall("lab.g", (1,)), TaskCall("lab.f", (), {"x": 1}),
        TaskCall("lab.f", (1,), None, {"retries": 1}), [call()], (call(),), {"a": call()}, {"b": call()},
        {"a": call(), "b": 1}, {"b": 1, "a": call()},
        Quoted(call()), Operation("neg", (call(),)), Form("neg", (call(),)), [call(), call()],
    ]  # fmt: skip
    assert len({content_digest(term) for term in different}) == len(different)


@pytest.mark.slow
def test_the_identity_of_a_quoted_term_is_that_of_every_process() -> None:
    code = (
        "from rayflow.lang.terms.codec import content_digest\nfrom rayflow.lang.terms.expressions import *\n"
        "t = TaskCall('lab.f', ({'a', 'b', 'c', TaskCall('lab.g')}, {'x', 'y', 'z'}, {'k': 1.5}), {'n': None})\n"
        "print(content_digest(Operation('add', (t, 1))).hex())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.getcwd()},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(digests) == 1


def test_a_short_term_with_something_at_its_front_is_read_behind_that():
    packed = with_conditions(dumps(5), [("handle", ("a", 1))])
    assert len(packed) < 64
    assert loads(packed) == 5


@pytest.mark.parametrize(("kinds", "asked", "found"), [
    (["file"], "file", True), (["page", "file", "file"], "file", True), (["page"], "file", False), ([], "file", False),
])  # fmt: skip
def test_a_witness_is_seen_by_its_name_without_unpacking(kinds: list[str], asked: str, found: bool) -> None:
    refs = [
        ValueRef(bytes([place]) * 20, "Point", 10, "pickle5", b"file", ((kind, ("a", place)),))
        for place, kind in enumerate(kinds)
    ]
    packed = dumps([*refs, SMALL, "file"])
    assert may_have(packed, asked) is found
    assert any(kind == asked for kind, _ in witnesses_of(packed)) is found
