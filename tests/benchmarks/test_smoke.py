"""The benchmarks run, check their answers and print their table. Their figures are not tested: machines are shared."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.benchmarks.measuring import ROOT, Row, child_environment, interleaved, table_of


def _measured(*words: str) -> dict[str, dict[str, Any]]:
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--json", *words]
    done = subprocess.run(command, cwd=ROOT, env=child_environment(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return {row["name"]: row for row in json.loads(done.stdout)["rows"]}


def test_every_row_that_needs_no_ray_is_measured() -> None:
    rows = _measured("--no-ray")
    files = {"files-valid", "files-cached", "s3-valid", "stage-in", "stage-out"}
    others = {"help", "hello-cached", "replay", "bytes", "shallow", "map-cached", "lineage", "verified", "lookups"}
    assert set(rows) == others | files
    assert all(row["rayflow"] > 0 and (row["ok"] is not None or not row["budget"]) for row in rows.values())
    assert rows["replay"]["ratio"] == rows["replay"]["rayflow"] / rows["replay"]["peer"]


@pytest.mark.ray
@pytest.mark.slow
def test_rows_on_ray_are_measured_against_raw_ray() -> None:
    names = ("fan-out", "fan-out-single", "chain", "map", "array")
    rows = _measured(*(word for name in names for word in ("--only", name)))
    assert set(rows) == set(names)
    assert all(rows[name]["peer"] > 0 for name in names if name != "array")


def test_a_way_is_measured_by_turns_with_its_peer_and_the_median_counts() -> None:
    turns: list[str] = []

    def way(name: str, seconds: list[float]) -> float:
        turns.append(name)
        return seconds.pop(0)

    slow, quick = [5.0, 9.0, 6.0], [1.0, 2.0, 30.0]
    assert interleaved(3, lambda: way("a", slow), lambda: way("b", quick)) == [6.0, 2.0]
    assert turns == ["a", "b", "a", "b", "a", "b"]


def test_the_table_says_ratio_budget_and_verdict() -> None:
    row = Row("chain", "calls", 600.0, "calls/s", "raw Ray", 1200.0, ">= 0.7 x", False, ("a figure beside",))
    heading, line, beside = table_of([row]).splitlines()
    assert heading.split() == ["rayflow", "peer", "ratio", "budget"]
    assert " ".join(line.split()) == "chain: calls 600 calls/s raw Ray 1,200 calls/s 0.5 x >= 0.7 x below"
    assert beside.strip() == "a figure beside"
