"""The tables of the records: one class for each, whose instances are the rows.

In: nothing. Out: row classes and the list of tables. Never: Parquet, SQL, clocks, decisions.

Each class below is a table that `rayflow sql` can ask. Its fields are the columns, in order; the text beside a field
documents the column (`rayflow sql --schema` prints it). A row is never changed. A later row with the same key takes its
place in the views: `Table.key` names the key, and `Table.order` the columns that make a row "later".

Hashes are bytes here and on disk, lower-case hex in every view. Times are microseconds since the Unix epoch in UTC.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple, TypeAlias

Hash: TypeAlias = Annotated[bytes, "hash"]
"""A 20-byte BLAKE3 digest (16 bytes for job ids). The word "hash" lets the store show these columns as hex."""

Time: TypeAlias = Annotated[int, "time"]
"""Microseconds since 1970-01-01 UTC. The word "time" lets the store keep these columns as timestamps."""

TERM_FORMAT = "term"
"""Format tag of a value that is kept as a packed symbolic term."""

SINGLE = "single"
"""The reduction of a body: the term that it returned, which may hold further calls."""

SHALLOW_VALUE = "full"
"""The reduction of a call to its final value, for calls that check nothing below: valid whatever became of the files
there."""

CHECKED_VALUE = "awaited"
"""The reduction of a call to its final value, with all that was relied on below it: valid while that is. (It was first
made for bodies that await, hence the word in the store.)"""


class ExecutionRow(NamedTuple):
    """One evaluation of one root expression by a scheduler: an opening row when it starts, a closing row when it
    ends."""

    execution_id: Annotated[str, "time-ordered id (UUIDv7, hex with dashes)"]
    life: Annotated[int, "0 at first; one more each time a crashed execution is taken up again"]
    root: Annotated[bytes | None, "the packed root term, or null when it is a blob"]
    root_blob: Annotated[Hash | None, "the blob of the packed root term when it is large"]
    options: Annotated[str, "the run's options as JSON; of variables the names"]
    task_table: Annotated[Hash | None, "the blob of the task table that the driver sent"]
    project_dir: Annotated[str | None, "the project's directory on the driver"]
    task_name: Annotated[str | None, "full name of the root task; null for a bare expression"]
    arguments: Annotated[str | None, "the root's arguments as text, shortened"]
    status: Annotated[str, "running, done, failed or cancelled"]
    started_at: Annotated[Time, "when the scheduler started it"]
    finished_at: Annotated[Time | None, "when it ended; null while it runs or after a crash"]
    value_hash: Annotated[Hash | None, "hash of the result"]
    error: Annotated[str | None, "type and message of the error that ended it"]
    jobs: Annotated[int | None, "how many jobs it had"]
    computed: Annotated[int | None, "how many of them ran"]
    cached: Annotated[int | None, "how many were answered from the cache"]
    shared: Annotated[int | None, "how many followed an equal job of the same execution"]
    failed: Annotated[int | None, "how many failed; in old records also those that never ran"]
    command: Annotated[str | None, "the command line of the driver"]
    user: Annotated[str | None, "who ran it"]
    host: Annotated[str | None, "host name of the driver"]
    project: Annotated[str | None, "the project's name"]
    git_commit: Annotated[str | None, "the project's commit; a + behind it means that the tree had changes"]
    rayflow_version: Annotated[str, "version of rayflow"]
    python_version: Annotated[str, "version of Python on the driver"]
    ray_version: Annotated[str | None, "version of Ray; null when Ray was not needed"]
    cancelled: Annotated[int | None, "how many were cancelled"] = None
    pid: Annotated[int | None, "process id of the driver"] = None
    context: Annotated[str | None, "the run's context as JSON; null when it has none"] = None
    cache: Annotated[bool | None, "false when it was not to use what other executions have computed"] = None
    fail_fast: Annotated[bool | None, "whether it was to stop at the first failure that nothing catches"] = None
    recorded_jobs: Annotated[int | None, "how many rows of jobs it has at least; null while it runs"] = None
    meaning: Annotated[str | None, "the version of the identity of values; others do not answer for it"] = None
    not_run: Annotated[int | None, "how many never ran, because an argument of theirs had failed"] = None
    retries: Annotated[int | None, "how many attempts followed one that failed or lost its worker"] = None
    startup_seconds: Annotated[float | None, "seconds before started_at: imports, Ray, the scheduler"] = None


class JobRow(NamedTuple):
    """The life of one task call in one execution: written when it closes, and once before if it stays open for long."""

    job_id: Annotated[Hash, "digest of the execution id and the call path (16 bytes)"]
    execution_id: Annotated[str, "the execution it belongs to"]
    parent_job_id: Annotated[Hash | None, "the job whose task made this call; null for the root"]
    task_name: Annotated[str, "full name of the task"]
    task_hash: Annotated[Hash | None, "hash of the task's code"]
    eval_hash: Annotated[Hash | None, "hash of task and arguments: the cache key; null when an argument failed"]
    call_hash: Annotated[Hash | None, "the call node it left; null unless done"]
    how: Annotated[str | None, "computed, cached or shared; null when it ended before that"]
    status: Annotated[str, "open, done, failed, not_run (an argument had failed, so it never ran) or cancelled"]
    attempts: Annotated[int, "how often it was sent to a worker; the table attempts has those that failed"]
    queued_at: Annotated[Time, "when the evaluator met the call"]
    started_at: Annotated[Time | None, "when the last attempt started on its worker"]
    finished_at: Annotated[Time | None, "when the job and all its children had ended"]
    wall_seconds: Annotated[float | None, "wall time of the task's body in the last attempt"]
    cpu_seconds: Annotated[float | None, "processor time of the last attempt, processes that the body started included"]
    peak_memory_bytes: Annotated[int | None, "most memory of one process in the last attempt: the worker or its child"]
    node: Annotated[str | None, "host of the worker"]
    pid: Annotated[int | None, "process id of the worker"]
    error: Annotated[str | None, "type and message of the error, when failed; of the argument's, when not_run"]
    traceback: Annotated[str | None, "the user's frames, when this job's own task raised"]
    story: Annotated[str | None, "the states it went through, when it failed; null otherwise"]
    call: Annotated[str | None, "the call as text, shortened, while it is open or if it failed; null when done"] = None
    ordinal: Annotated[int | None, "its place among the calls of its execution, from 1, as they were met"] = None
    packed_arguments: Annotated[bytes | None, "arguments of a job that failed, if small; a done job has a call"] = None
    args_hash: Annotated[Hash | None, "hash of the arguments of a job that failed; a done job has a call"] = None
    missed: Annotated[str | None, "why the recorded result that existed did not answer it, as JSON"] = None
    label: Annotated[str | None, "the name it is shown under, where that is not its task's"] = None
    ready_at: Annotated[Time | None, "when its arguments were values; null where one has failed"] = None
    sent_at: Annotated[Time | None, "when the last attempt was sent to a worker; null where none was"] = None
    waited_on: Annotated[
        str | None, "what held it between the two: 'limit db', 'retry' (a delay before it), 'await' (for expressions)"
    ] = None
    stage_in_seconds: Annotated[
        float | None, "part of wall_seconds: packed arguments and staged files were read; null under 0.1 ms"
    ] = None
    stage_out_seconds: Annotated[
        float | None, "part of wall_seconds: the result and files were encoded, hashed and stored; null under 0.1 ms"
    ] = None
    requested: Annotated[str | None, "the resources that it asked of a node, as JSON; null for the default"] = None
    environment: Annotated[Hash | None, "what the last attempt ran in: see environments; null where none ran"] = None


class EnvironmentRow(NamedTuple):
    """What calls ran in: all worker processes with the same Python, platform, image, accelerators and distributions.
    Content-addressed."""

    environment: Annotated[Hash, "digest of all that follows"]
    python: Annotated[str, "version of Python; the implementation before it unless it is CPython"]
    platform: Annotated[str, "system, processor and C library, such as linux-x86_64 glibc 2.36"]
    image: Annotated[str | None, "the container image, where known: of the runtime environment, or $RAYFLOW_IMAGE"]
    accelerator: Annotated[str | None, "accelerators of the machine, such as 2 x NVIDIA L4"]
    distributions: Annotated[str, "installed distributions as JSON: versions by name, what conda installed included"]


class CallRow(NamedTuple):
    """A call node: a task, its arguments and its result, whichever job made the call. Content-addressed, except for the
    last columns: those are there if the node may answer calls that check nothing below."""

    call_hash: Annotated[Hash, "Merkle hash over task, arguments, result and child calls"]
    task_hash: Annotated[Hash, "hash of the task's code"]
    task_name: Annotated[str, "full name of the task"]
    args_hash: Annotated[Hash, "hash of the bound arguments"]
    eval_hash: Annotated[Hash, "hash of task and arguments"]
    value_hash: Annotated[Hash, "hash of the result"]
    task_set: Annotated[Hash, "the set of tasks below this call, itself included: see task_sets"]
    term: Annotated[bytes | None, "the packed result, if it depends on nothing below but tasks and files"] = None
    term_blob: Annotated[Hash | None, "the blob of the packed result when it is large"] = None
    at: Annotated[Time | None, "when it was computed; null unless the result is in term or term_blob"] = None
    since: Annotated[Time | None, "when the oldest record that it was made from was computed, if earlier"] = None


class CallChildRow(NamedTuple):
    """The calls that a call made, sorted by their hashes. (The order in which they were met is in jobs.)"""

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
    kind: Annotated[str, "single: the body's term; full: the final value; awaited: that, if the files below are valid"]
    term: Annotated[bytes | None, "the packed term (pack format of rayflow.lang), or null when it is a blob"]
    term_blob: Annotated[Hash | None, "the blob of the packed term when it is over 64 KiB"]
    task_set: Annotated[bytes | None, "unless single: hashes of the tasks that must be unchanged, 20 bytes each"]
    call_hash: Annotated[Hash | None, "unless single: the call node"]
    execution_id: Annotated[str, "the execution that computed it"]
    wall_seconds: Annotated[float | None, "how long the body took"]
    at: Annotated[Time, "when it was computed"]
    context: Annotated[str | None, "unless single: the context paths read below it, with hashes of the values"] = None
    since: Annotated[Time | None, "when the oldest record that it was made from was computed, if earlier"] = None


class ForgottenRow(NamedTuple):
    """Reductions that are no longer valid: those of this key that are not younger than `at`. One that is computed
    afterwards is recorded as younger, whatever its clock says."""

    key: Annotated[Hash, "an eval_hash or a task_hash"]
    task_name: Annotated[str | None, "a task's full name: all its reductions are forgotten"]
    at: Annotated[Time, "when it was forgotten"]


class HandleRow(NamedTuple):
    """A state of a handle that a call has made, perhaps again. It is valid while it is the newest of its parent's."""

    handle: Annotated[Hash, "which handle: its class and arguments"]
    state: Annotated[Hash, "the state"]
    parent: Annotated[Hash, "the state, or fork of one, that the call was given"]
    after: Annotated[Hash | None, "the state that was made last before it; null when the handle was new"]
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
    preview: Annotated[str, "a shortened repr, made when the value was recorded"]
    blob: Annotated[Hash | None, "the blob of a large value of the format term; others are kept by value_hash"] = None


