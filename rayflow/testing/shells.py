"""A shell around one evaluator in a simulated cluster: it carries out commands and answers them in virtual time.

In: an evaluator, a `Weather`, what it shares with others of its execution. Out: events, at times drawn at random; rows
in the store; what broke a rule of the conversation. Never: a real worker or store, a second source of chance.

A call whose body is an evaluation of its own has a shell of its own (`Below`): it lives on one worker, so nothing of it
is lost by itself, and all of it when that worker is.
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

from rayflow.evaluator import commands, events, provenance
from rayflow.evaluator.capacity import needs_of
from rayflow.evaluator.evaluator import Evaluator
from rayflow.lang.codec import dumps
from rayflow.records import JobRow, ReductionRow, Row
from rayflow.testing.bodies import Bodies
from rayflow.testing.meaning import Key
from rayflow.testing.normal_forms import normal
from rayflow.testing.operating import operated
from rayflow.testing.patterns import show
from rayflow.testing.programs import Program
from rayflow.testing.weather import Kept, Report, Weather, answered_by, asked_by, hashes_in
from rayflow.values.failures import Failure, failure_from_exception

CAPACITIES = {"db": 2.0, "gpu": 1.0}
"""What the simulated cluster has; other limits have 1."""

START = 1_700_000_000_000_000
"""When a world begins, in microseconds since the epoch."""

Maker = Callable[[Mapping[str, float]], Any]
"""Makes an evaluator from capacities."""


class Ground:
    """What outlives an execution.

    known: for every eval_hash that was ever seen, the call in the oracle's words.
    spoilt: for keys whose recorded values no longer hold (a file was altered), since when.
    """

    def __init__(self, random: Random, make: Maker = Evaluator) -> None:
        self.random = random
        self.make = make
        self.now = START
        self.committed = Kept()
        self.known: dict[bytes, Key] = {}
        self.spoilt: dict[bytes, int] = {}
        self.talk: list[str] | None = None


@dataclass
class Course:
    """What the evaluations of one execution share, over all its lives.

    queue: what will happen, by time; each with the shell that it happens to. names: the call that each job is. safe:
    jobs whose reduction will survive, and since when. below: the evaluations inside calls that are under way.
    """

    program: Program
    weather: Weather
    report: Report
    queue: list[tuple[int, int, Shell, Any]] = field(default_factory=list)
    order: int = 0
    names: dict[bytes, Key] = field(default_factory=dict)
    safe: dict[bytes, int] = field(default_factory=dict)
    below: list[Below] = field(default_factory=list)


class Shell:
    """Carries out what one evaluator says. life: how often its evaluation was begun before."""

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
        self.open: dict[tuple[Any, ...], commands.Command] = {}
        self.held: Counter[str] = Counter()
        self.bodies = Bodies(course.program, self.random, self.weather)
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

    def post(self, event: Any, seconds: float | None = None, at_least: float = 0.0) -> None:
        """Let an event happen later: at random within the weather's spread, but not before `at_least` seconds."""
        if seconds is None:
            seconds = at_least + self.random.random() * self.weather.spread_seconds
        course = self.course
        course.order += 1
        heapq.heappush(course.queue, (self.ground.now + int(seconds * 1_000_000), course.order, self, event))

    def answer(self, event: Any, at_least: float = 0.0) -> None:
        """Post an answer, now and then twice."""
        self.post(event, at_least=at_least)
        if self.random.random() < self.weather.repeated:
            self.post(event, at_least=at_least)

    def hand_over(self, batch: list[Any]) -> None:
        """Tell the evaluator, and carry out what it says."""
        batch = [event._replace(at=self.ground.now) for event in batch]
        accepted = [event for event in batch if self.settle(event)]
        self.say(">>", batch)
        came = self.evaluator.handle(batch)
        self.match_reductions([event for event in accepted if isinstance(event, events.Returned)], came)
        self.say("<<", came)
        for command in came:
            self.carry_out(command)

    def settle(self, event: Any) -> bool:
        """Note which command an event answers; False when it answers none that is open."""
        key = answered_by(event)
        command = self.open.pop(key, None) if key is not None else None
        if isinstance(command, commands.RunTask):
            for name, amount in needs_of(command.options).items():
                self.held[name] -= int(min(amount, self.limits.get(name, 1)))
            self.bodies.learn(event)
        return command is not None

    def match_reductions(self, returned: list[events.Returned], came: list[commands.Command]) -> None:
        """Which job each new reduction is of, so that a replay can be checked against what was committed."""
        self.jobs_of_reductions = {}
        terms = {event.term: self.attempts[event.job, event.attempt] for event in returned}
        for command in came:
            if isinstance(command, commands.Remember) and command.reduction.kind == "single":
                job_id = terms.get(command.reduction.term or b"")
                if job_id is not None and sum(event.term == command.reduction.term for event in returned) == 1:
                    self.jobs_of_reductions[id(command)] = job_id

    # --- commands ---

    def carry_out(self, command: commands.Command) -> None:
        """What the shell does with a command."""
        kind = type(command)
        asks = asked_by(command)
        if asks is not None:
            if asks in self.open:
                self.untrue(f"asked twice at once: {show(command)}")
            self.open[asks] = command
        if kind is commands.LookUp:
            assert isinstance(command, commands.LookUp)
            self.asked[command.asker] = command.eval_hash
            self.answer(partial(Shell.look_up, ask=command))
        elif kind is commands.RunTask:
            self.run_task(command)  # type: ignore[arg-type]  # `kind is` does not narrow
        elif kind is commands.RunOperation:
            self.answer(self.operated(command))  # type: ignore[arg-type]  # `kind is` does not narrow
        elif kind is commands.SetTimer:
            assert isinstance(command, commands.SetTimer)
            self.answer(events.TimerFired(0, command.name), at_least=command.seconds)
        elif kind is commands.Remember:
            assert isinstance(command, commands.Remember)
            self.fresh.append((command.reduction, self.jobs_of_reductions.get(id(command))))
        elif kind is commands.Record:
            assert isinstance(command, commands.Record)
            self.fresh.extend((row, None) for row in command.rows)
            self.note(command.rows)
        elif kind is commands.Stop:
            self.stop(command)  # type: ignore[arg-type]  # `kind is` does not narrow
        elif kind is commands.Finish:
            self.finish(command)  # type: ignore[arg-type]  # `kind is` does not narrow

    def finish(self, command: commands.Finish) -> None:
        """The evaluation has ended."""
        raise NotImplementedError

    def stop(self, command: commands.Stop) -> None:
        """Nobody wants an attempt any more: a worker that was given an evaluation is ended, now or a little later."""
        for below in self.course.below:
            if below.above is self and (below.job, below.attempt) == (command.job, command.attempt):
                below.lose()

    def note(self, rows: tuple[Row, ...]) -> None:
        """Learn what the eval_hash of a job stands for."""
        for row in rows:
            if isinstance(row, JobRow):
                key = self.course.names.get(row.job_id)
                if row.eval_hash is not None and key is not None:
                    self.ground.known[row.eval_hash] = key

    def commit(self) -> None:
        """What was recorded so far will survive."""
        rows = self.course.report.rows
        for row, job_id in self.fresh:
            self.ground.committed.add(row)
            if job_id is not None:
                self.course.safe.setdefault(job_id, self.ground.now)
            if isinstance(row, JobRow):
                before = rows.get(row.job_id)
                # As in the store: a row with an end counts more than one without, and a later end more.
                if before is None or (row.finished_at or 0) >= (before.finished_at or 0):
                    rows[row.job_id] = row
        self.fresh.clear()

    def look_up(self, ask: commands.LookUp) -> events.LookedUp:
        """What the store, and what is about to be committed, has for a key, newest first."""
        self.looked_at[ask.asker] = self.ground.now
        rows = list(self.ground.committed.reductions.get(ask.eval_hash, ()))
        rows += [row for row, _ in self.fresh if isinstance(row, ReductionRow) and row.eval_hash == ask.eval_hash]
        since = self.ground.spoilt.get(ask.eval_hash, 0)
        found = [
            events.Candidate(
                row.kind, row.term or b"", row.execution_id, row.at, row.at > since, hashes_in(row.task_set),
                row.call_hash, row.wall_seconds, provenance.context_of(row.context),
            )
            for row in reversed(rows)
        ]
        return events.LookedUp(0, ask.asker, tuple(found))

    def run_task(self, command: commands.RunTask) -> None:
        """A worker takes an attempt: it returns, raises, or is lost (and then perhaps answers all the same)."""
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
        if self.is_cancelled:
            self.untrue(f"an attempt was sent after the execution was cancelled: {show(command)}")
        key: Key = (command.entry.name, command.entry.hash, normal(command.arguments))
        if job in self.asked:
            self.ground.known[self.asked[job]] = key
        self.course.names[command.job_id] = report.keys[command.job_id] = key
        report.ran[-1].add(command.job_id)
        most_losses = command.options.get("max_worker_losses", 3)
        below = Below(self, command) if command.under is not None else None
        report.is_unsure |= below is not None and attempt > 1
        good = self.bodies.attempt(command, self.ground.now) if below is None else None
        if self.losses[job] < most_losses and self.random.random() < self.weather.lost:
            self.losses[job] += 1
            if below is not None:
                report.is_unsure = True
                if self.random.random() >= self.weather.late:
                    below.lose()
                    return
            self.answer(events.WorkerLost(0, job, attempt, "the world took it", "n1", 7))
            if good is not None and self.random.random() < self.weather.late:
                self.post(good, at_least=self.weather.spread_seconds)
            return
        if good is not None:
            self.answer(good)

    def hold(self, command: commands.RunTask) -> None:
        for name, amount in needs_of(command.options).items():
            capacity = self.limits.get(name, 1)
            self.held[name] += int(min(amount, capacity))
            if self.held[name] > capacity:
                self.untrue(f"limit {name} is overdrawn by {show(command)}")

    def operated(self, command: commands.RunOperation) -> events.Operated:
        """What an operation comes to, on a worker."""
        try:
            return events.Operated(0, command.asker, dumps(operated(command.name, command.args)))
        except Exception as raised:  # whatever Python raises is the operation's answer
            return events.Operated(0, command.asker, failure=failure_from_exception(raised))

    def check_quiet(self) -> None:
        """Nothing may be left when an evaluation has ended."""
        for command in self.open.values():
            if not isinstance(command, commands.SetTimer):
                self.untrue(f"unanswered at the end: {show(command)}")
        if any(self.held.values()):
            self.untrue(f"limits still held by workers: {self.held}")
        if self.evaluator.capacity.held or self.evaluator.executions:
            self.untrue(f"the evaluator still holds {self.evaluator.capacity.held}, {self.evaluator.executions}")


