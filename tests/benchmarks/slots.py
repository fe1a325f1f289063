"""A row about a cluster of many processors, whose bodies wait: how much of the time the slots are in use.

In: the number of calls, as the only argument of the program. Out: JSON: seconds on raw Ray and here, and the share of
the slots' time in which bodies ran, from the recorded jobs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks import workloads
from tests.benchmarks.measuring import ROOT, Plan, Row, child_environment

SLOTS = 64
BODY_SECONDS = 0.01
CALLS = 200 * SLOTS

IN_USE = """
SELECT sum(wall_seconds), max(epoch(started_at) + wall_seconds) - min(epoch(started_at))
FROM jobs WHERE execution_id = $execution AND parent_job_id IS NOT NULL
"""


def slots(plan: Plan) -> Row:
    """Sixty-four slots of one processor, and bodies of ten milliseconds."""
    # A Ray of its own, in a process of its own: a process has one Ray, and other rows want the machine's processors.
    command = [sys.executable, "-m", "tests.benchmarks.slots", str(max(SLOTS * 4, plan.size(CALLS)))]
    done = subprocess.run(command, cwd=ROOT, env=child_environment(), capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise AssertionError(done.stderr[-2000:])
    found = json.loads(done.stdout.splitlines()[-1])
    return Row(
        "slots", f"{found['calls']:,} calls of 10 ms on {SLOTS} slots: share of their time in use",
        100 * found["in_use"], "%", "raw Ray", 100 * found["raw_in_use"],
        beside=(f"slots: {found['seconds']:.2f} s, raw Ray {found['raw_seconds']:.2f} s",), clock="recorded jobs",
    )  # fmt: skip


def main() -> None:
    """Measure, in a process of its own."""
    import ray

    from rayflow import Scheduler

    count = int(sys.argv[1])
    ray.init(
        address="local", namespace="rayflow", num_cpus=SLOTS, include_dashboard=False, log_to_driver=False,
        logging_level="ERROR",
    )  # fmt: skip
    pause: Any = ray.remote(workloads.plain_pause)
    ray.get([pause.remote(2.0) for _ in range(SLOTS)])  # until each slot has a worker
    begun = time.perf_counter()
    ray.get([pause.remote(BODY_SECONDS) for _ in range(count)])
    raw_seconds = time.perf_counter() - begun
    store = Path(tempfile.mkdtemp(prefix="rayflow-slots-")) / "store"
    with Scheduler(store=str(store)) as scheduler:
        for number in range(2):  # until each of them has imported what it needs
            scheduler.run(workloads.occupy_all(2 * SLOTS, 1.0 + number / 10))
        begun = time.perf_counter()
        submission = scheduler.submit(workloads.pause_all(count, BODY_SECONDS))
        submission.result()
        seconds = time.perf_counter() - begun
        found = scheduler.history().sql(IN_USE, {"execution": submission.execution_id}).fetchall()
    ray.shutdown()
    ((in_bodies, lasted),) = found
    ideal = count * BODY_SECONDS / SLOTS
    print(
        json.dumps(
            {
                "calls": count,
                "seconds": seconds,
                "raw_seconds": raw_seconds,
                "in_use": in_bodies / (SLOTS * lasted),
                "raw_in_use": ideal / raw_seconds,
            }
        )
    )


if __name__ == "__main__":
    main()
