"""From the user's objects to symbolic terms, and back to objects."""

from __future__ import annotations

import collections
import dataclasses
import re
import threading
import time
from typing import Any, NamedTuple

import attrs
import numpy
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflow import task
from rayflow.errors import LazyValueUsed, NotSerializable
from rayflow.lang.packing.pack import pack
from rayflow.lang.packing.realize import realize
from rayflow.lang.terms.codec import dumps, loads, read, witnesses_of
from rayflow.lang.terms.expressions import Expression, Form, Operation, Quoted, TaskCall, TaskRef
from rayflow.values.encoding.encoding import decode, decode_inline
from rayflow.values.encoding.identity import identity
from rayflow.values.encoding.nested import build, iter_leaves
from rayflow.values.refs import TaggedTree, ValueRef
from rayflow.values.witnesses import OF_TASK

X: Any = TaskCall("lab.f", (1,))
LOCK = threading.Lock()


@task(namespace="packing")
def add(x: Any, y: Any = 0) -> Any:
    return x + y


class Pair(NamedTuple):
    a: Any
    b: Any


@dataclasses.dataclass
class Plain:
    x: Any
    hidden: Any = dataclasses.field(default=None, init=False)

    def __post_init__(self) -> None:
        self.hidden = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: Any


@attrs.frozen
class Attrs:
    x: Any


class Model(pydantic.BaseModel):
    x: Any = None


class Names(list[Any]):
    """A list with an attribute."""


class Opaque:
    """An object that nobody looks into."""

    def __init__(self, inside: Any) -> None:
        self.inside = inside


def names(x: Any) -> Names:
    made = Names([1, x])
    made.more = {"k": x}  # type: ignore[attr-defined]
    return made


KINDS = {
    "list": lambda x: [x], "tuple": lambda x: (x,), "set": lambda x: {x}, "frozenset": lambda x: frozenset([x]),
    "dict value": lambda x: {"k": x}, "dict key": lambda x: {x: 1},
    "OrderedDict": lambda x: collections.OrderedDict(k=x), "defaultdict": lambda x: collections.defaultdict(list, k=x),
    "deque": lambda x: collections.deque([x], 3), "namedtuple": lambda x: Pair(1, x), "dataclass": lambda x: Plain(x),
    "frozen": lambda x: Frozen(x), "attrs": lambda x: Attrs(x), "pydantic": lambda x: Model(x=x), "subclass": names,
    "many of each": lambda x: [collections.defaultdict(dict, {n: [Plain(x), names(n)]}) for n in range(100)],
}  # fmt: skip


class Store:
    """What `keep` was given."""

    def __init__(self) -> None:
        self.blobs: dict[bytes, Any] = {}

    def __call__(self, ref: ValueRef, encoded: Any, value: Any) -> None:
        self.blobs[ref.digest] = encoded

    def real(self, term: Any) -> Any:
        def fetch(ref: ValueRef) -> Any:
            return decode_inline(ref) if ref.inline is not None else decode(self.blobs[ref.digest])

        return realize(term, fetch, lambda ref: ref, lambda tree, parts: build(tree.kind, tree.header, parts))


def test_every_kind_of_container_keeps_its_expressions_open_and_comes_back() -> None:
    for name, make in KINDS.items():
        store = Store()
        packed = loads(dumps(pack(make(X), store)))
        found = [leaf for leaf in iter_leaves(packed) if isinstance(leaf, Expression)]
        assert found and all(leaf._task == "lab.f" for leaf in found), name
        again = store.real(loads(dumps(pack(make("value"), store))))
        assert again == make("value") and type(again) is type(make("value")), name


def test_a_container_of_the_users_that_is_lazy_is_a_tree_and_one_that_is_not_a_reference() -> None:
    assert type(pack(Plain(X), Store())) is TaggedTree
    assert type(pack(Plain(1), Store())) is ValueRef
    assert pack(Plain(1), Store()).digest == identity(Plain(1))[1:]


VALUES = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=4), st.floats(allow_nan=False)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=80), st.tuples(inner, inner), st.dictionaries(st.text(max_size=3), inner, max_size=4),
        inner.map(Plain), inner.map(lambda x: Pair(x, "y" * 3000)), inner.map(lambda x: collections.OrderedDict(k=x)),
    ),
    max_leaves=30,
)  # fmt: skip


@given(VALUES)
def test_a_packed_value_has_the_hash_of_the_value_and_comes_back_equal(value: Any) -> None:
    store = Store()
    packed = loads(dumps(pack(value, store)))
    assert identity(packed) == identity(value)
    assert store.real(packed) == value


@given(VALUES)
def test_packing_what_is_packed_changes_nothing(value: Any) -> None:
    store = Store()
    packed = pack([X, value], store)
    again = pack(packed, store)
    assert identity(again[1]) == identity(value)
    assert store.real(again[1]) == value


