"""Calls that need much room at a time begin, though small ones keep every node busy; and small ones go on, too.

Ray is played: it begins whatever fits, small calls first, and a gang only where all of it fits at one time.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Mapping
from types import SimpleNamespace

import pytest

from rayflow.evaluator.commands import RunTask
from rayflow.runtime.on_ray import claims, remote
from rayflow.runtime.on_ray.actor import room_claims
from rayflow.runtime.on_ray.actor.bundles import Bundle, Bundler
from rayflow.runtime.on_ray.actor.room_claims import FIRST_SECONDS, MOST_SECONDS, PATIENCE_SECONDS, RoomClaims
from rayflow.runtime.on_ray.claims import QUEUED_SECONDS, VALID_SECONDS, Claim, ClaimsHere
from rayflow.testing.playbook import task

STEP = 0.5
"""Seconds from one look of a scheduler to the next."""


class Notes(dict[str, str]):
    """The notes of a cluster, and a clock that only the tests turn."""

    now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Notes:
    kept = Notes()
    notes = "rayflow.runtime.on_ray.cluster_notes"
    monkeypatch.setattr(f"{notes}.write", kept.__setitem__)
    monkeypatch.setattr(f"{notes}.read", kept.get)
    monkeypatch.setattr(f"{notes}.remove", lambda key: kept.pop(key, None))
    monkeypatch.setattr(f"{notes}.keys", lambda prefix: [key for key in kept if key.startswith(prefix)])
    for module in (claims, room_claims):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=kept.time, monotonic=kept.time))
    return kept


class PlayedRay:
    """A cluster of one node. cpus: free ones. taken: by somebody who is no business of ours."""

    def __init__(self, notes: Notes, cpus: float, taken: float = 0.0) -> None:
        self.notes, self.all, self.free = notes, cpus, cpus - taken
        self.worker = ClaimsHere()
        self.schedulers: list[PlayedScheduler] = []
        self.running: list[tuple[float, float, PlayedScheduler, Bundle]] = []
        """End, begin, owner and bundle of each."""

    def play(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(int(seconds / STEP)):
            self.notes.now += STEP
            for each in [each for each in self.running if each[0] <= self.notes.now]:
                self.running.remove(each)
                self.free += each[3].shape.held_cpus
                each[2].came_back(each[3])
            for scheduler in self.schedulers:
                scheduler.look()
            self.begin()

    def begin(self) -> None:
        queues = [(bundle.shape.held_cpus, owner, bundle) for owner in self.schedulers for bundle in owner.queued]
        for cpus, owner, bundle in sorted(queues, key=lambda each: (each[0], each[2].sent_at)):
            if cpus > self.free:
                continue
            owner.queued.remove(bundle)
            taken = bundle.shape.resource_names() if bundle.shape.gang is None else ()
            if self.worker.must_give_way(bundle.name, bundle.sent_at, taken):
                owner.given_back(bundle)
                continue
            self.free -= cpus
            seconds = bundle.calls[0].options["seconds"]
            self.running.append((self.notes.now + seconds, self.notes.now, owner, bundle))


class PlayedScheduler:
    """Sends calls, as the carrier does. served: how many calls have come back, by task. begun: the moments."""

    def __init__(self, ray: PlayedRay) -> None:
        self.ray, self.queued, self.served = ray, list[Bundle](), Counter[str]()
        self.began: dict[str, float] = {}
        self.claims = RoomClaims(lambda shape: self.bundler.name_of(shape))
        self.bundler = Bundler(ray.all, ray.notes.time, self.claims.holds_back)
        ray.schedulers.append(self)

    def add(self, name: str, count: int, seconds: float, **options: object) -> None:
        shared, entry = {**options, "seconds": seconds}, task(f"lab.{name}", "x")
        self.bundler.note_seconds(f"lab.{name}", seconds)
        for job in range(count):
            self.bundler.add(RunTask(job, 1, "e", b"j", entry, {}, shared))

    def look(self) -> None:
        while (bundle := self.bundler.next()) is not None:
            self.queued.append(bundle)
        moment, mine = self.ray.notes.now, [each for each in self.ray.running if each[2] is self]
        for _, _, _, bundle in mine:
            self.began.setdefault(bundle.calls[0].entry.name, moment)
        noted = {bundle.name for _, began, _, bundle in mine if moment - began > 3}
        flying = list(self.bundler.in_flight.values())
        waiting: dict[object, list[Bundle]] = {}
        for bundle in flying:
            if moment - bundle.sent_at > 10:
                waiting.setdefault(bundle.shape, []).append(bundle)
        self.claims.look(flying, noted, waiting, moment)  # type: ignore[arg-type]
        self.claims.trade()

    def came_back(self, bundle: Bundle) -> None:
        self.bundler.ended(bundle.number)
        self.claims.note_served(bundle.shape, self.ray.notes.now)
        self.served[bundle.calls[0].entry.name] += 1

    def given_back(self, bundle: Bundle) -> None:
        self.bundler.ended(bundle.number)
        for call in bundle.calls:
            self.bundler.add(call, alone=bundle.alone)


GANG: Mapping[str, object] = {"gang": [{"CPU": 1}] * 4}
WHOLE: Mapping[str, object] = {"num_cpus": 4}


@pytest.mark.parametrize("wide", [GANG, WHOLE], ids=["a gang", "a call of a whole node"])
@pytest.mark.parametrize("seconds", [1.0, 60.0, 300.0])
def test_what_needs_all_processors_begins_though_small_calls_never_end(
    notes: Notes, wide: Mapping[str, object], seconds: float
) -> None:
    ray = PlayedRay(notes, 4)
    scheduler = PlayedScheduler(ray)
    scheduler.add("small", 10_000, seconds)
    ray.play(20 + seconds / 3)
    sent = notes.now
    scheduler.add("wide", 1, 5.0, **wide)
    ray.play(8 * seconds + 60)
    assert scheduler.began["lab.wide"] - sent <= PATIENCE_SECONDS + 8 * seconds
    before = scheduler.served["lab.small"]
    ray.play(2 * seconds + 60)
    assert scheduler.served["lab.small"] > before, "small calls go on"
    assert not notes, "no claim is left"


@pytest.mark.parametrize("wide", [GANG, WHOLE], ids=["gangs", "calls of a whole node"])
def test_a_long_row_of_them_leaves_small_calls_half_of_the_time(notes: Notes, wide: Mapping[str, object]) -> None:
    ray = PlayedRay(notes, 4)
    scheduler = PlayedScheduler(ray)
    scheduler.add("small", 20_000, 1.0)
    ray.play(20)
    scheduler.add("wide", 10_000, 5.0, **wide)
    before = scheduler.served["lab.small"]
    ray.play(800)
    assert scheduler.served["lab.small"] - before > 800 * 4 / 3
    assert scheduler.served["lab.wide"] > 800 / 60


def test_what_lacks_no_room_claims_none(notes: Notes) -> None:
    ray = PlayedRay(notes, 4)
    scheduler = PlayedScheduler(ray)
    scheduler.add("small", 1000, 20.0)
    scheduler.add("other", 1000, 20.0, num_cpus=1, memory=1)
    for _ in range(300):
        ray.play(STEP)
        assert sum(each[3].shape.held_cpus for each in ray.running) == 4, "no processor rests"


def test_where_somebody_else_has_the_room_claims_become_rare(notes: Notes) -> None:
    ray = PlayedRay(notes, 4, taken=1)
    scheduler = PlayedScheduler(ray)
    scheduler.add("small", 20_000, 1.0)
    scheduler.add("wide", 1, 5.0, **GANG)
    ray.play(4_000)
    assert scheduler.served["lab.small"] > 0.8 * 3 * 4_000
    assert "lab.wide" not in scheduler.began


def test_no_claim_lasts_longer_than_the_longest_and_each_rests_as_long_as_it_lasted(notes: Notes) -> None:
    ray = PlayedRay(notes, 4)
    scheduler = PlayedScheduler(ray)
    scheduler.add("endless", 1, 1e9)
    scheduler.add("small", 20_000, 1.0)
    ray.play(5)
    scheduler.add("wide", 1, 5.0, **GANG)
    spans: list[list[float]] = [[0.0, 0.0]]
    for _ in range(9_000):
        ray.play(STEP)
        if bool(notes) != (len(spans) % 2 == 0):
            spans.append([notes.now, notes.now])
        spans[-1][1] = notes.now
    lengths = [round(end - begin) for begin, end in spans[1:-1]]
    held, rests = lengths[::2], lengths[1::2]
    assert held[0] == pytest.approx(FIRST_SECONDS, abs=2) and max(held) == pytest.approx(MOST_SECONDS, abs=2)
    assert all(rest >= claim - 2 for claim, rest in zip(held, rests, strict=False))


def test_a_claim_counts_for_the_calls_of_other_runs_too_and_they_get_their_time(notes: Notes) -> None:
    ray = PlayedRay(notes, 4)
    one, other = PlayedScheduler(ray), PlayedScheduler(ray)
    one.add("small", 20_000, 1.0)
    ray.play(20)
    other.add("wide", 10_000, 5.0, **GANG)
    before = one.served["lab.small"]
    ray.play(800)
    assert other.served["lab.wide"] > 800 / 60
    assert one.served["lab.small"] - before > 800 * 4 / 3


def test_the_claim_of_a_scheduler_that_died_ends_and_its_note_is_removed(notes: Notes) -> None:
    ray = PlayedRay(notes, 4)
    one, other = PlayedScheduler(ray), PlayedScheduler(ray)
    one.add("small", 20_000, 10.0)
    ray.play(20)
    other.add("wide", 1, 5.0, **GANG)
    ray.play(PATIENCE_SECONDS + 2)
    assert notes
    ray.schedulers.remove(other)
    ray.play(2 * VALID_SECONDS + 5)
    assert not notes
    before = one.served["lab.small"]
    ray.play(30)
    assert one.served["lab.small"] - before >= 8


def test_a_claim_leaves_those_alone_that_take_nothing_of_what_it_is_for(notes: Notes) -> None:
    claims.write(Claim("b:1:", frozenset(["GPU"]), notes.now + 10))
    early, must_give_way = notes.now - QUEUED_SECONDS, ClaimsHere().must_give_way
    assert must_give_way("c:1:7", early, ["CPU", "GPU"])
    assert not must_give_way("c:1:8", early, ["CPU"])
    assert not must_give_way("c:1:9", notes.now, ["CPU", "GPU"]), "its scheduler knew of the claim"
    assert not must_give_way("b:10:9", early, ())


def test_the_call_for_which_room_was_claimed_takes_the_claim_back_when_it_begins(notes: Notes) -> None:
    claims.write(Claim("b:1:", frozenset(["CPU"]), notes.now + 10))
    assert not ClaimsHere().must_give_way("b:1:7", notes.now - QUEUED_SECONDS, ["CPU"])
    assert not notes


def test_calls_whose_environment_has_just_come_are_not_taken_for_ones_that_lack_room(notes: Notes) -> None:
    ray = PlayedRay(notes, 4)
    scheduler = PlayedScheduler(ray)
    scheduler.add("late", 1, 1.0)
    bundle = scheduler.bundler.next()
    assert bundle is not None
    came = notes.now + 60
    while notes.now < came + 30:
        notes.now += STEP
        waiting = {bundle.shape: [bundle]} if notes.now >= came else {}
        scheduler.claims.look([bundle], (), waiting, notes.now)
        assert bool(scheduler.claims.sentences()) == (notes.now >= came + PATIENCE_SECONDS)


@pytest.mark.parametrize("is_small", [True, False])
def test_a_worker_begins_no_call_of_a_bundle_that_gives_way_and_needs_no_context_for_that(
    notes: Notes, is_small: bool
) -> None:
    claims.write(Claim("b:1:", frozenset(["CPU"]), notes.now + 10))
    what: tuple[object, ...] = is_small, "c:1:7", ["no call at all"], [], (notes.now - QUEUED_SECONDS, ("CPU",))
    answer = remote.run_bundle(pickle.dumps((("key", ()), (), what)), None)
    assert answer == (remote.GIVES_WAY if is_small else (remote.GIVES_WAY, []))
