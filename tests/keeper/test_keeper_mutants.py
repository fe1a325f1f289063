"""Broken keepers: each differs from ours in one line, and each has to be found out by a random world.

A mutant is the whole package `rayflow.keeper`, copied under another name with one piece of text replaced. It plays the
same seeds as ours. A mutant that lives says that something is not tested.
"""
# ruff: noqa: E501  (the table reads best with a mutant on each line)

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from admission_world import AdmissionWorld
from keeper_world import play
from schedule_world import play_schedules

import rayflow.keeper
from rayflow.keeper import admission_state, commands, demands, lines, requests, state

SOURCE = Path(rayflow.keeper.__path__[0])
KEPT = {
    "commands": commands, "requests": requests, "state": state, "demands": demands, "admission_state": admission_state,
    "lines": lines,
}  # fmt: skip
"""Modules that mutants share with the world outside them."""

MOST_SEEDS = 400
"""How many seeds a mutant is shown."""


@dataclass(frozen=True)
class KeeperMutant:
    """One replacement. hint: the seed to try first (it killed the mutant once; any other will do). world: what plays
    the seeds."""

    claim: str
    file: str
    old: str
    new: str
    hint: int = 0
    world: Callable[[int, Callable[[], Any]], str | None] = play


MUTANTS = [
    KeeperMutant("a chain takes an event twice", "events", "return state.runs[row.run_id].chain not in event.takers and is_fulfilled", "return is_fulfilled", hint=6),
    KeeperMutant("an exclusive event goes to two", "events", "if row.is_exclusive and event.is_taken:", "if False:", hint=4),
    KeeperMutant("a condition does not count", "events", "not in event.takers and is_fulfilled(row.condition, event.row)", "not in event.takers"),
    KeeperMutant("a wait sees events from before its run", "events", "first = row.seen_from or 0", "first = 0"),
    KeeperMutant("the wait that was opened last takes the event", "events", "for wait in sorted(waits, key=lambda wait: wait.opened.number):", "for wait in sorted(waits, key=lambda wait: -wait.opened.number):", hint=18),
    KeeperMutant("a wait looks for no earlier event", "events", "    for place in range(low, len(known)):\n", "    for place in range(0):\n"),
    KeeperMutant("a wait takes the latest event", "events", "    for place in range(low, len(known)):\n", "    for place in reversed(range(low, len(known))):\n"),
    KeeperMutant("a wait without a key takes only events without one", "events", "keys = (None,) if event.row.key is None else (None, event.row.key)", "keys = (event.row.key,)"),
    KeeperMutant("a run sees the event that has started it", "events", "seen_from=(event.seen or 0) + 1", "seen_from=event.seen or 0"),
    KeeperMutant("a root term starts two runs", "events", "if (event.row.event_id, answer.flow) in state.pending:", "if True:"),
    KeeperMutant("a wait that is met again is opened anew", "waits", "if wait is not None and (wait.state == OPEN or (wait.state == CLOSED and not is_again)):", "if False:"),
    KeeperMutant("a resolved wait is opened anew", "waits", "if wait is not None and wait.state == RESOLVED and not (wait.has_failed and is_again):", "if False:"),
    KeeperMutant("a value is asked for again in a retry", "waits", "not (wait.has_failed and is_again)", "not is_again", hint=4),
    KeeperMutant("a failed wait stays failed in a retry", "waits", "not (wait.has_failed and is_again)", "True", hint=2),
    KeeperMutant("a run that was stopped begins something", "waits", "if run.state == ENDING and (not request.is_cleanup or run.stops == 2):", "if False:"),
    KeeperMutant("an event with an id is emitted twice", "waits", "    if known is None:\n        accept(", "    if True:\n        accept("),
    KeeperMutant("a child of another parent is shared", "waits", "if parent != run.run_id or input_hash != request.input_hash:", "if input_hash != request.input_hash:"),
    KeeperMutant("a child that took too long goes on", "waits", '    resolve(state, wait, outcome, "timer")\n    drop_child(state, wait)', '    resolve(state, wait, outcome, "timer")'),
    KeeperMutant("nobody asks the store for a joined run", "waits", "    elif at_hand is None or at_hand.has_ended:\n", "    elif False:\n"),
    KeeperMutant("a join does not follow a chain", "waits", "            follow(state, wait, run.end.next_run_id)\n", "            resolve(state, wait, outcomes.of_ended(run), 'run')\n", hint=12),
    KeeperMutant("a deadline is not fixed when the wait opens", "waits", "deadline_at = state.now + request.delay_us", "deadline_at = state.now + request.delay_us + 1"),
    KeeperMutant("a timer fires when its wait is closed", "timers", "owner.state == OPEN and owner.opened.number == number", "owner.opened.number == number"),
    KeeperMutant("timers come late", "timers", "state.timers[0][0] <= state.now", "state.timers[0][0] < state.now"),
    KeeperMutant("children are not cancelled", "runs", "    run_children(state, run, reason, is_again=is_second)\n", ""),
    KeeperMutant("spawned runs are cancelled though they are not tied", "runs", 'if (first.link == "child" or first.tie) and', "if True and", hint=2),
    KeeperMutant("a cancel ends the children of the clean-up", "runs", "and (is_again or not _is_of_cleanup(run, first.parent_place))", "", hint=6),
    KeeperMutant("a stopped run keeps its waits", "runs", "        if is_second or not wait.opened.is_cleanup:\n            close(state, wait, by)", "        pass"),
    KeeperMutant("a stopped run loses the waits of its clean-up", "runs", "        if is_second or not wait.opened.is_cleanup:\n", "        if True:\n"),
    KeeperMutant("a value that comes late wins against a cancel", "keeper", "    elif run.state == ENDING:\n        runs.end_stopped(state, run, run.reason)\n", ""),
    KeeperMutant("a run that took too long counts as cancelled", "runs", "    if by == TIMEOUT:\n", "    if False:\n"),
    KeeperMutant("an ended run keeps its waits", "runs", '    for wait in run.open_waits():\n        close(state, wait, "end")\n', ""),
    KeeperMutant("those who wait for a run are forgotten", "runs", "    for wait in list(state.waiters.get(run.run_id, {}).values()):\n", "    for wait in []:\n"),
    KeeperMutant("a wait does not follow a chain", "runs", "        if next_run_id is not None:\n            follow(", "        if False:\n            follow("),
    KeeperMutant("a hook is forgotten", "runs", "    if to != DONE:\n        _start_hook(state, run)", "    pass"),
    KeeperMutant("a hook runs once in all generations", "runs", '"cancel", run.generation)', '"cancel", 0)'),
    KeeperMutant("a wake is not a new life", "runs", 'go(state, run, "wake", life=run.life + 1)', 'go(state, run, "wake", life=run.life)'),
    KeeperMutant("a parked run is not woken", "runs", "    if run.state == WAITING:\n        go(", "    if False:\n        go("),
    KeeperMutant("a run parks while an outcome is on its way", "keeper", "    if all(wait is not None and wait.state == OPEN for wait in known):\n", "    if True:\n"),
    KeeperMutant("one id has two runs", "keeper", "    if known is None and ended is None:\n", "    if True:\n"),
    KeeperMutant("the id of an ended run is free", "folding", "            state.ended[first.id] = EndedRun(", "            EndedRun("),
    KeeperMutant("an event has two contents", "keeper", "        if known.row.data_hash != request.data_hash:\n", "        if False:\n"),
    KeeperMutant("a strict event is accepted before it is known to fit", "keeper", "    if strict.lacking:\n        return\n", "", hint=24),
    KeeperMutant("runs are not taken up again", "keeper", '            runs.take_up(state, run, "recovery")\n', "            pass\n"),
    KeeperMutant("a crash forgets who waits for the store", "keeper", "            waits.look_for_target(state, wait)\n    state.has_begun", "            pass\n    state.has_begun"),
    KeeperMutant("missing code is never there", "keeper", "            runs.code_came(state, run)\n", "            pass\n"),
    KeeperMutant("a crash forgets deliveries", "keeper", "    events.bind_again(state)\n", ""),
    KeeperMutant("a stopped run is not reminded after a crash", "admission", "run.generation, run.stops, run.ends_by)", "run.generation)"),
    KeeperMutant("the children index is not kept", "folding", "        state.children.setdefault(first.parent_run_id, {})[first.run_id] = None\n", "        pass\n"),
    KeeperMutant("a delayed event is due at once", "folding", "if row.due_at is not None and row.due_at > row.at:", "if False:"),
    KeeperMutant("a request that is sent again is done again", "keeper", "    if known is not None:\n        _reply(state, name,", "    if False:\n        _reply(state, name,"),
    KeeperMutant("what waited for the store is done again", "keeper", "            _take(state, asker)\n", "            _HANDLERS[type(asker)](state, asker)\n", hint=252),
    KeeperMutant("a crash forgets answers", "folding", "        recovered.requests, recovered.queues", "        recovered.queues"),
    KeeperMutant("a tied event starts runs after the cancel", "runs", "            _cut(state, event_id)\n", "            pass\n", hint=10),
]  # fmt: skip

