"""What is recorded: one frozen class for each provenance table.

In: nothing. Out: row types and the list of tables. Never: Parquet, SQL, clocks, decisions.

Every class below is a table that `rayflow sql` can ask; its fields are the columns, in order, and the text beside each
field is the column's documentation (`rayflow sql --schema` prints it). Rows only grow: a row is never changed, a later
row with the same key takes its place in the views (`KEY` names the key, `ORDER` what makes a row "later").

Hashes are bytes here and on disk, lower-case hex in every view. Times are microseconds since the Unix epoch in UTC.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple, TypeAlias

Hash: TypeAlias = Annotated[bytes, "hash"]
"""A 20-byte BLAKE3 digest (16 bytes for job ids). The mark lets the store show these columns as hex."""

Time: TypeAlias = Annotated[int, "time"]
"""Microseconds since 1970-01-01 UTC. The mark lets the store keep these columns as timestamps."""


class ExecutionRow(NamedTuple):
    """One evaluation of one root expression by a scheduler: an opening row when it starts, a closing row when it
    ends."""

    execution_id: Annotated[str, "time-ordered id (UUIDv7, hex with dashes)"]
    life: Annotated[int, "0 at first; one more each time a crashed execution is taken up again"]
    root: Annotated[bytes | None, "the packed root term, or null when it is a blob"]
    root_blob: Annotated[Hash | None, "the blob of the packed root term when it is large"]
    options: Annotated[str, "the run's options as JSON"]
    task_table: Annotated[Hash | None, "the blob of the task table that the driver sent"]
    project_dir: Annotated[str | None, "the project's directory on the driver"]
    task_name: Annotated[str | None, "full name of the root task; null for a bare expression"]
    arguments: Annotated[str | None, "the root's arguments as text, shortened"]
    status: Annotated[str, "running, done, failed or cancelled"]
    started_at: Annotated[Time, "when the scheduler took it up"]
    finished_at: Annotated[Time | None, "when it ended; null while it runs or after a crash"]
    value_hash: Annotated[Hash | None, "hash of the result"]
    error: Annotated[str | None, "type and message of the error that ended it"]
    jobs: Annotated[int | None, "how many jobs it had"]
    computed: Annotated[int | None, "how many of them ran"]
    cached: Annotated[int | None, "how many were answered from the cache"]
    shared: Annotated[int | None, "how many followed an equal job of the same execution"]
    failed: Annotated[int | None, "how many failed"]
    command: Annotated[str | None, "the command line of the driver"]
    user: Annotated[str | None, "who ran it"]
    host: Annotated[str | None, "host name of the driver"]
    project: Annotated[str | None, "the project's name"]
    git_commit: Annotated[str | None, "the project's commit, with + behind it when the tree was dirty"]
    rayflow_version: Annotated[str, "version of rayflow"]
    python_version: Annotated[str, "version of Python on the driver"]
    ray_version: Annotated[str | None, "version of Ray; null when Ray was not needed"]
    cancelled: Annotated[int | None, "how many were cancelled"] = None
    pid: Annotated[int | None, "process id of the driver"] = None
    context: Annotated[str | None, "the run's context as JSON; null when it has none"] = None
    cache: Annotated[bool | None, "false when it had to compute anew what other executions have computed"] = None
    fail_fast: Annotated[bool | None, "whether it was to stop at the first failure that nothing catches"] = None


class JobRow(NamedTuple):
    """The life of one task call in one execution: written when it closes, and once before if it stays open for long."""

    job_id: Annotated[Hash, "digest of the execution id and the call path (16 bytes)"]
    execution_id: Annotated[str, "the execution it belongs to"]
    parent_job_id: Annotated[Hash | None, "the job whose task made this call; null for the root"]
    task_name: Annotated[str, "full name of the task"]
    task_hash: Annotated[Hash | None, "hash of the task's code"]
    eval_hash: Annotated[Hash | None, "hash of task and arguments: the cache key; null when an argument failed"]
    call_hash: Annotated[Hash | None, "the call node it left; null unless done"]
    how: Annotated[str | None, "computed, cached or shared; null when it never came so far"]
    status: Annotated[str, "open, done, failed or cancelled"]
    attempts: Annotated[int, "how often it was sent to a worker"]
    queued_at: Annotated[Time, "when the call was met"]
    started_at: Annotated[Time | None, "when the last attempt started on its worker"]
    finished_at: Annotated[Time | None, "when the job closed, all its children included"]
    wall_seconds: Annotated[float | None, "wall time of the task's body in the last attempt"]
    cpu_seconds: Annotated[float | None, "processor time of the task's body in the last attempt"]
    peak_memory_bytes: Annotated[int | None, "highest resident memory of the worker, from its start on"]
    node: Annotated[str | None, "host of the worker"]
    pid: Annotated[int | None, "process id of the worker"]
    error: Annotated[str | None, "type and message of the error, when failed"]
    traceback: Annotated[str | None, "the user's frames, when this job's own task raised"]
    story: Annotated[str | None, "the states it went through, when it failed; null otherwise"]
    call: Annotated[str | None, "the call as text, shortened, while it is open or if it failed; null when done"] = None
    ordinal: Annotated[int | None, "the how-manieth call of its execution it was, from 1, as the calls were met"] = None
    packed_arguments: Annotated[bytes | None, "arguments of a job that failed, and so left no call, if small"] = None


class CallRow(NamedTuple):
    """A call node: what was called with what and gave what, whoever did it whenever. Content-addressed."""

    call_hash: Annotated[Hash, "Merkle hash over task, arguments, result and child calls"]
    task_hash: Annotated[Hash, "hash of the task's code"]
    task_name: Annotated[str, "full name of the task"]
    args_hash: Annotated[Hash, "hash of the bound arguments"]
    eval_hash: Annotated[Hash, "hash of task and arguments"]
    value_hash: Annotated[Hash, "hash of the result"]
    task_set: Annotated[Hash, "the set of tasks below this call, itself included: see task_sets"]


class CallChildRow(NamedTuple):
    """The calls that a call made, sorted by their hashes (jobs tell in which order they were met)."""

    call_hash: Annotated[Hash, "the parent call"]
    position: Annotated[int, "from 0"]
    child_call_hash: Annotated[Hash, "the child call"]


class TaskSetRow(NamedTuple):
    """Sets of tasks: which tasks (with which code) lie below a call. Content-addressed and shared by many calls."""

    task_set: Annotated[Hash, "digest of the sorted task hashes"]
    task_hash: Annotated[Hash, "a member"]


class ArgumentRow(NamedTuple):
    """The arguments of a call; one row for each call that a part of an argument came from."""

    call_hash: Annotated[Hash, "the call"]
    name: Annotated[str, "the parameter's name"]
    value_hash: Annotated[Hash, "hash of the argument's value"]
    source_call_hash: Annotated[Hash | None, "a call that produced it or a part of it; null for a plain value"]


class ReductionRow(NamedTuple):
    """What a call was reduced to: the cache."""

    eval_hash: Annotated[Hash, "hash of task and arguments"]
    task_hash: Annotated[Hash, "hash of the task's code"]
    kind: Annotated[str, "single: the body's term; full: the final value; awaited: that, while the files below hold"]
    term: Annotated[bytes | None, "the packed term (pack format of rayflow.lang), or null when it is a blob"]
    term_blob: Annotated[Hash | None, "the blob of the packed term when it is over 64 KiB"]
    task_set: Annotated[bytes | None, "unless single: the task hashes that must all be current, sorted, 20 bytes each"]
    call_hash: Annotated[Hash | None, "unless single: the call node"]
    execution_id: Annotated[str, "the execution that computed it"]
    wall_seconds: Annotated[float | None, "how long the body took"]
    at: Annotated[Time, "when it was computed"]
    context: Annotated[str | None, "for full: the context paths read below it, and hashes of what was there"] = None
    since: Annotated[Time | None, "unless single: when the oldest of what it was made from was computed"] = None


class ForgottenRow(NamedTuple):
    """Reductions that count no more: those of this key that are not younger than `at`."""

    key: Annotated[Hash, "an eval_hash or a task_hash"]
    task_name: Annotated[str | None, "a task's full name: all its reductions are forgotten"]
    at: Annotated[Time, "when it was forgotten"]


class HandleRow(NamedTuple):
    """A state of a handle, as a call has made it (again). It counts while it is the newest of its parent's."""

    handle: Annotated[Hash, "which handle: its class and arguments"]
    state: Annotated[Hash, "the state"]
    parent: Annotated[Hash, "the state, or fork of one, that the call was given"]
    after: Annotated[Hash | None, "the last state made before it; null when the handle was new"]
    preview: Annotated[str, "the handle, shortened"]
    task_name: Annotated[str, "full name of the task that has made it"]
    at: Annotated[Time, "when it was made"]


