"""The origin of a value: the calls that led to it, and their files.

In: a path or a hash. Out: steps, nearest first. Never: recursion (a chain of calls may have any length).
"""

from __future__ import annotations

from collections.abc import Iterable
from string import hexdigits

from rayflow.errors import NotFound
from rayflow.store.history.answer_types import LineageStep, Record
from rayflow.store.history.database import RecordDatabase

_SHALLOW_LEVELS = 16
"""After this many steps, all edges are loaded and indexed, instead of read from the files at each step."""

_LISTED_CALLS = 1000
"""A query names up to this many calls one by one: then the statistics of a file rule out most of it."""


def lineage(database: RecordDatabase, text: str, *, levels: int | None = None) -> list[LineageStep]:
    """The calls that led to a file (by path) or value (by hash), the nearest first.

    levels: how far to go back; all the way by default. Raises NotFound when no recorded call made it.
    """
    files = database.records("SELECT DISTINCT value_hash FROM raw.files WHERE path = $path", {"path": text})
    starts = [bytes.fromhex(row["value_hash"]) for row in files]
    if not starts and len(text) % 2 == 0 and all(letter in hexdigits for letter in text):
        starts = [bytes.fromhex(text)]
    rows = database.records(
        """SELECT DISTINCT call_hash FROM raw.calls WHERE value_hash IN (
               SELECT unnest($starts) UNION ALL
               SELECT value_hash FROM raw.value_parts WHERE part_hash IN (SELECT unnest($starts)))""",
        {"starts": starts},
    )
    if not rows:
        raise NotFound(f"No recorded call made {text}.")
    distances = _follow(database, [bytes.fromhex(row["call_hash"]) for row in rows], levels)
    return _steps(database, distances)


def _follow(database: RecordDatabase, calls: list[bytes], levels: int | None) -> dict[bytes, int]:
    """Calls upstream of these, each with its smallest distance."""
    distances = dict.fromkeys(calls, 0)
    frontier, level, source = calls, 0, "raw.arguments"
    while frontier and (levels is None or level < levels):
        level += 1
        if level == _SHALLOW_LEVELS:
            source = "temp.edges"
            database.answer(
                """CREATE OR REPLACE TEMP TABLE edges AS SELECT DISTINCT call_hash, source_call_hash
                   FROM raw.arguments WHERE source_call_hash IS NOT NULL"""
            )
            database.answer("CREATE INDEX edges_by_call ON temp.edges (call_hash)")
        is_listed = len(frontier) <= _LISTED_CALLS
        wanted = ", ".join("?" * len(frontier)) if is_listed else "SELECT unnest(?)"
        rows = database.answer(
            f"""SELECT DISTINCT source_call_hash FROM {source}
                WHERE call_hash IN ({wanted}) AND source_call_hash IS NOT NULL""",
            frontier if is_listed else [frontier],
        ).fetchall()
        frontier = [call for (call,) in rows if call not in distances]
        distances.update(dict.fromkeys(frontier, level))
    return distances


def _steps(database: RecordDatabase, distances: dict[bytes, int]) -> list[LineageStep]:
    calls = list(distances)
    arguments = database.arguments_of([call.hex() for call in calls])
    rows = database.records(
        "SELECT DISTINCT ON (call_hash) * FROM raw.calls WHERE call_hash IN (SELECT unnest($calls))",
        {"calls": calls},
    )
    hashes = {row["value_hash"] for row in rows}
    hashes.update(argument.value_hash for given in arguments.values() for argument in given)
    files = _files_in(database, hashes)
    steps = []
    for row in rows:
        given = arguments.get(row["call_hash"], ())
        inputs = [file for argument in given for file in files.get(argument.value_hash, ())]
        outputs = files.get(row["value_hash"], ())
        distance = distances[bytes.fromhex(row["call_hash"])]
        steps.append(
            LineageStep(
                distance=distance,
                call_hash=row["call_hash"],
                task_name=row["task_name"],
                value_hash=row["value_hash"],
                arguments=given,
                input_files=tuple(inputs),
                output_files=tuple(outputs),
            )
        )
    steps.sort(key=lambda step: (step.distance, step.task_name, step.call_hash))
    return steps


def _files_in(database: RecordDatabase, value_hashes: Iterable[str]) -> dict[str, list[Record]]:
    """The files among these values, and inside them."""
    rows = database.records(
        """WITH wanted AS (SELECT unnest($hashes) AS whole), held AS (
               SELECT whole, whole AS part FROM wanted
               UNION
               SELECT whole, part_hash FROM wanted JOIN raw.value_parts ON value_parts.value_hash = whole)
           SELECT DISTINCT lower(hex(whole)) AS whole, files.*
           FROM held JOIN raw.files ON files.value_hash = held.part ORDER BY files.path""",
        {"hashes": [bytes.fromhex(value_hash) for value_hash in value_hashes]},
    )
    found: dict[str, list[Record]] = {}
    for row in rows:
        found.setdefault(row.pop("whole"), []).append(row)
    return found
