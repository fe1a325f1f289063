"""A shell around one evaluator in a simulated cluster: it carries out commands and answers them in virtual time.

In: an evaluator, a `Weather`, the `Course` that the shells of one execution share. Out: messages, at random times; rows
in the store; reports of broken rules of the conversation. Never: a real worker or store; another random generator than
the world's.

A nested execution has its own shell (`NestedShell`), which lives on one worker. If this worker is lost, the whole shell
is lost; no part of it is lost alone.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from random import Random
from typing import Any

from rayflow.evaluator import commands, messages
from rayflow.evaluator.capacity import needs_of
from rayflow.evaluator.evaluator import Evaluator
from rayflow.evaluator.rows import context_of
from rayflow.lang.terms.codec import dumps
from rayflow.lang.terms.outcomes import pack_outcome
from rayflow.record_columns import Columns
from rayflow.records import SHALLOW_VALUE, CallRow, JobRow, PlaceRow, ReductionRow, Row, TaskSetRow
from rayflow.run_settings import RunSettings
from rayflow.testing.patterns import show
from rayflow.testing.simulation.bodies import SimulatedBodies
from rayflow.testing.simulation.meaning import Key
from rayflow.testing.simulation.normal_forms import normal
from rayflow.testing.simulation.operating import operated
from rayflow.testing.simulation.program_effects import has_effects
from rayflow.testing.simulation.programs import Program
from rayflow.testing.simulation.weather import (
    Report,
    SimulatedStore,
    Weather,
    answered_by,
    asked_by,
    hashes_in,
    one_by_one,
)
from rayflow.values.failures import Failure, failure_from_exception

CAPACITIES = {"db": 2.0, "gpu": 1.0}
"""The capacities of the simulated cluster. Other limits have 1."""

MOST_LIVES = 6
"""How often an execution with effects is taken up again at most."""

START = 1_700_000_000_000_000
"""When a world begins, in microseconds since the epoch."""

Maker = Callable[[Mapping[str, float]], Any]
"""Makes an evaluator from capacities."""


def with_small_vectors(limits: Mapping[str, float]) -> Evaluator:
    """An evaluator in which two calls make a vector: the programs of a world are small."""
    return Evaluator(limits, fewest=2)


class Ground:
    """The part of a world that outlives an execution.

    known: the oracle's name of the call for every eval_hash that was seen.
    spoilt: by eval_hash, the time until which recorded values are not valid any more (a file was altered).
    """

    def __init__(self, random: Random, make: Maker = with_small_vectors) -> None:
        self.random = random
        self.make = make
        self.now = START
        self.committed = SimulatedStore()
        self.known: dict[bytes, Key] = {}
        self.spoilt: dict[bytes, int] = {}
        self.talk: list[str] | None = None


@dataclass
class Course:
    """The data that the evaluations of one execution share, over all its lives.

    queue: the future events by time, each with its shell. names: by job id, the oracle's name of the call. safe: by job
    id, the time when its reduction was committed. below: the shells of the nested executions that run. raises: by
    job id, how often an effect has raised.
    """

    program: Program
    weather: Weather
    report: Report
    queue: list[tuple[int, int, Shell, Any]] = field(default_factory=list)
    order: int = 0
    names: dict[bytes, Key] = field(default_factory=dict)
    safe: dict[bytes, int] = field(default_factory=dict)
    below: list[NestedShell] = field(default_factory=list)
    raises: Counter[bytes] = field(default_factory=Counter)


class Shell:
    """Carries out the commands of one evaluator. life: how often its evaluation was begun before."""

    sign = ""

    def __init__(self, ground: Ground, course: Course, limits: Mapping[str, float], life: int) -> None:
        self.ground = ground
        self.course = course
        self.random = ground.random
        self.weather = course.weather
        self.evaluator = ground.make(limits)
        self.limits = limits
        self.life = life
        self.is_cancelled = False
        self.has_crashed = False
        self.uncertain: dict[tuple[int, int], bytes] = {}
        self.open: dict[tuple[Any, ...], commands.Command] = {}
        self.held: Counter[str] = Counter()
        self.bodies = SimulatedBodies(course.program, self.random, self.weather, course.raises)
        self.losses: Counter[int] = Counter()
        self.fresh: list[tuple[Row, bytes | None]] = []
        self.attempts: dict[tuple[int, int], bytes] = {}
        self.asked: dict[int, bytes] = {}
        self.looked_at: dict[int, int] = {}
        self.jobs_of_reductions: dict[int, bytes] = {}

    def untrue(self, text: str) -> None:
        self.course.report.untruths.append(text)

    def say(self, sign: str, things: Sequence[Any]) -> None:
        if self.ground.talk is not None:
            self.ground.talk += [f"{self.sign}{sign} {show(thing)}" for thing in things]

    # --- time and answers ---

    def post(self, message: Any, seconds: float | None = None, at_least: float = 0.0) -> None:
        """Let a message happen later: at random within the weather's spread, but not before `at_least` seconds."""
        if seconds is None:
            seconds = at_least + self.random.random() * self.weather.spread_seconds
        course = self.course
        course.order += 1
        heapq.heappush(course.queue, (self.ground.now + int(seconds * 1_000_000), course.order, self, message))

    def answer(self, message: Any, at_least: float = 0.0) -> None:
        """Post an answer, now and then twice."""
        self.post(message, at_least=at_least)
        if self.random.random() < self.weather.repeated:
            self.post(message, at_least=at_least)

    def hand_over(self, batch: list[Any]) -> None:
        """Hand messages to the evaluator, and carry out its commands."""
        batch = [message._replace(at=self.ground.now) for message in batch]
        accepted = [each for message in batch for each in one_by_one(message) if self.settle(each)]
        self.say(">>", batch)
        came = self.evaluator.handle(batch)
        self.match_reductions([message for message in accepted if isinstance(message, messages.Returned)], came)
        self.say("<<", came)
        if any(isinstance(row, PlaceRow) for each in came if isinstance(each, commands.Record) for row in each.rows):
            came = self.durable(came)
        if self.has_crashed:
            return
        for message in accepted:
            if not isinstance(message, messages.LookedUp | messages.Operated | messages.TimerFired):
                self.uncertain.pop((message.job, message.attempt), None)
        for command in came:
            self.carry_out(command)

    def durable(self, came: list[commands.Command]) -> list[commands.Command]:
        """Commit the rows of a turn before anything else of it. Gives the other commands.

        There are none if the scheduler crashes, perhaps before the commit.
        """
        crashes = self.random.random() < self.weather.crashed and self.life < MOST_LIVES
        if crashes and self.random.random() < 0.5:
            self.has_crashed = True
            return []
        for command in came:
            if isinstance(command, commands.Record | commands.Remember):
                self.carry_out(command)
        self.commit()
        if crashes:
            self.has_crashed = True
            return []
        return [each for each in came if not isinstance(each, commands.Record | commands.Remember)]

    def settle(self, message: Any) -> bool:
        """Note which command a message answers; False when it answers none that is open."""
        key = answered_by(message)
        command = self.open.pop(key, None) if key is not None else None
        if isinstance(command, commands.RunTask):
            for name, amount in needs_of(command.options).items():
                self.held[name] -= int(min(amount, self.limits.get(name, 1)))
            self.bodies.learn(message)
        return command is not None

    def match_reductions(self, returned: list[messages.Returned], came: list[commands.Command]) -> None:
        """Note the job of each new reduction, to check a replay against what was committed."""
        self.jobs_of_reductions = {}
        terms = {message.term: self.attempts[message.job, message.attempt] for message in returned}
        for command in came:
            if isinstance(command, commands.Remember) and command.reduction.kind == "single":
                job_id = terms.get(command.reduction.term or b"")
                if job_id is not None and sum(message.term == command.reduction.term for message in returned) == 1:
                    self.jobs_of_reductions[id(command)] = job_id

    # --- commands ---

    def carry_out(self, command: commands.Command) -> None:
        """Carry out a command."""
        asks = asked_by(command)
        if asks is not None:
            if asks in self.open:
                self.untrue(f"asked twice at once: {show(command)}")
            self.open[asks] = command
        match command:
            case commands.LookUp():
                self.asked[command.asker] = command.eval_hash
                self.answer(partial(Shell.look_up, ask=command))
            case commands.LookUpVector():
                self.look_up_all(command)
            case commands.RunTask():
                self.run_task(command)
            case commands.RunVector():
                self.run_all(command)
            case commands.RunOperation():
                self.answer(self.operated(command))
            case commands.SetTimer():
                self.answer(messages.TimerFired(0, command.timer), at_least=command.seconds)
            case commands.Remember():
                self.fresh.append((command.reduction, self.jobs_of_reductions.get(id(command))))
            case commands.Record():
                self.fresh.extend((row, None) for row in command.rows)
                self.note(command.rows)
                self.take_columns(command.columns)
            case commands.Stop():
                self.stop(command)
            case commands.OpenWait():
                self.answer(partial(Shell.resolve, wait=command), at_least=command.given.get("seconds", 0.0))
            case commands.Parked():
                # A parked execution may be dropped from memory, and taken up again when a wait resolves.
                self.has_crashed = self.life < MOST_LIVES and self.random.random() < self.weather.crashed
            case commands.Finish():
                self.finish(command)

    def resolve(self, wait: commands.OpenWait) -> messages.Resolved:
        """The outcome of a wait, which is recorded once."""
        value = int(wait.given["name"][1:]) if wait.kind == "event" else None
        packed = self.course.report.resolved.setdefault(wait.place, pack_outcome(value))
        return messages.Resolved(0, wait.execution_id, wait.place, packed)

    def take_columns(self, columns: Sequence[Columns]) -> None:
        """Take the rows of a vector. Its reductions and its jobs have one order."""
        by_class: dict[type, list[Any]] = {each.row: each.rows() for each in columns}
        jobs = by_class.get(JobRow, [])
        self.note(tuple(jobs))
        for of, rows in by_class.items():
            ids = [job.job_id for job in jobs] if of is ReductionRow else [None] * len(rows)
            self.fresh.extend(zip(rows, ids, strict=True))

    def look_up_all(self, command: commands.LookUpVector) -> None:
        """Answer a part of the look-ups together, and each other one by itself, perhaps before."""
        asks = [commands.LookUp(command.first + i, key, command.task_hash) for i, key in enumerate(command.eval_hashes)]
        later = frozenset(place for place in range(len(asks)) if self.random.random() < 0.2)
        for place, ask in enumerate(asks):
            self.open["look up", ask.asker] = ask
            self.asked[ask.asker] = ask.eval_hash
            if place in later:
                self.answer(partial(Shell.look_up, ask=ask))
        self.answer(partial(Shell.look_up_together, asks=asks, later=later))

    def look_up_together(self, asks: Sequence[commands.LookUp], later: frozenset[int]) -> messages.LookedUpVector:
        found = {}
        for place, ask in enumerate(asks):
            if place not in later:
                found[place] = self.look_up(ask).candidates
                self.open.pop(("look up", ask.asker), None)
        return messages.LookedUpVector(0, asks[0].asker, {i: each for i, each in found.items() if each}, later)

    def run_all(self, command: commands.RunVector) -> None:
        """Let workers take the attempts of a vector. Some that return are answered together."""
        together: list[messages.Returned] = []
        for attempt in command.attempts():
            self.open["run", attempt.job, attempt.attempt] = attempt
            self.run_task(attempt, together)
        while together:
            size = self.random.randint(1, len(together))
            part, together = together[:size], together[size:]
            costs = [each.cost for each in part]
            self.answer(
                messages.ReturnedVector(
                    0,
                    [each.job for each in part],
                    [each.term for each in part],
                    [cost.started_at for cost in costs],
                    [cost.wall_seconds for cost in costs],
                    [cost.cpu_seconds for cost in costs],
                    [cost.peak_memory_bytes for cost in costs],
                    costs[0].node,
                    costs[0].pid,
                )
            )

    def finish(self, command: commands.Finish) -> None:
        """Note that the evaluation has ended."""
        raise NotImplementedError

    def stop(self, command: commands.Stop) -> None:
        """Stop an attempt that nothing needs: lose the worker of its nested execution, now or a little later."""
        for below in self.course.below:
            if below.above is self and (below.job, below.attempt) == (command.job, command.attempt):
                below.lose()

    def note(self, rows: tuple[Row, ...]) -> None:
        """Learn which call the eval_hash of a job belongs to."""
        for row in rows:
            if isinstance(row, JobRow):
                key = self.course.names.get(row.job_id)
                if row.eval_hash is not None and key is not None:
                    self.ground.known[row.eval_hash] = key

    def commit(self) -> None:
        """Make all that was recorded so far survive a crash."""
        rows = self.course.report.rows
        for row, job_id in self.fresh:
            self.ground.committed.add(row)
            if isinstance(row, PlaceRow):
                self.course.report.places.append(row)
                if row.job_id is not None:
                    self.course.report.place_of[row.job_id] = row.place
            if job_id is not None:
                self.course.safe.setdefault(job_id, self.ground.now)
            if isinstance(row, JobRow):
                before = rows.get(row.job_id)
                # As in the store: a row with an end counts more than one without, and a later end more.
                if before is None or (row.finished_at or 0) >= (before.finished_at or 0):
                    rows[row.job_id] = row
        self.fresh.clear()

    def look_up(self, ask: commands.LookUp) -> messages.LookedUp:
        """The reductions for a key, in the store and among the rows that will be committed, newest first."""
        self.looked_at[ask.asker] = self.ground.now
        rows = list(self.ground.committed.reductions.get(ask.eval_hash, ()))
        rows += [row for row, _ in self.fresh if isinstance(row, ReductionRow) and row.eval_hash == ask.eval_hash]
        since = self.ground.spoilt.get(ask.eval_hash, 0)
        found = [
            messages.Candidate(
                kind=row.kind,
                term=row.term or b"",
                execution_id=row.execution_id,
                at=row.at,
                verdict=row.at > since,
                task_set=hashes_in(row.task_set),
                call_hash=row.call_hash,
                wall_seconds=row.wall_seconds,
                context=context_of(row.context),
            )
            for row in reversed(rows)
        ]
        if ask.wants_value:
            found = sorted([*self.told_values(ask, since), *found], key=lambda each: -each.at)
        return messages.LookedUp(0, ask.asker, tuple(found))

    def told_values(self, ask: commands.LookUp, since: int) -> list[messages.Candidate]:
        """The final values that committed call nodes tell, the latest first."""
        rows = self.ground.committed.rows
        members: dict[bytes, set[bytes]] = {}
        for row in rows:
            if isinstance(row, TaskSetRow):
                members.setdefault(row.task_set, set()).add(row.task_hash)
        return [
            messages.Candidate(
                kind=SHALLOW_VALUE,
                term=row.term or b"",
                execution_id="",
                at=row.at,
                verdict=row.at > since,
                task_set=frozenset(members[row.task_set]),
                call_hash=row.call_hash,
            )
            for row in reversed(rows)
            if isinstance(row, CallRow) and row.eval_hash == ask.eval_hash and row.at is not None
        ]

    def run_task(self, command: commands.RunTask, together: list[messages.Returned] | None = None) -> None:
        """Let a worker take an attempt. The worker returns, raises, or is lost. A lost worker may still answer.

        together: takes an answer that may come together with others.
        """
        job, attempt = command.job, command.attempt
        report = self.course.report
        if (job, attempt) in self.attempts:
            self.untrue(f"an attempt was sent twice: {show(command)}")
        self.attempts[job, attempt] = command.job_id
        if self.life and self.course.safe.get(command.job_id, inf) < self.looked_at.get(job, inf):
            self.untrue(f"a call ran again after a crash although its reduction was committed: {show(command)}")
        if any(type(value).__module__ not in _SYMBOLIC for value in command.arguments.values()):
            self.untrue(f"an argument is not symbolic: {show(command)}")
        report.untruths += [f"{wrong}: {show(command)}" for wrong in self.bodies.wrongs(command)]
        self.hold(command)
        if self.is_cancelled and not has_effects(self.course.program):  # else it may be a clean-up
            self.untrue(f"an attempt was sent after the execution was cancelled: {show(command)}")
        key: Key = (command.entry.name, command.entry.hash, normal(command.arguments))
        if job in self.asked:
            self.ground.known[self.asked[job]] = key
        self.course.names[command.job_id] = report.keys[command.job_id] = key
        report.ran[-1].add(command.job_id)
        most_losses = command.options.get("max_worker_losses", 3)
        below = NestedShell(self, command) if command.under is not None else None
        report.is_unsure |= below is not None and attempt > 1
        good = self.bodies.attempt(command, self.ground.now) if below is None else None
        if command.entry.is_effect:
            place = report.place_of[command.job_id]
            self.uncertain[job, attempt] = place
            report.done[place] += isinstance(good, messages.Returned)
        if self.losses[job] < most_losses and self.random.random() < self.weather.lost:
            self.losses[job] += 1
            if command.entry.is_effect:
                report.hits[report.place_of[command.job_id]] += 1
            if below is not None:
                report.is_unsure = True
                if self.random.random() >= self.weather.late:
                    below.lose()
                    return
            self.answer(messages.WorkerGone(0, job, attempt, "the world took it", "n1", 7))
            if good is not None and self.random.random() < self.weather.late:
                self.post(good, at_least=self.weather.spread_seconds)
            return
        if together is not None and _is_plain(good) and self.random.random() < 0.8:
            together.append(good)  # type: ignore[arg-type]  # a plain answer is a Returned
        elif good is not None:
            self.answer(good)

    def hold(self, command: commands.RunTask) -> None:
        for name, amount in needs_of(command.options).items():
            capacity = self.limits.get(name, 1)
            self.held[name] += int(min(amount, capacity))
            if self.held[name] > capacity:
                self.untrue(f"limit {name} is overdrawn by {show(command)}")

    def operated(self, command: commands.RunOperation) -> messages.Operated:
        """The result of an operation on a worker."""
        try:
            return messages.Operated(0, command.asker, dumps(operated(command.name, command.args)))
        except Exception as raised:  # any error is the operation's answer
            return messages.Operated(0, command.asker, failure=failure_from_exception(raised))

    def check_quiet(self) -> None:
        """Check that nothing is left when an evaluation has ended."""
        for command in self.open.values():
            if not isinstance(command, commands.SetTimer):
                self.untrue(f"unanswered at the end: {show(command)}")
        if any(self.held.values()):
            self.untrue(f"limits still held by workers: {self.held}")
        if self.evaluator.capacity.held or self.evaluator.executions:
            self.untrue(f"the evaluator still holds {self.evaluator.capacity.held}, {self.evaluator.executions}")


