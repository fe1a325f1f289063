"""A written conversation with the evaluator: `>>` sends it a message, `<<` expects a command.

In: messages, and patterns of commands. Out: nothing when the conversation went as written, else an AssertionError that
shows both dialogues. Never: a worker, a store, a clock.

    job = Placeholder("job")
    assert (
        Playbook(Evaluator())
        >> submitted(call("double", 4), task("double", "x"))
        << looks_up("double", asker=(asker := Placeholder("asker")))
        >> found(asker)
        << runs("double", job=job, arguments={"x": 4})
        >> returned(job, 8)
        << finishes(8)
    )

A playbook is played when it is asserted. Each message is sent by itself (`together` sends several in one tick). The
playbook has to name all commands that come before the next message, in order (`unordered` leaves the order open). It
may leave out commands of the `quiet` classes (by default records, reductions and warnings), and the timer for opening
rows. But if it names such a command, the command has to come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from rayflow.evaluator.commands import (
    Command,
    Finish,
    LookUp,
    Record,
    Remember,
    RunOperation,
    RunTask,
    SetTimer,
    Stop,
    Warn,
)
from rayflow.evaluator.messages import (
    CancelRequested,
    Candidate,
    Cost,
    LookedUp,
    Message,
    Operated,
    Raised,
    Returned,
    Submitted,
    TimerFired,
    WorkerGone,
)
from rayflow.evaluator.timers import OpeningTimer
from rayflow.lang.parameters.signatures import POSITIONAL, Parameters
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.codec import dumps
from rayflow.lang.terms.expressions import TaskCall, TaskRef, Term
from rayflow.records import Row
from rayflow.run_settings import RunSettings
from rayflow.testing.patterns import (
    Containing,
    Exactly,
    Like,
    Placeholder,
    Together,
    Unordered,
    each_finds_its_own,
    fits_or_forgets,
    show,
)
from rayflow.values.digests import digest
from rayflow.values.failures import Failure

EXECUTION = "execution"
"""The execution id of messages that give none."""

START = 1_700_000_000_000_000
"""When a playbook's clock starts, in microseconds since the epoch."""

STEP = 1_000
"""The time between two messages on a playbook's clock, in microseconds."""


class Speaker(Protocol):
    """Anything that takes messages and gives commands."""

    def handle(self, messages: Sequence[Message], /) -> list[Command]:
        """The commands that follow from these messages."""
        ...


# --- the playbook -----------------------------------------------------------------------------------------------------


class Playbook:
    """A conversation with an evaluator, played when it is asserted. It may be continued and asserted again.

    evaluator: anything with `handle(messages) -> commands`.
    quiet: classes of commands that the playbook may leave out.
    commands: every command that came so far, in order.
    """

    def __init__(self, evaluator: Speaker, quiet: tuple[type, ...] = (Record, Remember, Warn)) -> None:
        self.evaluator = evaluator
        self.quiet = quiet
        self.commands: list[Command] = []
        self.at = START
        self._steps: list[tuple[str, Any]] = []
        self._pending: list[Command] = []
        self._said: list[tuple[str, Any]] = []
        self._unplayed = False

    def __rshift__(self, message: Any) -> Playbook:
        """Send a message. A time of 0 becomes the playbook's own."""
        self._steps.append((">>", message))
        self._unplayed = True
        return self

    def __lshift__(self, pattern: Any) -> Playbook:
        """Expect a command: a whole one, a `Like`, or `unordered` ones."""
        self._steps.append(("<<", pattern))
        self._unplayed = True
        return self

    def __bool__(self) -> bool:
        __tracebackhide__ = True
        self.play()
        return True

    def __del__(self) -> None:
        if self._unplayed:
            raise AssertionError("this playbook was written and never played: put `assert` before it")

    def play(self) -> Playbook:
        """Play the steps that have not been played. Raises AssertionError with both dialogues if commands differ."""
        __tracebackhide__ = True
        self._unplayed = False
        steps, self._steps = self._steps, []
        for position, (direction, step) in enumerate(steps):
            if direction == ">>":
                self._expect_no_more(steps[position:])
                self._send(step)
            elif isinstance(step, Unordered):
                found = self._find_all(step.patterns)
                if found is None:
                    self._differs(steps[position:])
                else:
                    self._take(found)
            else:
                place = self._find(step)
                if place is None:
                    self._differs(steps[position:])
                else:
                    self._take([place])
        self._expect_no_more([])
        return self

    def rows(self, cls: type[Any]) -> list[Any]:
        """All rows of this class recorded so far."""
        records = [command for command in self.commands if isinstance(command, Record)]
        return [row for record in records for row in record.rows if isinstance(row, cls)]

    def of(self, cls: type[Any]) -> list[Any]:
        """All commands of this class that came so far."""
        return [command for command in self.commands if isinstance(command, cls)]

    def _send(self, step: Any) -> None:
        untimed = step.messages if isinstance(step, Together) else (step,)
        messages = [self._timed(resolve(message)) for message in untimed]
        self._said += [(">>", message) for message in messages]
        came = self.evaluator.handle(messages)
        self.commands += came
        self._pending += came

    def _timed(self, message: Any) -> Any:
        self.at = max(self.at + STEP, message.at)
        return message if message.at else message._replace(at=self.at)

    def _find(self, pattern: Any) -> int | None:
        for position, command in enumerate(self._pending):
            if fits_or_forgets(pattern, command):
                return position
            if not self._is_quiet(command) and not _is_of(pattern, self.quiet):
                return None
        return None

    def _find_all(self, patterns: tuple[Any, ...]) -> list[int] | None:
        return each_finds_its_own(patterns, self._pending)

    def _take(self, positions: list[int]) -> None:
        self._said += [("<<", self._pending[position]) for position in positions]
        self._pending = [each for place, each in enumerate(self._pending) if place not in positions]

    def _expect_no_more(self, steps: list[tuple[str, Any]]) -> None:
        __tracebackhide__ = True
        if not all(map(self._is_quiet, self._pending)):
            self._differs(steps)
        self._pending.clear()

    def _is_quiet(self, command: Command) -> bool:
        return isinstance(command, self.quiet) or (
            isinstance(command, SetTimer) and isinstance(command.timer, OpeningTimer)
        )

    def _differs(self, steps: list[tuple[str, Any]]) -> None:
        """Raise an error that shows the equal part, then the written commands (-) and the commands that came (+)."""
        __tracebackhide__ = True
        lines = [f"  {sign} {show(thing)}" for sign, thing in self._said]
        for direction, step in steps:
            if direction == ">>":
                break
            patterns = step.patterns if isinstance(step, Unordered) else (step,)
            lines += [f"- << {show(pattern)}" for pattern in patterns]
        lines += [f"+ << {show(command)}" for command in self._pending if not self._is_quiet(command)]
        quiet = [show(command) for command in self._pending if isinstance(command, self.quiet)]
        if quiet and any(_is_of(step, self.quiet) for _, step in steps[:1]):
            lines += [f"+ << {command}" for command in quiet]
        raise AssertionError("the conversation went otherwise than written (- written, + came):\n" + "\n".join(lines))


