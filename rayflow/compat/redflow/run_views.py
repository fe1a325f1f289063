"""Runs, steps and events as redflow tells them.

In: what the API of a service tells. Out: plain data with redflow's names; times in milliseconds. Never: asks anything.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rayflow.compat.redflow import errors
from rayflow.compat.redflow.registry import NAMESPACE, get_default_registry
from rayflow.compat.redflow.schedules import OPEN
from rayflow.compat.redflow.types import (
    DEFAULT_MAX_ATTEMPTS,
    AttemptTrace,
    EventDelivery,
    EventFanoutStatus,
    EventRecord,
    ListedEvent,
    ListedRun,
    RunState,
    RunStatus,
    StepState,
    WaitInfo,
    WorkflowCronMeta,
    WorkflowMeta,
)
from rayflow.keeper.ids import derived_run_id, event_run_id

STATUSES: dict[str, RunStatus] = {
    "scheduled": "scheduled",
    "queued": "queued",
    "running": "running",
    "waiting": "scheduled",
    "ending": "running",
    "done": "succeeded",
    "failed": "failed",
    "cancelled": "canceled",
}
"""redflow's word for each state. A run that waits is scheduled: it goes on by itself."""

ENDED = ("done", "failed", "cancelled")

_STEP = "redflow.step."
_PAUSE = "redflow.attempt.pause_between"
_QUOTED = r"""'(?:[^'\\]|\\.)*(?:'|$)|"(?:[^"\\]|\\.)*(?:"|$)"""
_NUMBER = r"\d+(?:\.\d+)?(?:e\+?\d+)?(?=[,)])"
_FIELD = re.compile(rf"[(,]\s*(\w+)=((?:{_QUOTED})(?:\.\.\.(?:{_QUOTED}))?|{_NUMBER})")
_KINDS = {
    each.__name__: each.kind
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, errors.RedflowError)
}


def milliseconds(us: Any) -> int:
    """Milliseconds of microseconds."""
    return int(us) // 1000


# --- runs -------------------------------------------------------------------------------------------------------------


def workflow_of(flow: str | None) -> str | None:
    """The name of the workflow behind a flow's full name; None for a flow that is not a workflow's."""
    if flow is None or not flow.startswith(f"{NAMESPACE}."):
        return None
    bare = re.sub(r"\[[0-9a-f]{8}\]$", "", flow.removeprefix(f"{NAMESPACE}."))
    written = bare[1:] if bare.startswith("_<") else bare
    return re.sub(r"<([0-9a-f]+)>", lambda found: chr(int(found[1], 16)), written)


def listed_run(row: Mapping[str, Any]) -> ListedRun:
    """A run of a list."""
    name = workflow_of(row["flow"]) or str(row["flow"])
    told: ListedRun = {
        "id": row["run_id"],
        "workflow": name,
        "queue": _queue_of(row, name),
        "status": STATUSES[row["state"]],
        "created_at": milliseconds(row["created_at"]),
        "cursor": row["run_id"],
    }
    if row.get("error"):
        told["error"] = error_of(row["error"])
    if row.get("parent_run_id"):
        told["parent_run_id"] = row["parent_run_id"]
    if row["state"] in ENDED:
        told["finished_at"] = milliseconds(row["changed_at"])
    elif row.get("due_at"):
        told["available_at"] = milliseconds(row["due_at"])
    return told


def _queue_of(row: Mapping[str, Any], workflow: str) -> str:
    known = get_default_registry().get(workflow)
    return row.get("queue") or (known.options.queue if known is not None else "default")


