"""The wire form of an attempt: the call to a worker, its reply, and the message to the evaluator.

In: the evaluator's commands, and the replies of workers. Out: `Call`, `Reply`, `OperationReply`, `WorkerContext`: plain
data; and messages for the evaluator. Never: sends, runs or decides anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rayflow.evaluator import commands, messages
from rayflow.evaluator.messages import NestedEnd, NestedStart
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.codec import blobs_of, dumps, loads
from rayflow.lang.terms.expressions import Term
from rayflow.records import LogRow, Row
from rayflow.values.failures import Failure, Outcome
from rayflow.values.native import SCALARS
from rayflow.values.process.main_module import MainScript


class Call(NamedTuple):
    """One attempt, as it travels to a worker.

    arguments: bound arguments by name when all are scalars, else their packed form.
    known: the outcomes of the expressions that the body awaited before: packed values, and failures by key.
    under: the settings of a nested execution, if the body is one.
    label: the text before each line that the body prints; if it is empty, the task and its arguments are shown there.
    """

    job: int
    attempt: int
    job_id: bytes
    task: str
    task_hash: bytes
    arguments: dict[str, Any] | bytes
    timeout: float | None = None
    known: tuple[bytes, dict[bytes, Failure]] | None = None
    under: NestedStart | None = None
    label: str = ""

    def blobs(self) -> list[bytes]:
        """The digests of the large values that the call reads."""
        found = list(blobs_of(self.arguments)) if isinstance(self.arguments, bytes) else []
        if self.known is not None:
            found.extend(blobs_of(self.known[0]))
        return found


class VectorCall(NamedTuple):
    """The first attempts of the members of a vector, as they travel to a worker.

    job_ids: the ids of all, one after the other. names, arguments: as in `RunVector`.
    """

    jobs: Sequence[int]
    job_ids: bytes
    task: str
    task_hash: bytes
    names: tuple[str, ...]
    arguments: Sequence[tuple[Any, ...]]

    def call(self, position: int) -> Call:
        """The same attempt of one member as a call of its own."""
        size = len(self.job_ids) // len(self.jobs)
        job_id = self.job_ids[size * position : size * (position + 1)]
        arguments = dict(zip(self.names, self.arguments[position], strict=True))
        return Call(self.jobs[position], 1, job_id, self.task, self.task_hash, arguments)


class Reply(NamedTuple):
    """A worker's answer to a call. Exactly one of `term` and `failure` is set.

    is_paused: whether the body waits. Then the term is not the result, but contains the expressions that the body
    awaits. below: the summary of a nested execution, if the body was one.
    """

    job: int
    attempt: int
    term: bytes | None
    failure: Failure | None
    cost: messages.Cost
    entries: tuple[TaskEntry, ...] = ()
    rows: tuple[Row, ...] = ()
    is_paused: bool = False
    below: NestedEnd | None = None

    def failed(self, failure: Failure | None) -> Reply:
        """The reply with this failure in place of its result; unchanged without a failure or without a result."""
        if failure is None or self.failure is not None or self.is_paused:
            return self
        return self._replace(term=None, failure=failure, entries=(), rows=logs_of(self.rows))


class VectorReply(NamedTuple):
    """A worker's answer to the members of a vector that returned a scalar and left nothing else, as columns.

    terms: the packed scalars. started_at, wall_seconds, cpu_seconds, peaks: as in `Cost`.
    """

    jobs: list[int]
    terms: list[bytes]
    started_at: list[int]
    wall_seconds: list[float]
    cpu_seconds: list[float]
    peaks: list[int | None]

    @classmethod
    def empty(cls) -> VectorReply:
        """Without any member."""
        return cls([], [], [], [], [], [])

    def add(
        self, job: int, term: bytes, started_at: int, wall_seconds: float, cpu_seconds: float, peak: int | None
    ) -> None:
        """Add a member."""
        self.jobs.append(job)
        self.terms.append(term)
        self.started_at.append(started_at)
        self.wall_seconds.append(wall_seconds)
        self.cpu_seconds.append(cpu_seconds)
        self.peaks.append(peak)

    def extend(self, others: VectorReply) -> None:
        """Add the members of another answer."""
        for column, other in zip(self, others, strict=True):
            column.extend(other)  # type: ignore[attr-defined]  # they are all lists

    def message(self, at: int, node: str, pid: int, environment: bytes | None) -> messages.ReturnedVector:
        """The message that gives it to the evaluator. at: the time on the loop's clock."""
        return messages.ReturnedVector(at, *self, node, pid, environment)


