"""A world around the schedules of the keeper, played from a seed: people, clocks that jump, deploys, and crashes at
every commit.

In: a seed, and what makes a keeper. Out: a complaint, or None when all that happened can be explained. Never: a wait,
a clock, Ray.

The root terms of firings, and what the store says of firings, come late, repeated and in any order. The wall clock goes
back and jumps ahead. Evaluations end when chance says so.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from keeper_invariants import check
from keeper_talks import firings_recalled, folded, made, recalled, recovered, snapshot
from schedule_oracle import ScheduleOracle

from rayflow.keeper import commands, requests
from rayflow.keeper.keeper import Keeper
from rayflow.lang.terms.codec import dumps
from rayflow.lang.terms.outcomes import pack_outcome
from rayflow.testing.playbook import START, failure
from rayflow.values.digests import digest

SECOND = 1_000_000

TIMETABLES = (
    '[{"every": 10}]',
    '[{"every": 7}, {"every": 10}]',
    '[{"every": 45, "start": "2023-11-14T22:14:00+00:00"}]',
    '[{"cron": "* * * * *", "tz": "UTC"}]',
    '[{"every": 600, "start": "2023-11-14T22:16:40+00:00"}]',
)
OVERLAPS = ("skip", "queue", "allow", "cancel_previous")
CATCH_UPS = (0, 30 * SECOND, 300 * SECOND)
PUT = ("p", "q")


class ScheduleWorld:
    """One play. rows: what is committed."""

    def __init__(self, seed: int, make: Callable[[], Any] = Keeper) -> None:
        self.chance = random.Random(seed)
        self.make = make
        self.now = START
        self.rows: list[Any] = []
        self.oracle = ScheduleOracle()
        self.answers: list[Any] = []
        """What the shell and the store have still to say."""
        self.evaluated: dict[str, commands.Evaluate] = {}
        self.crashes = 0
        self.lacks_code = False
        self.flows: dict[str, requests.FlowSpec] = {}
        self.deploy()
        self.keeper = make()
        self.begin()

    def deploy(self) -> None:
        """The code has other schedules, or the same."""
        self.flows = {"lab.f": requests.FlowSpec("lab.f")}
        for name in ("lab.a", "lab.b"):
            spec = self.spec() if self.chance.random() < 0.7 else None
            self.flows[name] = requests.FlowSpec(name, schedule=spec)

    def spec(self) -> requests.ScheduleSpec:
        """Some schedule."""
        chance = self.chance
        return requests.ScheduleSpec(chance.choice(TIMETABLES), chance.choice(OVERLAPS), chance.choice(CATCH_UPS))

    # --- the service --------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A service starts: all memory is gone."""
        self.keeper = self.make()
        self.answers, self.evaluated = [], {}
        known = [requests.FlowsKnown(self.now, self.flows), recovered(self.rows, self.now)]
        if self.chance.random() < 0.5:
            known.reverse()
        crashes = self.crashes
        self.turn(known)
        if self.crashes == crashes:
            of_code = [each for each in self.keeper.schedules() if each["is_of_code"] and each["state"] != "gone"]
            specs = {name: flow.schedule for name, flow in self.flows.items() if flow.schedule is not None}
            assert {each["schedule"]: each["timetable"] for each in of_code} == {
                name: spec.timetable for name, spec in specs.items()
            }, "the schedules are not those of the code"

    def crash(self) -> None:
        """The service dies. Another starts after a while, perhaps with other code, or with a clock that goes wrong."""
        self.crashes += 1
        self.now += self.chance.choice((0, 0, 1, 20, 90, 1000)) * SECOND - self.chance.choice((0, 0, 0, 15)) * SECOND
        if self.chance.random() < 0.4:
            self.deploy()
        self.begin()

    def turn(self, incoming: list[Any]) -> None:
        """One turn: the keeper decides, the rows are committed, the commands are carried out. Or it crashes between."""
        came = self.keeper.handle([request._replace(at=request.at or self.now) for request in incoming])
        crash = self.chance.random() if self.crashes < 8 else 1.0
        if crash < 0.015:
            return self.crash()
        written = [row for command in came if isinstance(command, commands.Write) for row in command.rows]
        self.rows += written
        check(self.keeper.state)
        self.oracle.turn(written, self.keeper.state.now)
        if self.chance.random() < 0.3:
            assert folded(self.rows, self.now) == snapshot(self.keeper.state), "the fold of the rows is another state"
        if crash < 0.03:
            return self.crash()
        for command in came:
            self.carry_out(command)
        if crash < 0.04:
            return self.crash()
        return None

    def carry_out(self, command: Any) -> None:
        """What the shell does with a command."""
        if isinstance(command, commands.Evaluate):
            self.evaluated[command.run_id] = command
        elif isinstance(command, commands.ForgetRun):
            self.evaluated.pop(command.run_id, None)
        elif isinstance(command, commands.StopRun):
            self.answers.append(self.ending(command.run_id, is_cancelled=True))
        elif isinstance(command, commands.BindFiring):
            self.answers.append(self.bound(command))
        elif isinstance(command, commands.RecallFirings):
            self.answers.append(firings_recalled(self.rows, command))
        elif isinstance(command, commands.Recall):
            self.answers.append(recalled(self.rows, command.run_id))
        elif isinstance(command, commands.RequestReply):
            self.oracle.reply(command.answer)

    def bound(self, command: commands.BindFiring) -> requests.BoundFiring:
        """The root term of the run of a firing; or why there is none."""
        if command.flow not in self.flows or self.lacks_code:
            return made(command.schedule, command.moment, root=None)
        if self.chance.random() < 0.2:
            return made(command.schedule, command.moment, error="no")
        return made(command.schedule, command.moment)

    def ending(self, run_id: str, *, is_cancelled: bool = False) -> requests.RunEnded:
        """A run ends."""
        if is_cancelled or self.chance.random() < 0.7:
            return requests.RunEnded(0, run_id, pack_outcome("value"), is_cancelled=is_cancelled)
        return requests.RunEnded(0, run_id, pack_outcome(failure()), "no")

    # --- what happens -------------------------------------------------------------------------------------------------

    def act(self) -> None:
        """Something happens."""
        chance = self.chance
        kind = chance.choices(("time", "answer", "end", "ask", "code", "clock"), (30, 30, 15, 20, 3, 2))[0]
        if kind == "time":
            self.now += chance.choice((1, 3, 10, 10, 30, 70)) * SECOND
            self.turn([requests.TimeCame(self.now)])
        elif kind == "clock":
            self.now += chance.choice((-30, 200)) * SECOND
            self.turn([requests.TimeCame(self.now)])
        elif kind == "answer" and self.answers:
            answer = chance.choice(self.answers)
            if chance.random() < 0.9:
                self.answers.remove(answer)
            self.turn([answer])
        elif kind == "end" and self.evaluated:
            self.end_one(chance.choice(sorted(self.evaluated)))
        elif kind == "ask":
            self.turn([self.request()])
        elif kind == "code":
            self.lacks_code = not self.lacks_code
            self.turn([requests.FlowsKnown(self.now, self.flows)])

    def end_one(self, run_id: str) -> None:
        """A run ends, or goes on as another one."""
        evaluated = self.evaluated.pop(run_id)
        if self.chance.random() < 0.15 and evaluated.stops == 0 and evaluated.generation == 0:
            root = dumps(["next", run_id])
            place = digest("place", b"continue")
            self.turn([
                requests.WaitOpened(
                    0, run_id, place, "continue_as", root=root, input_hash=digest("input", root), flow="lab.f"
                )
            ])  # fmt: skip
        else:
            self.turn([self.ending(run_id)])

    def request(self) -> Any:
        """What somebody asks."""
        chance = self.chance
        name = chance.choice((*PUT, *self.flows))
        kinds = ("put", "pause", "resume", "delete", "trigger", "backfill", "cancel", "retry")
        kind = chance.choices(kinds, (2, 1, 1, 1, 2, 2, 1, 1))[0]
        if kind == "put":
            return requests.PutScheduleRequested(0, kind, chance.choice(PUT), "lab.f", self.spec())
        if kind in ("pause", "resume"):
            return requests.PauseRequested(0, kind, name, kind == "pause")
        if kind == "delete":
            return requests.DeleteScheduleRequested(0, kind, chance.choice(PUT))
        near = (self.now + chance.randrange(-60, 40) * SECOND) // (10 * SECOND) * 10 * SECOND
        if kind == "trigger":
            return requests.TriggerRequested(0, kind, name, chance.choice((near, self.now)))
        if kind == "backfill":
            first = near - chance.choice((0, 50)) * SECOND
            return requests.BackfillRequested(0, kind, name, first, chance.choice((None, near)))
        known = [row for row in self.rows if getattr(row, "schedule", None) and hasattr(row, "chain_run_id")]
        run_id = chance.choice(known).run_id if known else "nobody"
        of = requests.CancelRunRequested if kind == "cancel" else requests.RetryRequested
        return of(0, kind, run_id)

    def play(self, steps: int = 120) -> None:
        """Let things happen. Then let everything come to its end."""
        for _ in range(steps):
            self.act()
        self.crashes, self.lacks_code = 8, False
        for kept in self.keeper.schedules():
            if kept["state"] == "active":  # else there is no end
                self.turn([requests.PauseRequested(0, "pause", kept["schedule"], True)])
        self.turn([requests.FlowsKnown(self.now, self.flows)])
        for _ in range(5_000):
            if self.answers:
                self.turn([self.answers.pop(0)])
            elif self.evaluated:
                run_id = min(self.evaluated)
                del self.evaluated[run_id]
                self.turn([requests.RunEnded(0, run_id, pack_outcome("value"))])
            else:
                break
        self.oracle.end(self.keeper)


def play_schedules(seed: int, make: Callable[[], Any] = Keeper) -> str | None:
    """Play a world. Gives what went wrong, or None."""
    try:
        ScheduleWorld(seed, make).play()
    except Exception as error:  # a broken keeper may raise anything
        return f"seed {seed}: {type(error).__name__}: {error}"
    return None
