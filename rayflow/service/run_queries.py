"""Which runs a request means: filters and cursors, and the SQL that finds these runs in the records.

In: what a request asks for, as plain data. Out: a `RunFilter`; statements with parameters. Never: puts a given text
into a statement.

A list is ordered by the numbers of the runs' first rows, newest first. A cursor is the number of the last run of a
page: runs that begin meanwhile come before the first page, and move no other.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rayflow.errors import BadArguments
from rayflow.runtime.keeping.keeper_turn import ENDED

STATES = ("scheduled", "queued", "running", "waiting", "ending", "done", "failed", "cancelled")
"""The states that a run can be in."""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Runs that are in one of the states, are runs of one of the flows (full name, or the last part of it), have all
    the tags, have the text in their id, arguments, tags, error, reason or result, were requested in the time from
    `since` on and before `until` (microseconds since the epoch), and whose ids (their own, or the one that their
    starter gave) begin with `id_prefix`. What is empty or None does not count. latest: only runs whose first row has
    at most this number."""

    states: tuple[str, ...] = ()
    flows: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    text: str | None = None
    since: int | None = None
    until: int | None = None
    id_prefix: str | None = None
    latest: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it means all runs."""
        return self._chosen() == ()

    def _chosen(self) -> tuple[Any, ...]:
        given = (self.states, self.flows, self.tags, self.text, self.since, self.until, self.id_prefix)
        return tuple(each for each in given if each not in (None, ()))


def filter_of(asked: Mapping[str, Any]) -> RunFilter:
    """The filter in the query or the body of a request. Raises BadArguments for a tag that is not KEY=VALUE."""
    return RunFilter(
        states=tuple(asked.get("state") or ()),
        flows=tuple(asked.get("flow") or ()),
        tags=tuple(_tag(each) for each in asked.get("tag") or ()),
        text=asked.get("text") or None,
        since=asked.get("since"),
        until=asked.get("until"),
        id_prefix=asked.get("id_prefix") or None,
        latest=asked.get("latest"),
    )


def _tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise BadArguments(f"tag={text!r}: write KEY=VALUE.")
    return key, value


# --- cursors ----------------------------------------------------------------------------------------------------------


def cursor_of(number: int) -> str:
    """The cursor behind the item with this number."""
    return base64.urlsafe_b64encode(f"after:{number}".encode()).decode().rstrip("=")


def number_in(cursor: str | None) -> int | None:
    """The number in a cursor; None for the beginning of the list. Raises BadArguments."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        word, _, number = text.partition(":")
        if word != "after" or not number.isascii() or not number.isdigit() or len(number) > 18:
            raise ValueError(text)
    except (ValueError, binascii.Error, UnicodeError):
        raise BadArguments(f"cursor={cursor!r:.100} is none that this service has given.") from None
    return int(number)


# --- statements -------------------------------------------------------------------------------------------------------


_FIRST_COLUMNS = (
    "id", "flow", "arguments", "due_at", "parent_run_id", "link", "event_id", "tags", "priority", "queue",
    "schedule", "moment", "forked_run_id",
)  # fmt: skip
"""Columns that the first row of a run has, and no other row."""

_LATEST = """
latest AS (
    SELECT run_id, max("at") AS changed_at, arg_max(state, number) AS state, arg_max(cause, number) AS cause,
        arg_max(reason, number) AS reason, arg_max(error, number) AS last_error, max(generation) AS generation,
        arg_max(next_run_id, number) AS next_run_id
    FROM raw.run_changes WHERE run_id IN (SELECT run_id FROM firsts) GROUP BY run_id)
"""

_ENDED = ", ".join(f"'{each}'" for each in sorted(ENDED))

_SHOWN = f"""
SELECT run_id, created_at, changed_at, state, cause, {", ".join(_FIRST_COLUMNS)}, reason,
    if(state IN ('failed', 'cancelled'), last_error, NULL) AS error,
    if(state IN ({_ENDED}), changed_at, NULL) AS ended_at, generation, next_run_id, number
FROM firsts JOIN latest USING (run_id)
"""

_IN_STATE = """run_id IN (
    SELECT run_id FROM raw.run_changes
    WHERE run_id IN (SELECT run_id FROM raw.run_changes WHERE list_contains($states, state))
    GROUP BY run_id HAVING list_contains($states, arg_max(state, number)))"""