ADMISSION = [
    KeeperMutant("a queue has one slot more", "admission", "state.admission.used.get(queue_name(queue), 0) < slots", "state.admission.used.get(queue_name(queue), 0) <= slots"),
    KeeperMutant("a limit has one more", "admission", "state.admission.used.get(need.name, 0) >= need.most", "state.admission.used.get(need.name, 0) > need.most"),
    KeeperMutant("a throttle takes one more", "admission", "None if len(ends) < rate.most else", "None if len(ends) <= rate.most else"),
    KeeperMutant("a throttle has no timer", "admission", "        set_timer(state, at, ROOM, bucket.number, bucket)\n", "        pass\n"),
    KeeperMutant("a run is charged each time it is admitted", "admission", "    if is_first:\n        charge(state, run.run_id, run.demands.throttles)\n    known", "    if True:\n        charge(state, run.run_id, run.demands.throttles)\n    known"),
    KeeperMutant("a run that waited is not charged", "admission", "    if is_first:\n        charge(state, run.run_id, run.demands.throttles)\n    known", "    known"),
    KeeperMutant("a mutex is free while others wait for it", "admission", "not (mutex.holders or mutex.going_on or mutex.new)", "not mutex.holders"),
    KeeperMutant("a child does not have its parent's mutex", "admission", "        if above.parent_run_id in mutex.holders:\n            return True\n", ""),
    KeeperMutant("a mutex is not handed on", "admission_folding", "        _drop_unused(admission, key, mutex)\n        admission.unlocked[key] = None\n", "        _drop_unused(admission, key, mutex)\n"),
    KeeperMutant("the last that waits for a mutex gets it", "admission", "next(iter(mutex.going_on or mutex.new))", "list(mutex.going_on or mutex.new)[-1]"),
    KeeperMutant("a mutex is kept though it is to be given back", "admission_folding", "(row.state == WAITING and not demands.release_on_wait)", "row.state == WAITING"),
    KeeperMutant("a mutex is given back by a run that waits", "admission_folding", "(row.state == WAITING and not demands.release_on_wait)", "False"),
    KeeperMutant("a run that waits keeps its slot", "admission_folding", "is_held = row.state == RUNNING or (", "is_held = row.state in (RUNNING, WAITING) or ("),
    KeeperMutant("a run gives back no slot", "admission_folding", "        admission.lines.freed[name] = None\n", "        pass\n"),
    KeeperMutant("priority does not count", "admission_folding", "-(run.first.priority or 0), turn", "0, turn"),
    KeeperMutant("one key has all its turns at once", "admission_folding", "max(now, waiting.last() + 1)", "now"),
    KeeperMutant("new runs come before those that go on", "admission_folding", "run.order = (not run.goes_on,", "run.order = (run.goes_on,"),
    KeeperMutant("a run that goes on overtakes another one", "admission", "    is_contended = goes_on and", "    is_contended = False and"),
    KeeperMutant("a start does not look at those that wait", "admission", "    if not goes_on:\n        settle(state)\n", ""),
    KeeperMutant("a retried run counts as one that goes on", "admission", "run is not None and run.goes_on and not is_retry", "run is not None and run.goes_on"),
    KeeperMutant("nobody looks at who waits at the end of a turn", "keeper", "            _fire_due(state)\n            admission.settle(state)\n", "            _fire_due(state)\n"),
    KeeperMutant("a rate limit refuses nothing", "admission", "        at = room_at(state, rate)\n        if at is not None:\n            return rate", "        at = room_at(state, rate)\n        if False:\n            return rate"),
    KeeperMutant("a later start is charged when it is due, too", "runs", "        if first.due_at is None or first.link is not None:\n            charge(", "        if True:\n            charge("),
    KeeperMutant("a start joins no other", "runs", "        if known is not None and debounce is not None:\n", "        if False:\n"),
    KeeperMutant("a debounce never ends", "folding", "(row.state == SCHEDULED or (row.state == QUEUED and row.cause == DEBOUNCE))", "row.state == SCHEDULED"),
    KeeperMutant("a start that joins loses its place at the window", "admission_folding", "        admission.windows[demands.debounce.name] = run.run_id\n", "        admission.windows.setdefault(demands.debounce.name, run.run_id)\n        admission.windows.clear()\n"),
    KeeperMutant("keys that cannot be computed let a run run", "keeper", '        runs.keys_failed(state, run, request.error or "its keys cannot be computed")\n', "        pass\n"),
    KeeperMutant("keys are not asked for again after a crash", "keeper", "run.cause in (KEY, MISSING_CODE)", "run.cause == MISSING_CODE"),
    KeeperMutant("what came while a run waited is not told", "admission", "    if told:\n        state.out.extend(told)\n", "    if told:\n        pass\n"),
    KeeperMutant("a configuration undoes what was set", "keeper", "        if slots != (known[queue].configured if queue in known else None):\n", "        if True:\n"),
]  # fmt: skip
MUTANTS += [replace(each, world=partial(play, world=AdmissionWorld)) for each in ADMISSION]