class NestedShell(Shell):
    """The shell of a nested execution. The execution begins at once, and answers its attempt when it has ended."""

    def __init__(self, above: Shell, command: commands.RunTask) -> None:
        under = command.under
        assert under is not None
        super().__init__(above.ground, above.course, under.limits, above.life + command.attempt - 1)
        # The execution is in one process. The process as a whole may be lost or answer twice; no part of it does.
        self.weather = Weather(
            committed=above.weather.committed, late=above.weather.late, spread_seconds=above.weather.spread_seconds / 4
        )
        self.bodies.weather = self.weather
        self.above = above
        self.job, self.attempt = command.job, command.attempt
        self.sign = f"{above.sign}  "
        self.is_over = False
        self.losing: float | None = None
        self.course.below.append(self)
        self.began = self.ground.now
        (quoted,) = command.arguments.values()
        root = dumps(quoted._term)
        settings = RunSettings(
            cache=under.cache, options=under.options, context=under.context, profiles=under.profiles
        )
        self.post(
            messages.Submitted(
                at=0,
                execution_id=under.execution_id,
                root=root,
                table=self.course.program.table(),
                settings=settings,
                life=under.life,
                under=under,
            )
        )

    def lose(self) -> None:
        """Note that its worker will be lost soon, at a random moment."""
        self.losing = self.random.random() * 0.5

    def hand_over(self, batch: list[Any]) -> None:
        """Hand messages to the evaluator, unless the execution is over. A lost worker loses all uncommitted rows."""
        if self.is_over:
            return
        if self.losing is not None and self.random.random() < self.losing:
            self.say("--", ["its worker is lost"])
            self.be_lost()
            if ("run", self.job, self.attempt) in self.above.open:
                self.above.post(messages.WorkerGone(0, self.job, self.attempt, "it was ended", "n1", 7))
            return
        super().hand_over(batch)
        if not self.is_over and self.random.random() < self.weather.committed:
            self.commit()

    def be_lost(self) -> None:
        """Lose its worker, and with it the nested executions in its calls."""
        self.end()
        self.course.report.is_unsure = True
        # Only this process knew which jobs it had begun, unless the attempt is sent again.
        self.course.report.torn.update(self.attempts.values())
        for inside in [each for each in self.course.below if each.above is self]:
            inside.be_lost()

    def end(self) -> None:
        """End the execution, so that nothing happens in it any more."""
        self.is_over = True
        self.course.below.remove(self)

    def finish(self, command: commands.Finish) -> None:
        """Commit, then answer the attempt whose body is this execution."""
        self.commit()
        self.check_quiet()
        cost = messages.Cost(self.began, 0.1, 0.1, 1 << 20, "n1", 7)
        good: messages.Returned | messages.Raised
        if isinstance(command.outcome, Failure):
            good = messages.Raised(0, self.job, self.attempt, command.outcome, cost, (), command.below)
        else:
            good = messages.Returned(0, self.job, self.attempt, dumps(command.outcome), cost, (), (), command.below)
        self.end()
        self.above.answer(good)


def _is_plain(answer: Any) -> bool:
    """Whether an answer may come together with others: a body returned, and left nothing else."""
    return isinstance(answer, messages.Returned) and not (answer.entries or answer.rows or answer.below)


_SYMBOLIC = frozenset({"builtins", "rayflow.values.refs", "rayflow.lang.terms.expressions"})
"""Where the classes of symbolic values live."""