class ValuePartRow(NamedTuple):
    """Files, handles and large values inside a value (not every element); their lineage is asked through these rows."""

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
    known_by: Annotated[
        str | None, "what its state is: stat, content, exists; tree or glob, content tree or glob, tree or glob names"
    ] = None
    members: Annotated[int | None, "of a directory or pattern: how many files it had; null for a file"] = None


class ListingRow(NamedTuple):
    """The files in a directory, or those that match a pattern, in one state. Not recorded for very many files."""

    listing: Annotated[Hash, "the version of the directory or pattern in files"]
    members: Annotated[bytes, "names, sizes and versions, as compressed JSON"]


class TaskRow(NamedTuple):
    """A task as it was defined: one row for each version of its code."""

    task_hash: Annotated[Hash, "hash of the task's code"]
    task_name: Annotated[str, "full name"]
    source: Annotated[str | None, "source text of the task's own function"]
    place: Annotated[str | None, "file and line"]
    doc: Annotated[str | None, "first line of its docstring"]
    version: Annotated[str | None, "the version given by the user instead of the code"]
    unresolved: Annotated[str | None, "what its code uses and rayflow cannot follow, one a line"]
    at: Annotated[Time, "when this version was first met by an execution of this store"]


class DefinitionRow(NamedTuple):
    """The helper functions, classes and constants that a task's code uses, and so are part of its hash."""

    task_hash: Annotated[Hash, "the task"]
    name: Annotated[str, "full name of the definition"]
    kind: Annotated[str, "task, function, class, constant or distribution"]
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
    """An attempt of a job that did not end well. (The one that did is in the job's own row.)"""

    job_id: Annotated[Hash, "the job"]
    attempt: Annotated[int, "from 1"]
    ended: Annotated[str, "raised, lost, timeout or cancelled"]
    error: Annotated[str | None, "type and message"]
    node: Annotated[str | None, "host of the worker, where known"]
    pid: Annotated[int | None, "process id of the worker, where known"]
    at: Annotated[Time, "when it ended"]
    started_at: Annotated[Time | None, "when it started on its worker, where known"] = None
    environment: Annotated[Hash | None, "what it ran in, where known: see environments"] = None