MUTANTS += [
    KeeperMutant("a schedule fires late", "folding", "kept.next_at = next_moment(from_text(kept.row.timetable), kept.decided)", "kept.next_at = next_moment(from_text(kept.row.timetable), kept.decided + 5_000_000)", world=play_schedules),
    KeeperMutant("what was decided is forgotten", "folding", "        _decide_up_to(state, kept, row.last_moment or row.moment, row.number)\n", "        _decide_up_to(state, kept, row.moment, row.number)\n", hint=3, world=play_schedules),
    KeeperMutant("a triggered moment fires again", "folding", "        kept.ahead.add(row.moment)\n", "        pass\n", world=play_schedules),
    KeeperMutant("a pause is forgotten", "folding", "    if kept.row.state == ACTIVE:\n", "    if True:\n", world=play_schedules),
    KeeperMutant("the runs of a schedule are not counted", "folding", "        state.scheduled.setdefault(first.schedule, {})[first.run_id] = None\n", "        pass\n", world=play_schedules),
    KeeperMutant("a queued firing is lost in a crash", "folding", "            kept.queued[row.moment] = row\n", "            pass\n", world=play_schedules),
    KeeperMutant("everything missed is made up", "schedules", "horizon = state.now - max(kept.row.catch_up_us, LATE_US)", "horizon = 0", world=play_schedules),
    KeeperMutant("a restart misses what it was late for", "schedules", "horizon = state.now - max(kept.row.catch_up_us, LATE_US)", "horizon = state.now - kept.row.catch_up_us", world=play_schedules),
    KeeperMutant("what is missed is not recorded", "schedules", "_record_series(state, kept, table, due[0] - 1 if due else state.now, MISSED, \"late\")\n", "pass\n", world=play_schedules),
    KeeperMutant("what is made up is skipped", "schedules", "overlap = QUEUE if is_made_up and kept.row.overlap in (SKIP, CANCEL_PREVIOUS) else kept.row.overlap", "overlap = kept.row.overlap", hint=1, world=play_schedules),
    KeeperMutant("a late moment is made up only in company", "schedules", "len(due) > 1 or (bool(due) and state.now - due[0] > LATE_US)", "len(due) > 1", hint=198, world=play_schedules),
    KeeperMutant("runs overlap that should not", "schedules", "if overlap == ALLOW or not is_occupied(state, kept):", "if True:", world=play_schedules),
    KeeperMutant("a firing that waits for code does not count", "schedules", "in state.scheduled or bool(kept.pending)", "in state.scheduled", world=play_schedules),
    KeeperMutant("the previous run is not cancelled", "schedules", "    state.stops.extend((run_id, CANCEL, why, False) for run_id in state.scheduled.get(name, ()))\n", "", hint=4, world=play_schedules),
    KeeperMutant("one firing has two runs", "schedules", "    if kept is None or row is None:\n        return\n", "    if kept is None:\n        return\n    row = row or next(iter(kept.pending.values()), None) or next(iter(kept.queued.values()), None)\n    if row is None:\n        return\n", world=play_schedules),
    KeeperMutant("a failed firing stops the queue", "schedules", "        state.freed.append(answer.schedule)\n", "", world=play_schedules),
    KeeperMutant("an ended run stops the queue", "runs", "        state.freed.append(run.first.schedule)\n", "        pass\n", world=play_schedules),
    KeeperMutant("the queue goes on too early", "schedules", "not kept.queued or kept.pending or name in state.scheduled:", "not kept.queued or kept.pending:", world=play_schedules),
    KeeperMutant("the last one in the queue goes first", "schedules", "row = next(iter(kept.queued.values()))", "row = list(kept.queued.values())[-1]", world=play_schedules),
    KeeperMutant("a crash forgets firings", "keeper", "    schedules.bind_again(state)\n", "", world=play_schedules),
    KeeperMutant("a changed schedule loses moments", "schedules", "    if known is not None and known.next_at is not None and known.next_at <= state.now:\n        fire_due(state, known)\n", "", hint=1, world=play_schedules),
    KeeperMutant("a changed schedule loses a pause", "schedules", "is_paused=known is not None and bool(known.row.is_paused))", "is_paused=False)", hint=1, world=play_schedules),
    KeeperMutant("a pause is not recorded when a schedule changes", "schedules", "    if known is not None and known.row.state == PAUSED:\n", "    if False:\n", hint=8, world=play_schedules),
    KeeperMutant("a pause is not recorded when it ends", "schedules", "        _record_series(state, kept, from_text(kept.row.timetable), state.now, SKIPPED, PAUSED)\n        row = kept", "        row = kept", hint=3, world=play_schedules),
    KeeperMutant("the queue of a deleted schedule goes on", "schedules", "    for row in [*kept.queued.values(), *kept.pending.values()]:\n        _drop(state, kept, row, to)\n", "", hint=1, world=play_schedules),
    KeeperMutant("a schedule that vanished fires on", "schedules", "            _end(state, kept, GONE, \"code\")\n", "            pass\n", hint=1, world=play_schedules),
    KeeperMutant("a trigger starts what has run", "schedules", "    if moment in started:\n", "    if False:\n", hint=53, world=play_schedules),
    KeeperMutant("a backfill starts what has run", "schedules", "known = started | kept.pending.keys() | kept.queued.keys()", "known = kept.pending.keys() | kept.queued.keys()", world=play_schedules),
    KeeperMutant("a backfill queues twice", "schedules", "known = started | kept.pending.keys() | kept.queued.keys()", "known = started", hint=8, world=play_schedules),
    KeeperMutant("a stale answer of the store starts a second run", "schedules", "                wanted.started.add(answer.moment)\n", "                pass\n", hint=18, world=play_schedules),
    KeeperMutant("a backfill does not wait for its turn", "schedules", "        _decide(state, kept, moment, BACKFILL, is_made_up=True)\n", "        _make(state, kept, moment, BACKFILL)\n", world=play_schedules),
    KeeperMutant("a chain does not belong to its schedule", "runs", "        schedule=first.schedule,\n", "", world=play_schedules),
]  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder from which mutants can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("mutant_keeper"):
            del sys.modules[name]


