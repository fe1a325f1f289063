"""Which call of one execution is which call of another: two trees of calls, aligned from their roots.

In: the jobs that differ, and a way to ask for the calls below a call. Out: pairs, and what stands on one side alone.
Never: SQL, text, recursion (a chain of calls may have any length).

Call hashes are Merkle hashes: where two are the same, all below is the same, and nothing there is looked at. Where they
differ, the calls below the two are paired by the name of their task: first those of the same call, then those with the
same arguments, then the others in their order. So an inserted call, or other code, moves no other call.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias


class AlignedCall(NamedTuple):
    """A job, or a call that a cached job stands for: that one has no job id. status: None for a call. parent_call: the
    call of the job's caller, where that is known."""

    job_id: bytes | None
    parent_job_id: bytes | None
    parent_call: bytes | None
    name: str
    task_hash: bytes | None
    call_hash: bytes | None
    args_hash: bytes | None
    value_hash: bytes | None
    status: str | None = None
    how: str | None = None
    requested: str | None = None
    environment: bytes | None = None


class AlignedPair(NamedTuple):
    """Two calls that are each other's counterpart, and differ. parent: the number of the pair of their callers. times:
    how many pairs there are of the same two calls."""

    before: AlignedCall
    after: AlignedCall
    parent: int | None
    times: int = 1


class Alignment(NamedTuple):
    """The pairs, each after the pair of its callers; and the calls that have no counterpart, callers before what they
    called."""

    pairs: list[AlignedPair]
    before_only: list[AlignedCall]
    after_only: list[AlignedCall]


Below: TypeAlias = Callable[[Iterable[bytes]], Mapping[bytes, Sequence[AlignedCall]]]
"""Gives the calls below some calls, by the call."""


def align(before: Sequence[AlignedCall], after: Sequence[AlignedCall], below: Below) -> Alignment:
    """Align two executions. before, after: the jobs of each that the other one has not, in the order in which they were
    met."""
    return _Aligner(before, after, below).aligned()


class _Aligner:
    def __init__(self, before: Sequence[AlignedCall], after: Sequence[AlignedCall], below: Below) -> None:
        self._calls_below = below
        self._jobs_below = (_by_parent(before), _by_parent(after))
        self._tops = (_tops(before), _tops(after))
        self._pairs: list[AlignedPair] = []
        self._numbers: dict[tuple[bytes, bytes], int] = {}
        self._alone: tuple[list[AlignedCall], list[AlignedCall]] = ([], [])

    def aligned(self) -> Alignment:
        found: list[int] = []
        ones, others = self._tops
        for caller in dict.fromkeys((*ones, *others)):
            found += self._pair(ones.get(caller, ()), others.get(caller, ()), None)
        while found:
            found = [each for number, sides in self._below(found) for each in self._pair(*sides, number)]
        return Alignment(self._pairs, *self._alone)

    def _below(self, numbers: Iterable[int]) -> list[tuple[int, tuple[Sequence[AlignedCall], Sequence[AlignedCall]]]]:
        """The calls below both sides of these pairs. The cache may have answered one side without any jobs below: then
        both sides are looked up as calls, and left alone if one of them left no call."""
        found: list[tuple[int, tuple[Sequence[AlignedCall], Sequence[AlignedCall]]]] = []
        unknown: list[int] = []
        for number in numbers:
            sides = self._pairs[number][:2]
            jobs = self._jobs(0, sides[0]), self._jobs(1, sides[1])
            if all(map(_tells_all, sides, jobs)):
                found.append((number, jobs))
            elif all(side.call_hash is not None for side in sides):
                unknown.append(number)
        calls = {side.call_hash for number in unknown for side in self._pairs[number][:2] if side.call_hash}
        below = self._calls_below(calls) if calls else {}
        for number in unknown:
            one, other = [
                [by_call.get(call.call_hash, call) for call in below.get(side.call_hash or b"", ())]
                for place, side in enumerate(self._pairs[number][:2])
                for by_call in [{job.call_hash: job for job in self._jobs(place, side)}]
            ]
            found.append((number, (one, other)))
        return found

    def _jobs(self, place: int, side: AlignedCall) -> Sequence[AlignedCall]:
        return () if side.job_id is None else self._jobs_below[place].get(side.job_id, ())

    def _pair(self, ones: Sequence[AlignedCall], others: Sequence[AlignedCall], parent: int | None) -> list[int]:
        """Pair the calls of two callers. Gives the numbers of the pairs that are new."""
        by_name: dict[str, tuple[list[AlignedCall], list[AlignedCall]]] = defaultdict(lambda: ([], []))
        for side, calls in enumerate((ones, others)):
            for call in calls:
                by_name[call.name][side].append(call)
        found: list[int] = []
        for left, right in by_name.values():
            for field in ("call_hash", "args_hash", None):
                matched, left, right = _matched(left, right, field)
                for one, other in matched if field != "call_hash" else ():
                    number = self._noted(one, other, parent)
                    found += [] if number is None else [number]
            self._leave(0, left)
            self._leave(1, right)
        return found

    def _noted(self, one: AlignedCall, other: AlignedCall, parent: int | None) -> int | None:
        """The number of a new pair; None where the same two calls are a pair already."""
        key = (one.call_hash, other.call_hash)
        if key[0] is not None and key[1] is not None:
            known = self._numbers.setdefault((key[0], key[1]), len(self._pairs))
            if known < len(self._pairs):
                self._pairs[known] = self._pairs[known]._replace(times=self._pairs[known].times + 1)
                return None
        self._pairs.append(AlignedPair(one, other, parent))
        return len(self._pairs) - 1

    def _leave(self, side: int, calls: Sequence[AlignedCall]) -> None:
        """Note calls without a counterpart, and the jobs below them."""
        waiting = list(reversed(calls))
        while waiting:
            call = waiting.pop()
            self._alone[side].append(call)
            if call.job_id is not None:
                waiting.extend(reversed(self._jobs_below[side].get(call.job_id, ())))