class RunRow(NamedTuple):
    """One transition of a run, which is the promise that one expression will be brought to its end. The first row of a
    run has all columns that describe it; a later row leaves out what has not changed."""

    run_id: Annotated[str, "the run; also the id of its execution"]
    number: Annotated[int, "the number of the transition: later ones of the same store have greater numbers"]
    at: Annotated[Time, "when it happened, by the keeper's time"]
    state: Annotated[str, "scheduled, queued, running, waiting, ending, done, failed or cancelled"]
    cause: Annotated[str, "what made the transition, such as start, wake, cancel or end"]
    id: Annotated[str | None, "the id that its starter gave it, or that follows from what started it"] = None
    flow: Annotated[str | None, "full name of the root task; null for a bare expression"] = None
    root: Annotated[bytes | None, "the packed root term; in the first row"] = None
    input_hash: Annotated[Hash | None, "hash of the root term: one id has one input"] = None
    arguments: Annotated[str | None, "the root's arguments as text, shortened"] = None
    parent_run_id: Annotated[str | None, "the run that started it by child or spawn"] = None
    parent_place: Annotated[Hash | None, "the place in that run"] = None
    link: Annotated[str | None, "what started it: child, spawn, event, hook or schedule; null for none of these"] = None
    tie: Annotated[bool | None, "whether it is cancelled with what started it"] = None
    root_run_id: Annotated[str | None, "the run at the top of its tree; its own id for a root run"] = None
    event_id: Annotated[str | None, "the event that started it"] = None
    seen_from: Annotated[int | None, "the acceptance number of events from which on its waits see them"] = None
    due_at: Annotated[Time | None, "when it is to start, for a run that is started later"] = None
    queue: Annotated[str | None, "the queue that admits it"] = None
    priority: Annotated[int | None, "its priority in the queue; greater ones go first"] = None
    tags: Annotated[str | None, "its tags as JSON"] = None
    timeout_at: Annotated[Time | None, "when it fails because it has taken too long"] = None
    life: Annotated[int | None, "how often it was taken up again"] = None
    generation: Annotated[int | None, "how often it was retried after it had failed"] = None
    outcome: Annotated[bytes | None, "the packed outcome, when it has ended"] = None
    error: Annotated[str | None, "type and message of the error that ended it"] = None
    reason: Annotated[str | None, "why: what was given with a cancel or retry; tasks whose code is missing"] = None
    chain_run_id: Annotated[str | None, "the first run of its chain by continue_as; its own id for that one"] = None
    next_run_id: Annotated[str | None, "the run that goes on in its place: by continue_as, or by a debounce"] = None
    schedule: Annotated[str | None, "the schedule that started it"] = None
    moment: Annotated[Time | None, "the moment of that schedule"] = None
    forked_run_id: Annotated[str | None, "the run that it is a fork of: it began with what that one had done"] = None
    demands: Annotated[str | None, "what its flow asks of admission, with the keys of its arguments, as JSON"] = None
    turn: Annotated[int | None, "its round in the queue: each fairness key has one run in a round"] = None


