"""A simulated cluster: schedulers, workers and a store, one after the other in one virtual time.

In: programs, a `Weather`, one source of chance. Out: a `Report` of each run, with every rule of the conversation that
was broken. Never: a clock, a thread, a real worker or store, a second source of chance; never what a program means.

The cluster carries out commands and answers them late, in any order, twice, or after the worker was lost. When the
scheduler crashes, all that was not committed is forgotten and a new one takes over. Time is a number that jumps to the
next answer.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any

from rayflow.evaluator import commands, events, provenance
from rayflow.evaluator.capacity import needs_of
from rayflow.evaluator.evaluator import Evaluator
from rayflow.lang.codec import dumps, read
from rayflow.records import CallChildRow, CallRow, JobRow, ReductionRow, Row
from rayflow.testing.bodies import Bodies
from rayflow.testing.meaning import Kept as ReductionKept
from rayflow.testing.meaning import Key
from rayflow.testing.normal_forms import FLAKY, Wrong, normal
from rayflow.testing.operating import operated
from rayflow.testing.patterns import show
from rayflow.testing.programs import Program
from rayflow.testing.weather import Kept, Report, Weather, answered_by, asked_by, hashes_in
from rayflow.values.failures import failure_from_exception

CAPACITIES = {"db": 2.0, "gpu": 1.0}
"""What the simulated cluster has; other limits have 1."""

START = 1_700_000_000_000_000
"""When a world begins, in microseconds since the epoch."""

MOST_TICKS = 20_000
"""A run that takes more has lost its way."""

Maker = Callable[[Mapping[str, float]], Any]
"""Makes an evaluator from capacities."""


class Cluster:
    """Schedulers, workers and a store, one after the other in one virtual time.

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
        self.executions = 0
        self.talk: list[str] | None = None

    def run(self, program: Program, weather: Weather, *, cache: bool = True) -> Report:
        """Evaluate the program's root until it ends, through crashes if there are any."""
        self.executions += 1
        report = Report(f"execution-{self.executions}")
        _Run(self, program, weather, report, cache).play()
        return report

    def remembered(self) -> dict[Key, list[ReductionKept]]:
        """The reductions in the store that say what a body did, in the oracle's words."""
        found: dict[Key, list[ReductionKept]] = {}
        for eval_hash, rows in self.committed.reductions.items():
            key = self.known.get(eval_hash)
            if key is None:
                continue
            rows = [row for row in rows if row.kind != "full" and row.at > self.spoilt.get(eval_hash, 0)]
            for row in rows:
                tasks, read_there = frozenset(read(row.term or b"")[0].tasks), provenance.context_of(row.context)
                found.setdefault(key, []).append(ReductionKept(tasks, hashes_in(row.task_set), read_there))
        return found

    def spoil(self, share: float) -> None:
        """Let some of what the store holds be true no longer."""
        for eval_hash in sorted(self.committed.reductions):
            if self.random.random() < share:
                self.spoilt[eval_hash] = self.now


