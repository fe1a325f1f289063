"""Executions that are ended and taken up again: an evaluator for each life, and the rows of places between them.

In: terms, answers. Out: what was sent and recorded. Never: a worker, a store, a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rayflow.evaluator.commands import CloseWait, Command, Finish, LookUp, OpenWait, Record, RunTask
from rayflow.evaluator.evaluator import Evaluator
from rayflow.evaluator.messages import LookedUp, Message, Paused, Resolved
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.codec import dumps
from rayflow.lang.terms.expressions import Term
from rayflow.lang.terms.outcomes import pack_outcome
from rayflow.records import PlaceRow
from rayflow.testing.playbook import EXECUTION, START, call, cost, returned, submitted, task

CHARGE, MAIN, PURE = task("charge", "x", effect=True), task("main", "n"), task("pure", "x")
SUB = task("sub", "n")
TABLE = (CHARGE, MAIN, PURE, SUB)


class Life:
    """One life of an execution. It answers each look-up with nothing, and each timer at once.

    rows: all rows of places so far, with those of earlier lives. sent: the attempts. waits: the open ones, by place.
    resolved: the packed outcomes of those that are resolved. outcome: of the execution, when it has ended.
    """

    def __init__(self, root: Term, rows: Sequence[PlaceRow] = (), table: Sequence[TaskEntry] = TABLE, **given: Any):
        self.evaluator = Evaluator(fewest=2)
        self.rows = list(rows)
        self.sent: list[RunTask] = []
        self.commands: list[Command] = []
        self.outcome: Any = None
        self.waits: dict[bytes, OpenWait] = {}
        self.resolved: dict[bytes, bytes] = {}
        self._at = START
        given = {"pins": list(rows), "life": 1, **given} if rows else given
        self.send(submitted(root, *table, **given))

    def send(self, *messages: Message) -> None:
        """Send messages in one turn."""
        self._at += 1_000
        answers: list[Message] = []
        for command in self.evaluator.handle([each._replace(at=each.at or self._at) for each in messages]):
            self.commands.append(command)
            match command:
                case Record():
                    self.rows += [row for row in command.rows if isinstance(row, PlaceRow)]
                case LookUp():
                    answers.append(LookedUp(0, command.asker, ()))
                case RunTask():
                    self.sent.append(command)
                case Finish():
                    self.outcome = command.outcome
                case OpenWait():
                    self.waits[command.place] = command
                case CloseWait():
                    del self.waits[command.place]
        for answer in answers:
            self.send(answer)

    def open(self, name: str, **arguments: Any) -> RunTask:
        """The attempt of this task that was sent last."""
        fitting = [
            each
            for each in self.sent
            if each.entry.name == name and all(each.arguments[key] == value for key, value in arguments.items())
        ]
        return fitting[-1]

    def give(self, name: str, term: Term, **arguments: Any) -> None:
        """The last attempt of this task returns a term."""
        attempt = self.open(name, **arguments)
        self.send(returned(attempt.job, term, attempt.attempt))

    def resolve(self, kind: str, value: Any = None, **given: Any) -> None:
        """The first open wait of this kind has a value, or a failure."""
        place = next(
            place
            for place, wait in self.waits.items()
            if wait.kind == kind and all(wait.given[key] == each for key, each in given.items())
        )
        del self.waits[place]
        self.resolved[place] = pack_outcome(value)
        self.send(Resolved(0, EXECUTION, place, self.resolved[place]))

    def kinds(self) -> list[str]:
        """The kinds of the open waits."""
        return [each.kind for each in self.waits.values()]

    def of(self, kind: str) -> list[PlaceRow]:
        """The rows of this kind."""
        return [row for row in self.rows if row.kind == kind]

    def names(self, name: str) -> list[RunTask]:
        """The attempts of this task."""
        return [each for each in self.sent if each.entry.name == name]


def begun(term: Term, *, table: Sequence[TaskEntry] = TABLE) -> Life:
    """An execution whose task `main` has returned this term."""
    life = Life(call("main", 1), table=table)
    life.give("main", term)
    return life


def paused(life: Life, *, body: str = "main", missed: tuple[bytes, ...] = (), **asked: Term) -> None:
    """A body leaves its worker, and awaits these terms. missed: what it knew and has not awaited again."""
    attempt = life.open(body)
    terms = {key.encode(): term for key, term in asked.items()}
    life.send(Paused(0, attempt.job, attempt.attempt, dumps((missed, terms)), cost()))


def awaiting() -> Life:
    """An execution whose `main` has awaited a pure call and an effect, and asks for another effect."""
    life = Life(call("main", 1))
    paused(life, a=call("pure", 1))
    life.give("pure", 10, x=1)
    paused(life, b=call("charge", 1))
    life.give("charge", "one", x=1)
    paused(life, c=call("charge", 2))
    return life
