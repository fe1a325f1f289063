"""Effects as a user meets them, in this process: made once at their place, neither cached nor shared."""

from __future__ import annotations

from typing import Any

import pytest
from evaluations import Flow
from projects import Project

from rayflow.errors import EffectMisplaced, NonRetriable, RayflowError

HEAD = """
    from rayflow import JobInfo, NonRetriable, RetryAfter, any_of, effect, first, fork_thread, finally_, join_thread
    from rayflow import no_prov, now, seq, sleep, sleep_until, subrun, task, uuid

    def note(text):
        with open("done.txt", "a") as file:
            file.write(f"{text}\\n")

    @effect(retries=2)
    def charge(x, job: JobInfo = JobInfo()):
        note(f"{x} {job.attempt} {job.idempotency_key}")
        return x

    @task
    def twice(x):
        return charge(x) + charge(x)
"""


@pytest.fixture
def flow(project: Project, monkeypatch: pytest.MonkeyPatch) -> Flow:
    monkeypatch.chdir(project.path)
    return Flow(project)


def done(flow: Flow) -> list[list[str]]:
    """What effects have done: the argument, the attempt and the key of each."""
    path = flow.project.path / "done.txt"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def test_equal_calls_are_effects_of_their_own_in_one_execution_and_in_the_next(flow: Flow) -> None:
    flow.write(
        HEAD
        + """
    @task
    def main():
        return [twice(1), twice(1), charge(5)]
    """
    )
    for times in (1, 2):
        assert flow.call("main") == [2, 2, 5]
        assert [x for x, _, _ in done(flow)].count("1") == 4 * times
    keys = [key for _, _, key in done(flow)]
    assert len(set(keys)) == len(keys) == 10


def test_one_expression_in_two_places_is_one_effect(flow: Flow) -> None:
    flow.write(
        HEAD
        + """
    @task
    def main():
        once = charge(1)
        return [once, once + 1, {"again": once}]
    """
    )
    assert flow.call("main") == [1, 2, {"again": 1}]
    assert len(done(flow)) == 1


def test_a_body_awaits_effects_each_of_its_own(flow: Flow) -> None:
    flow.write(
        HEAD
        + """
    @task
    async def main():
        total = 0
        for number in range(3):
            total += await charge(7)
        return total + await first(charge(1), charge(1))
    """
    )
    assert flow.call("main") == 22
    assert [x for x, _, _ in done(flow)].count("7") == 3


def test_all_attempts_of_an_effect_have_one_key_and_a_body_says_when_it_is_tried_again(flow: Flow) -> None:
    flow.write(
        HEAD
        + """
    @effect(retries=3)
    def picky(x, job: JobInfo = JobInfo()):
        note(f"{x} {job.attempt} {job.idempotency_key}")
        if job.attempt < 3:
            raise RetryAfter("10ms", "busy")
        return x

    @effect(retries=3)
    def hopeless(x, job: JobInfo = JobInfo()):
        note(f"{x} {job.attempt} {job.idempotency_key}")
        raise NonRetriable("no such account")

    @task
    def main():
        return picky(1)

    @task
    def other():
        return hopeless(2)
    """
    )
    assert flow.call("main") == 1
    assert [attempt for _, attempt, _ in done(flow)] == ["1", "2", "3"]
    assert len({key for _, _, key in done(flow)}) == 1
    with pytest.raises(NonRetriable, match="no such account"):
        flow.call("other")
    assert [attempt for x, attempt, _ in done(flow) if x == "2"] == ["1"]


@pytest.mark.parametrize(
    "term", ["no_prov(twice(1))", "subrun(twice(1))", "join_thread(fork_thread(charge(1)))", "quiet(1)", "shallow(1)"]
)
def test_an_effect_is_refused_where_it_cannot_be_kept(flow: Flow, term: str) -> None:
    flow.write(
        HEAD
        + f"""
    quiet, shallow = twice.options(prov=False), twice.options(check_valid="shallow")

    @task
    def main():
        return {term}
    """
    )
    with pytest.raises(EffectMisplaced):
        flow.call("main")
    assert not done(flow)


def test_a_clean_up_runs_after_a_failure_and_the_failure_stays(flow: Flow) -> None:
    flow.write(
        HEAD
        + """
    @task
    def fails():
        raise ValueError("the reason")

    @task
    def main():
        return finally_(fails(), charge(9))
    """
    )
    with pytest.raises(ValueError, match="the reason"):
        flow.call("main")
    assert [x for x, _, _ in done(flow)] == ["9"]


def test_the_time_and_a_uuid_are_values_of_their_own(flow: Flow) -> None:
    flow.write(
        HEAD
        + """
    @task
    def main():
        return [uuid(), uuid(), now()]
    """
    )
    one, two, at = flow.call("main")
    assert one != two
    assert at.tzinfo is not None


def test_a_pure_caller_of_an_effect_is_never_answered_by_its_value(flow: Flow) -> None:
    flow.write(
        HEAD
        + """
    @task
    async def awaits(x):
        return await charge(x)

    @task
    def main():
        return [awaits(1), twice(2)]
    """
    )
    for times in (1, 2):
        assert flow.call("main") == [1, 4]
        assert len(done(flow)) == 3 * times


def test_an_effect_that_awaits_is_refused_with_what_to_do(flow: Flow) -> None:
    flow.write(
        HEAD
        + """
    @effect
    async def wrong(x):
        return await twice(x)

    @task
    def main():
        return wrong(1)
    """
    )
    with pytest.raises(RayflowError, match="Pass the value as an argument"):
        flow.call("main")


def test_the_rows_of_a_wait_have_its_kind_and_a_number_each(flow: Flow) -> None:
    flow.write(
        HEAD
        + """
    from datetime import UTC, datetime, timedelta

    @task
    def main():
        soon, late = datetime.now(UTC), datetime.now(UTC) + timedelta(days=1)
        return seq([sleep_until(soon), first(sleep(0.01), sleep_until(late)), first(sleep_until(soon), sleep("1d"))])
    """
    )
    assert flow.call("main") == [None, None, None]
    rows = flow.project.sql("SELECT place, number, kind, state FROM wait_changes ORDER BY number")
    assert len({(place, number) for place, number, _, _ in rows}) == len(rows) == 10
    changes: dict[Any, list[str]] = {}
    for place, _, kind, state in rows:
        changes.setdefault((place, kind), []).append(state)
    assert sorted((kind, states[-1]) for (_, kind), states in changes.items()) == [
        ("sleep", "closed"), ("sleep", "resolved"),
        ("sleep_until", "closed"), ("sleep_until", "resolved"), ("sleep_until", "resolved"),
    ]  # fmt: skip
    assert all(states[0] == "open" and len(states) == 2 for states in changes.values())