class ValueRow(NamedTuple):
    """A value that was an argument or a result."""

    value_hash: Annotated[Hash, "hash of its content"]
    type: Annotated[str, "its type, such as int or numpy.ndarray"]
    format: Annotated[str, "how its bytes are encoded"]
    size_bytes: Annotated[int, "size of the encoded bytes"]
    inline: Annotated[bytes | None, "the encoded bytes when they are few; null when they are a blob"]
    preview: Annotated[str, "a shortened repr, made when it was written: nothing is decoded to show it"]


class ValuePartRow(NamedTuple):
    """Files, handles and large values inside a value (not every element), so that they keep their lineage."""

    value_hash: Annotated[Hash, "the containing value"]
    position: Annotated[int, "from 0"]
    part_hash: Annotated[Hash, "the value inside"]


class FileRow(NamedTuple):
    """A file as it was when it was an argument or a result."""

    value_hash: Annotated[Hash, "hash of the File value"]
    path: Annotated[str, "where it is"]
    size_bytes: Annotated[int | None, "its size; null when it did not exist, and for directories"]
    modified_at: Annotated[Time | None, "its modification time, where the filesystem has one"]
    version: Annotated[str | None, "etag, generation or content digest, where known"]


class TaskRow(NamedTuple):
    """A task as it was defined: one row for each version of its code."""

    task_hash: Annotated[Hash, "hash of the task's code"]
    task_name: Annotated[str, "full name"]
    source: Annotated[str | None, "source text of the task's own function"]
    place: Annotated[str | None, "file and line"]
    doc: Annotated[str | None, "first line of its docstring"]
    version: Annotated[str | None, "the version given by the user instead of the code"]
    unresolved: Annotated[str | None, "names that could not be followed, one a line"]
    at: Annotated[Time, "when this version was first met by an execution of this store"]


