"""The columns that plain calls leave in a store, each call known by a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rayflow.record_columns import Columns, Same
from rayflow.records import ArgumentRow, CallChildRow, CallRow, JobRow, ReductionRow, ValueRow

TASK = b"t" * 20


def keys(letter: str, numbers: Sequence[int], width: int = 20) -> list[bytes]:
    """Keys in the order of their numbers. letter: what they are keys of. width: in bytes."""
    return [letter.encode() + number.to_bytes(width - 1, "big") for number in numbers]


def scattered_keys(letter: str, numbers: Sequence[int], width: int = 20) -> list[bytes]:
    """Keys in another order than their numbers, as hashes are."""
    return keys(letter, [number * 7919 % 1_000_003 for number in numbers], width)


Keys = Callable[..., list[bytes]]


def jobs(numbers: Sequence[int], keys: Keys = keys, **changes: Any) -> Columns:
    """Done jobs of the execution e1. changes: other columns in place of these."""
    columns: dict[str, Any] = {
        "job_id": keys("j", numbers, 16), "execution_id": Same("e1"), "parent_job_id": Same(b"p" * 16),
        "task_name": Same("flow.f"), "task_hash": Same(TASK), "eval_hash": keys("e", numbers),
        "call_hash": keys("c", numbers), "how": Same("computed"), "status": Same("done"), "attempts": Same(1),
        "queued_at": list(numbers), "started_at": Same(6), "finished_at": Same(7), "wall_seconds": Same(0.25),
        "cpu_seconds": [0.5] * len(numbers), "peak_memory_bytes": Same(1000), "node": Same("höst"), "pid": Same(7),
        "error": Same(None), "traceback": Same(None), "story": Same(None), "ordinal": numbers,
    }  # fmt: skip
    return Columns.of(JobRow, len(numbers), **{**columns, **changes})


def values(numbers: Sequence[int], keys: Keys = keys) -> Columns:
    """The values of calls."""
    return Columns.of(
        ValueRow, len(numbers), value_hash=keys("v", numbers), type=Same("int"), format=Same("term"),
        size_bytes=Same(3), inline=[str(number).encode() for number in numbers],
        preview=[f"№ {number}" if number % 2 else str(number) for number in numbers],
    )  # fmt: skip


def of_calls(
    numbers: Sequence[int],
    keys: Keys = keys,
    *,
    of_jobs: Mapping[str, Any] | None = None,
    of_call_nodes: Mapping[str, Any] | None = None,
) -> list[Columns]:
    """All that calls leave. of_jobs, of_call_nodes: columns of these tables in place of the usual ones."""
    count = len(numbers)
    return [
        jobs(numbers, keys, **(of_jobs or {})),
        Columns.of(
            CallRow, count, call_hash=keys("c", numbers), task_hash=Same(TASK), task_name=Same("flow.f"),
            args_hash=keys("a", numbers), eval_hash=keys("e", numbers), value_hash=keys("v", numbers),
            task_set=Same(b"s" * 20), **(of_call_nodes or {}),
        ),
        Columns.of(
            CallChildRow, count, call_hash=Same(b"P" * 20), position=numbers, child_call_hash=keys("c", numbers),
        ),
        Columns.of(
            ArgumentRow, count, call_hash=keys("c", numbers), name=Same("x"), value_hash=keys("v", numbers),
            source_call_hash=Same(None),
        ),
        Columns.of(
            ReductionRow, count, eval_hash=keys("e", numbers), task_hash=Same(TASK), kind=Same("single"),
            term=[str(number).encode() for number in numbers], term_blob=Same(None), task_set=Same(None),
            call_hash=Same(None), execution_id=Same("e2"), wall_seconds=Same(0.5), at=Same(7),
        ),
        values(numbers, keys),
    ]  # fmt: skip
