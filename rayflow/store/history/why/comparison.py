"""A job beside the nearest earlier evaluation of its task, and the differences between them.

In: the id of a job. Out: a `Why`. Never: puts it into words, or compares source texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rayflow.errors import BlobDamaged, BlobMissing
from rayflow.lang.terms.codec import loads
from rayflow.lang.terms.expressions import Term
from rayflow.misses import BELOW, FILE, Miss, from_text
from rayflow.records import TERM_FORMAT
from rayflow.store.blobs import Blobs
from rayflow.store.history import views
from rayflow.store.history.answer_types import ArgumentChange, Record, RecordedArgument, Why
from rayflow.store.history.database import RecordDatabase, as_bytes, as_stored
from rayflow.store.history.values.packed_terms import packed_term
from rayflow.store.history.why.job_inputs import FileSeen, JobInputs, inputs_of, with_members
from rayflow.values.encoding.identity import identity
from rayflow.values.encoding.nested import Container, map_leaves
from rayflow.values.encoding.whole_numbers import number_of
from rayflow.values.files.changes import FileChange


def why(database: RecordDatabase, blobs: Blobs, job_id: str) -> Why:
    """A job, the nearest earlier evaluation of its task, and the differences. Raises NotFound.

    The nearest evaluation has the same arguments; else it has the same place among the calls of the same parent task;
    else it is the latest one. It may have failed, or been stopped.
    """
    job = database.job_row(job_id)
    now = inputs_of(database, job)
    earlier = _earlier(database, job, now)
    before = inputs_of(database, earlier)
    if earlier is not None:
        earlier["args_hash"] = before.args_hash
    execution_before, execution = _execution(database, earlier), _execution(database, job)
    is_outdated = (
        execution_before is not None and execution is not None and execution_before["meaning"] != execution["meaning"]
    )
    changes = () if earlier is None else _changes(database, blobs, before, now, by_text=is_outdated)
    task_changed = earlier is not None and earlier["task_hash"] != job["task_hash"]
    if earlier is None:
        arguments_changed = False
    elif is_outdated:
        arguments_changed = bool(changes)
    elif now.args_hash is not None and before.args_hash is not None:
        arguments_changed = before.args_hash != now.args_hash
    else:
        # Without recorded arguments, and with another task hash, nothing is known of them.
        arguments_changed = not task_changed and earlier["eval_hash"] != job["eval_hash"]
    old_task = earlier["task_hash"] if earlier else None
    is_same_call = earlier is not None and not task_changed and not arguments_changed
    return Why(
        job=job,
        earlier=earlier,
        task_changed=task_changed,
        arguments_changed=arguments_changed,
        arguments_known=now.arguments is not None and (earlier is None or before.arguments is not None),
        changes=changes,
        definitions=tuple(database.definitions(job["task_hash"])) if job["task_hash"] else (),
        earlier_definitions=tuple(database.definitions(old_task)) if old_task else (),
        task=database.task(job["task_hash"]) if job["task_hash"] else None,
        earlier_task=database.task(old_task) if old_task else None,
        reduction=_reduction(database, job) if job["how"] == "cached" else None,
        forgotten_at=_forgotten_at(database, job, earlier),
        context_changes=_context_changes(database, job) if is_same_call else (),
        missed=named(database, from_text(job["missed"])),
        is_outdated=is_outdated,
        versions=_versions(execution_before, execution),
        twin=_twin(database, job) if job["how"] == "shared" else None,
        records_misses=execution is None or execution["meaning"] is not None,
        ran_below=_ran_below(database, job) if job["how"] == "cached" else (),
    )


def _execution(database: RecordDatabase, job: Record | None) -> Record | None:
    """The execution of a job; None where it is not recorded here."""
    return None if job is None else database.find_execution(job["execution_id"])


def _versions(before: Record | None, now: Record | None) -> tuple[tuple[str, str, str], ...]:
    if before is None or now is None:
        return ()
    names = (("rayflow", "rayflow_version"), ("Python", "python_version"))
    return tuple((name, before[key], now[key]) for name, key in names if before[key] != now[key])


def _ran_below(database: RecordDatabase, job: Record) -> tuple[str, ...]:
    """The tasks that ran again among the calls of a job that the cache answered."""
    rows = database.records(
        """SELECT coalesce(label, task_name) AS name, min(ordinal) AS first FROM raw.jobs
           WHERE parent_job_id = $job AND how = 'computed' GROUP BY name ORDER BY first""",
        {"job": as_bytes(job["job_id"])},
    )
    return tuple(row["name"] for row in rows)


def _twin(database: RecordDatabase, job: Record) -> Record | None:
    """The job whose outcome a shared job took; the job itself, when it ran before its execution was resumed."""
    return database.one(
        """SELECT * FROM raw.jobs WHERE execution_id = $execution AND eval_hash = $eval AND how <> 'shared'
           ORDER BY job_id = $job DESC, finished_at DESC NULLS LAST, queued_at LIMIT 1""",
        {
            "execution": job["execution_id"],
            "eval": as_bytes(job["eval_hash"]),
            "job": as_bytes(job["job_id"]),
        },
    )


def named(database: RecordDatabase, missed: tuple[Miss, ...]) -> tuple[Miss, ...]:
    """The same reasons, with names of tasks instead of hashes, and with the changes of the members of directories."""
    missed = tuple(
        miss._replace(members=with_members(database, [miss.file_change()])[0].members) if miss.kind == FILE else miss
        for miss in missed
    )
    hashes = [miss.what for miss in missed if miss.kind == BELOW]
    if not hashes:
        return missed
    rows = database.records(
        "SELECT DISTINCT task_hash, task_name FROM raw.tasks WHERE task_hash IN (SELECT unnest($hashes))",
        {"hashes": [bytes.fromhex(each) for each in hashes]},
    )
    names = {row["task_hash"]: row["task_name"] for row in rows}
    return tuple(
        dict.fromkeys(
            each._replace(what=names.get(each.what, each.what)) if each.kind == BELOW else each for each in missed
        )
    )


def _earlier(database: RecordDatabase, job: Record, inputs: JobInputs) -> Record | None:
    """The earlier job to compare with; the job itself, when it failed before its execution was resumed."""
    itself = database.one(
        """SELECT * FROM raw.jobs WHERE job_id = $job AND status = 'failed' AND attempts > 0 AND finished_at < $finished
           ORDER BY finished_at DESC LIMIT 1""",
        {"job": as_bytes(job["job_id"]), "finished": as_stored(job["finished_at"])},
    )
    if itself is not None:
        return itself
    parameters = {
        "task": job["task_name"],
        "job": as_bytes(job["job_id"]),
        "execution": job["execution_id"],
        "parent": as_bytes(job["parent_job_id"]),
        "queued": as_stored(job["queued_at"]),
        "label": job["label"],
    }
    found = None
    if inputs.args_hash is not None or job["eval_hash"] is not None:
        query = views.text_of("earlier_with_arguments")
        known = {name: value for name, value in parameters.items() if name not in ("parent", "label")}
        found = database.one(query, {**known, "args": as_bytes(inputs.args_hash), "eval": as_bytes(job["eval_hash"])})
    if found is None and job["parent_job_id"] is not None:
        found = database.one(views.text_of("earlier_at_same_place"), parameters)
    if found is None:
        found = database.one(
            views.text_of("earlier_latest"),
            {name: parameters[name] for name in ("task", "execution", "queued", "label")},
        )
    return found


_BEFORE = """(reductions."at" <= $before OR since <= $before AND execution_id IN (
               SELECT execution_id FROM raw.executions WHERE started_at <= $before))"""
"""The condition that a reduction was recorded before a moment. A reduction may have a time in the future, to be later
than one from a clock that was ahead: its `since` says when it was really computed."""


def _reduction(database: RecordDatabase, job: Record) -> Record | None:
    return database.one(
        f"""SELECT eval_hash, task_hash, kind, execution_id, wall_seconds, reductions."at" AS recorded_at
           FROM raw.reductions WHERE eval_hash = $eval AND {_BEFORE}
           ORDER BY execution_id = $execution, reductions."at" DESC LIMIT 1""",
        {
            "eval": as_bytes(job["eval_hash"]),
            "execution": job["execution_id"],
            "before": as_stored(job["finished_at"] or datetime.now(UTC)),
        },
    )


def _forgotten_at(database: RecordDatabase, job: Record, earlier: Record | None) -> Any:
    if earlier is None:
        return None
    row = database.one(
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


def _context_changes(database: RecordDatabase, job: Record) -> tuple[str, ...]:
    """The context paths that a job has read, and that had another value whenever the same call was computed before."""
    if job["how"] != "computed" or job["status"] != "done":
        return ()
    rows = database.records(
        f"""SELECT context, execution_id = $execution AS is_own FROM raw.reductions
           WHERE eval_hash = $eval AND kind <> 'single' AND {_BEFORE}
           ORDER BY reductions."at" DESC""",
        {
            "eval": as_bytes(job["eval_hash"]),
            "execution": job["execution_id"],
            "before": as_stored(job["finished_at"] or datetime.now(UTC)),
        },
    )
    read = [json.loads(row["context"], parse_int=number_of) if row["context"] else {} for row in rows]
    own = next((each for each, row in zip(read, rows, strict=True) if row["is_own"]), None)
    earlier = [each for each, row in zip(read, rows, strict=True) if not row["is_own"]]
    if own is None or not earlier or own in earlier:
        return ()
    return tuple(sorted(path for path in {**own, **earlier[0]} if own.get(path) != earlier[0].get(path)))


def _changes(
    database: RecordDatabase, blobs: Blobs, old: JobInputs, new: JobInputs, *, by_text: bool
) -> tuple[ArgumentChange, ...]:
    """The differences between two jobs' arguments. by_text: compare previews, since the hashes are not comparable."""
    if old.arguments is None or new.arguments is None:
        return ()
    before = {argument.name: argument for argument in old.arguments}
    after = {argument.name: argument for argument in new.arguments}
    found = []
    for name in dict.fromkeys((*after, *before)):
        was, now = before.get(name), after.get(name)
        files = with_members(database, _file_changes(old.files.get(name, {}), new.files.get(name, {})))
        if was is None or now is None or was.value_hash != now.value_hash:
            if by_text and was is not None and now is not None and was.preview == now.preview and not files:
                continue
            found.append(ArgumentChange(name, was, now, _is_order_alone(database, blobs, was, now), files))
    return tuple(found)


