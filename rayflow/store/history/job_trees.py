"""An execution as a tree of lines: each job, with the jobs that it called below it, in the order of the calls.

In: an execution. Out: a `JobTree`. Never: recursion (a chain of calls may have any length); text.

The first queries choose the jobs that are shown, by their ids alone. Later ones read all else of those jobs only.
"""

from __future__ import annotations

from typing import TypeAlias

from rayflow.store.history import views
from rayflow.store.history.answer_types import GroupLine, JobLine, JobTree, Record
from rayflow.store.history.database import RecordDatabase

MOST_SIBLINGS = 999_999
"""The most children of one job with one task name that are shown. (DuckDB's `arg_min` takes no more.)"""

_Item: TypeAlias = tuple[int, bytes | Record]
"""A line to be: its depth, and the id of its job or the sums of a group."""


def job_tree(
    database: RecordDatabase, execution: Record, siblings: int, most: int | None, with_sources: bool
) -> JobTree:
    """The tree of an execution. The parameters are those of `History.job_tree`."""
    siblings = max(1, min(siblings, MOST_SIBLINGS))
    items = _shown(database, execution["execution_id"], siblings)
    kept = items if most is None else items[:most]
    ids = [job for _, job in kept if isinstance(job, bytes)]
    wanted = {"execution": execution["execution_id"], "ids": ids}
    jobs = {row["job_id"]: row for row in database.records(views.text_of("jobs_of"), wanted)}
    database.count_tries(list(jobs.values()))
    calls = [row["call_hash"] for row in jobs.values() if row["call_hash"] is not None]
    arguments = database.arguments_of(calls, with_sources=with_sources)
    results = database.results(calls)
    lines: list[JobLine | GroupLine] = []
    for depth, item in kept:
        if isinstance(item, dict):
            lines.append(GroupLine(depth, item["task_name"], siblings, item, item["label"]))
            continue
        job = jobs[item.hex()]
        result = results.get(job["call_hash"])
        preview = result["preview"] if result else None
        lines.append(JobLine(depth, job, arguments.get(job["call_hash"], ()), preview))
    return JobTree(execution, tuple(lines), len(items) - len(kept))


def _shown(database: RecordDatabase, execution_id: str, siblings: int) -> list[_Item]:
    """The jobs and groups that have a line, in the order of the lines."""
    parameters = {"execution": execution_id, "siblings": siblings}
    children: dict[bytes | None, list[bytes]] = {}
    for job_id, parent in database.answer(views.text_of("shown_jobs"), parameters).fetchall():
        children.setdefault(parent, []).append(job_id)
    groups: dict[bytes | None, list[Record]] = {}
    for group in database.records(views.text_of("sibling_groups"), parameters):
        parent = group["parent_job_id"]
        groups.setdefault(None if parent is None else bytes.fromhex(parent), []).append(group)
    items: list[_Item] = []
    waiting: list[_Item] = [(0, job) for job in reversed(children.get(None, []))]
    while waiting:
        depth, item = waiting.pop()
        items.append((depth, item))
        if isinstance(item, bytes):
            below: list[_Item] = [(depth + 1, job) for job in children.get(item, ())]
            below.extend((depth + 1, group) for group in groups.get(item, ()))
            waiting.extend(reversed(below))
    return items
