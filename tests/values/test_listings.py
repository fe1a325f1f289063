"""Listings that a process remembers, and what it sees of files that were recorded in many states."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from rayflow.errors import BadArguments
from rayflow.values import handles
from rayflow.values.files import file_states, listings
from rayflow.values.files.validity import states_now
from rayflow.values.witnesses import OF_FILE


def test_threads_remember_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def fill() -> None:
        for number in range(300):
            listings.remember(f"{number:040}", [("c.txt", 1, 2)])

    class Slow(OrderedDict[str, Any]):
        """Lets another thread remember so much, after the first is kept, that the first is dropped."""

        def __setitem__(self, digest: str, members: Any) -> None:
            super().__setitem__(digest, members)
            if digest == "first":
                other.start()
                other.join(0.3)

    other = Thread(target=fill)
    monkeypatch.setattr(listings, "_remembered", Slow())
    listings.remember("first", [("a.txt", 1, 2)])
    other.join()
    assert listings.packed("first") is None and listings.packed(f"{299:040}") is not None


def test_a_listing_is_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[bytes] = []

    def compress(text: bytes) -> bytes:
        packed.append(text)
        return plain(text)

    plain = zlib.compress
    monkeypatch.setattr(zlib, "compress", compress)
    for _ in range(5):
        listings.remember("ab" * 20, [("a.txt", 1, 2)])
        kept = listings.packed("ab" * 20)
    assert kept is not None and len(packed) == 1
    listings.remember("ab" * 20, [("b.txt", 1, 2)])
    again = listings.packed("ab" * 20)
    assert again is not None and list(listings.unpacked(again)) == ["b.txt"]
    for number in range(300):
        listings.remember(f"{number:040}", [("c.txt", 1, 2)])
    assert listings.packed("ab" * 20) is None


@pytest.mark.parametrize("is_there", [True, False])
def test_a_path_is_looked_at_once_however_many_states_were_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    looked: list[str] = []

    def current(how: str, path: str) -> Any:
        looked.append(path)
        if not is_there:
            raise OSError("cannot be told")
        return plain(how, path)

    plain = file_states.current
    monkeypatch.setattr(file_states, "current", current)
    (tmp_path / "in").write_text("now")
    witnesses = [(OF_FILE, ("content", str(tmp_path / "in"), 3, f"{number}")) for number in range(50)]
    found = states_now(witnesses)
    assert looked == [str(tmp_path / "in")]
    assert len(found) == (50 if is_there else 0) and len(set(found.values())) == is_there


def test_what_is_merged_and_is_no_handle_is_named_even_if_it_cannot_be_shown() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    with pytest.raises(BadArguments, match="a list of states of one handle"):
        handles.merged([Odd()])  # type: ignore[list-item]
    with pytest.raises(BadArguments) as caught:
        handles.merged(["x" * 10_000])  # type: ignore[list-item]
    assert len(str(caught.value)) < 1_000