def _file_changes(old: Mapping[str, FileSeen], new: Mapping[str, FileSeen]) -> tuple[FileChange, ...]:
    """The changes of the files in an argument: first the changed files, then the new ones and those that are gone.

    Nothing when one single file replaces another: the previews of the values already say so.
    """
    if len(old) <= 1 and len(new) <= 1 and old.keys() != new.keys():
        return ()
    found = [
        FileChange(path, was.seen, new[path].seen, is_many=was.is_many)
        for path, was in old.items()
        if path in new and was.seen != new[path].seen
    ]
    found.extend(FileChange(path, None, now.seen, now.is_many, True) for path, now in new.items() if path not in old)
    found.extend(FileChange(path, was.seen, None, was.is_many, True) for path, was in old.items() if path not in new)
    return tuple(found)


def _is_order_alone(
    database: RecordDatabase, blobs: Blobs, old: RecordedArgument | None, new: RecordedArgument | None
) -> bool:
    """Whether two values differ only in the order of keys. False when they are not recorded as plain data."""
    if old is None or new is None:
        return False
    rows = database.value_rows([old.value_hash, new.value_hash]).values()
    try:
        packed = [packed_term(row, blobs.get) for row in rows if row["format"] == TERM_FORMAT]
    except (BlobMissing, BlobDamaged):
        return False
    terms = [loads(each) for each in packed if each is not None]
    return len(terms) == 2 and len({identity(_sorted(term)) for term in terms}) == 1


def _sorted(term: Term) -> Term:
    """A term with the items of its dicts sorted by their keys."""

    def rebuild(container: Container, parts: Sequence[Any]) -> Any:
        if container.kind == "dict":
            pairs = sorted(zip(parts[::2], parts[1::2], strict=True), key=lambda pair: identity(pair[0]))
            parts = [side for pair in pairs for side in pair]
        return container.build(parts)

    return map_leaves(term, lambda leaf: leaf, always=True, rebuild=rebuild)