def _is_of(pattern: Any, classes: tuple[type, ...]) -> bool:
    if isinstance(pattern, Like):
        return issubclass(pattern.cls, classes)
    return isinstance(pattern, classes)


def resolve(message: Any) -> Any:
    """The message, with the values that its placeholders have learnt."""
    learnt = {name: value.value for name, value in message._asdict().items() if isinstance(value, Placeholder)}
    return message._replace(**learnt) if learnt else message


# --- what is sent -----------------------------------------------------------------------------------------------------


def task(
    name: str, *parameters: str, defaults: Mapping[str, Term] | None = None, code: int = 1, **options: Any
) -> TaskEntry:
    """A task entry with plain parameters.

    code: another number is another version of the code, and so another task_hash.
    defaults: default values (symbolic terms) by parameter.
    """
    given = dict(defaults or {})
    return TaskEntry(
        name=name,
        hash=task_hash(name, code),
        parameters=Parameters(parameters, (POSITIONAL,) * len(parameters), frozenset(given)),
        defaults=dumps(given) if given else None,
        options=options,
    )


def task_hash(name: str, code: int = 1) -> bytes:
    """The hash that `task` gives an entry."""
    return digest("test-task", name.encode(), str(code).encode())


def task_value(name: str, code: int = 1) -> TaskRef:
    """A task as a value."""
    return TaskRef(name, task_hash(name, code))


def call(name: str, *args: Term, options: dict[str, Any] | None = None, **kwargs: Term) -> TaskCall:
    """A call of a task by its full name."""
    return TaskCall(name, args, kwargs or None, options)


def submitted(root: Term, *entries: TaskEntry, execution_id: str = EXECUTION, at: int = 0, **fields: Any) -> Submitted:
    """A Submitted message with a table of these entries. fields: its fields with a default, and its settings."""
    names = RunSettings.__dataclass_fields__.keys() & fields.keys()
    settings = RunSettings(**{name: fields.pop(name) for name in names})
    table = {entry.name: entry for entry in entries}
    return Submitted(at, execution_id, dumps(root), table, settings, **fields)


def candidate(
    term: Term,
    *,
    kind: str = "single",
    execution_id: str = "earlier",
    age_seconds: float = 60.0,
    verdict: bool = True,
    task_set: Iterable[bytes] | None = None,
    call_hash: bytes | None = None,
    wall_seconds: float | None = 0.5,
    context: Mapping[str, bytes] | None = None,
) -> Candidate:
    """A reduction in the store, recorded `age_seconds` before the playbook's start."""
    at, tasks = START - int(age_seconds * 1_000_000), None if task_set is None else frozenset(task_set)
    return Candidate(kind, dumps(term), execution_id, at, verdict, tasks, call_hash, wall_seconds, context)


