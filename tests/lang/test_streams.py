"""What a body may write to a stream, and what is refused where it is written."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import date
from enum import IntEnum
from typing import Any

import pytest

from rayflow import stream
from rayflow.errors import BadArguments
from rayflow.lang.durable.streams import MOST_ITEM_BYTES, MOST_NAME_CHARACTERS, write_items_by
from rayflow.runtime.output.printing import write_item
from rayflow.values.display import masking


@pytest.fixture
def taken() -> Iterator[list[tuple[str, str]]]:
    """What a body would have written."""
    found: list[tuple[str, str]] = []
    write_items_by(lambda name, text: found.append((name, text)))
    yield found
    write_items_by(write_item)  # as a process that runs bodies has it


class Level(IntEnum):
    HIGH = 3


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    "value", [None, True, 0, -1.5, "", "ä\n\"'", [], {}, [1, [None, {"a": ("b",)}]], Level.HIGH, "\u2028\0"]
)
def test_plain_data_comes_as_it_is(taken: list[tuple[str, str]], value: Any) -> None:
    stream("s").write(value)
    [(name, text)] = taken
    assert name == "s"
    assert json.loads(text) == json.loads(json.dumps(value))
    assert "\n" not in text


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (math.nan, "JSON compliant"),
        ([math.inf], "JSON compliant"),
        (b"bytes", "bytes"),
        ({1: 2}, "the key 1 is no text"),
        ([{"a": {None: 2}}], "the key None is no text"),
        ({1, 2}, "set"),
        (date(2026, 1, 1), "date"),
        (object(), "object"),
        (CIRCLE, "recursion|Circular"),
        ("\ud800", "surrogates"),
    ],
)
@pytest.mark.parametrize("has_secrets", [False, True])
def test_other_data_is_refused_where_it_is_written(
    taken: list[tuple[str, str]], value: Any, why: str, has_secrets: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masking, "are_known", lambda: has_secrets)
    with pytest.raises(BadArguments, match=rf"(?s)^stream\('s'\)\.write\(.*an item is plain data.*({why})"):
        stream("s").write(value)
    assert taken == []


def test_an_item_has_a_largest_size_in_bytes(taken: list[tuple[str, str]]) -> None:
    stream("s").write("ä" * (MOST_ITEM_BYTES // 2 - 1))
    with pytest.raises(BadArguments, match="has 65,538 bytes as JSON, and 65,536 are the most"):
        stream("s").write("ä" * (MOST_ITEM_BYTES // 2))
    assert len(taken) == 1


@pytest.mark.parametrize("name", ["", "x" * (MOST_NAME_CHARACTERS + 1), "a\nb", "\0", None, 3])
def test_what_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(BadArguments, match="the name of a stream is a text of 1 to 200 printable characters"):
        stream(name)


def test_outside_of_a_body_nothing_happens() -> None:
    stream("s").write("nobody reads this")


def test_secrets_are_masked(taken: list[tuple[str, str]]) -> None:
    masking.learn([("hushhush", "<Secret('env:HUSH')>")])
    stream("s").write({"header": ["token hushhush"]})
    assert json.loads(taken[0][1]) == {"header": ["token <Secret('env:HUSH')>"]}