class Below(Shell):
    """The shell of an evaluation inside a call. It is begun at once, and answers its attempt when it has ended."""

    def __init__(self, above: Shell, command: commands.RunTask) -> None:
        under = command.under
        assert under is not None
        super().__init__(above.ground, above.course, under.limits, above.life + command.attempt - 1)
        # All of it is in one process: what is lost or told twice is this process, and not a part of it.
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
        self.post(
            events.Submitted(
                0, under.execution_id, root, self.course.program.table(), under.options, under.cache, under.life,
                under.context, under.profiles, under,
            )
        )

    def lose(self) -> None:
        """Its worker will be lost, at any moment from now on."""
        self.losing = self.random.random() * 0.5

    def hand_over(self, batch: list[Any]) -> None:
        """Tell the evaluator, unless it is over; what was not committed when its worker is lost is gone."""
        if self.is_over:
            return
        if self.losing is not None and self.random.random() < self.losing:
            self.say("--", ["its worker is lost"])
            self.be_lost()
            if ("run", self.job, self.attempt) in self.above.open:
                self.above.post(events.WorkerLost(0, self.job, self.attempt, "it was ended", "n1", 7))
            return
        super().hand_over(batch)
        if not self.is_over and self.random.random() < self.weather.committed:
            self.commit()

    def be_lost(self) -> None:
        """Its worker is gone, and with it the evaluations inside its calls."""
        self.end()
        self.course.report.is_unsure = True
        # Nobody else can tell of what it had begun, unless it is sent again.
        self.course.report.torn.update(self.attempts.values())
        for inside in [each for each in self.course.below if each.above is self]:
            inside.be_lost()

    def end(self) -> None:
        """Nothing happens in it any more."""
        self.is_over = True
        self.course.below.remove(self)

    def finish(self, command: commands.Finish) -> None:
        """Commit, then answer the attempt that it is the body of."""
        self.commit()
        self.check_quiet()
        cost = events.Cost(self.began, 0.1, 0.1, 1 << 20, "n1", 7)
        good: events.Returned | events.Raised
        if isinstance(command.outcome, Failure):
            good = events.Raised(0, self.job, self.attempt, command.outcome, cost, (), command.below)
        else:
            good = events.Returned(0, self.job, self.attempt, dumps(command.outcome), cost, (), (), command.below)
        self.end()
        self.above.answer(good)


_SYMBOLIC = frozenset({"builtins", "rayflow.values.refs", "rayflow.lang.expressions"})
"""Where the classes of symbolic values live."""
