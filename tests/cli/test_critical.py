"""`rayflow critical` says what an execution waited for."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from rayflow.store.history import critical_path


def test_the_path_of_an_execution_fills_its_time_and_is_summed_up_by_task(rayflow: Any) -> None:
    assert rayflow.run("main").code == 0
    told = json.loads(rayflow("critical", "-", "--json").out)
    spans, names = told["spans"], {each["task"] for each in told["tasks"]}
    assert all(before["end_us"] == after["begin_us"] for before, after in pairwise(spans))
    assert abs(sum(each["seconds"] for each in spans) - told["seconds"]) < 1e-5
    assert {f"{rayflow.namespace}.main", f"{rayflow.namespace}.greeter"} <= names
    assert f"{rayflow.namespace}.get_planet" in names  # greeter waited for it, and main for greeter
    text = rayflow("critical", "--all")
    assert text.code == 0 and " in " in text.out and "by task" in text.out and "body" in text.out
    assert "--all lists them" not in text.out


def test_the_path_of_a_failed_execution_ends_where_it_failed(rayflow: Any) -> None:
    assert rayflow.run("several", "--n", "2").code == 1
    told = json.loads(rayflow("critical", "-", "--json").out)
    assert told["seconds"] > 0 and told["spans"]


def test_a_cached_execution_waited_for_look_ups(rayflow: Any) -> None:
    rayflow.run("main")
    rayflow.run("main")
    told = json.loads(rayflow("critical", "-", "--json").out)
    assert told["spans"] and all(each["phase"] != "body" for each in told["spans"])


def test_the_path_of_many_calls_is_the_same_however_few_are_read_at_a_time(
    rayflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in (["main"], ["wide", "--n", "40"], ["several", "--n", "5"]):
        rayflow.run(*words)
        monkeypatch.undo()
        whole = rayflow("critical", "-", "--json").out
        for few in (1, 3, 39):
            monkeypatch.setattr(critical_path, "FEW_JOBS", few)
            assert rayflow("critical", "-", "--json").out == whole


def test_what_is_no_execution_is_said(rayflow: Any) -> None:
    rayflow.run("main")
    assert rayflow("critical", "nonsense").code == 1
