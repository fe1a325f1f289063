"""The ledger of an execution: its places, and what earlier lives have pinned there.

In: the rows of earlier lives. Out: `Ledger`, `Pin`, `Standing`. Never: knows a job; makes a row.

A *place* names a call, a wait or a decision in an execution. It is a digest of the caller's place, the name, the
arguments and the number among equal ones of that caller. The option `key` replaces arguments and number. The root has a
place of its own. So other code, another order of items, or another call beside it move no place.

*The number.* Equal calls of one caller are numbered in the order in which their arguments are known for the first time:
those with plain arguments in the order of the caller's term. The place is recorded together with the *path* of the call
in that term; the term is recorded at the place of the caller, with the path from which the paths in it are made. So the
call has the same path in every life, and a later life finds its place by the path: there the order of answers decides
nothing. Calls of a body that awaits and was edited are an exception: a call with another path takes the recorded place
of an equal call that no call has taken, the smallest number first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from rayflow import errors
from rayflow.lang.terms.codec import loads
from rayflow.lang.terms.outcomes import unpack_outcome
from rayflow.records import PlaceRow
from rayflow.values.digests import digest
from rayflow.values.failures import Failure

_UNKNOWN = (errors.OutcomeUnknown, errors.WorkerLost, errors.TaskTimeout)
"""Failures after which an effect may have been done. Its next attempt has the same idempotency key."""


def is_known(failure: Failure) -> bool:
    """Whether an effect that failed so has surely not been done."""
    return not any(failure.is_a(each) for each in _UNKNOWN)


CLEANS_UP = "finally_"
"""The name of the form that has a clean-up."""

ROOT_PLACE = digest("place of the root")
"""The place of the root of every execution."""


class Pin:
    """What earlier lives have recorded at one place.

    place, name, parent, path: as in `PlaceRow` (path is `job_id` there). cleared: how often a failure here was
    cleared; by key, for outcomes that the body awaited. known_failures: how often it was one after which an effect has
    surely not been done. taken_at: the path of the call or form of this life that stands here; None for none. key: of
    the expression that the caller's body awaited, and in which an effect stands. arguments: of an effect, as text.
    term: the term that the body returned, packed. term_path: the path from which the ids in it are made. task_hash:
    of the code that returned it. awaited: by
    key, the packed outcomes that the body awaited, in order.
    outcome: the packed outcome. call_hash: as in `PlaceRow`. decision: the packed decision of a form.
    attempts: how many attempts of an effect have started. raised, losses: how many of them raised, or lost their
    worker, as far as that is known. due_at: when the next attempt is due. is_open: whether the last attempt has
    started, and its end is not known. is_cleaned: whether a form with a clean-up has evaluated it.
    """

    __slots__ = (
        "arguments", "attempts", "awaited", "call_hash", "cleared", "decision", "due_at", "is_cleaned", "is_open",
        "key", "known_failures", "losses", "name", "outcome", "parent", "path", "place", "raised", "taken_at",
        "task_hash", "term", "term_path",
    )  # fmt: skip

    def __init__(self, row: PlaceRow) -> None:
        self.place = row.place
        self.name = row.name
        self.parent = row.parent
        self.path = row.job_id
        self.key: bytes | None = None
        self.arguments: str | None = None
        self.cleared: dict[bytes | None, int] = {}
        self.known_failures = 0
        self.taken_at: bytes | None = None
        self.term: bytes | None = None
        self.term_path: bytes | None = None
        self.task_hash: bytes | None = None
        self.awaited: dict[bytes, bytes] = {}
        self.outcome: bytes | None = None
        self.call_hash: bytes | None = None
        self.decision: bytes | None = None
        self.attempts = 0
        self.raised = 0
        self.losses = 0
        self.due_at = 0
        self.is_open = False
        self.is_cleaned = False

    @property
    def generation(self) -> int:
        """How often a failure here was cleared."""
        return self.cleared.get(None, 0)

    def may_stand_at(self, path: bytes) -> bool:
        """Whether no call or form of this life stands here, or only one that was met at this path before."""
        return self.taken_at is None or self.taken_at == path

    def clear(self, failure: Failure) -> None:
        """Forget a failure here, and what led to it."""
        self.cleared[None] = self.generation + 1
        self.known_failures += is_known(failure)
        self.outcome = self.decision = None
        self.attempts = self.raised = self.losses = self.due_at = 0
        self.is_open = False

    def take(self, row: PlaceRow) -> None:
        """Note a row of this place. Rows of one generation come in the order of their numbers."""
        if row.kind == "term":
            self.term_path, self.task_hash = row.path, row.task_hash
            self.term = row.outcome or self.term
            return
        if row.kind == "awaited":
            assert row.key is not None
            assert row.outcome is not None
            self.awaited[row.key] = row.outcome
            return
        if (row.generation or 0) != self.generation:
            return
        if row.kind == "started":
            self.key, self.arguments = row.key, row.arguments
            self.attempts = max(self.attempts, row.number)
        if row.kind in ("started", "tried") and row.outcome is not None:
            self.raised, self.losses, self.due_at = loads(row.outcome)
        if row.kind in ("outcome", "late"):
            self.outcome, self.call_hash = row.outcome, row.call_hash
        elif row.kind == "decision":
            self.decision = row.outcome
        elif row.kind == "cleaned":
            self.is_cleaned = True


class Standing:
    """How a call stands in its execution. Most calls have none.

    place: None until something needs it. path: the path of its term, if that is not made in the usual way.
    args_hash: of a closed call. is_pinned: whether its term, and what ends below it, is recorded under places.
    is_answered: whether its outcome comes from a pin. pin: what earlier lives have recorded of it.
    generation, known_failures, key: as in `Pin`. is_late: whether it is an effect that runs though nothing waits for
    it. is_begun: whether it runs for its own sake, as a thread. is_edited: whether its body awaits, and is
    another one than in the life that has recorded its path. cleans: whether its body is entered again only so that it
    comes to its clean-up.
    """

    __slots__ = (
        "args_hash",
        "cleans",
        "generation",
        "is_answered",
        "is_begun",
        "is_edited",
        "is_late",
        "is_pinned",
        "key",
        "known_failures",
        "path",
        "pin",
        "place",
    )

    def __init__(self, place: bytes | None = None, path: bytes | None = None) -> None:
        self.place = place
        self.path = path
        self.args_hash: bytes | None = None
        self.is_pinned = False
        self.is_answered = False
        self.is_begun = False
        self.is_edited = False
        self.is_late = False
        self.cleans = False
        self.pin: Pin | None = None
        self.generation = 0
        self.known_failures = 0
        self.key: bytes | None = None


class Ledger:
    """The places of one execution.

    pins: by place. by_path: the same, by the caller's place and the path of the call or form in its term. term_paths:
    the paths of pinned terms; no other term may have one of them. resolved: by place, the packed outcomes of resolved
    waits. gone: by place, a text for each pinned value that names a file that is gone. effects: the jobs of the
    effects of this life, by place. unclean: the places of the callers below which earlier lives have entered a form
    with a clean-up, and not evaluated it. loose: the callers below which something was recorded that has no path any
    more: a fork keeps it, and its arguments alone say what it is.
    """

    def __init__(
        self,
        rows: Iterable[PlaceRow] = (),
        resolved: Mapping[bytes, bytes] | None = None,
        gone: Mapping[bytes, str] | None = None,
    ) -> None:
        self.resolved = dict(resolved or {})
        self.gone = dict(gone or {})
        self.pins: dict[bytes, Pin] = {}
        self.effects: dict[bytes, Any] = {}
        self.by_path: dict[tuple[bytes | None, bytes], Pin] = {}
        self.term_paths: set[bytes] = set()
        self.loose: set[bytes | None] = set()
        self._numbers: dict[bytes, int] = {}
        by_place: defaultdict[bytes, list[PlaceRow]] = defaultdict(list)
        for row in rows:
            by_place[row.place].append(row)
        for place, own in by_place.items():
            self.pins[place] = pin = _pin_of(own)
            if pin.path is not None:
                self.by_path[pin.parent, pin.path] = pin
            elif pin.parent is not None:
                self.loose.add(pin.parent)
            if pin.term_path is not None:
                self.term_paths.add(pin.term_path)
        self.unclean: set[bytes] = set()
        for pin in self.pins.values():
            if pin.name == CLEANS_UP and not pin.is_cleaned:
                self._note_unclean(pin.parent)

    def _note_unclean(self, place: bytes | None) -> None:
        while place is not None and place not in self.unclean:
            self.unclean.add(place)
            above = self.pins.get(place)
            place = above.parent if above is not None else None

    def pin_at(self, path: bytes, parent: bytes | None) -> Pin | None:
        """What was recorded of the call or form at this path, in the term of the caller at this place."""
        return self.by_path.get((parent, path))

    def may_move(self, above: Standing) -> bool:
        """Whether what stands in the term of this caller may have been recorded at another path, or at none."""
        return above.is_edited or above.place in self.loose

    def missed(self, parent: bytes, name: str) -> list[Pin]:
        """The effects of a task that earlier lives have begun below a caller, and that no call of this life is. (Those
        that a fork keeps beside a released place have no path: they may be left out.)"""
        return [
            pin
            for pin in self.pins.values()
            if pin.parent == parent
            and pin.name == name
            and pin.path is not None
            and pin.attempts
            and pin.taken_at is None
        ]

    def place_of(
        self, path: bytes, parent: bytes, name: str, arguments: bytes, key: bytes | None, *, may_move: bool
    ) -> bytes:
        """The place of a call or a form.

        path: its path in the caller's term. parent: the caller's place. arguments: the hash of its arguments. key: the
        user's, which replaces these. may_move: whether it may take the place that was recorded at another path.
        """
        pin = self.pin_at(path, parent)
        if pin is not None and pin.name == name and pin.may_stand_at(path):
            pin.taken_at = path
            return pin.place
        if key is not None:
            place = digest("place by key", parent, name.encode(), key)
            if place in self.pins:
                self.pins[place].taken_at = path
            return place
        base = digest("place", parent, name.encode(), arguments)
        number = self._numbers.get(base, 0)
        while True:
            place = digest("number", base, number.to_bytes(8, "little"))
            pin = self.pins.get(place)
            number += 1
            if pin is None or (may_move and pin.taken_at is None):
                break
        self._numbers[base] = number
        if pin is not None:
            pin.taken_at = path
        return place


def _pin_of(rows: list[PlaceRow]) -> Pin:
    """What these rows of one place say together."""
    pin = Pin(rows[0])
    cleared = pin.cleared
    for row in rows:
        if row.kind == "cleared":
            cleared[row.key] = max(cleared.get(row.key, 0), (row.generation or 0) + 1)
            if row.key is None and row.outcome is not None and unpack_outcome(row.outcome) is True:
                pin.known_failures += 1
        if row.job_id is not None:
            pin.path = row.job_id
    tried = 0
    for row in sorted(rows, key=lambda each: (each.generation or 0, each.number, each.kind == "tried")):
        if row.kind == "awaited" and (row.generation or 0) < cleared.get(row.key, 0):
            continue
        pin.take(row)
        if row.kind == "tried" and (row.generation or 0) == pin.generation:
            tried = max(tried, row.number)
    pin.is_open = pin.outcome is None and pin.term is None and pin.attempts > tried
    return pin
