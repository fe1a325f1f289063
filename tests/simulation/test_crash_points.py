"""The service is killed at every commit of flows that use each form: all end alike, and no effect is done again."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from rayflow import (
    NonRetriable,
    RetryAfter,
    Scheduler,
    any_of,
    ask,
    catch,
    child,
    cond,
    continue_as,
    effect,
    emit,
    event,
    finally_,
    first,
    flow,
    gather,
    join,
    map_,
    now,
    seq,
    sleep,
    sleep_until,
    spawn,
    task,
    uuid,
    wait_for_event,
    within,
)
from rayflow.testing import Rehearsal, RehearsedRun
from rayflow.testing.crashes import MortalFolder, difference, played
from rayflow.testing.rehearsals import RehearsedWorld
from rayflow.testing.rehearsed_service import Killed
from rayflow.testing.stage import Plan

pytestmark = pytest.mark.slow

MOMENT = datetime.datetime(2090, 5, 1, 9, tzinfo=datetime.UTC)


@effect(namespace="crash_points")
def do(what: object) -> str:
    return f"did {what}"


@effect(namespace="crash_points", retries=3, retry_delay=60)
def bank(amount: int) -> str:
    return f"paid {amount}"


@task(namespace="crash_points")
def double(x: int) -> int:
    return 2 * x


@task(namespace="crash_points")
def failing(x: int) -> int:
    raise ValueError(f"not {x}")


@task(namespace="crash_points")
def told(error: Exception) -> str:
    return f"caught {error}"


@flow(namespace="crash_points")
def in_order() -> object:
    return seq([do("a"), sleep("1d"), double(4), do(double(5)), sleep_until(MOMENT), do("a"), do("a")])


@flow(namespace="crash_points")
def fan_out() -> object:
    return map_(do, [1, 2, 3, 3])


@flow(namespace="crash_points")
def event_comes() -> object:
    found = wait_for_event("approval", key="k", timeout="1d", where=event.data["amount"] > 5)
    return cond(found, do(found.data["by"]), do("nobody"))


@flow(namespace="crash_points")
def two_questions() -> object:
    return [do(ask("one?", int)), do(ask("two?", Answer).word)]


@dataclass
class Answer:
    word: str


@flow(namespace="crash_points")
def family() -> object:
    reference = spawn(child_of(3))
    mine = catch(child(child_of(-1)), ValueError, told)
    return [mine, child(child_of(2), id="second"), join(reference)]


@flow(namespace="crash_points")
def child_of(x: int) -> object:
    slept = sleep(60)
    return seq([slept, cond(x > 0, do(x), failing(x))])[1]


@flow(namespace="crash_points")
def emitting() -> object:
    sent = emit("crash_points.sent", {"number": 7}, key="k")
    got = wait_for_event("crash_points.done", key=sent)
    return seq([sent, do(got.data)])[1]


@flow(namespace="crash_points", on=event("crash_points.sent"))
def subscriber(data: dict[str, int]) -> object:
    return emit("crash_points.done", do(data["number"]), key="event-of-the-run")


@flow(namespace="crash_points")
def races() -> object:
    won = first(seq([sleep("1h"), do("an hour")]), wait_for_event("never"))
    good = any_of(failing(1), seq([sleep("2h"), do("good")]))
    late = within(wait_for_event("never"), "30m", "too late")
    soon = within(do("soon"), "30m", "too late")
    return [won, good, late, soon]


@flow(namespace="crash_points")
def overtaken() -> object:
    won = first(bank(5), seq([sleep(30), "the clock"])[1])
    late = within(bank(6), "30s", "too late")
    return seq([won, late, sleep("1d"), do(won), do(late)])


@flow(namespace="crash_points")
def tidied() -> object:
    return finally_(seq([do("begin"), wait_for_event("never")]), seq([do("tidy"), do("up")]))


@flow(namespace="crash_points")
async def agent(turns: int) -> object:
    said = []
    for turn in range(turns):
        said.append(await gather(do(f"turn {turn}"), do("the same")))
        await sleep(30)
    return said


@flow(namespace="crash_points")
def chain(left: int) -> object:
    done = do(left)
    return cond(left == 0, done, seq([done, sleep("1h"), continue_as(chain(left - 1))])[2])


@flow(namespace="crash_points")
def noted() -> object:
    return [now(), seq([sleep(5), now()]), uuid(), uuid(), do(uuid())]


@flow(namespace="crash_points")
def unlucky() -> object:
    return [bank(1), catch(do("x"), OSError, told)]


@flow(namespace="crash_points")
def after_failure(run: object) -> object:
    return do("after the failure")


@flow(namespace="crash_points", on_failure=after_failure)
def doomed() -> object:
    return seq([do("first"), failing(2)])


@flow(namespace="crash_points", timeout="1h")
def too_slow() -> object:
    return finally_(seq([do("begin"), sleep("2h"), do("never")]), do("tidy"))


@flow(namespace="crash_points")
def exclusive() -> object:
    return [child(taking(name), id=f"taking {name}") for name in ("a", "b")]


@flow(namespace="crash_points")
def taking(name: str) -> object:
    found = wait_for_event("job", take="exclusive", timeout="1d")
    return do(cond(found, found.data, "nothing"))


def approve(rehearsal: Rehearsal, run: RehearsedRun) -> None:
    rehearsal.emit("approval", {"amount": 1, "by": "too little"}, key="k")
    rehearsal.skip("2h")
    rehearsal.emit("approval", {"amount": 9, "by": "ada"}, key="k")


def refuse(rehearsal: Rehearsal, run: RehearsedRun) -> None:
    rehearsal.emit("approval", {"amount": 9, "by": "ada"}, key="another")


def answers(rehearsal: Rehearsal, run: RehearsedRun) -> None:
    for prompt, value in (("two?", {"word": "w"}), ("one?", 1)):
        [place] = [wait["place"] for wait in run.waits() if wait.get("prompt") == prompt]
        rehearsal.answer(run, value, place=place)


def cancel(rehearsal: Rehearsal, run: RehearsedRun) -> None:
    rehearsal.skip("1h")
    assert run.cancel("enough")


def answer_of_subscriber(rehearsal: Rehearsal, run: RehearsedRun) -> None:
    [wait] = run.waits()
    rehearsal.emit("crash_points.done", "done", key=wait["key"])


def two_jobs(rehearsal: Rehearsal, run: RehearsedRun) -> None:
    rehearsal.emit("job", "one")
    rehearsal.emit("job", "two")


def start_others(rehearsal: Rehearsal, run: RehearsedRun) -> None:
    assert rehearsal.start(fan_out()).result() == ["did 1", "did 2", "did 3", "did 3"]
    other = rehearsal.start(event_comes(), id="the other", delay="10m")
    rehearsal.skip("20m")
    assert other.state() == "waiting"
    assert other.cancel("it was a mistake")
    assert not other.cancel()
    rehearsal.emit("approval", {"amount": 9, "by": "ada"}, key="k", delay="1m")


Script = Callable[[Rehearsal, RehearsedRun], None]

STORIES: Sequence[tuple[Any, Script | None]] = (
    (in_order, None),
    (fan_out, None),
    (event_comes, approve),
    (event_comes, refuse),
    (event_comes, start_others),
    (two_questions, answers),
    (family, None),
    (emitting, answer_of_subscriber),
    (races, None),
    (overtaken, None),
    (tidied, cancel),
    (noted, None),
    (unlucky, None),
    (doomed, None),
    (too_slow, None),
    (exclusive, two_jobs),
)


def accidents(rehearsal: Rehearsal) -> None:
    rehearsal.fail(bank, OSError("closed"), attempts=1)
    rehearsal.fail(bank, RetryAfter("10m"), attempts=2)


@pytest.mark.parametrize(
    ("of", "script"), STORIES, ids=[f"{of.fullname}-{getattr(script, '__name__', None)}" for of, script in STORIES]
)
def test_a_flow_ends_alike_wherever_its_service_is_killed(of: Any, script: Script | None) -> None:
    with Rehearsal() as rehearsal:
        accidents(rehearsal)
        assert rehearsal.crash_everywhere(of(), script) >= 6


def test_a_body_that_awaits_goes_on_where_it_was_wherever_its_service_is_killed() -> None:
    with Rehearsal() as rehearsal:
        assert rehearsal.crash_everywhere(agent(2)) >= 20


def test_a_chain_ends_alike_wherever_its_service_is_killed() -> None:
    with Rehearsal() as rehearsal:
        assert rehearsal.crash_everywhere(chain(1)) >= 10


class TwiceMortalFolder(MortalFolder):
    """A folder whose process is killed twice. later: how many commits the second one makes, the last one included."""

    def __init__(self, last: int, *, is_lost: bool, later: int) -> None:
        super().__init__(last, is_lost=is_lost)
        self._later = later

    def write(self, path: str, parts: Sequence[Any]) -> None:
        try:
            super().write(path, parts)
        except Killed:
            self.last = self.commits + self._later
            self._later = 0
            raise


@pytest.mark.parametrize(
    ("of", "script"), [(event_comes, approve), (overtaken, None), (tidied, cancel), (two_questions, answers)]
)
@pytest.mark.parametrize("later", [1, pytest.param(2, marks=pytest.mark.campaign)])
def test_a_service_that_is_killed_while_it_takes_up_its_runs_is_followed_by_another(
    of: Any, script: Script | None, later: int
) -> None:
    with Rehearsal() as rehearsal:
        began = rehearsal.clock.now()

        def world(folder: MortalFolder) -> RehearsedWorld:
            return RehearsedWorld(rehearsal.config, Plan(), folder, began)

        whole = MortalFolder()
        calm = played(world(whole), of(), script)
        twice = 0
        for last in range(1, whole.commits + 1):
            for is_lost in (True, False):
                end = played(world(TwiceMortalFolder(last, is_lost=is_lost, later=later)), of(), script, calm.states)
                twice += end.lives == 2
                assert difference(calm, end) is None, f"killed {last}, lost {is_lost}, and {later} later"
        assert twice >= whole.commits


class TornFolder(MortalFolder):
    """A folder whose last commit is written in part. part: how much of it, from 0 to 1."""

    def __init__(self, last: int, part: float) -> None:
        super().__init__(last)
        self._part = part

    def write(self, path: str, parts: Sequence[Any]) -> None:
        try:
            super().write(path, parts)
        except Killed:
            content = bytes(self.read(path))
            self.last = None
            self.remove(path)
            super().write(path, [content[: int(len(content) * self._part)]])
            raise


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.999])
@pytest.mark.filterwarnings("ignore::rayflow.store.write.catalog.StoreWarning")
def test_a_commit_that_is_written_in_part_counts_as_none(part: float) -> None:
    with Rehearsal() as rehearsal:
        began = rehearsal.clock.now()

        def world(folder: MortalFolder) -> RehearsedWorld:
            return RehearsedWorld(rehearsal.config, Plan(), folder, began)

        whole = MortalFolder()
        calm = played(world(whole), event_comes(), approve)
        for last in range(1, whole.commits + 1):
            torn = played(world(TornFolder(last, part)), event_comes(), approve, calm.states)
            assert torn.lives == 1
            assert difference(calm, torn) is None


def test_two_executions_with_effects_of_one_scheduler_commit_in_one_chain(tmp_path: Any) -> None:
    with Scheduler(store=tmp_path / "store", inline=True) as scheduler:
        assert scheduler.run(do("one")) == "did one"
        assert scheduler.run(do("two")) == "did two"


def test_an_effect_that_fails_for_good_fails_alike_wherever_its_service_is_killed() -> None:
    with Rehearsal() as rehearsal:
        rehearsal.fail(bank, NonRetriable("no money"))
        assert rehearsal.crash_everywhere(unlucky()) >= 4
