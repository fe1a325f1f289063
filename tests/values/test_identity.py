"""Equal content, equal hash: in any process, inline or by reference, at any depth."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayflow.errors import NotSerializable
from rayflow.values.encoding.encoding import make_ref
from rayflow.values.encoding.identity import BULK_FROM, canonical, identity, is_short_scalar, value_hash
from rayflow.values.encoding.nested import map_leaves
from rayflow.values.refs import ValueRef

ROOT = Path(__file__).resolve().parents[2]

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=50)
    | st.binary(max_size=50)
    | st.complex_numbers()
)
keys = st.none() | st.booleans() | st.integers() | st.text(max_size=40) | st.binary(max_size=40)
values = st.recursive(
    scalars,
    lambda below: (
        st.lists(below, max_size=5)
        | st.lists(below, max_size=5).map(tuple)
        | st.dictionaries(keys, below, max_size=5)
        | st.sets(keys, max_size=5)
        | st.frozensets(keys, max_size=5)
    ),
    max_leaves=30,
)


def spelled(value: Any) -> Any:
    """An independent canonical form: two values are equal in content exactly when their spellings are."""
    of = type(value)
    if of is dict:
        return ("dict", sorted((repr(spelled(key)), repr(spelled(part))) for key, part in value.items()))
    if of in (set, frozenset):
        return (of.__name__, sorted(repr(spelled(part)) for part in value))
    if of in (list, tuple):
        return (of.__name__, [spelled(part) for part in value])
    return (of.__name__, repr(value))


@given(values, values)
def test_hashes_are_equal_exactly_when_contents_are(one: Any, other: Any) -> None:
    assert (value_hash(one) == value_hash(other)) == (repr(spelled(one)) == repr(spelled(other)))


@given(values)
def test_a_copy_hashes_like_its_original(value: Any) -> None:
    again = map_leaves(value, lambda leaf: leaf, always=True)
    assert value_hash(again) == value_hash(value)
    assert identity(again) == identity(value)


@given(st.lists(values, max_size=6), st.data())
def test_a_container_hashes_alike_with_parts_inline_or_by_reference(parts: list[Any], data: st.DataObject) -> None:
    chosen = [part if is_short_scalar(part) or data.draw(st.booleans()) else make_ref(part)[0] for part in parts]
    for kind in (list, tuple):
        assert value_hash(kind(chosen)) == value_hash(kind(parts))
    assert value_hash({"k": [chosen]}) == value_hash({"k": [parts]})
    assert value_hash([make_ref(chosen_list := [*parts])[0]]) == value_hash([chosen_list])


@given(st.dictionaries(keys, scalars | st.lists(scalars), max_size=8), st.data())
def test_a_dict_hashes_alike_with_values_inline_or_by_reference(value: dict[Any, Any], data: st.DataObject) -> None:
    chosen = {
        key: part if is_short_scalar(part) or data.draw(st.booleans()) else make_ref(part)[0]
        for key, part in value.items()
    }
    assert value_hash(chosen) == value_hash(value)


def test_a_dict_of_scalars_hashes_alike_with_a_long_text_by_reference() -> None:
    assert value_hash({"a": 1, "b": make_ref("x" * 50)[0]}) == value_hash({"a": 1, "b": "x" * 50})


@given(st.dictionaries(keys, scalars | st.lists(scalars), max_size=8), st.randoms())
def test_the_order_of_a_dict_counts(value: dict[Any, Any], chance: Any) -> None:
    items = list(value.items())
    chance.shuffle(items)
    assert (value_hash(dict(items)) == value_hash(value)) == (list(map(repr, items)) == list(map(repr, value.items())))


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize(
    "make",
    [
        lambda n: list(range(n)),
        lambda n: [i * 0.5 for i in range(n)],
        lambda n: [i % 7 < 3 for i in range(n)],
        lambda n: [f"text {i}" for i in range(n)],
        lambda n: [f"ä{i}" for i in range(n)],
    ],
)
@pytest.mark.parametrize("count", [BULK_FROM - 1, BULK_FROM, 1000])
def test_long_flat_lists_tell_every_element_apart(kind: Any, make: Any, count: int) -> None:
    base = make(count)
    digest = value_hash(kind(base))
    assert value_hash(kind(make(count))) == digest
    assert value_hash(kind(base[:-1])) != digest
    assert value_hash(kind(reversed(base))) != digest
    changed = list(base)
    changed[count // 2] = not changed[0] if isinstance(base[0], bool) else base[0]
    if changed != base:
        assert value_hash(kind(changed)) != digest
    other = tuple if kind is list else list
    assert value_hash(other(base)) != digest


def test_long_lists_of_different_number_types_differ() -> None:
    ones = [1] * 100
    found = {value_hash(each) for each in (ones, [1.0] * 100, [True] * 100, ["1"] * 100, [*ones[:-1], True])}
    assert len(found) == 5


def test_short_texts_in_long_lists_do_not_run_into_each_other() -> None:
    assert value_hash(["ab", "c"] * 50) != value_hash(["a", "bc"] * 50)
    assert value_hash(["a\0", "b"] * 50) != value_hash(["a", "\0b"] * 50)


def test_long_lists_that_hold_a_long_text_hash_alike_with_it_by_reference() -> None:
    long = "x" * 32
    parts = ["a"] * 99 + [long]
    assert value_hash([*parts[:-1], make_ref(long)[0]]) == value_hash(parts)
    wide = ["ä" * 16] * 100  # 32 bytes of UTF-8, so 33 canonical ones, in 16 characters
    assert not is_short_scalar(wide[0])
    assert value_hash([make_ref(wide[0])[0]] * 100) == value_hash(wide)


def test_numbers_past_64_bits_hash_in_long_lists_too() -> None:
    assert value_hash([1 << 70] * 100) != value_hash([1 << 71] * 100)
    assert value_hash(10**5000) != value_hash(10**5000 + 1)


def test_types_count_and_nan_equals_nan() -> None:
    different = [
        1,
        True,
        1.0,
        "1",
        b"1",
        1 + 0j,
        [1],
        (1,),
        {1},
        frozenset({1}),
        {1: 1},
        [[1]],
        [],
        (),
        set(),
        {},
        None,
    ]
    assert len({value_hash(each) for each in different}) == len(different)
    quiet, other = float("nan"), -math.inf + math.inf
    assert value_hash(quiet) == value_hash(other) == value_hash(-quiet)
    assert value_hash([quiet] * 100) == value_hash([-quiet] * 100)
    assert value_hash(complex(quiet, 1)) == value_hash(complex(-quiet, 1))


@given(scalars)
def test_short_scalars_stand_for_themselves_and_nothing_else_does(value: Any) -> None:
    written = canonical(value)
    assert written is not None
    if len(written) <= 32:
        assert identity(value) == written and written[:1] != b"\xff"
    else:
        assert identity(value) == b"\xff" + value_hash(value)


def test_the_identity_of_a_reference_is_that_of_its_value() -> None:
    ref, _ = make_ref([1, 2])
    assert isinstance(ref, ValueRef)
    assert identity(ref) == identity([1, 2])
    assert value_hash(ref) == ref.digest == value_hash([1, 2])


@pytest.mark.slow
@pytest.mark.parametrize("depth", [10_000, 100_000])
def test_deep_nesting_is_hashed(depth: int) -> None:
    deep: Any = []
    for _ in range(depth):
        deep = [deep]
    other: Any = [1]
    for _ in range(depth):
        other = [other]
    assert value_hash(deep) != value_hash(other)
    mixed: Any = ()
    for level in range(depth):
        mixed = {"k": mixed} if level % 2 else (mixed, 1)
    assert len(value_hash(mixed)) == 20


def test_containers_that_stand_in_many_places_are_hashed_once() -> None:
    value: Any = [1]
    for _ in range(200):
        value = [value, value]
    assert len(value_hash(value)) == 20


def test_aliases_do_not_count() -> None:
    shared = [1, [2]]
    assert value_hash([shared, shared]) == value_hash([[1, [2]], [1, [2]]])


def test_what_cannot_be_kept_has_no_hash_and_the_part_is_named() -> None:
    with pytest.raises(NotSerializable, match=r'value\["a"\]\[1\] is a _thread.lock'):
        value_hash({"a": [1, threading.Lock()]})


PROGRAM = """
import collections, dataclasses, datetime, decimal, enum, pathlib, uuid, sys
sys.path.insert(0, "tests/values")
import numpy as np, pandas as pd, pyarrow as pa
from rayflow.values.encoding.identity import value_hash
import other_process_values as made
for name, value in made.VALUES.items():
    print(name, value_hash(value).hex())
