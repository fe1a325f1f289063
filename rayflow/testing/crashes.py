"""Kills the service of a durable run at each of its commits, and looks whether the run ends alike.

In: an expression, and a script of what happens outside. Out: how many kills there were, or a text about the first one
that has changed something. Never: uses Ray, waits, or writes a file.

A *world* is one rehearsal of the whole story with its own store. In the first one nobody is killed; that gives the end
to compare with, and the number of commits. Then there are two worlds for each commit: the service is killed when the
commit is made, before anything else of that turn is done; and when it is about to be made, so that its rows are lost
and all that led to them has been done. In each world the killed service is followed by another one, which knows the
store alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from rayflow.lang.terms.expressions import Term
from rayflow.lang.terms.outcomes import unpack_outcome
from rayflow.records import RunRow
from rayflow.store import layout
from rayflow.store.folders.memory import MemoryFolder
from rayflow.testing.rehearsed_runs import RehearsedRun
from rayflow.testing.rehearsed_service import Doings, Killed, RehearsedService
from rayflow.values.encoding.previews import preview
from rayflow.values.failures import Failure

ID = "crash_everywhere"
"""The id of the run in every world. So ids that follow from it, and the keys of effects, are the same in all."""


class World(Protocol):
    """A rehearsal with a store of its own."""

    @property
    def service(self) -> RehearsedService:
        """The service that keeps its runs."""

    def start(self, expr: Term, *, id: str | None = None) -> RehearsedRun:
        """Start a run."""


class MortalFolder(MemoryFolder):
    """A folder in memory whose process is killed at one of its commits.

    last: the number of that commit, from 1; None if nobody is killed. is_lost: whether that commit is not made any
    more.
    """

    def __init__(self, last: int | None = None, *, is_lost: bool = False) -> None:
        super().__init__()
        self.commits = 0
        self.last = last
        self.is_lost = is_lost
        self.write(layout.FORMAT, [layout.format_text()])

    def write(self, path: str, parts: Sequence[Any]) -> None:
        """Keep a file. Raises Killed at the last commit."""
        if not path.startswith(f"{layout.COMMITS}/"):
            super().write(path, parts)
            return
        self.commits += 1
        if self.commits != self.last:
            super().write(path, parts)
            return
        if not self.is_lost:
            super().write(path, parts)
        raise Killed

    @property
    def kill_text(self) -> str:
        """Where the process is killed, for people."""
        return f"killed {'before' if self.is_lost else 'after'} commit {self.last}"


WorldMaker: TypeAlias = Callable[[MortalFolder], World]

Script: TypeAlias = Callable[[Any, RehearsedRun], None]
"""What happens outside, in a rehearsal."""


@dataclass(frozen=True)
class WorldEnd:
    """How a world ended.

    run: the last row of the run that was started. states: of all runs, by id. doings: what the effects have done.
    lives: how often the service was killed.
    """

    run: RunRow
    states: Mapping[str, str]
    doings: Doings
    lives: int

    @property
    def outcome(self) -> tuple[str, Any]:
        """What is compared of the run."""
        return self.run.state, self.run.error or self.run.outcome

    def text(self) -> str:
        """What the run came to, for people."""
        found = None if self.run.outcome is None else unpack_outcome(self.run.outcome)
        shown = found.summary if isinstance(found, Failure) else preview(found)
        return f"{self.run.state}: {shown}"


def play(world_of: WorldMaker, expr: Term, script: Script | None) -> tuple[int, str | None]:
    """How many kills there were, and a text about the first one that has changed something; None if none has.

    world_of: makes a rehearsal on this folder. script: does what happens outside. It gets the rehearsal and the run.
    Raises what the script raises when nobody is killed.
    """
    calm_folder = MortalFolder()
    calm = played(world_of(calm_folder), expr, script, ())
    kills = 0
    for last in range(1, calm_folder.commits + 1):
        for is_lost in (True, False):
            folder = MortalFolder(last, is_lost=is_lost)
            where = f"{folder.kill_text} of {calm_folder.commits}"
            try:
                end = played(world_of(folder), expr, script, calm.states)
            except Exception as error:
                raise AssertionError(f"{where}: {error}") from error
            kills += end.lives
            untrue = difference(calm, end)
            if untrue is not None:
                return kills, f"{where}: {untrue}"
    return kills, None


def difference(calm: WorldEnd, end: WorldEnd) -> str | None:
    """What a kill has changed that it should not have."""
    again = end.doings.done_again()
    if again:
        return f"the effect {', '.join(again)} was done again, although its outcome had been recorded."
    if not calm.doings.at_most_once.isdisjoint(end.doings.hit):
        return None  # the kill hit an effect that may not be tried again: its outcome is unknown, and the run says so
    if end.outcome != calm.outcome:
        return (
            f"the run ended {end.text()}, and without a kill {calm.text()}. A task, an effect or the script counts on "
            "something that the process remembers, and that is lost with it."
        )
    if end.states != calm.states:
        differ = sorted(name for name, _ in end.states.items() ^ calm.states.items())
        there, before = ({name: each.states.get(name, "not there") for name in differ} for each in (end, calm))
        return "; ".join(f"run {name} is {there[name]}, and without a kill {before[name]}" for name in there)
    return None


def played(world: World, expr: Term, script: Script | None, known: Iterable[str] = ()) -> WorldEnd:
    """Play the story in one world. known: the ids of the runs of the calm world."""
    run = world.start(expr, id=ID)
    if script is not None:
        script(world, run)
    row = run.end()
    service = world.service
    return WorldEnd(row, service.states(known), service.doings, service.lives)
