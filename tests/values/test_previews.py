"""Previews: short, quick, and never an error."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflow.values.encoding.encoding import make_ref
from rayflow.values.encoding.previews import kind_of, preview, shorten
from rayflow.values.refs import TaggedTree


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = 0


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Countless(list):  # type: ignore[type-arg]
    """Fails the test when somebody goes through all of it."""

    def __iter__(self) -> Any:
        for position in range(1_000):
            if position > 100:
                raise AssertionError("read to the end")
            yield position


@given(
    st.recursive(
        st.integers() | st.text() | st.binary() | st.none(), lambda b: st.lists(b) | st.dictionaries(st.text(), b)
    )
)
def test_previews_are_short_and_on_one_line(value: Any) -> None:
    text = preview(value, 80)
    assert 0 < len(text) <= 80 and "\n" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1, "a", None], "[1, 'a', None]"),
        ((1,), "(1,)"),
        ((), "()"),
        (set(), "set()"),
        (frozenset(), "frozenset()"),
        (frozenset({1}), "frozenset({1})"),
        ({"a": [1]}, "{'a': [1]}"),
        ({}, "{}"),
        (Point(1, [2]), "Point(x=1, y=[2])"),
        (collections.deque([1]), "deque([1])"),
        (collections.OrderedDict(a=1), "OrderedDict({'a': 1})"),
        (1 << 5000, "<int of 5001 bits>"),
        (np.arange(3.0), "ndarray float64 (3,) [0.0, 1.0, 2.0]"),
        (np.zeros((300, 4)), "ndarray float64 (300, 4)"),
        (pd.DataFrame({"a": [1], "b": ["x"]}), "DataFrame 1 x 2 (a: int64, b: str)"),
        (TaggedTree("dataclass", ("m:Thing", "x"), (1,)), "Thing(1)"),
    ],
)
def test_previews_read_like_python(value: Any, text: str) -> None:
    assert preview(value) == text


def test_a_preview_of_something_huge_looks_at_its_beginning_only() -> None:
    assert "1,000,000 items" in preview([0] * 1_000_000)
    assert "items" in preview(dict.fromkeys(range(100_000)))
    assert len(preview("x" * 10_000_000)) <= 200
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert len(preview(deep)) < 20
    wide = [[[[0] * 1000] * 1000] * 1000] * 1000
    assert len(preview(wide)) <= 200


def test_a_repr_that_raises_gives_the_type() -> None:
    assert "Rude" in preview(Rude()) and "Rude" in preview([Rude()])


def test_a_reference_shows_the_preview_of_its_value() -> None:
    assert preview([make_ref([1, 2])[0]]) == "[[1, 2]]"


def test_kinds_are_names_for_people() -> None:
    named = {kind_of(each) for each in (1, "a", np.zeros(1), pd.DataFrame(), collections.OrderedDict())}
    assert named == {"int", "str", "numpy.ndarray", "pandas.DataFrame", "collections.OrderedDict"}
    assert kind_of(Point(1)).endswith(".Point")
    assert kind_of(make_ref([1])[0]) == "list"


def test_shortened_text_keeps_both_ends() -> None:
    assert shorten("a" * 50 + "z" * 50, 23) == "aaaaaaaaaaaaa...zzzzzzz"
    assert shorten("a\n b") == "a b"


@dataclasses.dataclass
class Wordy:
    words: list[str]

    def __repr__(self) -> str:
        return f"<{len(self.words)} words>"


@dataclasses.dataclass
class Rows(Wordy):
    """Has a repr that was made for it, and a length."""

    def __len__(self) -> int:
        return 3


def test_a_dataclass_that_says_its_own_is_shown_so() -> None:
    assert preview([Wordy(["a", "b"])]) == "[<2 words>]"
    assert preview(Rows(["a"])) == "Rows(words=['a'])"
