"""Why a job ran: what differs from the nearest earlier evaluation of its task.

In: a job. Out: the facts side by side. Never: tells the story (source texts are compared elsewhere).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from rayflow.store import views
from rayflow.store.answers import Argument, ArgumentChange, Record, Why
from rayflow.store.asking import Asker, as_bytes, as_stored


def why(asker: Asker, job_id: str) -> Why:
    """A job beside the nearest earlier evaluation of its task, and what differs between them. Raises NotFound.

    Nearest: with the same arguments; else at the same place among the calls of the same parent task; else the
    latest.
    """
    job = asker.job_row(job_id)
    call = job["call_hash"]
    args_hash = _args_hash(asker, call)
    earlier = _earlier(asker, job, args_hash)
    old_call = earlier["call_hash"] if earlier else None
    arguments = asker.arguments([known for known in (call, old_call) if known])
    changes = _changes(arguments.get(str(old_call), ()), arguments.get(call, ())) if earlier and call else ()
    task_changed = earlier is not None and earlier["task_hash"] != job["task_hash"]
    arguments_changed = earlier is not None and earlier["eval_hash"] != job["eval_hash"]
    if earlier is not None and (args_hash is not None or task_changed):
        # Without a call of its own, a job whose task changed says nothing of its arguments.
        arguments_changed = args_hash is not None and earlier["args_hash"] != args_hash
    old_task = earlier["task_hash"] if earlier else None
    return Why(
        job,
        earlier,
        task_changed,
        arguments_changed,
        call is not None,
        changes,
        tuple(asker.definitions(job["task_hash"])) if job["task_hash"] else (),
        tuple(asker.definitions(old_task)) if old_task else (),
        asker.task(job["task_hash"]) if job["task_hash"] else None,
        asker.task(old_task) if old_task else None,
        _reduction(asker, job) if job["how"] == "cached" else None,
        _forgotten_at(asker, job, earlier),
        () if earlier is None or task_changed or arguments_changed else _context_changes(asker, job),
    )


def reason_of(found: Why) -> str:
    """Why a job runs, in a few words."""
    earlier = found.earlier
    if earlier is None:
        return "it was never evaluated here"
    reasons = []
    if found.task_changed:
        before = {row["name"]: row["definition_hash"] for row in found.earlier_definitions}
        after = {row["name"]: row["definition_hash"] for row in found.definitions}
        names = [name for name in {**after, **before} if before.get(name) != after.get(name)]
        reasons.append(f"its code has changed{f' ({_few(names)})' if names else ''}")
    if found.arguments_changed:
        told = [_change_text(change) for change in found.changes]
        reasons.append(_few(told) or "its arguments differ")
    if reasons:
        return "; ".join(reasons)
    if found.forgotten_at is not None:
        return "its earlier result was forgotten"
    if found.context_changes:
        return f"the context that it reads differs ({_few(list(found.context_changes))})"
    if earlier["status"] == "failed":
        return "the earlier call failed"
    if earlier["status"] != "done":
        return f"the earlier call did not end: it is {earlier['status']}"
    return "its earlier result does not count: it is not to be cached, is too old, or something in it has changed"


def _few(texts: list[str]) -> str:
    return ", ".join(texts[:3]) + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")


def _change_text(change: ArgumentChange) -> str:
    was = "was not there" if change.old is None else f"was {change.old.preview}"
    now = "is not there now" if change.new is None else f"is {change.new.preview}"
    return f"{change.name} {was} and {now}"


def _args_hash(asker: Asker, call: str | None) -> str | None:
    row = asker.one("SELECT args_hash FROM raw.calls WHERE call_hash = $call LIMIT 1", {"call": as_bytes(call)})
    return str(row["args_hash"]) if row else None


def _earlier(asker: Asker, job: Record, args_hash: str | None) -> Record | None:
    """The earlier job to compare with, with the args_hash of its call."""
    parameters = {
        "task": job["task_name"],
        "job": as_bytes(job["job_id"]),
        "execution": job["execution_id"],
        "parent": as_bytes(job["parent_job_id"]),
        "queued": as_stored(job["queued_at"]),
    }
    found = None
    if args_hash is not None:
        query = views.text_of("earlier_with_arguments")
        known = {name: value for name, value in parameters.items() if name != "parent"}
        found = asker.one(query, {**known, "args": as_bytes(args_hash)})
    if found is None and job["parent_job_id"] is not None:
        found = asker.one(views.text_of("earlier_at_same_place"), parameters)
    if found is None:
        found = asker.one(
            views.text_of("earlier_latest"), {name: parameters[name] for name in ("task", "execution", "queued")}
        )
    if found is not None:
        found["args_hash"] = _args_hash(asker, found["call_hash"])
    return found


def _reduction(asker: Asker, job: Record) -> Record | None:
    return asker.one(
        """SELECT eval_hash, task_hash, kind, execution_id, wall_seconds, reductions."at" AS recorded_at
           FROM raw.reductions WHERE eval_hash = $eval AND reductions."at" <= $before
           ORDER BY reductions."at" DESC LIMIT 1""",
        {"eval": as_bytes(job["eval_hash"]), "before": as_stored(job["finished_at"] or datetime.now(UTC))},
    )


def _forgotten_at(asker: Asker, job: Record, earlier: Record | None) -> Any:
    if earlier is None:
        return None
    row = asker.one(
        """SELECT max(forgotten."at") AS recorded_at FROM raw.forgotten
           WHERE key IN ($eval, $task) AND forgotten."at" >= $after AND forgotten."at" <= $before""",
        {
            "eval": as_bytes(earlier["eval_hash"]),
            "task": as_bytes(earlier["task_hash"]),
            "after": as_stored(earlier["queued_at"]),
            "before": as_stored(job["queued_at"]),
        },
    )
    return row["recorded_at"] if row else None


def _context_changes(asker: Asker, job: Record) -> tuple[str, ...]:
    """The context paths that a job has read, and that led to something else whenever its like was computed before."""
    if job["how"] != "computed" or job["status"] != "done":
        return ()
    rows = asker.records(
        """SELECT context, execution_id = $execution AS is_own FROM raw.reductions
           WHERE eval_hash = $eval AND kind <> 'single' AND reductions."at" <= $before
           ORDER BY reductions."at" DESC""",
        {
            "eval": as_bytes(job["eval_hash"]),
            "execution": job["execution_id"],
            "before": as_stored(job["finished_at"] or datetime.now(UTC)),
        },
    )
    read = [json.loads(row["context"]) if row["context"] else {} for row in rows]
    own = next((each for each, row in zip(read, rows, strict=True) if row["is_own"]), None)
    earlier = [each for each, row in zip(read, rows, strict=True) if not row["is_own"]]
    if own is None or not earlier or own in earlier:
        return ()
    return tuple(sorted(path for path in {**own, **earlier[0]} if own.get(path) != earlier[0].get(path)))


def _changes(old: tuple[Argument, ...], new: tuple[Argument, ...]) -> tuple[ArgumentChange, ...]:
    before = {argument.name: argument for argument in old}
    after = {argument.name: argument for argument in new}
    names = dict.fromkeys((*after, *before))
    pairs = ((name, before.get(name), after.get(name)) for name in names)
    return tuple(
        ArgumentChange(name, was, now)
        for name, was, now in pairs
        if was is None or now is None or was.value_hash != now.value_hash
    )
