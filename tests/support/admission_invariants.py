"""What holds of admission after each turn, found out without its own indexes.

In: a KeeperState. Out: an AssertionError that says what does not hold. Never: changes it.
"""

from __future__ import annotations

from collections import Counter

from rayflow.keeper.demands import Limit
from rayflow.keeper.run_states import ENDING, QUEUED, RUNNING, WAITING
from rayflow.keeper.state import KeeperState, KeptRun

CAUSES = ("key", "debounce", "mutex", "slot", "missing code")


def check_admission(state: KeeperState) -> None:
    """Raise AssertionError if something does not hold."""
    known = state.admission
    assert not known.unlocked and not known.lines.freed and not known.lines.to_look_at, "it is not settled"
    used: Counter[str] = Counter()
    for run in state.runs.values():
        assert bool(run.held) == (run.state == RUNNING) or run.state == ENDING, f"{run.run_id}: {run.state}, {run.held}"
        used.update(run.held)
    assert known.used == dict(used), "what is in use is not what runs hold"
    _check_mutexes(state)
    queued = [run for run in state.runs.values() if run.state == QUEUED]
    assert all(run.cause in CAUSES for run in queued), "a run is queued for nothing"
    waiting = [run for run in queued if run.cause == "slot"]
    assert known.lines.counts() == dict(Counter(run.queue for run in waiting))
    assert all((run.order is not None) == (run in waiting) for run in state.runs.values())
    for run in waiting:
        assert _what_is_full(state, run), f"{run.run_id} could run, and waits"
    joining = [run for run in queued if run.cause == "debounce"]
    assert known.windows == {run.demands.debounce.name: run.run_id for run in joining if run.demands.debounce}


def counted(state: KeeperState, name: str) -> int:
    """How many runs a throttle or rate limit counts now."""
    bucket = state.admission.buckets.get(name)
    return 0 if bucket is None else sum(end > state.now for end in bucket.ends)


def _what_is_full(state: KeeperState, run: KeptRun) -> bool:
    known = state.admission
    slots = known.queues.get(run.queue)
    if slots is not None and slots.slots is not None and known.used.get(f"queue:{run.queue}", 0) >= slots.slots:
        return True
    for need in run.needs():
        in_use = known.used.get(need.name, 0) if isinstance(need, Limit) else counted(state, need.name)
        if in_use >= need.most:
            return True
    return False


def _check_mutexes(state: KeeperState) -> None:
    holders: dict[str, set[str]] = {}
    waiting: dict[str, set[str]] = {}
    for run in state.runs.values():
        key = run.demands.mutex
        if run.has_mutex:
            assert key is not None
            holders.setdefault(key, set()).add(run.run_id)
        if run.state == QUEUED and run.cause == "mutex":
            waiting.setdefault(key or "", set()).add(run.run_id)
            held_above = [each.run_id for each in _above(state, run) if each.has_mutex and each.demands.mutex == key]
            assert not held_above, f"{run.run_id} waits for the mutex {key}, which it has from {held_above}"
        if key is not None and (run.state == RUNNING or (run.state == WAITING and not run.demands.release_on_wait)):
            assert run.has_mutex, f"{run.run_id} runs without its mutex"
    known = state.admission.mutexes
    assert {key: set(each.holders) for key, each in known.items() if each.holders} == holders
    assert {key: {*each.going_on, *each.new} for key, each in known.items() if each.going_on or each.new} == waiting
    for key, runs in holders.items():
        tops = [run_id for run_id in runs if not _has_from_above(state, run_id, runs)]
        assert len(tops) <= 1, f"{len(tops)} runs that are no children of another hold the mutex {key}"
    for key in waiting:
        assert holders.get(key), f"somebody waits for the mutex {key}, which is free"


def _above(state: KeeperState, run: KeptRun) -> list[KeptRun]:
    """The open runs of which a run is a child, at any depth."""
    found: list[KeptRun] = []
    above: KeptRun | None = run
    while above is not None and above.first.link == "child":
        above = state.runs.get(above.first.parent_run_id or "")
        if above is not None:
            found.append(above)
    return found


def _has_from_above(state: KeeperState, run_id: str, runs: set[str]) -> bool:
    """Whether a holder is below another one, or was when that one still held it."""
    first = state.runs[run_id].first
    while first.link == "child" and first.parent_run_id is not None:
        if first.parent_run_id in runs:
            return True
        above = state.runs.get(first.parent_run_id)
        if above is None:
            return True  # that one has ended, and nobody knows any more what was above it
        first = above.first
    return False