def _matched(
    left: Sequence[AlignedCall], right: Sequence[AlignedCall], field: str | None
) -> tuple[list[tuple[AlignedCall, AlignedCall]], list[AlignedCall], list[AlignedCall]]:
    """The pairs with the same value in a field (None: all, in their order), and what is left of each side."""
    waiting: dict[Hashable, list[AlignedCall]] = defaultdict(list)
    for call in reversed(right):
        waiting[None if field is None else getattr(call, field)].append(call)
    pairs: list[tuple[AlignedCall, AlignedCall]] = []
    alone: list[AlignedCall] = []
    taken: set[int] = set()
    for call in left:
        value = None if field is None else getattr(call, field)
        fitting = waiting.get(value) if field is None or value is not None else None
        if fitting:
            pairs.append((call, fitting.pop()))
            taken.add(id(pairs[-1][1]))
        else:
            alone.append(call)
    return pairs, alone, [call for call in right if id(call) not in taken]


def _tells_all(side: AlignedCall, jobs: Sequence[AlignedCall]) -> bool:
    """Whether the jobs below it are all that differs below it. If a cached job has none, only its call tells what is
    there."""
    return bool(jobs) or (side.job_id is not None and side.how not in ("cached", "shared"))


def _by_parent(jobs: Iterable[AlignedCall]) -> dict[bytes, list[AlignedCall]]:
    found: dict[bytes, list[AlignedCall]] = defaultdict(list)
    for job in jobs:
        if job.parent_job_id is not None:
            found[job.parent_job_id].append(job)
    return found


def _tops(jobs: Sequence[AlignedCall]) -> dict[bytes | None, list[AlignedCall]]:
    """The jobs whose callers are not among the jobs, by the call of the caller: both executions have that call. (A call
    below may have failed, or have left no call.)"""
    ids = {job.job_id for job in jobs}
    found: dict[bytes | None, list[AlignedCall]] = defaultdict(list)
    for job in jobs:
        if job.parent_job_id is None or job.parent_job_id not in ids:
            found[job.parent_call].append(job)
    return found