def made(mutant: KeeperMutant | None, bench: Path) -> Callable[[], Any]:
    """What makes the keeper of a mutant (or of an unchanged copy)."""
    package = bench / "mutant_keeper"
    shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("__pycache__"))
    for path in package.glob("*.py"):
        text = path.read_text()
        if mutant is not None and path.stem == mutant.file:
            text = text.replace(mutant.old, mutant.new)
        path.write_text(text.replace("rayflow.keeper", "mutant_keeper"))
    importlib.invalidate_caches()
    importlib.import_module("mutant_keeper")
    # What crosses the door is the same classes on both sides.
    for name, module in KEPT.items():
        sys.modules[f"mutant_keeper.{name}"] = module
        setattr(sys.modules["mutant_keeper"], name, module)
    keeper: Callable[[], Any] = importlib.import_module("mutant_keeper.keeper").Keeper
    return keeper


def killer(mutant: KeeperMutant, make: Callable[[], Any]) -> int | None:
    """The first seed that goes wrong, or None."""
    return next((seed for seed in (mutant.hint, *range(MOST_SEEDS)) if mutant.world(seed, make) is not None), None)


@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param(mutant, id=mutant.claim.replace(" ", "_"), marks=() if number % 4 == 0 else pytest.mark.campaign)
        for number, mutant in enumerate(MUTANTS)
    ],
)
@pytest.mark.slow
def test_a_broken_keeper_is_found_out(mutant: KeeperMutant, bench: Path) -> None:
    assert killer(mutant, made(mutant, bench)) is not None, f"nobody noticed that {mutant.claim}"


def test_an_unchanged_copy_of_the_keeper_is_not_found_out(bench: Path) -> None:
    make = made(None, bench)
    for seed in range(10):
        assert play(seed, make) is None
        assert play_schedules(seed, make) is None
        assert play(seed, make, AdmissionWorld) is None


def test_each_broken_keeper_can_be_made() -> None:
    texts = {path.stem: path.read_text() for path in SOURCE.glob("*.py")}
    found = {mutant.claim: texts[mutant.file].count(mutant.old) for mutant in MUTANTS}
    assert {claim: count for claim, count in found.items() if count != 1} == {}
