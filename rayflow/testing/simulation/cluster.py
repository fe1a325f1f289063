"""A simulated cluster: schedulers, workers and a store, one after the other in one virtual time.

In: programs, a `Weather`, one random generator. Out: a `Report` of each run, with the broken rules of the conversation.
Never: a clock, a thread, a real worker or store, a second random generator; never the meaning of a program.

The cluster carries out commands and answers them late, in any order, twice, or after the worker was lost. If the
scheduler crashes, everything uncommitted is lost, and a new scheduler takes over. Time is a number that jumps to the
next answer.
"""

from __future__ import annotations

import heapq
from typing import Any

from rayflow.evaluator import commands, messages
from rayflow.evaluator.rows import context_of, left_row
from rayflow.evaluator.timers import RetryTimer
from rayflow.lang.terms.codec import dumps, read
from rayflow.records import SHALLOW_VALUE, CallChildRow, CallRow
from rayflow.run_settings import RunSettings
from rayflow.testing.simulation.meaning import Key, KnownReduction
from rayflow.testing.simulation.normal_forms import FLAKY, Wrong, normal
from rayflow.testing.simulation.program_effects import has_effects
from rayflow.testing.simulation.programs import Program
from rayflow.testing.simulation.shells import CAPACITIES, Course, Ground, Shell
from rayflow.testing.simulation.weather import Report, Weather, hashes_in

MOST_TICKS = 20_000
"""A run that takes more has lost its way."""


class SimulatedCluster(Ground):
    """Schedulers, workers and a store, one after the other in one virtual time."""

    executions = 0

    def run(self, program: Program, weather: Weather, *, cache: bool = True) -> Report:
        """Evaluate the program's root until it ends, through crashes if there are any."""
        self.executions += 1
        report = Report(f"execution-{self.executions}")
        _Trial(self, Course(program, weather, report), cache).play()
        return report

    def retry(self, program: Program, weather: Weather, report: Report, *, cache: bool = True) -> None:
        """Take up an execution that has failed once more, so that what has failed is made again."""
        report.finish = None
        report.lives += 1
        report.generation += 1
        _Trial(self, Course(program, weather, report), cache).play()

    def remembered(self) -> dict[Key, list[KnownReduction]]:
        """The valid reductions in the store that replace the run of a body, by the oracle's name of the call."""
        found: dict[Key, list[KnownReduction]] = {}
        for eval_hash, rows in self.committed.reductions.items():
            key = self.known.get(eval_hash)
            if key is None:
                continue
            rows = [row for row in rows if row.kind != SHALLOW_VALUE and row.at > self.spoilt.get(eval_hash, 0)]
            for row in rows:
                tasks, read_there = frozenset(read(row.term or b"")[0].tasks), context_of(row.context)
                found.setdefault(key, []).append(KnownReduction(tasks, hashes_in(row.task_set), read_there))
        return found

    def spoil(self, share: float) -> None:
        """Make a part of the store's values invalid, as if files had been altered."""
        for eval_hash in sorted(self.committed.reductions):
            if self.random.random() < share:
                self.spoilt[eval_hash] = self.now


class _Top(Shell):
    """The shell of the execution itself, in one life of its scheduler."""

    begun = False

    def hand_over(self, batch: list[Any]) -> None:
        """Hand messages to the evaluator; note whether a request to cancel came before the end."""
        self.begun = True
        super().hand_over(batch)
        report = self.course.report
        requests = [each for each in batch if isinstance(each, messages.CancelRequested)]
        if any(each.execution_id == report.execution_id for each in requests):
            self.is_cancelled = True
            running = self.evaluator.executions.get(report.execution_id)
            report.cancelled_in_time = running is not None and (running.root is None or running.root.is_open)

    def finish(self, command: commands.Finish) -> None:
        """Report the end, then commit."""
        report = self.course.report
        if report.finish is not None:
            self.untrue("it ended twice")
        report.finish = command
        report.outcome = normal(command.outcome)
        self.commit()
        if command.is_torn:
            left = [row for row in report.rows.values() if row.status == "open"]
            self.fresh.extend((left_row(row, self.ground.now), None) for row in left)
            self.commit()

    def noise(self, submitted: messages.Submitted) -> Any:
        """An answer to a question that was never asked, or that was already answered."""
        answered = [key for key in self.attempts if ("run", *key) not in self.open]
        job, attempt = self.random.choice(answered) if answered else (1, 99)
        nobody = 1_000_000
        first = job if attempt == 1 else nobody
        cost = messages.Cost(self.ground.now, 0.1, 0.1)
        return self.random.choice(
            (
                messages.Returned(0, job, attempt, dumps("noise"), cost),
                messages.Raised(0, job, attempt, FLAKY, cost),
                messages.Paused(0, job, attempt, dumps(((b"noise",), {b"noise": "noise"})), cost),
                messages.WorkerGone(0, job, attempt, "noise"),
                messages.Returned(0, nobody, 1, dumps("noise"), cost),
                messages.TimerFired(0, RetryTimer(nobody)),
                messages.LookedUp(0, nobody, ()),
                messages.LookedUpVector(0, nobody, {}),
                messages.ReturnedVector(0, [first], [dumps("noise")], [0], [0.1], [0.1], [None]),
                messages.Operated(0, nobody, dumps("noise")),
                messages.CancelRequested(0, "another execution"),
                submitted._replace(root=dumps("noise"), life=self.life),
            )
        )


