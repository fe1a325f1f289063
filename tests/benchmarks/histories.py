"""Rows about questions to a long history: one file's lineage, and the commands that tell of it, over many jobs.

The jobs are made up: the rows that a pipeline over files leaves (download, align, call variants; a third of its jobs
each, ten thousand samples an execution), given to the store as the scheduler gives them. So a million takes a minute,
not an hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from rayflow.records import (
    ArgumentRow,
    CallChildRow,
    CallRow,
    DefinitionRow,
    ExecutionRow,
    FileRow,
    JobRow,
    ReductionRow,
    Row,
    TaskRow,
    TaskSetRow,
    ValuePartRow,
    ValueRow,
)
from rayflow.store.open import open_store
from rayflow.values.digests import digest, short_digest
from tests.benchmarks.measuring import Plan, clock, command_seconds, interleaved
from tests.benchmarks.measuring import Row as Measured

JOBS = 1_000_000
"""With --full; a fifth of them by default, and a tenth of that with --quick."""

SAMPLES = 10_000
"""In one execution; each has one job of each step."""

STEPS = (("flow.fetch", "raw.fq"), ("flow.align", "aligned.bam"), ("flow.call", "calls.vcf"))
"""The task and the file that it writes, for each sample; the next step reads it."""

NODES = [f"node-{number}" for number in range(16)]


def lineage(plan: Plan) -> Measured:
    """Which calls led to one file, from what, by which code: through the front door, and by hand on the same files."""
    # With fewer than a fiftieth, commits hold the rows themselves, where the peer does not look.
    wanted = max(JOBS // 50, plan.size(JOBS if plan.full else JOBS // 5))
    executions = -(-wanted // (3 * SAMPLES))
    samples = wanted // (3 * executions)
    place = plan.folder("lineage")
    with clock() as written:
        jobs = fill(place / "store", executions, samples)
    path = path_of(executions // 2, samples // 2, STEPS[-1][1])
    segments = open_store(place / "store", create=False, read_only=True).snapshot().segments()

    made_by: list[str] = []

    def asked() -> float:
        with clock() as taken:
            found = open_store(place / "store", create=False, read_only=True).history().lineage(path)
        # The root's result is a list with the file in it, so the root has made it, too.
        assert {step.task_name for step in found} == {"flow.main", *(task for task, _ in STEPS)}, found
        made_by[:] = [step.call_hash for step in found]
        return taken.seconds

    def by_hand() -> float:
        with clock() as taken:
            found = lineage_by_hand(place / "store", segments, path)
        assert {task for task, *_ in found} == {task for task, _ in STEPS}, found
        return taken.seconds

    value, peer = interleaved(plan.rounds, asked, by_hand)
    questions: list[tuple[str, ...]] = [("log", path), ("why", STEPS[1][0])]
    if not plan.quick:
        questions += [
            ("log",), ("log", "-"), ("log", STEPS[1][0]), ("log", "--jobs", "--task", STEPS[2][0], "--failed"),
            ("sql", f"from lineage_of('{path}')"), ("sql", f"from upstream_of('{made_by[0]}')"),
            ("sql", "select task_name, how, count(*) from jobs group by all"),
        ]  # fmt: skip
    told = [f"rayflow {' '.join(words)}: {command_seconds(words, place / 'store'):.2f} s" for words in questions]
    return Measured(
        "lineage", f"of one file, {jobs:,} jobs", value, "s", "DuckDB by hand", peer, "< 1 s", value < 1,
        (f"written in {written.seconds:.0f} s", *told), "open - answer",
    )  # fmt: skip


def lineage_by_hand(store: Path, segments: Any, path: str) -> list[tuple[Any, ...]]:
    """The same answer by plain DuckDB, from somebody who knows which files hold which table, and where to begin.

    (These calls have one argument each at the most. So all arguments lie in the files of calls.)
    """
    places: dict[str, list[str]] = {}
    for segment in segments:
        places.setdefault(segment.table, []).append(str(store / segment.path))
    with duckdb.connect() as connection:
        return connection.execute(
            """WITH RECURSIVE arguments AS (
                   SELECT call_hash, "arguments.name" AS name, "arguments.value_hash" AS value_hash,
                          "arguments.source_call_hash" AS source_call_hash
                   FROM read_parquet($calls) WHERE "arguments.name" IS NOT NULL),
               found(call_hash, distance) AS (
                   SELECT call_hash, 0 FROM read_parquet($calls)
                   WHERE value_hash IN (SELECT value_hash FROM read_parquet($files) WHERE path = $path)
                   UNION
                   SELECT source_call_hash, distance + 1 FROM found JOIN arguments USING (call_hash)
                   WHERE source_call_hash IS NOT NULL)
               SELECT task_name, distance, name, path, calls.task_hash
               FROM found JOIN read_parquet($calls) AS calls USING (call_hash)
               JOIN arguments USING (call_hash)
               LEFT JOIN read_parquet($files) AS files ON files.value_hash = arguments.value_hash
               ORDER BY distance""",
            {"path": path, **{name: places[name] for name in ("calls", "files")}},
        ).fetchall()


# --- the rows ---------------------------------------------------------------------------------------------------------


def fill(store: Path, executions: int, samples: int) -> int:
    """Write the history of so many executions over so many samples each; gives how many jobs they had."""
    kept = open_store(store)
    for number in range(executions):
        for rows in _execution(number, samples):
            kept.append(rows)
            kept.commit()
        kept.compact(_execution_id(number))
    kept.close()
    return executions * (3 * samples + 1)


def path_of(number: int, sample: int, name: str) -> str:
    """A file of a sample, in one execution."""
    return f"s3://bucket/run-{number:03d}/sample-{sample:05d}/{name}"


def _execution_id(number: int) -> str:
    return f"01a1fd4f-{number:04x}-700f-91d2-b94771ea73f0"


def _execution(number: int, samples: int) -> Iterator[list[Row]]:
    """The rows of one execution, as much at a time as the scheduler commits."""
    execution_id = _execution_id(number)
    at = 1_780_000_000_000_000 + number * 3_600_000_000
    version = number // 8  # the code changes now and then
    tasks = {
        name: digest("task", name.encode(), bytes([version])) for name in ("flow.main", *(task for task, _ in STEPS))
    }
    task_set = digest("tasks", *tasks.values())
    root_job, results = short_digest("job", execution_id.encode()), []
    rows: list[Row] = [_opened(execution_id, number, at)]
    rows.extend(TaskSetRow(task_set, task) for task in tasks.values())
    for name, task in tasks.items():
        rows.append(TaskRow(task, name, f"def {name}(): ...", f"flow.py:{10 + version}", None, None, None, at))
        rows.append(DefinitionRow(task, name, "task", task, None, "flow.py:10", f"def {name}(): ..."))
    children = []
    for sample in range(samples):
        source, taken = None, _text(f"sample-{sample:05d}", rows)
        for step, (name, file) in enumerate(STEPS):
            made = _file(path_of(number, sample, file), rows, at)
            arguments = digest("args", taken)
            eval_hash = digest("eval", tasks[name], arguments)
            call = digest("call", tasks[name], arguments, made)
            rows.append(CallRow(call, tasks[name], name, arguments, eval_hash, made, task_set))
            rows.append(ArgumentRow(call, "source", taken, source))
            rows.append(ReductionRow(eval_hash, tasks[name], "single", made, None, None, None, execution_id, 1.5, at))
            ordinal = 2 + 3 * sample + step
            rows.append(_job(execution_id, root_job, name, tasks[name], eval_hash, call, at + 1_000 * ordinal, ordinal))
            children.append(call)
            source, taken = call, made
        results.append(taken)
        if sample % 1_600 == 1_599:
            yield rows
            rows = []
    result, arguments = digest("results", *results), digest("args", execution_id.encode())
    eval_hash = digest("eval", tasks["flow.main"], arguments)
    call = digest("call", tasks["flow.main"], arguments, result)
    rows.append(ValueRow(result, "list", "term", 40 * samples, None, "[File(...), ...]"))
    rows.extend(ValuePartRow(result, position, part) for position, part in enumerate(results))
    rows.append(CallRow(call, tasks["flow.main"], "flow.main", arguments, eval_hash, result, task_set))
    rows.append(ArgumentRow(call, "run", _text(execution_id, rows), None))
    rows.extend(CallChildRow(call, position, child) for position, child in enumerate(sorted(children)))
    rows.append(_job(execution_id, None, "flow.main", tasks["flow.main"], eval_hash, call, at, 1))
    rows.append(
        _opened(execution_id, number, at)._replace(
            status="done", finished_at=at + 3_000_000_000, value_hash=result, jobs=3 * samples + 1,
            computed=3 * samples + 1, cached=0, shared=0, failed=0, cancelled=0,
        )
    )  # fmt: skip
    yield rows


def _opened(execution_id: str, number: int, at: int) -> ExecutionRow:
    return ExecutionRow(
        execution_id, 0, b"", None, "{}", None, "/home/ada/project", "flow.main", f"main(run={number})", "running", at,
        None, None, None, None, None, None, None, None, "rayflow run flow.py", "ada", "lab", "project", None, "0.1",
        "3.11", "2.60",
    )  # fmt: skip


def _text(text: str, rows: list[Row]) -> bytes:
    value = digest("str", text.encode())
    rows.append(ValueRow(value, "str", "term", len(text), text.encode(), repr(text)))
    return value


def _file(path: str, rows: list[Row], at: int) -> bytes:
    value = digest("file", path.encode())
    rows.append(ValueRow(value, "rayflow.values.files.File", "pickle", 150, path.encode(), f"File({path!r})"))
    rows.append(FileRow(value, path, 1_000_000, at, value.hex()))
    return value


def _job(
    execution_id: str,
    parent: bytes | None,
    name: str,
    task: bytes,
    eval_hash: bytes,
    call: bytes,
    at: int,
    ordinal: int,
) -> JobRow:
    job = short_digest("job", execution_id.encode()) if parent is None else call[:16]
    return JobRow(
        job, execution_id, parent, name, task, eval_hash, call, "computed", "done", 1, at, at + 500, at + 2_000_000,
        1.5 + ordinal % 7, 1.4, 300_000_000 + ordinal, NODES[ordinal % 16], 4_000 + ordinal % 64, None, None, None,
        None, ordinal,
    )  # fmt: skip