class PlaceRow(NamedTuple):
    """Something that has happened at one place of an execution and holds for all its lives: an effect's attempt has
    started, a call has an outcome, a body has returned its term, a form has decided or has evaluated its clean-up."""

    execution_id: Annotated[str, "the execution, or run"]
    place: Annotated[Hash, "digest of the caller's place, the task's name, the arguments and the number among equals"]
    kind: Annotated[str, "started, tried, outcome, term, decision, cleaned, awaited, late or cleared"]
    number: Annotated[int, "among the rows of the place: attempts of an effect, outcomes that a body awaited"]
    at: Annotated[Time, "when it happened"]
    name: Annotated[str, "full name of the task, or the name of the form"]
    parent: Annotated[Hash | None, "the place of the caller; null for the root"] = None
    job_id: Annotated[Hash | None, "the job, or the path of the form, in the caller's term; equal in every life"] = None
    path: Annotated[Hash | None, "of a term: the path from which the ids of the jobs in it are made"] = None
    task_hash: Annotated[Hash | None, "of a term: hash of the code that returned it"] = None
    is_effect: Annotated[bool | None, "whether it is an effect"] = None
    generation: Annotated[int | None, "how often its failure was cleared by a retry of the run"] = None
    life: Annotated[int | None, "the life of the execution in which it happened"] = None
    key: Annotated[Hash | None, "of an outcome that a body awaited: the key of the expression"] = None
    arguments: Annotated[str | None, "the arguments of an effect as text, shortened"] = None
    outcome: Annotated[bytes | None, "the packed outcome or term"] = None
    outcome_blob: Annotated[Hash | None, "the blob of the packed outcome or term when it is large"] = None
    value_hash: Annotated[Hash | None, "hash of the value; null for a failure or a term"] = None
    call_hash: Annotated[Hash | None, "the call node of a call that has a value"] = None
    error: Annotated[str | None, "type and message of a failure"] = None