class _Run:
    """One execution, over all its lives."""

    def __init__(self, cluster: Cluster, program: Program, weather: Weather, report: Report, cache: bool) -> None:
        self.cluster = cluster
        self.random = cluster.random
        self.program, self.cache = program, cache
        self.weather, self.report = weather, report
        root = dumps(program.root_term())
        table, context = program.table(), program.context or {}
        self.submitted = events.Submitted(0, report.execution_id, root, table, {}, cache, 0, context)
        self.names: dict[bytes, Key] = {}
        self.safe: set[bytes] = set()
        self.begin(0)

    def begin(self, life: int) -> None:
        """A new scheduler takes the execution up: all that was in flight, or not committed, is gone."""
        self.evaluator = self.cluster.make(CAPACITIES)
        self.life = life
        self.queue: list[tuple[int, int, Any]] = []
        self.order = 0
        self.begun = self.is_cancelled = False
        self.open: dict[tuple[Any, ...], commands.Command] = {}
        self.held: Counter[str] = Counter()
        self.bodies = Bodies(self.program, self.random, self.weather)
        self.losses: Counter[int] = Counter()
        self.fresh: list[tuple[Row, bytes | None]] = []
        self.attempts: dict[tuple[int, int], bytes] = {}
        self.asked: dict[int, bytes] = {}
        self.jobs_of_reductions: dict[int, bytes] = {}
        self.report.ran.append(set())
        self.post(self.submitted._replace(life=life), 0.0)

    def play(self) -> None:
        """Tick until the execution has ended and nothing is on its way."""
        random, weather, report = self.random, self.weather, self.report
        for _ in range(MOST_TICKS):
            if not self.queue:
                break
            if report.finish is None:
                if random.random() < weather.crashed and self.life < 3:
                    self.say("--", ["the scheduler crashes"])
                    report.lives += 1
                    self.begin(self.life + 1)
                elif random.random() < weather.cancelled and not report.was_cancelled:
                    report.was_cancelled = True
                    self.post(events.Cancelled(0, report.execution_id), 0.0)
                if random.random() < weather.committed:
                    self.commit()
                if self.begun and random.random() < weather.noise:
                    self.hand_over([self.noise()])
                    continue
            self.tick()
        else:
            self.untrue("the run does not end")
        if report.finish is None:
            self.untrue("nothing is in flight, and the execution has not ended")
        self.check_end()

    def untrue(self, text: str) -> None:
        self.report.untruths.append(text)

    def say(self, sign: str, things: Sequence[Any]) -> None:
        if self.cluster.talk is not None:
            self.cluster.talk += [f"{sign} {show(thing)}" for thing in things]

    # --- time and answers ---

    def post(self, event: Any, seconds: float | None = None, at_least: float = 0.0) -> None:
        """Let an event happen later: at random within the weather's spread, but not before `at_least` seconds."""
        if seconds is None:
            seconds = at_least + self.random.random() * self.weather.spread_seconds
        self.order += 1
        heapq.heappush(self.queue, (self.cluster.now + int(seconds * 1_000_000), self.order, event))

    def answer(self, event: Any, at_least: float = 0.0) -> None:
        """Post an answer, now and then twice."""
        self.post(event, at_least=at_least)
        if self.random.random() < self.weather.repeated:
            self.post(event, at_least=at_least)

    def tick(self) -> None:
        """One turn of the scheduler: a few events, and the commands that follow."""
        batch = []
        for _ in range(self.random.choice((1, 1, 1, 2, 5))):
            if not self.queue:
                break
            due, _, event = heapq.heappop(self.queue)
            self.cluster.now = max(self.cluster.now + 1, due)
            batch.append(event(self) if callable(event) else event)
        self.hand_over(batch)

    def hand_over(self, batch: list[Any]) -> None:
        """Tell the evaluator, and carry out what it says."""
        self.begun = True
        batch = [event._replace(at=self.cluster.now) for event in batch]
        accepted = [event for event in batch if self.settle(event)]
        self.say(">>", batch)
        came = self.evaluator.handle(batch)
        self.match_reductions([event for event in accepted if isinstance(event, events.Returned)], came)
        self.say("<<", came)
        for command in came:
            self.carry_out(command)
        if any(isinstance(each, events.Cancelled) and each.execution_id == self.report.execution_id for each in batch):
            self.is_cancelled = True
            running = self.evaluator.executions.get(self.report.execution_id)
            self.report.cancelled_in_time = running is not None and (running.root is None or running.root.is_open)

    def settle(self, event: Any) -> bool:
        """Note which command an event answers; False when it answers none that is open."""
        key = answered_by(event)
        command = self.open.pop(key, None) if key is not None else None
        if isinstance(command, commands.RunTask):
            for name, amount in needs_of(command.options).items():
                self.held[name] -= int(min(amount, CAPACITIES.get(name, 1)))
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
            self.answer(partial(_Run.look_up, ask=command))
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
        elif kind is commands.Finish:
            assert isinstance(command, commands.Finish)
            if self.report.finish is not None:
                self.untrue("it ended twice")
            self.report.finish = command
            self.report.outcome = normal(command.outcome)
            self.commit()

    def note(self, rows: tuple[Row, ...]) -> None:
        """Keep the last row of each job, and learn what its eval_hash stands for."""
        for row in rows:
            if isinstance(row, JobRow):
                self.report.rows[row.job_id] = row
                key = self.names.get(row.job_id)
                if row.eval_hash is not None and key is not None:
                    self.cluster.known[row.eval_hash] = key

    def commit(self) -> None:
        """What was recorded so far will survive."""
        for row, job_id in self.fresh:
            self.cluster.committed.add(row)
            if job_id is not None:
                self.safe.add(job_id)
        self.fresh.clear()

    def look_up(self, ask: commands.LookUp) -> events.LookedUp:
        """What the store, and what is about to be committed, has for a key, newest first."""
        rows = list(self.cluster.committed.reductions.get(ask.eval_hash, ()))
        rows += [row for row, _ in self.fresh if isinstance(row, ReductionRow) and row.eval_hash == ask.eval_hash]
        since = self.cluster.spoilt.get(ask.eval_hash, 0)
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
        if (job, attempt) in self.attempts:
            self.untrue(f"an attempt was sent twice: {show(command)}")
        self.attempts[job, attempt] = command.job_id
        if self.life and command.job_id in self.safe:
            self.untrue(f"a call ran again after a crash although its reduction was committed: {show(command)}")
        if any(type(value).__module__ not in _SYMBOLIC for value in command.arguments.values()):
            self.untrue(f"an argument is not symbolic: {show(command)}")
        self.report.untruths += [f"{wrong}: {show(command)}" for wrong in self.bodies.wrongs(command)]
        self.hold(command)
        if self.is_cancelled:
            self.untrue(f"an attempt was sent after the execution was cancelled: {show(command)}")
        key: Key = (command.entry.name, command.entry.hash, normal(command.arguments))
        if job in self.asked:
            self.cluster.known[self.asked[job]] = key
        self.names[command.job_id] = self.report.keys[command.job_id] = key
        self.report.ran[-1].add(command.job_id)
        most_losses = command.options.get("max_worker_losses", 3)
        good = self.bodies.attempt(command, self.cluster.now)
        if self.losses[job] < most_losses and self.random.random() < self.weather.lost:
            self.losses[job] += 1
            self.answer(events.WorkerLost(0, job, attempt, "the world took it", "n1", 7))
            if self.random.random() < self.weather.late:
                self.post(good, at_least=self.weather.spread_seconds)
            return
        self.answer(good)

    def hold(self, command: commands.RunTask) -> None:
        for name, amount in needs_of(command.options).items():
            capacity = CAPACITIES.get(name, 1)
            self.held[name] += int(min(amount, capacity))
            if self.held[name] > capacity:
                self.untrue(f"limit {name} is overdrawn by {show(command)}")

    def operated(self, command: commands.RunOperation) -> events.Operated:
        """What an operation comes to, on a worker."""
        try:
            return events.Operated(0, command.asker, dumps(operated(command.name, command.args)))
        except Exception as raised:  # whatever Python raises is the operation's answer
            return events.Operated(0, command.asker, failure=failure_from_exception(raised))

    def noise(self) -> Any:
        """An answer to something that nobody asked, or that was answered before."""
        answered = [key for key in self.attempts if ("run", *key) not in self.open]
        job, attempt = self.random.choice(answered) if answered else (1, 99)
        nobody = 1_000_000
        cost = events.Cost(self.cluster.now, 0.1, 0.1)
        return self.random.choice(
            (
                events.Returned(0, job, attempt, dumps("noise"), cost),
                events.Raised(0, job, attempt, FLAKY, cost),
                events.Paused(0, job, attempt, dumps((True, {b"noise": "noise"})), cost),
                events.WorkerLost(0, job, attempt, "noise"),
                events.Returned(0, nobody, 1, dumps("noise"), cost),
                events.TimerFired(0, ("retry", nobody)),
                events.LookedUp(0, nobody, ()),
                events.Operated(0, nobody, dumps("noise")),
                events.Cancelled(0, "another execution"),
                self.submitted._replace(root=dumps("noise"), life=self.life),
            )
        )

    # --- the end ---

    def check_end(self) -> None:
        """What has to be true of every run, whatever it means."""
        report = self.report
        for command in self.open.values():
            if not isinstance(command, commands.SetTimer):
                self.untrue(f"unanswered at the end: {show(command)}")
        if any(self.held.values()):
            self.untrue(f"limits still held by workers: {self.held}")
        if self.evaluator.capacity.held or self.evaluator.executions:
            self.untrue(f"the evaluator still holds {self.evaluator.capacity.held}, {self.evaluator.executions}")
        without = [report.keys[job_id] for job_id in report.ran[-1] if job_id not in report.rows]
        if without and not self.program.has_gaps:
            self.untrue(f"jobs ran and have no row: {without}")
        for row in report.rows.values():
            if (row.status == "open" or row.finished_at is None) and not self.may_be_left_open(row):
                self.untrue(f"a job was left open: {row}")
        if self.is_cancelled and report.cancelled_in_time and not isinstance(report.outcome, Wrong):
            self.untrue(f"it was cancelled, and came to {report.outcome}")
        kept = self.cluster.committed.rows
        calls = {row.call_hash for row in kept if isinstance(row, CallRow)}
        for row in report.rows.values():
            if row.task_name != "<expression>" and row.status == "done" and row.call_hash not in calls:
                self.untrue(f"a job is done and left no call: {row}")
        if not {row.child_call_hash for row in kept if isinstance(row, CallChildRow)} <= calls:
            self.untrue("a call that was not recorded is named as a child")
        self.check_counts()

    def may_be_left_open(self, row: JobRow) -> bool:
        """Whether the scheduler crashed while it was open, and a call above took its value from an equal one after
        that: which of several it is under contexts that agree where they are read, depends on the order of answers."""
        above: JobRow | None = row if self.life and self.program.context is not None else None
        while above is not None and (above is row or above.how != "shared"):
            above = self.report.rows.get(above.parent_job_id or b"")
        return above is not None

    def check_counts(self) -> None:
        finish, rows = self.report.finish, self.report.rows.values()
        if finish is None or self.report.lives > 1 or self.program.has_gaps:
            return
        ended = {status: sum(row.status == status for row in rows) for status in ("failed", "cancelled")}
        if {**finish.counts, "jobs": len(rows), **ended} != finish.counts:
            self.untrue(f"counts {dict(finish.counts)} do not fit {len(rows)} rows, of which {ended}")


_SYMBOLIC = frozenset({"builtins", "rayflow.values.refs", "rayflow.lang.expressions"})
"""Where the classes of symbolic values live."""
