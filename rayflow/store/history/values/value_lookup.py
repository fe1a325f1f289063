"""The recorded results and arguments of executions, jobs and calls.

In: entities, and the name of a task. Out: values, arguments by name, a table of a task's calls. Never: evaluates, or
reads a value before it is asked for.
"""

from __future__ import annotations

from typing import Any

from rayflow.errors import BadModule, NotFound
from rayflow.store.blobs import Blobs
from rayflow.store.history.answer_types import Entity, Record, ended, shown_name
from rayflow.store.history.database import RecordDatabase, as_bytes
from rayflow.store.history.task_names import nearest, short_name
from rayflow.store.history.values import stored_value
from rayflow.store.history.values.stored_value import Stored

_OF_JOB = (
    "status", "how", "error", "queued_at", "started_at", "finished_at", "wall_seconds", "cpu_seconds",
    "peak_memory_bytes", "attempts", "node", "job_id", "call_hash", "execution_id",
)  # fmt: skip
"""Columns of a job in a table of calls, behind its arguments and its result."""


def value(database: RecordDatabase, blobs: Blobs, entity: Entity) -> Stored:
    """The result of an execution, a job or a call; the value or file with this hash. Raises NotFound."""
    if entity.kind == "task":
        raise NotFound(f"{entity.id} is a task, which has no value: name a job or a call of it.")
    what, value_hash = _meant(database, entity)
    found = _stored(database, blobs, {value_hash: what}).get(value_hash)
    if found is None:
        raise NotFound(f"{what} is not recorded: the store has no value {value_hash}.")
    return found


def _meant(database: RecordDatabase, entity: Entity) -> tuple[str, str]:
    """The words for an entity's value in an error, and the value's hash."""
    key = {"id": entity.id if entity.kind in ("execution", "file") else as_bytes(entity.id)}
    if entity.kind == "value":
        return f"the value {entity.id[:12]}", entity.id
    if entity.kind == "file":
        row = database.one(
            "SELECT value_hash FROM raw.files WHERE path = $id ORDER BY modified_at DESC NULLS LAST LIMIT 1", key
        )
        assert row is not None
        return f"the file {entity.id}", str(row["value_hash"])
    if entity.kind == "call":
        row = database.one("SELECT task_name, value_hash FROM raw.calls WHERE call_hash = $id LIMIT 1", key)
        assert row is not None
        return f"the result of {row['task_name']}", str(row["value_hash"])
    if entity.kind == "job":
        job = database.job_row(entity.id)
        result = database.results([job["call_hash"]] if job["call_hash"] else []).get(job["call_hash"])
        if result is None:
            raise NotFound(f"Job {entity.id[:12]} of {shown_name(job)} has no result: {ended(job)}.")
        return f"the result of {shown_name(job)}", str(result["value_hash"])
    row = database.find_execution(entity.id)
    assert row is not None
    if row["value_hash"] is None:
        raise NotFound(f"Execution {entity.id} has no result: {ended(row)}.")
    return f"the result of {row['arguments'] or 'execution ' + entity.id}", str(row["value_hash"])


def arguments(database: RecordDatabase, blobs: Blobs, entity: Entity) -> dict[str, Stored]:
    """The arguments of a job, a call, or the root of an execution, in the order of the parameters. Raises NotFound."""
    if entity.kind == "call":
        return _of_calls(database, blobs, [entity.id]).get(entity.id, {})
    if entity.kind not in ("job", "execution"):
        raise NotFound(f"{entity.id} is a {entity.kind}, which has no arguments: name a job, a call or an execution.")
    job = database.root_job(entity.id) if entity.kind == "execution" else database.job_row(entity.id)
    if job["call_hash"] is not None:
        return _of_calls(database, blobs, [job["call_hash"]]).get(job["call_hash"], {})
    if job["packed_arguments"] is None:
        raise NotFound(
            f"The arguments of job {job['job_id'][:12]} of {shown_name(job)} are not recorded: {ended(job)}. They "
            "are when it is done, and small ones when its body fails."
        )
    return stored_value.of_packed(job["packed_arguments"], shown_name(job), blobs)