class WaitRow(NamedTuple):
    """One transition of a wait, which is opened at a place of a run and resolved once, from outside."""

    run_id: Annotated[str, "the run"]
    place: Annotated[Hash, "the place in the run"]
    number: Annotated[int, "the number of the transition"]
    at: Annotated[Time, "when it happened"]
    state: Annotated[str, "open, resolved or closed (nothing waits for it any more)"]
    kind: Annotated[str, "sleep, event, ask, child, join, ..."]
    cause: Annotated[str | None, "what resolved or closed it: a timer, an event, an answer, a run, a cancel"] = None
    deadline_at: Annotated[Time | None, "when it resolves by itself"] = None
    name: Annotated[str | None, "the name of the event; the prompt of an ask"] = None
    key: Annotated[str | None, "the key of the event"] = None
    given: Annotated[bytes | None, "what the wait was opened with, as a packed term"] = None
    target_run_id: Annotated[str | None, "the run that it waits for"] = None
    event_id: Annotated[str | None, "the event that resolved it"] = None
    outcome: Annotated[bytes | None, "the packed outcome, when it is resolved"] = None
    error: Annotated[str | None, "type and message, when the outcome is a failure"] = None
    late_outcome: Annotated[bytes | None, "the packed outcome at the deadline; null for none"] = None
    condition: Annotated[bytes | None, "the packed condition on the event"] = None
    seen_from: Annotated[int | None, "the number of events from which on the wait sees them"] = None
    is_exclusive: Annotated[bool | None, "whether no other exclusive wait gets its event"] = None
    is_cleanup: Annotated[bool | None, "whether a clean-up of the run needs it, so that a cancel leaves it open"] = None