_WITH_TEXT = """run_id IN (
    SELECT run_id FROM raw.run_changes
    WHERE contains(lower(arguments), lower($text)) OR contains(lower(id), lower($text))
        OR contains(lower(tags), lower($text)) OR contains(lower(error), lower($text))
        OR contains(lower(reason), lower($text))
    UNION
    SELECT execution_id FROM raw.executions
    WHERE value_hash IN (SELECT value_hash FROM raw."values" WHERE contains(lower(preview), lower($text))))"""


def page_statement(wanted: RunFilter, before: int | None, limit: int) -> tuple[str, dict[str, Any]]:
    """The statement of one page of runs, newest first, and its parameters. before: the number of the last run of the
    page before. Each row has the columns of the run as it is now, and `number`, which is that of its first row."""
    conditions, parameters = _conditions(wanted)
    if before is not None:
        conditions.append("number < $before")
        parameters["before"] = before
    columns = ", ".join(("run_id", "number", '"at" AS created_at', *_FIRST_COLUMNS))
    firsts = f"SELECT {columns} FROM raw.run_changes WHERE {' AND '.join(conditions)} ORDER BY number DESC LIMIT $limit"
    return (
        f"WITH firsts AS MATERIALIZED ({firsts}), {_LATEST} {_SHOWN} ORDER BY number DESC",
        {**parameters, "limit": limit},
    )


def ids_statement(wanted: RunFilter) -> tuple[str, dict[str, Any]]:
    """The statement of the ids of all runs that a filter means, oldest first, with the numbers of their first rows; and
    its parameters."""
    conditions, parameters = _conditions(wanted)
    where = " AND ".join(conditions)
    return f"SELECT DISTINCT run_id, number FROM raw.run_changes WHERE {where} ORDER BY number", parameters


def run_statement() -> str:
    """The statement of one run; its parameter is run_id. The columns are those of a page."""
    columns = ", ".join(("run_id", "number", '"at" AS created_at', *_FIRST_COLUMNS))
    firsts = f"SELECT {columns} FROM raw.run_changes WHERE run_id = $run_id AND seen_from IS NOT NULL LIMIT 1"
    return f"WITH firsts AS MATERIALIZED ({firsts}), {_LATEST} {_SHOWN}"


def _conditions(wanted: RunFilter) -> tuple[list[str], dict[str, Any]]:
    """The conditions on the first rows of runs, and their parameters. (No other row says from which event on the run
    sees them.)"""
    conditions = ["seen_from IS NOT NULL"]
    parameters: dict[str, Any] = {}
    if wanted.states:
        conditions.append(_IN_STATE)
        parameters["states"] = list(wanted.states)
    if wanted.flows:
        named = range(len(wanted.flows))
        each = [f"flow = $flow_{at} OR ends_with(flow, '.' || $flow_{at})" for at in named]
        conditions.append(f"({' OR '.join(each)})")
        parameters |= {f"flow_{at}": flow for at, flow in enumerate(wanted.flows)}
    for at, (key, value) in enumerate(wanted.tags):
        conditions.append(f"json_extract_string(tags, $tag_key_{at}) = $tag_value_{at}")
        parameters |= {f"tag_key_{at}": json_pointer(key), f"tag_value_{at}": value}
    if wanted.text is not None:
        conditions.append(_WITH_TEXT)
        parameters["text"] = wanted.text
    for name, operation in (("since", ">="), ("until", "<")):
        moment = getattr(wanted, name)
        if moment is not None:
            conditions.append(f'epoch_us("at") {operation} ${name}')
            parameters[name] = moment
    if wanted.id_prefix is not None:
        conditions.append("(starts_with(run_id, $id_prefix) OR starts_with(id, $id_prefix))")
        parameters["id_prefix"] = wanted.id_prefix
    if wanted.latest is not None:
        conditions.append("number <= $latest")
        parameters["latest"] = wanted.latest
    return conditions, parameters


def json_pointer(key: str) -> str:
    """The pointer to a key in a JSON object, whatever characters the key has."""
    return "/" + key.replace("~", "~0").replace("/", "~1")
