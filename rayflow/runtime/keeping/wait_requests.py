"""The waits that an evaluation opens, as requests to the keeper.

In: `OpenWait`, with what the wait was made with. Out: `WaitOpened`, with times as moments and terms packed. Never:
decides anything.
"""

from __future__ import annotations

from typing import Any

from rayflow.evaluator import commands
from rayflow.keeper.requests import WaitOpened
from rayflow.lang.terms.codec import dumps
from rayflow.lang.terms.expressions import Quoted, TaskCall, render
from rayflow.lang.terms.outcomes import pack_outcome
from rayflow.values.digests import digest


def deadline_of(command: commands.OpenWait, now: int) -> int | None:
    """When a wait resolves by itself, in microseconds; None if it never does."""
    given: Any = command.given
    if command.kind == "sleep":
        return now + _us(given["seconds"])
    if command.kind == "sleep_until":
        return int(given["at"])
    timeout = given.get("timeout")
    return None if timeout is None else now + _us(timeout)


def wait_opened(command: commands.OpenWait, now: int) -> WaitOpened:
    """The request for a wait that has opened."""
    given: Any = command.given
    request = WaitOpened(
        at=now,
        run_id=command.execution_id,
        place=command.place,
        kind=command.kind,
        deadline_at=deadline_of(command, now),
        is_cleanup=command.is_cleanup,
    )
    fields = _FIELDS.get(command.kind)
    return request if fields is None else request._replace(**fields(given))


def _event(given: Any) -> dict[str, Any]:
    since = given["since"]
    return {
        "name": given["name"],
        "key": _text(given["key"]),
        "default": pack_outcome(given["default"]),
        "where": None if given["where"] is None else dumps(given["where"]._term),
        "since": since if isinstance(since, str) else str(_us(since)),
        "take": given["take"],
    }


def _ask(given: Any) -> dict[str, Any]:
    return {"name": given["prompt"], "given": dumps(given["form"])}


def _emit(given: Any) -> dict[str, Any]:
    data = dumps(given["data"])
    return {
        "name": given["name"],
        "key": _text(given["key"]),
        "data": data,
        "data_hash": digest("event", str(given["name"]).encode(), repr(_text(given["key"])).encode(), data),
        "id": given["id"],
        "due_at": given["at"],
    }


def _new_run(given: Any) -> dict[str, Any]:
    quoted = given["expr"]
    term = quoted._term if type(quoted) is Quoted else quoted
    root = dumps(term)
    return {
        "root": root,
        "input_hash": digest("input", root),
        "flow": term._task if type(term) is TaskCall else None,
        "arguments": render(term),
        "id": given.get("id"),
        "tie": bool(given.get("tie")),
    }


def _join(given: Any) -> dict[str, Any]:
    return {"target": given["run"]}


_FIELDS: Any = {
    "event": _event,
    "ask": _ask,
    "emit": _emit,
    "child": _new_run,
    "spawn": _new_run,
    "continue_as": _new_run,
    "join": _join,
}


def _text(key: Any) -> str | None:
    return None if key is None else str(key)


def _us(seconds: Any) -> int:
    return int(float(seconds) * 1_000_000)