class EventRow(NamedTuple):
    """An event: something that happened outside and was accepted once."""

    event_id: Annotated[str, "its id"]
    number: Annotated[int, "its acceptance number: the order in which events were accepted"]
    at: Annotated[Time, "when it was accepted"]
    name: Annotated[str, "its name"]
    key: Annotated[str | None, "its key"]
    data: Annotated[bytes | None, "its data as a packed term"]
    data_hash: Annotated[Hash | None, "hash of name, key and data: one id has one content"]
    due_at: Annotated[Time | None, "when it is delivered, where that is later"] = None
    run_id: Annotated[str | None, "the run that emitted it"] = None
    place: Annotated[Hash | None, "the place in that run"] = None
    tie: Annotated[bool | None, "whether the runs that it starts are cancelled with that run"] = None


class DeliveryRow(NamedTuple):
    """One transition of the delivery of an event to a subscribed flow or to a wait; and the moment when a delayed event
    is due."""

    event_id: Annotated[str, "the event"]
    target: Annotated[str, "the subscribed flow's full name; the chain's run id and the place of the wait; or empty"]
    number: Annotated[int, "the number of the transition"]
    at: Annotated[Time, "when it happened"]
    state: Annotated[str, "delivered, failed or pending; due, for the moment when a delayed event is delivered"]
    run_id: Annotated[str | None, "the run that was started, or whose wait was resolved"] = None
    place: Annotated[Hash | None, "the place of the wait"] = None
    error: Annotated[str | None, "why it failed"] = None
    is_exclusive: Annotated[bool | None, "whether the wait is exclusive: no other such wait gets the event"] = None


class ScheduleRow(NamedTuple):
    """One transition of a schedule, which says when runs of a task start by the clock. Each row has all columns."""

    schedule: Annotated[str, "its name; of one in the code, the full name of the flow"]
    number: Annotated[int, "the number of the transition"]
    at: Annotated[Time, "when it happened"]
    state: Annotated[str, "active, paused, gone (the code has it no more) or deleted"]
    cause: Annotated[str, "what made the transition: code, put, pause, resume or delete"]
    flow: Annotated[str, "full name of the task"]
    timetable: Annotated[str, "its moments, as JSON: expressions of cron with their zones, and periods"]
    overlap: Annotated[str, "what a firing does while a run has not ended: skip, queue, allow or cancel_previous"]
    catch_up_us: Annotated[int, "how late a firing may be, in microseconds"]
    moments_after: Annotated[Time, "its moments after this one count"]
    arguments: Annotated[str | None, "the arguments of the runs, as JSON by name; null for the defaults"] = None
    is_of_code: Annotated[bool | None, "whether it stands in the code"] = None
    is_paused: Annotated[bool | None, "whether it is paused, or was when it ended"] = None


class FiringRow(NamedTuple):
    """One transition of a firing: one moment of a schedule, or a series of moments that started nothing."""

    schedule: Annotated[str, "the schedule"]
    moment: Annotated[Time, "the moment; of a series, the first one"]
    number: Annotated[int, "the number of the transition"]
    at: Annotated[Time, "when it happened"]
    state: Annotated[str, "pending (its run is being made), queued, started, failed, skipped or missed"]
    kind: Annotated[str, "what has made it a firing: time, trigger or backfill"]
    cause: Annotated[str | None, "why it has this state: overlap, paused, late, ended (the schedule), trigger"] = None
    run_id: Annotated[str | None, "the run that was started"] = None
    error: Annotated[str | None, "why no run could be made"] = None
    last_moment: Annotated[Time | None, "of a series, the last moment; null for a single one"] = None
    many: Annotated[int | None, "of a series, how many moments; null when there are more than 10,000"] = None


