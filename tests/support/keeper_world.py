"""A world around the keeper, played from a seed: clients, evaluations, a store, time, and crashes at every commit.

In: a seed, and what makes a keeper. Out: a complaint, or None when all that happened can be explained. Never: a wait,
a clock, Ray.

Evaluations are played by small programs that follow from the root term: groups of waits, and an end. What an evaluation
says comes in its order, late. What clients ask may be lost, late, repeated, and in any order.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from keeper_invariants import check
from keeper_oracle import Oracle
from keeper_talks import folded, recalled, recovered, snapshot

from rayflow.keeper import commands, requests
from rayflow.keeper.keeper import Keeper
from rayflow.lang.terms.codec import dumps, loads
from rayflow.lang.terms.expressions import Form, Operation
from rayflow.lang.terms.outcomes import pack_outcome, unpack_outcome
from rayflow.records import RunRow, WaitRow
from rayflow.testing.playbook import START, failure
from rayflow.values.digests import digest
from rayflow.values.failures import Failure

SECOND = 1_000_000
WHERE = dumps(Operation("getattr", (Form("this_event", ()), "data")) > 5)
"""The condition of some waits: the event's data are a number above 5."""

FLOWS = {
    "lab.a": requests.FlowSpec("lab.a", on_failure="lab.hook", on_cancel="lab.hook"),
    "lab.b": requests.FlowSpec("lab.b", on=(("x", None), ("y", WHERE)), timeout_us=20 * SECOND),
    "lab.c": requests.FlowSpec("lab.c", on=(("y", None),)),
    "lab.hook": requests.FlowSpec("lab.hook"),
}
NAMES = ("x", "y")
KEYS = (None, None, "1", "2")
IDS = ("i1", "i2", "i3")

Request = Any


@dataclass
class Step:
    """Waits that a program opens together. is_first: it goes on with the first outcome, and closes the others."""

    waits: list[tuple[bytes, dict[str, Any]]]
    is_first: bool


@dataclass
class Program:
    """What an evaluation does. end: value, failure, missing or continue; catches: whether failures of waits count for
    nothing. tidies: the waits of its clean-up."""

    steps: list[Step]
    end: str
    catches: bool
    tidies: Step | None


@dataclass
class Evaluation:
    """A run in memory."""

    command: commands.Evaluate
    known: dict[bytes, bytes]
    opened: dict[bytes, None] = field(default_factory=dict)
    is_parked: bool = False
    is_stopped: bool = False
    decided: dict[int, bytes] = field(default_factory=dict)


@lru_cache(maxsize=500)
def program_of(root: bytes) -> Program:
    """The program that a root term means."""
    chance = random.Random(root)
    depth = loads(root)[1] if type(loads(root)) is list else 9
    steps = [
        Step(
            [_wait(chance, number, each, depth) for each in range(chance.choice((1, 1, 2, 3, 4)))],
            chance.random() < 0.3,
        )
        for number in range(chance.choice((0, 1, 1, 2, 3)))
    ]
    end = chance.choices(("value", "failure", "missing", "continue", "cancelled"), (60, 20, 8, 8, 3))[0]
    tidies = Step([_wait(chance, 99, 0, 2, is_cleanup=True)], False) if chance.random() < 0.3 else None
    return Program(steps, end if depth < 4 or end != "continue" else "value", chance.random() < 0.5, tidies)


def _wait(
    chance: random.Random, step: int, number: int, depth: int, is_cleanup: bool = False
) -> tuple[bytes, dict[str, Any]]:
    """A place, and the fields of a WaitOpened there. "joins" stands for a target that is found when it is opened."""
    kinds = ["sleep", "sleep", "sleep_until", "event", "event", "event", "ask", "emit", "join", "child", "spawn"]
    kind = chance.choice(kinds[: len(kinds) - (2 if depth >= 3 else 0)])
    if is_cleanup and chance.random() < 0.4:
        kind = "child"
    fields: dict[str, Any] = {"kind": kind, "is_cleanup": is_cleanup}
    delay = chance.choice((None, 0, SECOND, 5 * SECOND, 30 * SECOND))
    if kind == "sleep":
        fields["delay_us"] = delay or 2 * SECOND
    elif kind == "sleep_until":
        fields["deadline_at"] = START + chance.randrange(60) * SECOND
    elif kind in ("event", "ask", "join", "child"):
        fields["delay_us"] = delay
        fields["default"] = chance.choice((None, pack_outcome("late"), pack_outcome(failure("ValueError", "late"))))
    if kind in ("event", "emit"):
        fields |= {"name": chance.choice(NAMES), "key": chance.choice(KEYS)}
    if kind == "event":
        fields |= {
            "where": chance.choice((None, None, WHERE)),
            "since": chance.choice(("run", "run", "now", "any", str(3 * SECOND))),
            "take": chance.choice(("shared", "shared", "exclusive")),
        }
    if kind == "emit":
        fields |= {"id": chance.choice((None, None, "e1", "e2")), "tie": chance.random() < 0.3}
        fields["due_at"] = chance.choice((None, None, START + chance.randrange(60) * SECOND))
        fields |= content(fields["name"], fields["key"], chance.choice((1, 9)))
    if kind in ("child", "spawn"):
        root = dumps(["program", depth + 1, chance.randrange(50)])
        fields |= {"root": root, "input_hash": digest("input", root), "flow": chance.choice(tuple(FLOWS))}
        id = chance.choice((None, None, None, *IDS))
        if id is not None:
            fields["root"] = root = dumps(["program", 2, IDS.index(id)])
            fields["input_hash"] = digest("input", root)
        fields |= {"id": id, "tie": kind == "spawn" and chance.random() < 0.5}
        fields["due_at"] = chance.choice((None, None, None, START + chance.randrange(60) * SECOND))
    return digest("place", bytes((step, number))), fields