def run_state(run: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> RunState:
    """A run. run: as the service describes it. history: its transitions."""
    listed = listed_run(run)
    known = get_default_registry().get(listed["workflow"])
    begun = [row["at"] for row in history if row["what"] == "run" and row["state"] == "running"]
    told: RunState = {
        "id": listed["id"],
        "workflow": listed["workflow"],
        "queue": listed["queue"],
        "status": listed["status"],
        "input": _input_of(history),
        "attempt": 1 + sum(row["what"] == _PAUSE and row["state"] == "outcome" for row in history) if begun else 0,
        "max_attempts": DEFAULT_MAX_ATTEMPTS if known is None else known.options.most_attempts,
        "created_at": listed["created_at"],
    }
    if begun:
        told["started_at"] = milliseconds(begun[0])
    for name in ("error", "finished_at", "available_at", "parent_run_id"):
        if name in listed:
            told[name] = listed[name]
    deadlines = [wait["deadline_at"] for wait in run.get("waits", ()) if wait.get("deadline_at")]
    if run["state"] == "waiting" and deadlines:
        told["available_at"] = milliseconds(min(deadlines))
    ending = [row for row in history if row["what"] == "run" and row["state"] in ("ending", "cancelled")]
    if ending and run["state"] in ("ending", "cancelled"):
        told["cancel_requested_at"] = milliseconds(ending[0]["at"])
        if run.get("reason"):
            told["cancel_reason"] = run["reason"]
    return told


def _input_of(history: Sequence[Mapping[str, Any]]) -> Any:
    given = next(row["given"] for row in history if "given" in row)
    return given["positional"][0] if given["positional"] else given["named"].get("input")


def error_of(text: str) -> dict[str, Any]:
    """An error, of its type and message as one text."""
    name, _, message = text.partition(": ")
    short = name.rpartition(".")[2]
    return {"name": short, "message": message, "kind": _KINDS.get(short, "error")}


# --- steps ------------------------------------------------------------------------------------------------------------


def steps_of(history: Sequence[Mapping[str, Any]]) -> list[StepState]:
    """The steps of a run in all its attempts, in the order of their beginnings."""
    found: dict[str, StepState] = {}
    for row in history:
        kind = row["what"].removeprefix(_STEP)
        if kind == row["what"] or kind == "received":
            continue
        place = row["place"]
        if row["state"] == "started" and place not in found:
            fields = _fields_of(row["about"] or "")
            found[place] = {
                "name": fields["name"],
                "attempt": fields["attempt"],
                "seq": fields["number"],
                "status": "running",
                "started_at": milliseconds(row["at"]),
            }
            if "seconds" in fields and kind != "run":
                found[place]["wait_until_at"] = milliseconds(row["at"]) + int(fields["seconds"] * 1000)
            if kind == "wait_for_event":
                wait: WaitInfo = {"kind": "event", "event": fields.get("event", "")}
                if "key" in fields:
                    wait["correlation_key"] = fields["key"]
                found[place]["wait"] = wait
        elif row["state"] == "outcome" and place in found:
            step = found[place]
            step["finished_at"] = milliseconds(row["at"])
            step["status"] = "failed" if row["about"] else "succeeded"
            if row["about"]:
                step["error"] = error_of(row["about"])
            else:
                step["output"] = row.get("value")
    return sorted(found.values(), key=lambda step: (step["attempt"], step["seq"]))


def _fields_of(text: str) -> dict[str, Any]:
    """The arguments in the text of a call, as far as they are texts and numbers. Long ones are shortened there."""
    found: dict[str, Any] = {}
    for name, written in _FIELD.findall(text):
        found.setdefault(name, _value_of(written))  # what follows may be the text of another call
    return found


def _value_of(written: str) -> Any:
    parts = re.findall(_QUOTED, written)
    return "...".join(map(_unquoted, parts)) if parts else ast.literal_eval(written)


def _unquoted(part: str) -> str:
    if len(part) > 1 and part[-1] == part[0]:
        return str(ast.literal_eval(part))
    return part[1:].rstrip(".") + "..."  # the text of the call ends in it


def latest_steps(steps: Iterable[StepState]) -> list[StepState]:
    """Of each step, what its last attempt has come to."""
    found: dict[str, StepState] = {}
    for step in steps:
        found[step["name"]] = step
    return list(found.values())


def attempts_of(run: RunState, history: Sequence[Mapping[str, Any]]) -> list[AttemptTrace]:
    """The attempts of a run, with their steps."""
    steps = steps_of(history)
    pauses = [row for row in history if row["what"] == _PAUSE]
    failed = [row for row in pauses if row["state"] == "started"]
    again = [row["at"] for row in pauses if row["state"] == "outcome"]
    found: list[AttemptTrace] = []
    for number in range(1, run["attempt"] + 1):
        trace: AttemptTrace = {
            "attempt": number,
            "started_at": run["started_at"] if number == 1 else milliseconds(again[number - 2]),
            "status": run["status"],
            "steps": [step for step in steps if step["attempt"] == number],
        }
        if number <= len(failed):
            fields = _fields_of(failed[number - 1]["about"] or "")
            trace |= {"status": "failed", "finished_at": milliseconds(failed[number - 1]["at"])}
            if "error" in fields:
                trace["error"] = error_of(fields["error"])
        elif "finished_at" in run:
            trace["finished_at"] = run["finished_at"]
            if "error" in run:
                trace["error"] = run["error"]
        found.append(trace)
    return found


# --- workflows --------------------------------------------------------------------------------------------------------


def workflow_meta(
    name: str, flow: Mapping[str, Any], schedules: Iterable[Mapping[str, Any]]
) -> WorkflowMeta:
    """A workflow. flow: the flow behind it, as the service describes it. schedules: all of them."""
    told: WorkflowMeta = {"name": name, "event": [{"name": each["name"]} for each in flow["events"]]}
    told["cron"] = [_cron_meta(each) for each in schedules if each["flow"] == flow["name"] and each["state"] in OPEN]
    known = get_default_registry().get(name)
    if known is not None:
        told["queue"] = known.options.queue
        told["max_concurrency"] = known.options.max_concurrency
        told["max_attempts"] = known.options.most_attempts
    return told


def _cron_meta(schedule: Mapping[str, Any]) -> WorkflowCronMeta:
    [times] = schedule["timetable"]
    told: WorkflowCronMeta = {
        "id": schedule["schedule"].rpartition(":")[2],
        "expression": times["cron"],
        "timezone": times["tz"],
        "input": (schedule["arguments"] or {}).get("input"),
    }
    if schedule["next_at"] is not None:
        told["next_run_at"] = milliseconds(schedule["next_at"])
    return told


# --- events -----------------------------------------------------------------------------------------------------------


def listed_event(row: Mapping[str, Any]) -> ListedEvent:
    """An event of a list."""
    told: ListedEvent = {
        "id": row["event_id"],
        "name": row["name"],
        "ts": milliseconds(row["at"] if "at" in row else row["recorded_at"]),
        "data": row["data"],
    }
    if row.get("key") is not None:
        told["correlation_key"] = row["key"]
    if row.get("run_id"):
        told["parent_run_id"] = row["run_id"]
    return told


def event_record(event: Mapping[str, Any]) -> EventRecord:
    """An event, with the runs that it has started and the waits that it has resolved."""
    deliveries, resumed = deliveries_of(event)
    states = {each["status"] for each in deliveries}
    fanout: EventFanoutStatus = "no-subscribers"
    if event.get("status") == "delayed" or "pending" in states:
        fanout = "pending"
    elif states:
        fanout = "completed" if states == {"delivered"} else "partial" if "delivered" in states else "failed"
    told: EventRecord = {
        **listed_event(event),  # type: ignore[typeddict-item]  # each field of one is a field of the other
        "subscriber_count": len(deliveries),
        "resumed_run_count": len(resumed),
        "delivery_count": sum(each["status"] == "delivered" for each in deliveries),
        "failed_delivery_count": sum(each["status"] == "failed" for each in deliveries),
        "fanout_status": fanout,
        "deliveries": deliveries,
        "resumed_run_ids": resumed,
    }
    if event.get("status") == "delayed":
        told["next_process_at"] = milliseconds(event["due_at"])
    return told


def deliveries_of(event: Mapping[str, Any]) -> tuple[list[EventDelivery], list[str]]:
    """The deliveries of an event to workflows, and the ids of the runs in which it has resolved a wait."""
    found: list[EventDelivery] = []
    resumed: list[str] = []
    for each in event["deliveries"]:
        workflow = workflow_of(each["target"])
        if workflow is None:
            if each["run_id"] and ":" in each["target"]:
                resumed.append(each["run_id"])
            continue
        known = get_default_registry().get(workflow)
        triggers = [] if known is None else [t for t in known.options.event if t.name == event["name"]]
        told: EventDelivery = {
            "subscriber_event_id": (triggers[0].id if triggers else None) or f"{workflow}:{event['name']}",
            "workflow": workflow,
            "status": each["state"],
            "run_id": each["run_id"] or derived_run_id(event_run_id(event["event_id"], each["target"])),
        }
        if each["error"]:
            told["error"] = each["error"]
        found.append(told)
    return sorted(found, key=lambda each: each["workflow"]), sorted(set(resumed))
