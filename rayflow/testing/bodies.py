"""Bodies on simulated workers: what an attempt comes to, and what a body that awaits has to be told.

In: attempts that are sent, answers that were taken. Out: the answer of each attempt, and what is wrong with one that
was sent. Never: a time, an answer that is lost or late; that is the cluster's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from random import Random

from rayflow.evaluator import commands, events
from rayflow.lang.codec import dumps, loads
from rayflow.lang.expressions import Term
from rayflow.testing.normal_forms import FLAKY
from rayflow.testing.program_awaits import AwaitedFailed, Body, does_await, entered
from rayflow.testing.programs import Program, TaskError
from rayflow.testing.weather import Weather
from rayflow.values.failures import Failure, Outcome


class Bodies:
    """The bodies of one program in one life of its scheduler."""

    def __init__(self, program: Program, random: Random, weather: Weather) -> None:
        self.program = program
        self.random = random
        self.weather = weather
        self._raises: Counter[int] = Counter()
        self._told: dict[int, set[bytes]] = {}
        self._passing_on: set[tuple[int, int]] = set()
        self._ended: set[int] = set()

    def wrongs(self, command: commands.RunTask) -> Iterator[str]:
        """What is wrong with sending this attempt."""
        if set(command.known or ()) != self._told.get(command.job, set()):
            yield "a body is not told what it has awaited"
        if command.job in self._ended:
            yield "a body is entered again after an error that it has passed on"

    def learn(self, event: events.Event) -> None:
        """An answer that somebody waited for."""
        if isinstance(event, events.Paused):
            self._told.setdefault(event.job, set()).update(loads(event.term)[1])
        elif isinstance(event, events.Raised):
            self._raises[event.job] += 1
            if (event.job, event.attempt) in self._passing_on:
                self._ended.add(event.job)

    def attempt(self, command: commands.RunTask, at: int) -> events.Returned | events.Paused | events.Raised:
        """What an attempt comes to, if its worker lives."""
        job, attempt = command.job, command.attempt
        cost = events.Cost(at, 0.1, 0.1, 1 << 20, "n1", 7)
        definition = self.program.definitions[command.entry.name]

        def stumble() -> None:
            if self._raises[job] < definition.flaky:
                raise TaskError(FLAKY)

        try:
            if does_await(definition):
                body = entered(self.program, definition.name, command.arguments, Failure, stumble)
                asked, term = self._enter(body, command.known or {})
                if asked:
                    # A worker may also have left it before it came to all that is known.
                    strayed = self.random.random() < self.weather.late
                    return events.Paused(0, job, attempt, dumps((strayed, asked)), cost)
            else:
                stumble()
                term = self.program.run_body(definition.name, command.arguments)
        except TaskError as error:
            return events.Raised(0, job, attempt, error.failure, cost)
        except AwaitedFailed as passed_on:
            self._passing_on.add((job, attempt))
            return events.Raised(0, job, attempt, passed_on.outcome, cost)
        return events.Returned(0, job, attempt, dumps(term), cost)

    def _enter(self, body: Body, known: Mapping[bytes, Outcome]) -> tuple[dict[bytes, Term], Term]:
        """What a body still asks for, or what it returns. A worker may leave it before it has asked for all."""
        try:
            asked = next(body)
            while True:
                new = [key for key in asked if key not in known]
                if new:
                    some = self.random.sample(new, k=self.random.randint(1, len(new)))
                    return {key: asked[key] for key in some}, None
                asked = body.send({key: known[key] for key in asked})
        except StopIteration as end:
            return {}, end.value
