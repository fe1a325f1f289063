"""The phrases for what cannot be brought about in one process: other versions, other runs, records that are gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rayflow import misses
from rayflow.misses import Miss
from rayflow.store.history.answer_types import Record, Why
from rayflow.store.history.why.reasons import NEVER, phrases

NOW = datetime(2026, 11, 21, tzinfo=UTC)
SAME: Record = {"name": "flow.f", "definition_hash": "aa", "source": "def f(): ..."}
OTHERWISE: Record = {**SAME, "definition_hash": "bb"}
CHANGED: Record = {**OTHERWISE, "source": "def f(): pass"}


def why(**given: Any) -> Why:
    facts: dict[str, Any] = {
        "job": {"queued_at": NOW, "status": "done", "how": "computed"},
        "earlier": {"status": "done", "finished_at": NOW - timedelta(hours=1)},
        "task_changed": False,
        "arguments_changed": False,
        "arguments_known": True,
        "changes": (),
        "definitions": (),
        "earlier_definitions": (),
        "task": None,
        "earlier_task": None,
        "reduction": None,
        "forgotten_at": None,
    }
    return Why(**{**facts, **given})


PYTHON = (("Python", "3.11.7", "3.12.1"),)
RAYFLOW = (("rayflow", "0.1", "0.2"),)

TABLE = {
    "the same source counts otherwise by another Python": (
        {"task_changed": True, "definitions": (SAME,), "earlier_definitions": (OTHERWISE,), "versions": PYTHON},
        "the same code counts otherwise with another version: Python 3.11.7 -> 3.12.1",
    ),
    "the same source counts otherwise by another rayflow": (
        {"task_changed": True, "definitions": (SAME,), "earlier_definitions": (OTHERWISE,), "versions": RAYFLOW},
        "the same code counts otherwise with another version: rayflow 0.1 -> 0.2",
    ),
    "the source differs, and Python does": (
        {"task_changed": True, "definitions": (SAME,), "earlier_definitions": (CHANGED,), "versions": PYTHON},
        "its code has changed (flow.f)",
    ),
    "records of an older rayflow, whose hashes of code differ as well": (
        {
            "task_changed": True,
            "definitions": (SAME,),
            "earlier_definitions": (OTHERWISE,),
            "versions": RAYFLOW,
            "is_outdated": True,
        },
        "its earlier result was recorded by rayflow 0.1, whose records do not count here",
    ),
    "records of an older rayflow, and the code has changed": (
        {
            "task_changed": True,
            "definitions": (SAME,),
            "earlier_definitions": (CHANGED,),
            "versions": RAYFLOW,
            "is_outdated": True,
        },
        "its earlier result was recorded by rayflow 0.1, whose records do not count here; its code has changed "
        "(flow.f)",
    ),
    "another run had not ended": (
        {"earlier": {"status": "done", "finished_at": NOW + timedelta(seconds=1)}},
        "the same call of another run had not ended yet",
    ),
    "the earlier job was lost": (
        {"earlier": {"status": "open", "finished_at": None}},
        "the earlier call did not end: its run was lost, or still goes on",
    ),
    "the earlier job was stopped": (
        {"earlier": {"status": "cancelled", "finished_at": NOW}},
        "it was stopped before it ended",
    ),
    "the record is gone": (
        {},
        "the store has no result of the same call that could answer: a call below it failed or is not to be cached, or "
        "the result was removed, or never came here with its record",
    ),
    "a job that an older rayflow has recorded": (
        {"records_misses": False},
        "its earlier result did not count: the run, the task, or a call that its body awaits, asked not to use the "
        "cache, the result was too old (cache_for), or something in it is no longer as it was: a file, a task that it "
        "calls, or the code of a class whose instances it was given",
    ),
    "never": ({"earlier": None}, NEVER),
    "never, and without the cache": (
        {"earlier": None, "missed": (Miss(misses.RUN),)},
        f"the run was told not to use the cache (--no-cache, cache=False); {NEVER}",
    ),
    "the bytes are gone": (
        {"missed": (Miss(misses.BYTES),)},
        "the bytes of its earlier result are gone from the store, or damaged",
    ),
    "a damaged term": (
        {"missed": (Miss(misses.UNREADABLE),)},
        "its earlier result cannot be read: it was damaged, or another version of rayflow wrote it",
    ),
    "a handle": (
        {"missed": (Miss("handle"),)},
        "a handle in its earlier result has gone on to another state since",
    ),
    "a value's own word": (
        {"missed": (Miss("value"),)},
        "a value in its earlier result says of itself that it does not hold any more (is_valid)",
    ),
    "a class that is gone": (
        {"missed": (Miss("definition", "flow.Point"),)},
        "its earlier result names flow.Point, which is gone",
    ),
    "a kind of the user's own": (
        {"missed": (Miss("lab.sample"),)},
        "something of the kind 'lab.sample' that its earlier result relies on does not hold any more",
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_each_fact_has_its_phrase(name: str) -> None:
    facts, expected = TABLE[name]
    assert "; ".join(phrases(why(**facts))) == expected


def test_many_misses_are_counted_and_come_back_as_they_were() -> None:
    found = tuple(Miss(misses.FILE, f"{number}.txt", ("stat", 1, 5), ("stat", None, None)) for number in range(12))
    kept = misses.from_text(misses.to_text(found))
    assert len(kept) == misses.MOST_RECORDED + 1 and kept[0].phrase() == found[0].phrase()
    assert kept[-1].phrase() == "2 more things that it relied on are not as they were"