class DefinitionRow(NamedTuple):
    """The helper functions, classes and constants that a task's code identity reached."""

    task_hash: Annotated[Hash, "the task"]
    name: Annotated[str, "full name of the definition"]
    kind: Annotated[str, "task, function, class or constant"]
    definition_hash: Annotated[Hash, "hash of this definition alone"]
    reached_from: Annotated[str | None, "the definition that names it: the path by which the task reaches it"]
    place: Annotated[str | None, "file and line"]
    source: Annotated[str | None, "source text, or a constant's repr"]


class TagRow(NamedTuple):
    """A tag on an execution, job, call, value or task."""

    entity: Annotated[str, "execution, job, call, value or task"]
    entity_id: Annotated[str, "its id as text"]
    key: Annotated[str, "the tag's name"]
    value: Annotated[str, "the tag's value as JSON"]
    at: Annotated[Time, "when it was set or removed"]
    removed: Annotated[bool, "true for a removal"]


class LogRow(NamedTuple):
    """What a task printed."""

    job_id: Annotated[Hash, "the job"]
    attempt: Annotated[int, "which attempt, from 1"]
    stream: Annotated[str, "stdout or stderr"]
    text: Annotated[str | None, "the text, or null when it is a blob"]
    blob: Annotated[Hash | None, "the blob of the text when it is long"]


class AttemptRow(NamedTuple):
    """One sending of a job to a worker that did not end well. (The last good one is the job's own row.)"""

    job_id: Annotated[Hash, "the job"]
    attempt: Annotated[int, "from 1"]
    ended: Annotated[str, "raised, lost, timeout or cancelled"]
    error: Annotated[str | None, "type and message"]
    node: Annotated[str | None, "host of the worker, where known"]
    pid: Annotated[int | None, "process id of the worker, where known"]
    at: Annotated[Time, "when it ended"]


Row: TypeAlias = (
    ExecutionRow
    | JobRow
    | CallRow
    | CallChildRow
    | TaskSetRow
    | ArgumentRow
    | ReductionRow
    | ForgottenRow
    | HandleRow
    | ValueRow
    | ValuePartRow
    | FileRow
    | TaskRow
    | DefinitionRow
    | TagRow
    | LogRow
    | AttemptRow
)


class Table(NamedTuple):
    """A table: its name in SQL, its row class, its key, and the columns that say which of two rows counts."""

    name: str
    row: type
    key: tuple[str, ...]
    order: tuple[str, ...] = ()
    """Empty for a content-addressed table: rows of one key are all equal, any one counts."""


TABLES: tuple[Table, ...] = (
    Table("executions", ExecutionRow, ("execution_id",), ("life", "finished_at")),
    Table("jobs", JobRow, ("job_id",), ("finished_at",)),
    Table("calls", CallRow, ("call_hash",)),
    Table("call_children", CallChildRow, ("call_hash", "position")),
    Table("task_sets", TaskSetRow, ("task_set", "task_hash")),
    Table("arguments", ArgumentRow, ("call_hash", "name", "source_call_hash")),
    Table("reductions", ReductionRow, ("eval_hash", "kind", "execution_id", "at")),
    Table("forgotten", ForgottenRow, ("key", "task_name", "at")),
    Table("handles", HandleRow, ("state",), ("at",)),
    Table("values", ValueRow, ("value_hash",)),
    Table("value_parts", ValuePartRow, ("value_hash", "position")),
    Table("files", FileRow, ("value_hash",)),
    Table("tasks", TaskRow, ("task_hash",)),
    Table("definitions", DefinitionRow, ("task_hash", "name")),
    Table("tags", TagRow, ("entity", "entity_id", "key", "value", "at", "removed")),
    Table("logs", LogRow, ("job_id", "attempt", "stream")),
    Table("attempts", AttemptRow, ("job_id", "attempt", "ended", "at")),
)
"""Every table, in the order in which a commit writes them: what is named comes before what names it."""
