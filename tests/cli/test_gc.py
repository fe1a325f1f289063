"""`rayflow store gc`: says what it removes, and what stays."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from rayflow.store.open import open_store
from rayflow.values.refs import Encoded


def test_a_collection_says_what_it_removes_and_runs_stay_cached(rayflow: Any) -> None:
    rayflow.run("main")
    store = open_store(rayflow.project.path / ".rayflow")
    store.put_blob(b"x" * 20, Encoded("bytes", b"", (b"x",)))
    assert "1 value that no record names: too young" in rayflow("store", "gc").out
    counted = json.loads(rayflow("store", "gc", "--dry-run", "--older-than", "0s", "--json").out)
    assert (counted["forgotten"], counted["young"]) == (1, 1)
    assert "0 executions forgotten" in rayflow("store", "gc", "--older-than", "30d").out
    assert "3 cached" in rayflow.run("main").err
    assert "2 executions forgotten" in rayflow("store", "gc", "--older-than", "0s", "--yes").out
    assert rayflow.ids("select execution_id from executions") == []
    assert "3 computed" in rayflow.run("main").err
    assert rayflow("store", "check").code == 0


@pytest.mark.parametrize("answer", [None, "n\n", "", "y\n"])
def test_all_executions_are_forgotten_only_when_that_is_meant(
    rayflow: Any, monkeypatch: pytest.MonkeyPatch, answer: str | None
) -> None:
    """answer: what is typed; None without a terminal."""
    rayflow.run("main")
    rayflow.run("main")
    if answer is not None:
        monkeypatch.setattr("rayflow.cli.verbs.store.is_terminal", lambda stream: True)
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    told = rayflow("store", "gc", "--older-than", "0s")
    is_meant = answer == "y\n"
    assert told.code == (0 if is_meant else 130 if answer == "" else 1)
    assert len(rayflow.ids("select execution_id from executions")) == (0 if is_meant else 2)
    if not is_meant:
        assert "2 executions, with the cached results" in told.err
    if answer is None:
        assert "add --yes" in told.err


def test_a_part_is_forgotten_without_a_question(rayflow: Any) -> None:
    rayflow.run("main")
    moment = datetime.now(UTC).isoformat()
    rayflow.run("main", "--greet", "Hi")
    assert "1 execution forgotten" in rayflow("store", "gc", "--older-than", moment).out


def test_a_time_that_is_none_is_one_clear_line(rayflow: Any) -> None:
    rayflow.run("main")
    told = rayflow("store", "gc", "--older-than", "soon")
    assert told.code == 1 and "not a time" in told.err
