"""Retries show: while it runs, in the sum, in the log, in JSON and in SQL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("fails", [1, 2, 5])
def test_retries_show_while_it_runs_in_the_sum_in_the_log_and_in_json(
    rayflow: Any, tmp_path: Path, fails: int
) -> None:
    counter = tmp_path / "count"
    rayflow.path.write_text(
        "from pathlib import Path\nfrom rayflow import task\n\n"
        "@task(retries=3, check_types=False)\n"
        "def flaky(x):\n"
        f"    seen = Path({str(counter)!r})\n"
        "    n = int(seen.read_text()) if seen.exists() else 0\n"
        "    seen.write_text(str(n + 1))\n"
        f"    if n < {fails}:\n        raise OSError(f'no route {{n}}')\n"
        "    return x\n\n@task\ndef main():\n    return flaky(1)\n"
    )
    name, retries = rayflow.namespace, min(fails, 3)
    done = rayflow.run("main")
    for attempt in range(1, retries + 1):
        told = f"warning: {name}.flaky(x=1) failed in attempt {attempt} of 4, and attempt {attempt + 1} follows"
        assert f"{told}: OSError: no route {attempt - 1}\n" in done.err
    word = "1 retry" if retries == 1 else f"{retries} retries"
    assert f", {word}  (rayflow log" in done.err
    assert f"{name}.flaky  1 {'computed' if fails <= 3 else 'failed'}, {word}" in done.err
    assert f"({retries + 1} attempts)" in rayflow("log", "-").out
    assert f"({retries + 1} attempts)" in rayflow("log", "--jobs", "--task", "flaky").out
    lines = json.loads(rayflow("log", "-", "--json").out)["jobs"]
    [flaky] = [line for line in lines if line["task_name"] == f"{name}.flaky"]
    assert flaky["tries"] == flaky["attempts"] == retries + 1
    job = rayflow("log", flaky["job_id"]).out
    assert f"{retries + 1}, of which {min(fails, 4)} failed" in job and "1: raised at " in job and "no route 0" in job
    assert rayflow("sql", "select retries from executions", "--csv").out.split() == ["retries", str(retries)]
    assert (done.code == 1) == (fails > 3)
    if fails > 3:
        assert "It failed in 4 attempts:\n  attempt 1: OSError: no route 0\n" in done.err
