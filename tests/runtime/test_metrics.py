"""What Prometheus is given is counted from what the loop keeps in any case."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rayflow.runtime.on_ray.actor.metrics import EndedJobs, by_state


def test_each_job_that_ends_is_counted_once_until_its_execution_has_ended() -> None:
    ended = EndedJobs()
    assert ended.since({"e1": {"f": {"open": 3}}}) == {}
    assert ended.since({"e1": {"f": {"computed": 2, "open": 1}, "g": {"cached": 1}}}) == {"computed": 2, "cached": 1}
    assert ended.since({"e1": {"f": {"computed": 2}, "g": {"cached": 1}}, "e2": {"f": {"failed": 1}}}) == {"failed": 1}
    assert ended.since({"e1": {"f": {"computed": 3}, "g": {"cached": 1}}}, ["e1"]) == {"computed": 1}
    assert ended.since({}) == {}


def test_open_jobs_are_counted_by_what_they_do_over_all_executions() -> None:
    counts = {"e1": {"f": {"open": 5, "running": 1, "queued": 2}}, "e2": {"f": {"open": 1}, "g": {"computed": 9}}}
    assert by_state(counts) == {"running": 1, "queued": 2, "waiting": 3}


@pytest.mark.slow
def test_without_metrics_nothing_of_them_is_loaded() -> None:
    code = (
        "import sys, rayflow.runtime.on_ray.actor.scheduler as s; "
        "sys.exit('rayflow.runtime.on_ray.actor.metrics' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
