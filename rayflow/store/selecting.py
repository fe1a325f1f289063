"""All that belongs to some executions: their rows, and the rows that those refer to.

In: a store's records and the ids of executions. Out: Arrow tables. Never: recursion; calls may be nested as deep as
they like.

An execution's jobs left calls; a call names the calls that it made, those that its arguments came from, its values,
tasks and set of tasks; and there are the reductions that would answer those calls again. A reduction that was told to
count no more does not come along, so that what it was forgotten for stays where it was said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rayflow.store import schemas, views
from rayflow.store.asking import Asker


def rows_of(asker: Asker, executions: Sequence[str]) -> dict[str, Any]:
    """The rows of these executions with all that they refer to, by table."""
    asker.answer("CREATE OR REPLACE TEMP TABLE chosen AS SELECT unnest($ids) AS execution_id", {"ids": [*executions]})
    _run(asker, "chosen_calls")
    _follow(asker)
    _run(asker, "chosen_rows")
    found = {}
    for name, how in schemas.layouts().items():
        columns = ", ".join(f'"{column.name}"' for column in how.columns)
        rows = asker.answer(f'SELECT {columns} FROM temp."chosen_{name}"').to_arrow_table()
        found[name] = schemas.fit(how, rows.cast(how.schema))
        asker.answer(f'DROP TABLE temp."chosen_{name}"')
    return found


def _run(asker: Asker, question: str) -> None:
    for statement in views.text_of(question).split(";\n"):
        if statement.strip():
            asker.answer(statement)


def _follow(asker: Asker) -> None:
    """Add what the chosen calls lead to: calls below and before them, and those of the reductions that answer them."""
    edges: dict[bytes, list[bytes]] | None = None
    while True:
        new = [call for (call,) in asker.answer(views.text_of("next_calls")).fetchall()]
        if not new:
            return
        if edges is None:
            edges = {}
            for call, other in asker.answer("SELECT call_hash, other FROM temp.chosen_edges").fetchall():
                edges.setdefault(call, []).append(other)
        reached = set(new)
        waiting = list(reached)
        while waiting:
            for other in edges.get(waiting.pop(), ()):
                if other not in reached:
                    reached.add(other)
                    waiting.append(other)
        asker.answer(
            """INSERT INTO temp.chosen_hashes SELECT call_hash FROM (SELECT unnest($calls) AS call_hash)
               WHERE call_hash NOT IN (SELECT call_hash FROM temp.chosen_hashes)""",
            {"calls": list(reached)},
        )