def content(name: str, key: str | None, data: Any) -> dict[str, Any]:
    """The data of an event, and the hash of its content."""
    packed = dumps(data)
    return {"data": packed, "data_hash": digest("event", name.encode(), (key or "").encode(), packed)}


class World:
    """One play. rows: what is committed, by turn."""

    flows = FLOWS

    def __init__(self, seed: int, make: Callable[[], Any] = Keeper) -> None:
        self.chance = random.Random(seed)
        self.make = make
        self.now = START
        self.rows: list[Any] = []
        self.oracle = self.make_oracle()
        self.said: deque[Request] = deque()
        """What evaluations have said, in order."""
        self.asked: list[Request] = []
        """What others have asked, in any order."""
        self.evaluations: dict[str, Evaluation] = {}
        self.opened: dict[tuple[str, bytes], requests.WaitOpened] = {}
        """Each wait as it was opened first: its arguments are pinned."""
        self.decided: dict[tuple[str, int], bytes] = {}
        """The winner of each step that goes on with the first outcome. It is pinned."""
        self.has_code = False
        self.count = 0
        self.late: list[Any] = []
        self.emits: list[requests.EmitRequested] = []
        self.crashes = 0
        self.keeper = make()
        self.begin()

    # --- the service --------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A service starts: all memory is gone."""
        self.keeper = self.make()
        self.evaluations, self.said, self.late = {}, deque(), []
        flows = requests.FlowsKnown(self.now, self.flows)
        first = recovered(self.rows, self.now)
        self.turn([flows, first, *self.configured()], may_crash=self.crashes < 12)

    def make_oracle(self) -> Oracle:
        """What reads all rows."""
        return Oracle(self.flows)

    def configured(self) -> list[Request]:
        """What a service says after the first rows."""
        return []

    def turn(self, incoming: list[Request], may_crash: bool = True) -> None:
        """One turn: the keeper decides, the rows are committed, the commands are carried out. Or it crashes between."""
        self.emits += [each for each in incoming if isinstance(each, requests.EmitRequested)]
        anew = self.oracle.met(incoming[:1])
        came = self.keeper.handle([request._replace(at=request.at or self.now) for request in incoming])
        crash = self.chance.random() if may_crash else 1.0
        if crash < 0.02:
            self.crashes += 1
            self.begin()
            return
        written = [row for command in came if isinstance(command, commands.Write) for row in command.rows]
        self.rows += written
        check(self.keeper.state)
        self.oracle.turn(written, self.keeper.state.now, self.opened)
        stopped = [row.run_id for row in written if isinstance(row, RunRow) and row.state == "ending"]
        for request in [each for each in anew if each.run_id not in stopped]:
            opened = [row for row in written if isinstance(row, WaitRow) and row.state == "open"]
            assert request.place in [row.place for row in opened], "a failed wait is not opened anew"
        if self.chance.random() < 0.2 or len(self.rows) < 60:
            one, other = folded(self.rows, self.keeper.state.now), snapshot(self.keeper.state)
            differ = [name for name in one if one[name] != other[name]]
            assert not differ, f"the fold of the rows is another state: {differ}"
        if crash < 0.04:
            self.crashes += 1
            self.begin()
            return
        for command in came:
            self.carry_out(command)
            if self.chance.random() < 0.05:
                self.late.append(command)
        if crash < 0.06:
            self.crashes += 1
            self.begin()

    def carry_out(self, command: Any) -> None:
        """What the shell does with a command."""
        if isinstance(command, commands.Evaluate):
            known = self.evaluations.get(command.run_id)
            if known is None or known.command.life < command.life:
                self.take_up(command)
        elif isinstance(command, commands.Resolve):
            if command.run_id not in self.evaluations:
                again = self.keeper.evaluation(command.run_id)
                if again is None:
                    return
                self.take_up(again)
            evaluation = self.evaluations.get(command.run_id)
            if evaluation is not None and command.place not in evaluation.known:
                evaluation.known[command.place] = command.outcome
                evaluation.is_parked = False
                self.go_on(evaluation)
        elif isinstance(command, commands.StopRun):
            self.stop(command)
        elif isinstance(command, commands.ForgetRun):
            self.evaluations.pop(command.run_id, None)
        elif isinstance(command, commands.BindEvent):
            self.bind(command)
        elif isinstance(command, commands.Recall):
            self.asked.append(command)
        elif isinstance(command, commands.RequestReply):
            self.oracle.reply(command, self.emits)

    def bind(self, command: commands.BindEvent) -> None:
        """The root term of a run that an event starts, or why there is none."""
        name = f"{command.event_id}/{command.flow}"
        root = dumps(["program", 1, int.from_bytes(digest("bind", name.encode())[:2], "little") % 50])
        if loads(command.event.data or dumps(None)) == 9 and command.flow == "lab.c":
            self.asked.append(requests.BoundArguments(0, command.event_id, command.flow, error="too much"))
        else:
            hashed = digest("input", root)
            self.asked.append(requests.BoundArguments(0, command.event_id, command.flow, root, hashed))

    # --- evaluations --------------------------------------------------------------------------------------------------

    def take_up(self, command: commands.Evaluate) -> None:
        """Begin the evaluation of a run, with what is pinned. In a later generation failures that counted are gone."""
        known = self.keeper.resolved(command.run_id)
        program = program_of(command.root)
        if not program.catches:
            fresh = self.oracle.generation_of(command.run_id)
            known = {
                place: packed
                for place, packed in known.items()
                if fresh[place] == command.generation or not isinstance(unpack_outcome(packed), Failure)
            }
        if self.chance.random() < 0.1:
            known = {}  # then it meets its waits again, and is told again
        self.evaluations[command.run_id] = evaluation = Evaluation(command, known)
        if command.stops:
            self.stop_it(evaluation, command.stops == 2)
        else:
            self.go_on(evaluation)

    def go_on(self, evaluation: Evaluation) -> None:
        """Let a run go on until it ends, or waits."""
        run_id, program = evaluation.command.run_id, program_of(evaluation.command.root)
        if evaluation.is_stopped:
            self.tidy(evaluation, program)
            return
        for number, step in enumerate(program.steps):
            waits = self.step(evaluation, number, step)
            if waits is None:
                return
            outcomes = [unpack_outcome(evaluation.known[place]) for place in waits]
            wrong = [each for each in outcomes if isinstance(each, Failure)]
            if wrong and not program.catches:
                self.end(evaluation, requests.RunEnded(0, run_id, pack_outcome(wrong[0]), wrong[0].summary))
                return
        if program.tidies is not None and self.step(evaluation, 99, program.tidies) is None:
            return
        if program.end == "missing" and not self.has_code:
            self.end(evaluation, requests.RunEnded(0, run_id, b"", missing=("lab.gone",)))
        elif program.end == "failure" and evaluation.command.generation < 2:
            error = failure("ValueError", "no")
            self.end(evaluation, requests.RunEnded(0, run_id, pack_outcome(error), error.summary))
        elif program.end == "cancelled":
            error = failure("rayflow.errors.Cancelled", "")
            self.end(evaluation, requests.RunEnded(0, run_id, pack_outcome(error), error.summary, is_cancelled=True))
        elif program.end == "continue":
            place = digest("place", b"continue")
            if place not in evaluation.opened:
                depth, number = loads(evaluation.command.root)[1:]
                root = dumps(["program", depth + 1, number + 1])
                self.open(evaluation, place, {"kind": "continue_as", "root": root, "input_hash": digest("input", root)})
        else:
            self.end(evaluation, requests.RunEnded(0, run_id, pack_outcome("value")))

    def step(self, evaluation: Evaluation, number: int, step: Step) -> list[bytes] | None:
        """Open the waits of a step. Gives the places that count, once their outcomes are there."""
        run_id, places = evaluation.command.run_id, [place for place, _ in step.waits]
        winner = self.decided.get((run_id, number))
        if winner is not None and winner in evaluation.known:
            for place in places:
                evaluation.opened.pop(place, None)
            return [winner]
        for place, fields in step.waits:
            if place not in evaluation.known and place not in evaluation.opened:
                self.open(evaluation, place, fields)
        known = [place for place in places if place in evaluation.known]
        if step.is_first and known:
            self.decided[run_id, number] = winner = self.chance.choice(known)
            for place in places:
                if place not in evaluation.known:
                    evaluation.opened.pop(place, None)
                    self.said.append(requests.WaitClosed(0, run_id, place))
            return [winner]
        if len(known) == len(places):
            return places
        self.park(evaluation)
        return None

    def open(self, evaluation: Evaluation, place: bytes, fields: dict[str, Any]) -> None:
        """Say that a wait is met."""
        run_id = evaluation.command.run_id
        evaluation.opened[place] = None
        request = self.opened.get((run_id, place))
        if request is None:
            request = requests.WaitOpened(0, run_id, place, **fields)
            if request.kind == "join":
                request = request._replace(target=self.some_run())
            self.opened[run_id, place] = request
        self.said.append(request)
        if self.chance.random() < 0.1:
            self.said.append(request)

    def park(self, evaluation: Evaluation) -> None:
        """Say that a run waits for its open waits alone."""
        if not evaluation.is_parked:
            evaluation.is_parked = True
            places = tuple(place for place in evaluation.opened if place not in evaluation.known)
            self.said.append(requests.RunParked(0, evaluation.command.run_id, places))

    def end(self, evaluation: Evaluation, ended: requests.RunEnded) -> None:
        """Say that a run has ended."""
        self.said.append(ended)
        if self.chance.random() < 0.1:
            self.said.append(ended)
        del self.evaluations[evaluation.command.run_id]

    def stop(self, command: commands.StopRun) -> None:
        """End a run, or begin its clean-up."""
        evaluation = self.evaluations.get(command.run_id)
        if evaluation is None:
            again = self.keeper.evaluation(command.run_id)
            if again is not None:
                self.take_up(again)
        elif command.is_again or not evaluation.is_stopped:
            self.stop_it(evaluation, command.is_again)

    def stop_it(self, evaluation: Evaluation, is_again: bool) -> None:
        """End an evaluation, or begin its clean-up."""
        program = program_of(evaluation.command.root)
        if is_again or program.tidies is None:
            error = failure("rayflow.errors.Cancelled", "")
            outcome = pack_outcome("too late") if program.end == "value" else pack_outcome(error)
            text = None if program.end == "value" else error.summary
            run_id = evaluation.command.run_id
            self.end(evaluation, requests.RunEnded(0, run_id, outcome, text, is_cancelled=bool(text)))
        else:
            evaluation.is_stopped = True
            evaluation.is_parked = False
            evaluation.opened.clear()
            self.tidy(evaluation, program)

    def tidy(self, evaluation: Evaluation, program: Program) -> None:
        """Let a clean-up go on."""
        if program.tidies is None or self.step(evaluation, 99, program.tidies) is not None:
            error = failure("rayflow.errors.Cancelled", "")
            ended = requests.RunEnded(0, evaluation.command.run_id, pack_outcome(error), error.summary, True)
            self.end(evaluation, ended)

    # --- clients ------------------------------------------------------------------------------------------------------

    def some_run(self) -> str:
        """The id of a run that is, or was, or never was."""
        known = list(dict.fromkeys(row.run_id for row in self.rows if isinstance(row, RunRow)))
        return self.chance.choice([*known[-6:], *known[:2], "no run"])

    def client(self) -> Request:
        """Something that a client asks."""
        self.count += 1
        chance, request = self.chance, f"r{self.count}"
        what = chance.choices(("start", "emit", "answer", "cancel", "retry", "code", "time"), (8, 8, 4, 3, 4, 1, 2))[0]
        if what == "start":
            root = dumps(["program", 0, chance.randrange(50)])
            id = chance.choice((None, None, *IDS))
            if id is not None and chance.random() < 0.7:
                root = dumps(["program", 0, IDS.index(id)])
            due_at = chance.choice((None, None, None, self.now + chance.randrange(20) * SECOND))
            return requests.StartRequested(
                0, request, f"run{self.count}", root, digest("input", root), chance.choice((None, *FLOWS)), None, id,
                chance.choice(("return", "reject", "if_failed", "if_failed")), due_at,
                timeout_us=chance.choice((None, None, 8 * SECOND)), request_id=None if id is None else f"by {request}",
            )  # fmt: skip
        if what == "emit":
            name, key = chance.choice(NAMES), chance.choice(KEYS)
            event_id = chance.choice(("e1", f"e{self.count}", f"e{self.count}"))
            due_at = chance.choice((None, None, self.now + chance.randrange(20) * SECOND))
            strict = chance.random() < 0.3
            data = content(name, key, chance.choice((1, 9)))
            return requests.EmitRequested(0, request, event_id, name, key, **data, due_at=due_at, strict=strict)
        run_id, by = self.some_run(), f"by {request}"
        if what == "answer":
            asks = [
                run["run_id"]
                for run in self.keeper.runs()
                if any(w["kind"] == "ask" for w in self.keeper.waits(run["run_id"]))
            ]
            run_id = chance.choice(asks) if asks else run_id
            places = [bytes.fromhex(wait["place"]) for wait in self.keeper.waits(run_id)]
            return requests.AnswerRequested(
                0, request, run_id, chance.choice([None, *places]), pack_outcome(self.count), by
            )
        if what == "cancel":
            return requests.CancelRunRequested(0, request, run_id, "so", by)
        if what == "retry":
            return requests.RetryRequested(0, request, run_id, "so", by)
        if what == "code":
            self.has_code = self.has_code or chance.random() < 0.5
            return requests.FlowsKnown(0, self.flows)
        return requests.TimeCame(0)

    def taken(self) -> list[Request]:
        """What the next turn takes in: what evaluations have said in its order, and something of the rest."""
        chance, batch = self.chance, []
        for _ in range(chance.choice((1, 1, 2, 4))):
            if self.said and chance.random() < 0.7:
                batch.append(self.said.popleft())
            elif self.asked and chance.random() < 0.8:
                request = self.asked.pop(chance.randrange(len(self.asked)))
                if isinstance(request, commands.Recall):
                    request = recalled(self.rows, request.run_id)
                elif chance.random() < 0.2 and getattr(request, "id", "") is not None:
                    self.asked.append(request)
                batch.append(request)
        return batch

    # --- the play -----------------------------------------------------------------------------------------------------

    def play(self, steps: int = 120) -> None:
        """Play, and then let everything come to its end."""
        chance = self.chance
        for _ in range(steps):
            if chance.random() < 0.4:
                request = self.client()
                if chance.random() < 0.9:
                    self.asked.append(request)
            if chance.random() < 0.3:
                self.now += chance.choice((1, SECOND, 4 * SECOND))
            if self.late and chance.random() < 0.2:
                command = self.late.pop()
                if not isinstance(command, commands.RequestReply | commands.Write):
                    self.carry_out(command)
            self.forget()
            self.cancel_elsewhere()
            self.turn(self.taken())
        self.has_code = True
        for _ in range(400):
            while self.said or self.asked:
                self.turn(self.taken())
            self.answer_all()
            if not self.said and not self.asked:
                self.now += 7 * SECOND
                self.turn([requests.FlowsKnown(0, self.flows), *self.last()])
                if not self.said and not self.asked and not self.keeper.state.timers:
                    break
        else:
            raise AssertionError("it does not come to an end")
        self.oracle.end(self.keeper)

    def last(self) -> list[Request]:
        """What is asked before everything comes to its end."""
        return []

    def forget(self) -> None:
        """Drop parked runs from memory, if all that they have said is known."""
        if not self.said and self.chance.random() < 0.3:
            for run_id in [each for each, evaluation in self.evaluations.items() if evaluation.is_parked]:
                del self.evaluations[run_id]

    def cancel_elsewhere(self) -> None:
        """Somebody may cancel the execution of a parked run, past the keeper."""
        parked = [each for each in self.evaluations.values() if each.is_parked]
        if parked and self.chance.random() < 0.02:
            error = failure("rayflow.errors.Cancelled", "")
            evaluation = self.chance.choice(parked)
            ended = requests.RunEnded(0, evaluation.command.run_id, pack_outcome(error), error.summary, True)
            self.end(evaluation, ended)

    def answer_all(self) -> None:
        """Answer every open ask."""
        for run in self.keeper.runs():
            for wait in self.keeper.waits(run["run_id"]):
                if wait["kind"] == "ask":
                    place = bytes.fromhex(wait["place"])
                    self.asked.append(requests.AnswerRequested(0, "", run["run_id"], place, pack_outcome("at last")))


def play(seed: int, make: Callable[[], Any] = Keeper, world: type[World] = World) -> str | None:
    """Play a seed. Gives what has gone wrong, or None."""
    try:
        world(seed, make).play()
    except Exception as error:  # a mutant may raise anything
        return f"{type(error).__name__}: {error}"
    return None