def calls(
    database: RecordDatabase, blobs: Blobs, task: str, jobs: list[Record], large_bytes: int
) -> dict[str, list[Any]]:
    """These jobs of a task as columns: the arguments by name, the result, and how, when and where each ran.

    An argument with the name of another column gets an underscore behind its name.
    """
    if not jobs:
        _check_task(database, task)
    known = [job["call_hash"] for job in jobs if job["call_hash"] is not None]
    given = _of_calls(database, blobs, known)
    results = _results(database, blobs, known)
    read: dict[str, Any] = {}

    def shown(found: Stored | None) -> Any:
        if found is None:
            return None
        if found.value_hash not in read:
            read[found.value_hash] = stored_value.shown(found, large_bytes)
        return read[found.value_hash]

    taken: list[dict[str, Stored]] = []
    for job in jobs:
        if job["call_hash"] is not None:
            taken.append(given.get(job["call_hash"], {}))
        elif job["packed_arguments"] is not None:
            taken.append(stored_value.of_packed(job["packed_arguments"], shown_name(job), blobs))
        else:
            taken.append({})
    names = dict.fromkeys(name for each in taken for name in each)
    columns = {
        f"{name}_" if name in (*_OF_JOB, "result") else name: [shown(each.get(name)) for each in taken]
        for name in names
    }
    columns["result"] = [shown(results.get(job["call_hash"])) for job in jobs]
    return columns | {name: [job[name] for job in jobs] for name in _OF_JOB}


def as_frame(columns: dict[str, list[Any]]) -> Any:
    """Columns as a pandas DataFrame. Raises BadModule where there is no pandas."""
    try:
        from rayflow.values.types.pandas_frames import frame_of
    except ImportError as error:
        raise BadModule(
            "A table of calls is a pandas DataFrame, and pandas is not installed here: pip install pandas"
        ) from error
    return frame_of(columns)


def _check_task(database: RecordDatabase, task: str) -> None:
    """Raise NotFound, with the nearest names, for a task of which nothing is recorded."""
    tasks, labels = database.names()
    names = [*tasks, *labels]
    if task in names or any(name.endswith(f".{task}") for name in names):
        return
    known = [*names, *map(short_name, names)]
    near = nearest(task, known)
    raise NotFound(f"The store knows no task called {task}.{f' Did you mean {near}?' if near else ''}")


def _of_calls(database: RecordDatabase, blobs: Blobs, calls: list[str]) -> dict[str, dict[str, Stored]]:
    given = database.arguments_of(calls, with_sources=False)
    names = {each.value_hash: f"the argument {each.name}" for of_call in given.values() for each in of_call}
    values = _stored(database, blobs, names)
    return {
        call: {each.name: values.get(each.value_hash, _gone(each.value_hash, each.name)) for each in of_call}
        for call, of_call in given.items()
    }


def _results(database: RecordDatabase, blobs: Blobs, calls: list[str]) -> dict[str, Stored]:
    found = database.results(calls)
    values = _stored(database, blobs, {row["value_hash"]: "the result" for row in found.values()})
    return {call: values[row["value_hash"]] for call, row in found.items() if row["value_hash"] in values}


def _gone(value_hash: str, name: str) -> Stored:
    """A value whose row is not in the store: its get() says so."""
    return Stored(value_hash, "?", 0, "?", f"the argument {name}")


def _stored(database: RecordDatabase, blobs: Blobs, wanted: dict[str, str]) -> dict[str, Stored]:
    """Values by their hashes. wanted: the words for each in an error."""
    rows = database.value_rows(wanted)
    return {value_hash: stored_value.of_row(row, wanted[value_hash], blobs) for value_hash, row in rows.items()}