@pytest.mark.parametrize(
    "value",
    [list(range(5_000)), ["a" * 50] * 100, [[i] * 60 for i in range(60)], {str(i): {"x": "y" * 80} for i in range(60)}],
    ids=["long list", "long texts", "many lists", "many dicts"],
)
def test_what_is_long_in_all_is_one_reference_with_the_same_hash(value: Any) -> None:
    packed = pack(value, Store())
    assert type(packed) is ValueRef
    assert identity(packed) == identity(value)


def test_a_few_large_objects_in_a_dict_are_a_reference_each() -> None:
    store = Store()
    packed = pack({"a": numpy.zeros(5000), "b": numpy.ones(5000), "n": 1}, store)
    assert type(packed) is dict and type(packed["a"]) is ValueRef and packed["n"] == 1
    assert len(store.blobs) == 2
    array = store.real(packed)["a"]
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


@pytest.mark.parametrize("value", ["x" * 5000, b"x" * 5000, 1 << 100_000], ids=["str", "bytes", "int"])
def test_a_long_scalar_is_a_reference_wherever_it_stands(value: Any) -> None:
    assert type(pack(value, Store())) is ValueRef
    assert type(pack([X, value], Store())[1]) is ValueRef
    assert type(pack(TaskCall("lab.f", (value,)), Store())._args[0]) is ValueRef


def test_sharing_is_kept() -> None:
    inner = [X]
    first, second = pack([inner, {"k": inner}], Store())
    assert first is second["k"] and first[0] is X


def test_realized_containers_are_fresh() -> None:
    symbolic = [[1, 2], {"k": [3]}]
    real = Store().real(symbolic)
    real[0].append(9)
    real[1]["k"].append(9)
    assert symbolic == [[1, 2], {"k": [3]}]


def test_something_lazy_in_a_cycle_is_named_with_the_way_to_it() -> None:
    loop: list[Any] = [X]
    loop.append(loop)
    plain = Plain([X])
    plain.x.append(plain)
    for cycle, place in ((loop, "result"), (plain, "result"), ({"a": [1, loop]}, r'result\["a"\]\[1\]')):
        with pytest.raises(NotSerializable, match=rf"^{place} \(a .*\) contains itself, so it is kept as one value"):
            pack(cycle, Store())


def test_what_cannot_be_kept_is_named_with_the_way_to_it() -> None:
    with pytest.raises(NotSerializable, match=r'result\["a"\]\[1\].x is a _thread.lock'):
        pack({"a": [X, Plain(threading.Lock())]}, Store())


@pytest.mark.parametrize(
    ("term", "place"),
    [
        (TaskCall("lab.f", (1, LOCK)), "in the call of f, argument 2 is a"),
        (TaskCall("lab.f", (1,), {"y": {"k": [LOCK]}}), 'in the call of f, y["k"][0] is a'),
        ([TaskCall("lab.f", (X,)), TaskCall("lab.g", ([X, LOCK],))], "in the call of g, argument 1[1] is a"),
        (Form("cond", (X, LOCK, 2)), "in the call of cond, argument 2 is a"),
        (Operation("add", (X, [LOCK])), "in (f(1) + [...]), a value"),
        ([X, LOCK], "result[1] is a"),
        (TaskCall("lab.f", (TaskCall("lab.g", (X, LOCK)), 1)), "in the call of g, argument 2 is a"),
    ],
)
def test_an_argument_that_cannot_be_kept_is_named_by_its_call(term: Any, place: str) -> None:
    with pytest.raises(NotSerializable) as caught:
        pack(term, Store())
    said = re.sub(r"\[<unlocked[^]]*\]", "[...]", str(caught.value))
    assert said.startswith(place), said


def test_an_expression_inside_an_object_that_nobody_looks_into_says_what_to_do() -> None:
    with pytest.raises((NotSerializable, LazyValueUsed), match=r"TaskCall|no value yet"):
        pack(Opaque(X), Store())


# --- tasks ------------------------------------------------------------------------------------------------------------


def test_tasks_and_partials_in_any_container_are_references_to_them() -> None:
    for name, make in KINDS.items():
        packed = loads(dumps(pack(make(add), Store())))
        assert any(type(leaf) is TaskRef and leaf.name == "packing.add" for leaf in iter_leaves(packed)), name
    partial = pack([add.partial([1], y=Plain(2)).options(retries=1)], Store())[0]
    assert (partial.args, type(partial.kwargs["y"]), partial.options) == (([1],), ValueRef, {"retries": 1})


def test_a_task_inside_an_object_is_a_witness_of_it() -> None:
    packed = pack([Opaque({"step": add.partial(1)})], Store())
    assert [each for each in packed[0].witnesses if each[0] == OF_TASK] == [(OF_TASK, ("packing.add", add.hash))]
    head, again = read(dumps(packed))
    assert head.tasks == (("packing.add", add.hash),) and again[0].witnesses == packed[0].witnesses
    assert OF_TASK not in [kind for kind, _ in witnesses_of(dumps(packed))]


