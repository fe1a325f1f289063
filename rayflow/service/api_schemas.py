"""The JSON schemas of the API's answers.

In: nothing. Out: schemas by name, which may name each other. Never: checks an answer (tests do that for all of them).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayflow.service.run_queries import STATES

_TEXT = {"type": "string"}
_MAYBE_TEXT = {"type": ["string", "null"]}
_COUNT = {"type": "integer", "minimum": 0}
_FLAG = {"type": "boolean"}
_NUMBER = {"type": "number"}
_MAYBE_NUMBER = {"type": ["number", "null"]}
_MOMENT = {"type": "integer", "description": "microseconds since the epoch"}
_MAYBE_MOMENT = {"type": ["integer", "null"], "description": "microseconds since the epoch"}
_STATE = {"type": "string", "enum": list(STATES)}
_ANY: dict[str, Any] = {}
_COUNTS = {"type": "object", "additionalProperties": _COUNT}


def _object(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def _named(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _page(name: str, items: str) -> dict[str, Any]:
    following = {"type": ["string", "null"], "description": "the cursor of the next page; null at the end"}
    return _object({name: _list(_named(items)), "next": following})


_SPREAD = _object({"count": _COUNT, "p50": _MAYBE_NUMBER, "p95": _MAYBE_NUMBER, "max": _MAYBE_NUMBER})


SCHEMAS: Mapping[str, dict[str, Any]] = {
    "Error": _object({"error": _object({"type": _TEXT, "message": _TEXT})}),
    "Nothing": {"type": "object", "maxProperties": 0},
    "Document": {"type": "object", "description": "an OpenAPI document"},
    "Health": _object({"ok": _FLAG, "store": _TEXT}),
    "Started": _object({"run_id": _TEXT, "state": _STATE, "is_new": _FLAG}),
    "Run": _object(
        {
            "run_id": _TEXT, "id": _MAYBE_TEXT, "flow": _MAYBE_TEXT, "arguments": _MAYBE_TEXT, "state": _STATE,
            "cause": _TEXT, "reason": _MAYBE_TEXT, "error": _MAYBE_TEXT, "explanation": _TEXT, "created_at": _MOMENT,
            "changed_at": _MOMENT, "ended_at": _MAYBE_MOMENT, "due_at": _MAYBE_MOMENT, "parent_run_id": _MAYBE_TEXT,
            "link": _MAYBE_TEXT, "event_id": _MAYBE_TEXT, "schedule": _MAYBE_TEXT, "moment": _MAYBE_MOMENT,
            "forked_run_id": _MAYBE_TEXT,
            "tags": {"type": ["object", "null"]}, "priority": {"type": ["integer", "null"]},
            "generation": {"type": ["integer", "null"]},
        },
        {
            "waits": _list(_named("Wait")),
            "goes_on_as": {"type": "string", "description": "the run in which its chain goes on"},
        },
    ),
    "RunPage": _page("runs", "Run"),
    "Wait": _object(
        {"place": _TEXT, "kind": _TEXT, "since": _MOMENT, "explanation": _TEXT},
        {"deadline_at": _MOMENT, "name": _TEXT, "prompt": _TEXT, "key": _TEXT, "target_run_id": _TEXT},
    ),
    "Ask": _object(
        {"run_id": _TEXT, "id": _MAYBE_TEXT, "place": _TEXT, "prompt": _TEXT, "since": _MOMENT,
         "deadline_at": _MAYBE_MOMENT}
    ),
    "AskPage": _page("asks", "Ask"),
    "History": _object({"history": _list(_named("Transition"))}),
    "Transition": _object(
        {"at": _MOMENT, "what": _TEXT, "state": _TEXT, "cause": _MAYBE_TEXT, "about": _MAYBE_TEXT}, {"place": _TEXT}
    ),
    "Result": _object(
        {
            "run_id": _TEXT,
            "state": _STATE,
            "outcome": {"type": ["string", "null"], "description": "the packed outcome in base64; null before the end"},
            "error": _MAYBE_TEXT,
        },
        {"value": {"description": "the value as plain JSON, where it is that; else as text"}},
    ),
    "StreamList": _object({"run_id": _TEXT, "streams": _list(_object({"name": _TEXT, "last": _COUNT}))}),
    "StreamPage": _object(
        {"run_id": _TEXT, "stream": _TEXT, "items": _list(_named("StreamItem")), "last": _COUNT, "ended": _FLAG}
    ),
    "StreamItem": _object(
        {"number": _COUNT, "value": _ANY, "task": _TEXT, "job_id": _TEXT, "attempt": _COUNT, "item": _COUNT,
         "at": _MOMENT}
    ),
    "Cancelled": _object({"run_id": _TEXT, "cancelled": _FLAG}),
    "Retried": _object({"run_id": _TEXT, "state": _STATE}),
    "Answered": _object({"run_id": _TEXT, "place": _TEXT}),
    "Bulk": _object(
        {
            "count": _COUNT,
            "dry": _FLAG,
            "latest": _COUNT,
            "run_ids": _list(_TEXT),
            "refused": _list(_object({"run_id": _TEXT, "type": _TEXT, "message": _TEXT})),
        }
    ),
    "Event": _object(
        {"event_id": _TEXT, "number": _COUNT, "name": _TEXT, "key": _MAYBE_TEXT, "due_at": _MAYBE_MOMENT,
         "run_id": _MAYBE_TEXT},
        {"at": _MOMENT, "data": _ANY, "status": _TEXT, "deliveries": _list(_named("Delivery"))},
    ),
    "Accepted": _object({"event_id": _TEXT}),
    "EventPage": _page("events", "Event"),
    "Delivery": _object(
        {"target": _TEXT, "state": _TEXT, "run_id": _MAYBE_TEXT, "error": _MAYBE_TEXT}, {"to": _TEXT}
    ),
    "Schedule": _object(
        {"schedule": _TEXT, "state": _TEXT, "flow": _TEXT, "timetable": _list({"type": "object"}), "when": _TEXT,
         "arguments": {"type": ["object", "null"]}, "overlap": _TEXT, "catch_up_seconds": _NUMBER,
         "is_of_code": _FLAG, "next_at": _MAYBE_MOMENT}
    ),
    "ScheduleList": _object({"schedules": _list(_named("Schedule"))}),
    "Moments": _object({"next": _list(_MOMENT)}),
    "Done": {"description": "what has become of it"},
    "Queue": _object(
        {"queue": _TEXT, "slots": {"type": ["integer", "null"], "description": "null: any number"}, "used": _COUNT,
         "waiting": _COUNT}
    ),
    "QueueList": _object({"queues": _list(_named("Queue"))}),
    "FlowList": _object({"flows": _list(_named("Flow"))}),
    "Flow": _object(
        {
            "name": _TEXT,
            "documentation": _TEXT,
            "input": {"type": "object", "description": "the JSON schema of its arguments"},
            "events": _list(_object({"name": _TEXT, "where": _MAYBE_TEXT})),
            "schedule": _MAYBE_TEXT,
            "timeout_seconds": _MAYBE_NUMBER,
            "on_failure": _MAYBE_TEXT,
            "on_cancel": _MAYBE_TEXT,
        }
    ),
    "Stats": _object(
        {
            "at": _MOMENT,
            "states": _COUNTS,
            "flows": _list(_object({"flow": _MAYBE_TEXT, "states": _COUNTS})),
            "rates": _list(
                _object({"seconds": _COUNT, "started": _COUNT, "done": _COUNT, "failed": _COUNT, "cancelled": _COUNT})
            ),
            "queue_seconds": _SPREAD,
            "run_seconds": _SPREAD,
            "oldest": {"type": "object", "additionalProperties": _object({"run_id": _TEXT, "since": _MOMENT})},
            "waits": _COUNTS,
        }
    ),
}  # fmt: skip
"""Each schema by its name."""