class StreamItemRow(NamedTuple):
    """An item that a body has written to a stream of its execution."""

    execution_id: Annotated[str, "the execution, or run"]
    stream: Annotated[str, "the stream's name"]
    number: Annotated[int, "its number in the stream: later items have greater ones, not always the next"]
    job_id: Annotated[Hash, "the job whose body wrote it"]
    task_name: Annotated[str, "full name of the task"]
    attempt: Annotated[int, "which attempt of the job, counted over all lives: a later one writes anew"]
    item: Annotated[int, "its number among what the attempt has written to the stream, from 1"]
    at: Annotated[Time, "when it was written, by the clock of its worker"]
    value: Annotated[str, "the item as JSON"]


class RequestRow(NamedTuple):
    """A request of a client that was done, with its answer. The same request sent again does nothing, and gets the same
    answer."""

    request_id: Annotated[str, "the id that its client gave it"]
    number: Annotated[int, "the number of the transition"]
    at: Annotated[Time, "when it was done"]
    answer: Annotated[str, "the answer as JSON"]
    run_id: Annotated[str | None, "the run that it is about"] = None


class QueueRow(NamedTuple):
    """A queue got its number of slots: so many of its runs may run at a time."""

    queue: Annotated[str, "its name"]
    number: Annotated[int, "the number of the transition"]
    at: Annotated[Time, "when it happened"]
    slots: Annotated[int | None, "how many of its runs may run at a time; null for any number"]
    cause: Annotated[str, "configuration: the service was started with it; set: somebody has set it"]


class ChargeRow(NamedTuple):
    """A run was counted by a throttle or a rate limit of its flow."""

    name: Annotated[str, "throttle or rate, the flow's full name, the place among its limits, and the key"]
    number: Annotated[int, "the number of the transition"]
    at: Annotated[Time, "when it happened"]
    run_id: Annotated[str, "the run"]
    until_at: Annotated[Time, "when it counts no more"]


Row: TypeAlias = (
    ExecutionRow
    | EnvironmentRow
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
    | ListingRow
    | TaskRow
    | DefinitionRow
    | TagRow
    | LogRow
    | AttemptRow
    | RunRow
    | PlaceRow
    | WaitRow
    | EventRow
    | DeliveryRow
    | ScheduleRow
    | FiringRow
    | StreamItemRow
    | RequestRow
    | QueueRow
    | ChargeRow
)


class Table(NamedTuple):
    """A table: its name in SQL, its row class, its key, and the columns that say which of two rows is the later one."""

    name: str
    row: type
    key: tuple[str, ...]
    order: tuple[str, ...] = ()
    """Empty for a content-addressed table: all rows of one key are equal."""


TABLES: tuple[Table, ...] = (
    Table("executions", ExecutionRow, ("execution_id",), ("life", "finished_at")),
    Table("environments", EnvironmentRow, ("environment",)),
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
    Table("listings", ListingRow, ("listing",)),
    Table("tasks", TaskRow, ("task_hash",)),
    Table("definitions", DefinitionRow, ("task_hash", "name")),
    Table("tags", TagRow, ("entity", "entity_id", "key", "value", "at", "removed")),
    Table("logs", LogRow, ("job_id", "attempt", "stream")),
    Table("attempts", AttemptRow, ("job_id", "attempt", "ended", "at")),
    Table("events", EventRow, ("event_id",)),
    Table("run_changes", RunRow, ("run_id", "number")),
    Table("places", PlaceRow, ("execution_id", "place", "kind", "number", "generation")),
    Table("wait_changes", WaitRow, ("run_id", "place", "number")),
    Table("delivery_changes", DeliveryRow, ("event_id", "target", "number")),
    Table("schedule_changes", ScheduleRow, ("schedule", "number")),
    Table("firing_changes", FiringRow, ("schedule", "moment", "number")),
    Table("stream_items", StreamItemRow, ("execution_id", "stream", "number")),
    Table("requests", RequestRow, ("request_id", "number")),
    Table("queue_changes", QueueRow, ("queue", "number")),
    Table("charges", ChargeRow, ("name", "number")),
)
"""Every table, in the order in which a commit writes them: what is named comes before what names it."""