class _Trial:
    """One execution, over all its lives."""

    def __init__(self, cluster: SimulatedCluster, course: Course, cache: bool) -> None:
        self.cluster, self.course, self.report = cluster, course, course.report
        self.random = cluster.random
        program = course.program
        root = dumps(program.root_term())
        table, context = program.table(), program.context or {}
        settings = RunSettings(cache=cache, context=context)
        self.submitted = messages.Submitted(
            at=0, execution_id=self.report.execution_id, root=root, table=table, settings=settings
        )
        self.top = self.begin(self.report.generation)

    def begin(self, life: int) -> _Top:
        """Start a new scheduler that resumes the execution. Everything in flight and everything uncommitted is lost."""
        self.course.queue.clear()
        self.course.below.clear()
        top = _Top(self.cluster, self.course, CAPACITIES, life)
        self.report.ran.append(set())
        pins, resolved = list(self.report.places), dict(self.report.resolved)
        self.random.shuffle(pins)
        submitted = self.submitted._replace(life=life)
        if has_effects(self.course.program):
            report = self.report
            by = "somebody" if report.was_cancelled else None
            submitted = submitted._replace(
                pins=pins, resolved=resolved, generation=report.generation, cancelled_by=by
            )
            has_ended = any(row.parent is None and row.kind == "outcome" for row in pins)
            top.is_cancelled = report.was_cancelled
            report.cancelled_in_time = report.was_cancelled and not has_ended
        top.post(submitted, 0.0)
        return top

    def crash(self) -> None:
        """Let a new scheduler take the execution up again."""
        self.report.lives += 1
        self.report.hits.update(self.top.uncertain.values())
        self.top = self.begin(self.top.life + 1)

    def play(self) -> None:
        """Tick until the execution has ended and nothing is on its way."""
        random, weather, report = self.random, self.course.weather, self.report
        for _ in range(MOST_TICKS):
            top = self.top
            if report.finish is None and top.has_crashed:
                top.say("--", ["the scheduler crashes in the middle of a turn"])
                self.crash()
                continue
            if not self.course.queue:
                break
            if report.finish is None:
                if random.random() < weather.crashed and top.life < 3:
                    top.say("--", ["the scheduler crashes"])
                    self.crash()
                elif random.random() < weather.cancelled and not report.was_cancelled:
                    report.was_cancelled = True
                    top.post(messages.CancelRequested(0, report.execution_id), 0.0)
                if random.random() < weather.committed:
                    self.top.commit()
                if self.top.begun and random.random() < weather.noise:
                    self.top.hand_over([self.top.noise(self.submitted)])
                    continue
            self.tick()
        else:
            self.top.untrue("the run does not end")
        if report.finish is None:
            self.top.untrue("nothing is in flight, and the execution has not ended")
        self.check_end()

    def tick(self) -> None:
        """One turn: a few messages, each for its evaluator, and the commands that follow."""
        batch: list[tuple[Shell, Any]] = []
        for _ in range(self.random.choice((1, 1, 1, 2, 5))):
            if not self.course.queue:
                break
            due, _, shell, message = heapq.heappop(self.course.queue)
            self.cluster.now = max(self.cluster.now + 1, due)
            batch.append((shell, message(shell) if callable(message) else message))
        for shell in dict.fromkeys(shell for shell, _ in batch):
            shell.hand_over([message for each, message in batch if each is shell])

    # --- the end ---

    def check_end(self) -> None:
        """Check the facts that must be true of every run of any program."""
        report, top, untrue = self.report, self.top, self.top.untrue
        top.check_quiet()
        without = [report.keys[job_id] for job_id in report.ran[-1] - report.torn if job_id not in report.rows]
        if without and not self.course.program.has_gaps:
            untrue(f"jobs ran and have no row: {without}")
        for row in report.rows.values():
            if row.status == "open" or row.finished_at is None:
                untrue(f"a job was left open: {row}")
        if top.is_cancelled and report.cancelled_in_time and not isinstance(report.outcome, Wrong):
            untrue(f"it was cancelled, and came to {report.outcome}")
        kept = self.cluster.committed.rows
        calls = {row.call_hash for row in kept if isinstance(row, CallRow)}
        for row in report.rows.values():
            if row.task_name != "<expression>" and row.status == "done" and row.call_hash not in calls:
                untrue(f"a job is done and left no call: {row}")
        if not {row.child_call_hash for row in kept if isinstance(row, CallChildRow)} <= calls:
            untrue("a call that was not recorded is named as a child")
        self.check_counts()

    def check_counts(self) -> None:
        finish, rows = self.report.finish, self.report.rows.values()
        # A nested execution that is sent again counts anew. It may find the whole result of an earlier call recorded.
        report, has_gaps = self.report, self.course.program.has_gaps
        if finish is not None and finish.counts["recorded"] > len(rows):
            self.top.untrue(f"{finish.counts['recorded']} jobs are said to be recorded, and {len(rows)} are")
        if finish is None or report.lives > 1 or report.is_unsure or has_gaps:
            return
        ended = {status: sum(row.status == status for row in rows) for status in ("failed", "not_run", "cancelled")}
        if {**finish.counts, "jobs": len(rows), **ended} != finish.counts:
            self.top.untrue(f"counts {dict(finish.counts)} do not fit {len(rows)} rows, of which {ended}")