"""


@pytest.fixture(scope="module")
def answers() -> list[str]:
    found = []
    for seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout)
    return found


@pytest.mark.slow
def test_hashes_are_the_same_in_every_process_under_every_hash_seed(answers: list[str]) -> None:
    assert len(answers[0].splitlines()) > 10
    assert answers[0] == answers[1] == answers[2]


def test_the_hashes_of_plain_values_are_the_same_for_ever() -> None:
    assert value_hash([1, "a", None, 2.5]).hex() == FOREVER["list"]
    assert value_hash({"k": (True, b"x")}).hex() == FOREVER["dict"]
    assert value_hash(list(range(100))).hex() == FOREVER["bulk"]


def test_views_of_the_same_bytes_as_other_items_or_in_another_shape_differ() -> None:
    view = memoryview(b"abcd")
    views = [view, view.cast("H"), view.cast("b"), view.cast("c"), view.cast("B", (2, 2)), view.cast("B", (4, 1))]
    assert len({value_hash(each) for each in views}) == len(views)
    assert value_hash(memoryview(b"a_b_")[::2]) == value_hash(memoryview(b"ab"))
    assert value_hash(memoryview(bytearray(b"abcd")).cast("H")) == value_hash(view.cast("H"))


def test_a_dict_is_never_taken_for_one_that_was_hashed_without_order() -> None:
    assert value_hash({"k": (True, b"x")}).hex() != "94a1c1981c8846f41dbc7e85ce53de3c25246e13"


FOREVER = {
    "list": "1c27bc70934854707a56c6e1b23df6c43eba954c",
    "dict": "daa5b1f6388864604243b3a2c7aa54eb5686e0d3",
    "bulk": "37ddeec271fecdeb1a01b3aff150afa7f5c7cde8",
}

settings.register_profile("values", deadline=None)
settings.load_profile("values")


def test_references_in_a_short_list_have_the_identities_of_their_values() -> None:
    values = [(1, [2]), "x" * 40, {"a": (3,)}]
    refs = [ValueRef(value_hash(value), "tuple", 3, "pickle5") for value in values]
    for container in (list, tuple):
        given = container([refs[0], 7, refs[1], refs[2]])
        assert value_hash(given) == value_hash(container([values[0], 7, values[1], values[2]]))
