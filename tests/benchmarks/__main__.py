"""rayflow against its peers, in one run: from the clone's root,

    python -m tests.benchmarks                 everything but what takes many minutes
    python -m tests.benchmarks --quick         a tenth of it, in under a minute
    python -m tests.benchmarks --full          also a million calls, and the memory of 400,000; more rounds
    python -m tests.benchmarks --only chain --only replay
    python -m tests.benchmarks --json
    python -m tests.benchmarks --peers /path/to/bin/python     joblib, Dask, redun, redflow from there if not here

`pip install -e '.[bench]'` brings joblib and Dask.

Figures of one machine at one moment mean little; the ratios to a peer that was measured in turns with rayflow do. The
clock of a recorded run stops when a second process has counted all its job rows by SQL. The exit code is 1 only when
something did not work, not when it was slow.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # workers start several times as fast when bytecode is kept
sys.dont_write_bytecode = False
# Read by Ray when it is imported.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from tests.benchmarks import (  # noqa: E402  # the environment comes first
    arrays,
    calls,
    durable,
    files,
    graphs,
    histories,
    keeping,
    language,
    lookups,
    million,
    slots,
    starts,
    verifying,
)
from tests.benchmarks.measuring import QUICK, Plan, Row, Skipped, as_json, clock, notes_of, table_of  # noqa: E402


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One row and what it asks of the machine. full: only with --full."""

    measure: Callable[[Plan], Row]
    ray: bool = False
    full: bool = False


BENCHMARKS: dict[str, Benchmark] = {
    "help": Benchmark(starts.help_text),
    "hello-cached": Benchmark(starts.hello_cached),
    "replay": Benchmark(calls.replay),
    "bytes": Benchmark(keeping.bytes_compacted),
    "bytes-fresh": Benchmark(keeping.bytes_uncompacted),
    "bytes-replaced": Benchmark(keeping.bytes_replaced),
    "shallow": Benchmark(language.shallow),
    "map-cached": Benchmark(language.mapped_again),
    "files-valid": Benchmark(files.local_validity),
    "files-cached": Benchmark(files.cached_over_files),
    "s3-valid": Benchmark(files.far_validity),
    "stage-in": Benchmark(files.stage_in),
    "stage-out": Benchmark(files.stage_out),
    "lineage": Benchmark(histories.lineage),
    "verified": Benchmark(verifying.verified),
    "lookups": Benchmark(lookups.lookups),
    "lookups-long": Benchmark(lookups.long_lookups, full=True),
    "run": Benchmark(durable.one_run),
    "runs": Benchmark(durable.runs_at_once),
    "wake": Benchmark(durable.wake_beside_subtree),
    "wake-body": Benchmark(durable.wake_after_outcomes),
    "recovery": Benchmark(durable.recovery),
    "cancel": Benchmark(durable.cancel),
    "sleeping": Benchmark(durable.sleeping_memory, full=True),
    "sleeping-up": Benchmark(durable.sleeping_restart, full=True),
    "run-ray": Benchmark(durable.one_run_on_ray, ray=True),
    "runs-ray": Benchmark(durable.runs_at_once_on_ray, ray=True),
    "hello-cold": Benchmark(starts.hello_cold, ray=True),
    "cold": Benchmark(calls.cold, ray=True),
    "cold-start": Benchmark(calls.cold_start, ray=True),
    "cold-large": Benchmark(calls.cold_large, ray=True),
    "single": Benchmark(calls.single, ray=True),
    "chain": Benchmark(calls.chain, ray=True),
    "map": Benchmark(language.mapped, ray=True),
    "montage": Benchmark(graphs.montage, ray=True),
    "epigenomics": Benchmark(graphs.epigenomics, ray=True),
    "cycles": Benchmark(graphs.cycles, ray=True),
    "slots": Benchmark(slots.slots, ray=True, full=True),
    "array": Benchmark(arrays.array, ray=True),
    "memory": Benchmark(keeping.memory, ray=True, full=True),
    "million": Benchmark(million.million, ray=True, full=True),
    "million-even": Benchmark(million.even, ray=True, full=True),
    "million-memory": Benchmark(million.scheduler_memory, ray=True, full=True),
    "million-replay": Benchmark(million.replayed, ray=True, full=True),
    "million-asked": Benchmark(million.questions, ray=True, full=True),
    "uncached": Benchmark(million.answering, ray=True, full=True),
    "uncached-memory": Benchmark(million.answering_memory, ray=True, full=True),
}
"""In the order in which they run: what needs a quiet machine comes before Ray is started."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for, and print it."""
    asked = _parser().parse_args(arguments)
    names = asked.only or [
        name for name, row in BENCHMARKS.items() if (asked.full or not row.full) and not (asked.no_ray and row.ray)
    ]
    scratch = Path(tempfile.mkdtemp(prefix="rayflow-benchmarks-"))
    plan = Plan(asked.full, scratch, QUICK if asked.quick else asked.divide, asked.peers)
    rows: list[Row] = []
    troubles: list[str] = []
    failed = False
    try:
        for name in names:
            print(f"measuring {name} ...", end="", file=sys.stderr, flush=True)
            try:
                with clock() as taken:
                    rows.append(BENCHMARKS[name].measure(plan))
                print(f" {taken.seconds:.1f} s", file=sys.stderr)
            except Skipped as reason:
                print(" skipped", file=sys.stderr)
                troubles.append(f"{name}: skipped, {reason}")
            except Exception as error:  # the other rows are still worth having
                print(" failed", file=sys.stderr)
                failed = True
                troubles.append(f"{name}: FAILED, {type(error).__name__}: {error}")
    finally:
        _tidy_up(plan, any(BENCHMARKS[name].ray for name in names))
    if asked.json:
        print(json.dumps({"machine": _machine(), "quick": plan.quick, "rows": as_json(rows), "troubles": troubles}))
    else:
        smaller = f", sizes divided by {plan.divide}: smaller than the budgets are meant for" if plan.quick else ""
        print(f"{notes_of(rows)}\n\n{_machine()}{smaller}\n\n{table_of(rows)}")
        for trouble in troubles:
            print(trouble)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="sizes a tenth, one round")
    size.add_argument("--divide", type=int, default=1, metavar="N", help="sizes divided by N, one round")
    parser.add_argument("--full", action="store_true", help="also what takes many minutes; more rounds")
    parser.add_argument("--only", action="append", metavar="NAME", choices=BENCHMARKS, help="one row; may be repeated")
    parser.add_argument("--no-ray", action="store_true", help="only the rows that need no Ray")
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter that has the peers that this one lacks")
    parser.add_argument("--json", action="store_true", help="the rows as JSON")
    return parser


def _machine() -> str:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return f"{os.cpu_count()} processors, Python {platform.python_version()}, load {load:.1f}"


def _tidy_up(plan: Plan, ray: bool) -> None:
    plan.close()
    if ray:
        from tests.benchmarks import clusters

        clusters.stop()
    shutil.rmtree(plan.scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
