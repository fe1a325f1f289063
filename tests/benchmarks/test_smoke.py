"""The benchmarks run, check their answers and print their table. Their figures are not tested: machines are shared."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.measuring import ROOT, Plan, Row, Skipped, child_environment, interleaved, notes_of, table_of
from tests.benchmarks.shapes import SHAPES, last_of

WITHOUT_RAY = {
    "help", "hello-cached", "replay", "bytes", "bytes-fresh", "bytes-replaced", "shallow", "map-cached", "files-valid",
    "files-cached", "s3-valid", "stage-in", "stage-out", "lineage", "verified", "run", "runs", "wake", "wake-body",
    "recovery", "cancel",
}  # fmt: skip
ON_RAY = {
    "cold", "cold-start", "cold-large", "single", "chain", "map", "montage", "epigenomics", "cycles", "array",
    "run-ray", "runs-ray", "million", "million-even", "million-memory", "million-replay", "million-asked", "uncached",
    "uncached-memory",
}  # fmt: skip
"""But not those that would take long at any size."""


def _measured(*words: str) -> dict[str, dict[str, Any]]:
    command = [sys.executable, "-m", "tests.benchmarks", "--divide", "100", "--json", *words]
    done = subprocess.run(command, cwd=ROOT, env=child_environment(), capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return {row["name"]: row for row in json.loads(done.stdout)["rows"]}


def _is_whole(row: dict[str, Any]) -> bool:
    return row["rayflow"] > 0 and bool(row["clock"]) and (row["ok"] is not None) == bool(row["budget"])


@pytest.mark.slow
def test_rows_that_need_no_ray_are_measured() -> None:
    rows = _measured("--no-ray")
    assert rows.keys() >= WITHOUT_RAY
    assert [name for name in WITHOUT_RAY if not _is_whole(rows[name])] == []
    assert rows["replay"]["ratio"] == rows["replay"]["rayflow"] / rows["replay"]["peer"]
    # So few rows are as small before they are compacted.
    assert max(rows[name]["rayflow"] for name in ("bytes", "bytes-fresh")) < rows["bytes-replaced"]["rayflow"]


@pytest.mark.ray
@pytest.mark.slow
def test_rows_on_ray_are_measured_against_raw_ray() -> None:
    rows = _measured(*(word for name in sorted(ON_RAY) for word in ("--only", name)))
    assert rows.keys() == ON_RAY
    assert [name for name in ON_RAY if not _is_whole(rows[name])] == []
    compared = ("cold", "cold-start", "cold-large", "single", "chain", "map", "montage", "epigenomics", "cycles")
    assert all(rows[name]["peer"] > 0 for name in compared)
    assert rows["cold"]["others"].keys() == {"raw Ray in bundles of 50", "joblib", "Dask", "redun"}


def test_a_way_is_measured_by_turns_with_its_peer_and_the_median_counts() -> None:
    turns: list[str] = []

    def way(name: str, seconds: list[float]) -> float:
        turns.append(name)
        return seconds.pop(0)

    slow, quick = [5.0, 9.0, 6.0], [1.0, 2.0, 30.0]
    assert interleaved(3, lambda: way("a", slow), lambda: way("b", quick)) == [6.0, 2.0]
    assert turns == ["a", "b", "a", "b", "a", "b"]


def test_the_table_says_ratio_budget_verdict_and_clock_and_then_the_other_peers() -> None:
    row = Row(
        "chain", "calls", 600.0, "calls/s", "raw Ray", 1200.0, ">= 0.7 x", False, ("a figure beside",),
        "submit - counted", {"Dask": "300 calls/s", "redun": "not installed"},
    )  # fmt: skip
    heading, line, _, peers, theirs, *_ = table_of([row]).splitlines()
    assert heading.split() == ["rayflow", "peer", "ratio", "budget", "clock"]
    assert " ".join(line.split()) == ("chain calls 600 calls/s raw Ray 1,200 0.5 x >= 0.7 x MISSED submit - counted")
    assert peers.split() == ["Dask", "redun"]
    assert " ".join(theirs.split()) == "chain 300 calls/s not installed"
    assert notes_of([row]) == "chain: a figure beside"


def test_sizes_are_divided_and_what_several_rows_need_is_made_once(tmp_path: Path) -> None:
    assert Plan(False, tmp_path).size(2_000) == 2_000
    plan = Plan(False, tmp_path, divide=10)
    assert (plan.size(2_000), plan.size(3), plan.rounds) == (200, 1, 1)
    made = iter(range(2))
    assert [plan.once("a", lambda: next(made)), plan.once("a", lambda: next(made))] == [0, 0]
    with pytest.raises(ZeroDivisionError):
        plan.once("b", lambda: 1 // 0)
    with pytest.raises(Skipped, match="failed before: b"):
        plan.once("b", lambda: 1 // 0)


@pytest.mark.slow
def test_a_peer_that_is_missing_here_is_asked_for_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interpreter(name: str, body: str) -> str:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    monkeypatch.setattr(sys, "executable", interpreter("without", """echo '{"installed": false}'"""))
    has_it = interpreter("with", """echo '{"installed": true, "seconds": 2.0}'""")
    fails = interpreter("fails", "echo 'too deep' >&2; exit 1")
    rates = [
        Plan(False, tmp_path, peers_python=python).peer_rate("redun", "chain", 400) for python in (None, has_it, fails)
    ]
    assert rates == ["not installed", "200 calls/s", "fails at 400: too deep"]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_graph_has_about_as_many_tasks_as_asked_for_and_ends_in_one(shape: str) -> None:
    graph = SHAPES[shape](10_000)
    assert 9_000 < len(graph) < 10_100
    assert all(other < number for number, above in enumerate(graph) for other in above)
    assert last_of(graph) == [len(graph) - 1]
    assert max(len(above) for above in graph) > 50, "no task joins many"