def test_a_partial_with_lazy_arguments_is_an_operation() -> None:
    packed = pack([add.partial(add.partial(X), y=[X])], Store())[0]
    assert type(packed) is Operation and packed._name == "partial"
    task_ref, args, kwargs, options = packed._args
    assert task_ref.name == "packing.add" and options == {} and kwargs["y"][0] is X
    assert type(args[0]) is Operation and args[0]._name == "partial"


# --- quoted -----------------------------------------------------------------------------------------------------------


# --- many plain calls -------------------------------------------------------------------------------------------------

AROUND = [list, tuple, lambda calls: {f"k{place}": call for place, call in enumerate(calls)}]


def packed_with(term: Any) -> tuple[Any, set[int]]:
    reached: set[int] = set()
    return pack(term, keep_nothing, reached=reached), reached


def keep_nothing(*_: Any) -> None:
    """A value that is kept is not looked at."""


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("outer", [lambda inner: inner, lambda inner: [1, {"a": inner}], lambda inner: add(inner)])
def test_plain_calls_stay_as_they_are_in_a_container_of_their_own(around: Any, outer: Any) -> None:
    calls = [add(number, y="x") for number in range(20)]
    given = around(calls)
    term = outer(given)
    packed, reached = packed_with(term)
    if type(given) is list:
        given.append(7)
    elif type(given) is dict:
        given.clear()
    kept = iter_leaves(packed if type(packed) is not TaskCall else packed._args)
    assert {id(call) for call in calls} == {id(leaf) for leaf in kept}
    again = loads(dumps(packed))
    assert repr(again) == repr(outer(around(calls)))
    assert reached >= {id(call) for call in calls}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(
    "long", ["x" * 10_000, b"x" * 10_000, 1 << 100_000, -1 << 100_000], ids=["text", "bytes", "number", "below zero"]
)
def test_a_long_scalar_in_one_of_many_plain_calls_is_a_reference(around: Any, long: Any) -> None:
    for odd in (add(long), add(1, y=long), add.options(retries=1)(long)):
        packed, reached = packed_with(around([*map(add, range(20)), odd]))
        last = list(packed.values())[-1] if type(packed) is dict else packed[-1]
        assert ValueRef in map(type, [*last._args, *(last._kwargs or {}).values()])
        assert len(reached) == 21


def test_a_long_key_beside_plain_calls_is_a_reference() -> None:
    packed, _ = packed_with({"x" * 10_000: add(1), "b": add(2)})
    assert [type(key) for key in packed] == [ValueRef, str]


def test_a_list_of_plain_calls_in_two_places_stays_one() -> None:
    calls = [add(number) for number in range(20)]
    first, (second, third) = packed_with([calls, [calls, list(calls)]])[0]
    assert first is second and first is not calls and third is not first
    assert all(a is b for a, b in zip(first, third, strict=True))


def test_a_partial_with_a_list_of_plain_calls_is_an_operation() -> None:
    for bound in (add.partial([add(1), add(2)]), add.partial(y=[add(1), add(2)]), add.partial([[add(1)], 2])):
        packed, _ = packed_with(bound)
        assert type(packed) is Operation and packed._name == "partial"


def test_a_quoted_expression_stays_symbolic_until_it_is_released_and_packs_again() -> None:
    store = Store()
    packed = pack(Quoted(TaskCall("lab.f", ([Plain(1), X],))), store)
    real = store.real([packed])[0]
    again = pack([real.eval(), 1], store)[0]
    assert type(again) is TaskCall and type(again._args[0][0]) is ValueRef
    twin = pack(Quoted(TaskCall("lab.f", ([Plain(1), X],))), Store())
    assert packed.__rayflow_identity__() == twin.__rayflow_identity__()


# --- depth and speed --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_depth_is_no_limit() -> None:
    nested: Any = X
    deep_value: Any = [1]
    for _ in range(10_000):
        nested, deep_value = [nested], [deep_value]
    store = Store()
    assert type(loads(dumps(pack(nested, store)))) is list
    assert type(pack(deep_value, store)) is ValueRef
    chain: Any = X
    for _ in range(50_000):
        chain = TaskCall("lab.f", ([chain], "x"))
    reached: set[int] = set()
    pack(chain, store, reached=reached)
    assert len(reached) == 50_001


def test_ten_thousand_calls_pack_in_a_moment() -> None:
    calls = [TaskCall("lab.f", (number,)) for number in range(10_000)]
    best = 9.0
    for _ in range(5):
        start = time.process_time()
        pack(calls, Store())
        best = min(best, time.process_time() - start)
    assert best < 0.2  # 0.02 s on an idle core
