"""`rayflow store gc`: says what it removes, and what stays."""

from __future__ import annotations

import json
from typing import Any

from rayflow.store.store import open_store
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
    assert "2 executions forgotten" in rayflow("store", "gc", "--older-than", "0s").out
    assert rayflow.ids("select execution_id from executions") == []
    assert "3 computed" in rayflow.run("main").err
    assert rayflow("store", "check").code == 0


def test_a_time_that_is_none_is_one_clear_line(rayflow: Any) -> None:
    rayflow.run("main")
    told = rayflow("store", "gc", "--older-than", "soon")
    assert told.code == 1 and "no time" in told.err