def found(asker: Any, *candidates: Candidate, at: int = 0) -> LookedUp:
    """A LookedUp message: the store has these candidates, or none."""
    return LookedUp(at, asker, candidates)


def cost(wall_seconds: float = 0.25) -> Cost:
    """The cost of an attempt on node n1, by default a quarter of a second."""
    return Cost(START, wall_seconds, wall_seconds, 1 << 20, "n1", 42)


def returned(
    job: Any,
    term: Term,
    attempt: int = 1,
    *,
    entries: tuple[TaskEntry, ...] = (),
    rows: tuple[Row, ...] = (),
    at: int = 0,
) -> Returned:
    """A Returned message: the body of the job's task returned this term."""
    return Returned(at, job, attempt, dumps(term), cost(), entries, rows)


def failure(
    type_name: str = "ValueError", message: str = "no", classes: tuple[str, ...] = (), *, fault: str = "user"
) -> Failure:
    """An error as data. type_name: the short name of a built-in class, or the full name of another class.

    classes: the full names of the class and its bases.
    """
    full = type_name if "." in type_name else f"builtins.{type_name}"
    bases = classes or tuple(dict.fromkeys((full, "builtins.Exception", "builtins.BaseException")))
    return Failure(full, bases, message, digest("test-error", full.encode(), message.encode()), fault=fault)


def raised(job: Any, error: Failure | None = None, attempt: int = 1, *, at: int = 0) -> Raised:
    """A Raised message: the body raised this error, by default a ValueError."""
    return Raised(at, job, attempt, error or failure(), cost())


def lost(job: Any, attempt: int = 1, *, reason: str = "it was killed", fatal: bool = False, at: int = 0) -> WorkerGone:
    """A WorkerGone message: the worker of this attempt was lost."""
    return WorkerGone(at, job, attempt, reason, "n1", 42, fatal)


def operated(asker: Any, term: Term = None, *, failure: Failure | None = None, at: int = 0) -> Operated:
    """An Operated message: the operation gave this term, or a failure."""
    return Operated(at, asker, None if failure else dumps(term), failure)


def fired(timer: Any, at: int = 0) -> TimerFired:
    """A TimerFired message for this timer."""
    return TimerFired(at, timer)


def cancelled(execution_id: str = EXECUTION, at: int = 0) -> CancelRequested:
    """A CancelRequested message for this execution."""
    return CancelRequested(at, execution_id)


# --- what is expected -------------------------------------------------------------------------------------------------


def looks_up(name: str | None = None, *, code: int = 1, **fields: Any) -> Like:
    """A LookUp for a call of this task."""
    of_task = {} if name is None else {"task_hash": task_hash(name, code)}
    return Like(LookUp, f"LookUp {name}" if name else "", **of_task, **fields)


def runs(name: str, *, arguments: Any = None, **fields: Any) -> Like:
    """A RunTask of this task. arguments: exactly these arguments, or a pattern for them; None fits any."""
    if arguments is not None:
        fields["arguments"] = Exactly(arguments) if isinstance(arguments, Mapping) else arguments
    return Like(RunTask, entry__name=name, **fields)


def runs_operation(name: str, *args: Any, **fields: Any) -> Like:
    """A RunOperation of this operation on these arguments; without arguments here, any fit."""
    on: Any = {"args": args} if args else {}
    return Like(RunOperation, name=name, **on, **fields)


def sets_timer(**fields: Any) -> Like:
    """A SetTimer."""
    return Like(SetTimer, **fields)


def stops(job: Any, attempt: int = 1) -> Like:
    """A Stop of this attempt."""
    return Like(Stop, job=job, attempt=attempt)


def remembers(**fields: Any) -> Like:
    """A Remember whose reduction has these fields; `term` is given unpacked."""
    if "term" in fields:
        fields["term"] = dumps(fields["term"])
    return Like(Remember, **{f"reduction__{name}": value for name, value in fields.items()})


def records(*rows: Any) -> Like:
    """A Record with these rows among its rows."""
    return Like(Record, rows=Containing(*rows))


def finishes(outcome: Any = object, **fields: Any) -> Like:
    """A Finish with this outcome (a value, or a pattern such as `fails`)."""
    return Like(Finish, outcome=outcome, **fields)


def fails(type_name: str | None = None, message: str | Callable[[str], bool] | None = None) -> Like:
    """A Failure of this class (short name for built-in ones) whose message contains this text."""
    fields: dict[str, Any] = {}
    if type_name is not None:
        fields["type_name"] = lambda full: full in (type_name, f"builtins.{type_name}", f"rayflow.errors.{type_name}")
    if isinstance(message, str):
        text = message
        fields["message"] = lambda given: text in given
    elif message is not None:
        fields["message"] = message
    return Like(Failure, f"Failure {type_name or ''} {message or ''}".strip(), **fields)