class OperationReply(NamedTuple):
    """A worker's answer to an operation. Exactly one of `term` and `failure` is set.

    entries: tasks that the term names and the table lacks.
    """

    term: bytes | None
    failure: Failure | None
    entries: tuple[TaskEntry, ...] = ()


def call_of(command: commands.RunTask, known: Mapping[bytes, Outcome] | None) -> Call:
    """The call to send for a RunTask. known: the awaited outcomes to send with it."""
    return Call(
        job=command.job,
        attempt=command.attempt,
        job_id=command.job_id,
        task=command.entry.name,
        task_hash=command.entry.hash,
        arguments=pack_arguments(command.arguments),
        timeout=command.options.get("timeout"),
        known=pack_known(known),
        under=command.under,
        label=command.label,
    )


def vector_call_of(vector: commands.RunVector) -> VectorCall:
    """The calls to send for a RunVector."""
    return VectorCall(
        jobs=vector.jobs,
        job_ids=b"".join(vector.job_ids),
        task=vector.entry.name,
        task_hash=vector.entry.hash,
        names=vector.names,
        arguments=vector.arguments,
    )


def message_of(reply: Reply, at: int) -> messages.Message:
    """The message that gives a reply to the evaluator. at: the time on the loop's clock."""
    if reply.failure is not None:
        return messages.Raised(at, reply.job, reply.attempt, reply.failure, reply.cost, reply.rows, reply.below)
    assert reply.term is not None
    if reply.is_paused:
        return messages.Paused(at, reply.job, reply.attempt, reply.term, reply.cost, reply.entries, reply.rows)
    return messages.Returned(
        at, reply.job, reply.attempt, reply.term, reply.cost, reply.entries, reply.rows, reply.below
    )


def operated(asker: int, reply: OperationReply, at: int) -> messages.Operated:
    """The message that gives an operation's reply to the evaluator. at: the time on the loop's clock."""
    return messages.Operated(at, asker, reply.term, reply.failure, entries=reply.entries)


def logs_of(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The rows of a call that are recorded even when it failed: its logs."""
    return tuple(row for row in rows if isinstance(row, LogRow))


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """The settings that a worker process needs before it can run a project's tasks.

    project_dir: the directory for the user's relative paths, if it exists. paths: the entries for sys.path.
    store_url: the place of large values. files: how rayflow identifies a plain File: by "stat" or by "content".
    channel: the text that marks each line that the project's tasks print, so that the driver finds it; empty if no
    user watches. script: the driver's `__main__`. shows_prints: whether printed lines go through the channel; if not,
    only warnings do.
    """

    project_dir: str | None
    paths: tuple[str, ...]
    store_url: str
    table: Mapping[str, TaskEntry] = field(default_factory=dict)
    channel: str = ""
    files: str = "stat"
    script: MainScript | None = None
    shows_prints: bool = True


def pack_known(outcomes: Mapping[bytes, Outcome] | None) -> tuple[bytes, dict[bytes, Failure]] | None:
    """The outcomes of awaited expressions in wire form: packed values, and failures."""
    if outcomes is None:
        return None
    failures = {key: outcome for key, outcome in outcomes.items() if type(outcome) is Failure}
    return dumps({key: outcome for key, outcome in outcomes.items() if key not in failures}), failures


def pack_arguments(arguments: Mapping[str, Term]) -> dict[str, Any] | bytes:
    """Arguments in wire form: a plain dict if all are scalars, else packed."""
    if all(type(value) in SCALARS for value in arguments.values()):
        return dict(arguments)
    return dumps(dict(arguments))


def pack_finish(finish: commands.Finish) -> commands.Finish:
    """A Finish in wire form. Its value is packed, because an expression must never be pickled."""
    return finish if type(finish.outcome) is Failure else finish._replace(outcome=dumps(finish.outcome))


def unpack_finish(packed: commands.Finish) -> commands.Finish:
    """The Finish that `pack_finish` has packed."""
    return packed._replace(outcome=loads(packed.outcome)) if type(packed.outcome) is bytes else packed
