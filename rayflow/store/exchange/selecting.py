"""Selects all that belongs to some executions: their rows, and the rows that these refer to.

In: a store's records and the ids of executions. Out: Arrow tables. Never: recursion (calls may be nested to any depth).

The rows of an execution's jobs name calls. A call names the calls that it made, those that its arguments came from, its
values, tasks and set of tasks. The reductions that would answer these calls again belong to it, too. Forgotten
reductions do not belong to it, nor do the rows that forget them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rayflow.store.history import views
from rayflow.store.history.database import RecordDatabase
from rayflow.store.write import schemas


def rows_of(database: RecordDatabase, executions: Sequence[str]) -> dict[str, Any]:
    """The rows of these executions with all that they refer to, by table."""
    chosen = "CREATE OR REPLACE TEMP TABLE chosen AS SELECT unnest($ids) AS execution_id"
    database.answer(chosen, {"ids": [*executions]})
    _run(database, "chosen_calls")
    _follow(database)
    _run(database, "chosen_rows")
    found = {}
    for name, how in schemas.layouts().items():
        columns = ", ".join(f'"{column.name}"' for column in how.columns)
        rows = database.answer(f'SELECT {columns} FROM temp."chosen_{name}"').to_arrow_table()
        found[name] = schemas.fit(how, rows.cast(how.schema))
        database.answer(f'DROP TABLE temp."chosen_{name}"')
    return found


def _run(database: RecordDatabase, question: str) -> None:
    for statement in views.text_of(question).split(";\n"):
        if statement.strip():
            database.answer(statement)


def _follow(database: RecordDatabase) -> None:
    """Add the calls that the chosen calls refer to: calls below and before them, and the calls of their reductions."""
    edges: dict[bytes, list[bytes]] | None = None
    while True:
        new = [call for (call,) in database.answer(views.text_of("next_calls")).fetchall()]
        if not new:
            return
        if edges is None:
            edges = {}
            for call, other in database.answer("SELECT call_hash, other FROM temp.chosen_edges").fetchall():
                edges.setdefault(call, []).append(other)
        reached = set(new)
        waiting = list(reached)
        while waiting:
            for other in edges.get(waiting.pop(), ()):
                if other not in reached:
                    reached.add(other)
                    waiting.append(other)
        database.answer(
            """INSERT INTO temp.chosen_hashes SELECT call_hash FROM (SELECT unnest($calls) AS call_hash)
               WHERE call_hash NOT IN (SELECT call_hash FROM temp.chosen_hashes)""",
            {"calls": list(reached)},
        )
