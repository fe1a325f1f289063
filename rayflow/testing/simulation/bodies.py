"""Bodies on simulated workers: the answer of each attempt, and the outcomes that a body that awaits must get.

In: attempts that are sent, answers that were taken. Out: the answer of each attempt, and the mistakes in an attempt.
Never: decides on times, or on lost and late answers (cluster.py does).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from random import Random

from rayflow.evaluator import commands, messages
from rayflow.lang.terms.codec import dumps, loads
from rayflow.lang.terms.expressions import Term
from rayflow.testing.simulation.normal_forms import FLAKY
from rayflow.testing.simulation.program_awaits import AwaitedFailed, Body, does_await, entered
from rayflow.testing.simulation.program_effects import has_effects
from rayflow.testing.simulation.programs import Program, SimulatedError, SimulatedTask
from rayflow.testing.simulation.weather import Weather
from rayflow.values.failures import Failure, Outcome


class SimulatedBodies:
    """The bodies of one program in one life of its scheduler."""

    def __init__(self, program: Program, random: Random, weather: Weather, raises_of_effects: Counter[bytes]) -> None:
        self._raises_of_effects = raises_of_effects
        self.program = program
        self.random = random
        self.weather = weather
        self._raises: Counter[int] = Counter()
        self._known: dict[int, set[bytes]] = {}
        self._passing_on: set[tuple[int, int]] = set()
        self._ended: set[int] = set()

    def wrongs(self, command: commands.RunTask) -> Iterator[str]:
        """The mistakes in sending this attempt."""
        known, told = self._known.get(command.job, set()), set(command.known or ())
        if not (known <= told if has_effects(self.program) else known == told):
            yield "a body is not told what it has awaited"
        if command.job in self._ended:
            yield "a body is entered again after an error that it has passed on"

    def learn(self, message: messages.Message) -> None:
        """Take note of an answer that the evaluator waited for."""
        if isinstance(message, messages.Paused):
            self._known.setdefault(message.job, set()).update(loads(message.term)[1])
        elif isinstance(message, messages.Raised):
            self._raises[message.job] += 1
            if (message.job, message.attempt) in self._passing_on:
                self._ended.add(message.job)

    def attempt(self, command: commands.RunTask, at: int) -> messages.Returned | messages.Paused | messages.Raised:
        """The answer of an attempt whose worker lives."""
        job, attempt = command.job, command.attempt
        cost = messages.Cost(at, 0.1, 0.1, 1 << 20, "n1", 7)
        definition = self.program.definitions[command.entry.name]

        def stumble() -> None:
            if command.entry.is_effect:
                self._stumble_outside(command.job_id, definition)
            elif self._raises[job] < definition.flaky:
                raise SimulatedError(FLAKY)

        try:
            if does_await(definition):
                body = entered(self.program, definition.name, command.arguments, Failure, stumble)
                asked, term = self._enter(body, command.known or {})
                if asked:
                    # A worker may also have left it before it came to all that is known.
                    missed = (b"missed",) if self.random.random() < self.weather.late else ()
                    return messages.Paused(0, job, attempt, dumps((missed, asked)), cost)
            else:
                stumble()
                term = self.program.run_body(definition.name, command.arguments)
        except SimulatedError as error:
            return messages.Raised(0, job, attempt, error.failure, cost)
        except AwaitedFailed as passed_on:
            self._passing_on.add((job, attempt))
            return messages.Raised(0, job, attempt, passed_on.outcome, cost)
        return messages.Returned(0, job, attempt, dumps(term), cost)

    def _stumble_outside(self, job_id: bytes, definition: SimulatedTask) -> None:
        """Raise for an effect: what it changes remembers how often that was, over all lives."""
        if definition.gives_up or self._raises_of_effects[job_id] < definition.flaky:
            self._raises_of_effects[job_id] += 1
            raise SimulatedError(FLAKY)

    def _enter(self, body: Body, known: Mapping[bytes, Outcome]) -> tuple[dict[bytes, Term], Term]:
        """The expressions that a body still awaits, or its result. A worker may leave it before it has awaited all."""
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
