"""rayflow against its peers, in one run: from the clone's root,

    python -m tests.benchmarks                 everything but what takes minutes
    python -m tests.benchmarks --quick         a tenth of it, in under a minute
    python -m tests.benchmarks --full          also the memory of a fan-out of 400,000 calls, and one of 1,000,000
    python -m tests.benchmarks --only chain --only replay
    python -m tests.benchmarks --json
    python -m tests.benchmarks --redun /path/to/venv/bin/python     redun's figures beside, from an interpreter with it

Figures of one machine at one moment mean little; the ratios to a peer that was measured in turns with rayflow do. The
clock of a recorded run stops when a second process has counted all its job rows by SQL. The exit code is 1 only when
something did not work, not when it was slow.
"""

from __future__ import annotations

import argparse
import importlib.util
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

from tests.benchmarks import arrays, calls, files, histories, keeping, language, lookups, starts, verifying  # noqa: E402  # the environment comes first
from tests.benchmarks.measuring import Plan, Row, Skipped, as_json, table_of  # noqa: E402


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
    "bytes": Benchmark(keeping.store_bytes),
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
    "hello-cold": Benchmark(starts.hello_cold, ray=True),
    "fan-out": Benchmark(calls.fan_out, ray=True),
    "fan-out-single": Benchmark(calls.fan_out_single, ray=True),
    "chain": Benchmark(calls.chain, ray=True),
    "map": Benchmark(language.mapped, ray=True),
    "array": Benchmark(arrays.array, ray=True),
    "memory": Benchmark(keeping.memory, ray=True, full=True),
    "million": Benchmark(keeping.million, ray=True, full=True),
}
"""In the order in which they run: what needs a quiet machine comes before Ray is started."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for, and print it."""
    asked = _parser().parse_args(arguments)
    names = asked.only or [
        name for name, row in BENCHMARKS.items() if (asked.full or not row.full) and not (asked.no_ray and row.ray)
    ]
    scratch = Path(tempfile.mkdtemp(prefix="rayflow-benchmarks-"))
    plan = Plan(asked.quick, asked.full, scratch, asked.redun or _own_redun())
    rows: list[Row] = []
    troubles: list[str] = []
    if plan.redun_python is None:
        troubles.append("redun: skipped, it is not installed here (--redun PYTHON names an interpreter that has it)")
    failed = False
    try:
        for name in names:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            try:
                rows.append(BENCHMARKS[name].measure(plan))
            except Skipped as reason:
                troubles.append(f"{name}: skipped, {reason}")
            except Exception as error:  # the other rows are still worth having
                failed = True
                troubles.append(f"{name}: FAILED, {type(error).__name__}: {error}")
    finally:
        _tidy_up(plan, any(BENCHMARKS[name].ray for name in names))
    if asked.json:
        print(json.dumps({"machine": _machine(), "quick": plan.quick, "rows": as_json(rows), "troubles": troubles}))
    else:
        print(f"{_machine()}{', quick: smaller than the budgets are meant for' if plan.quick else ''}\n")
        print(table_of(rows))
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
    size.add_argument("--full", action="store_true", help="also what takes minutes; more rounds")
    parser.add_argument("--only", action="append", metavar="NAME", choices=BENCHMARKS, help="one row; may be repeated")
    parser.add_argument("--no-ray", action="store_true", help="only the rows that need no Ray")
    parser.add_argument("--redun", metavar="PYTHON", help="an interpreter that has redun")
    parser.add_argument("--json", action="store_true", help="the rows as JSON")
    return parser


def _own_redun() -> str | None:
    return sys.executable if importlib.util.find_spec("redun") is not None else None


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
