"""A workflow can be rehearsed: what ran, what did not and why; fakes, accidents, skipped waits, bad weather."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from projects import Project

from rayflow import catch, gather, subrun, task
from rayflow.errors import TaskTimeout, WorkerLost
from rayflow.testing import Rehearsal
from rayflow.testing.fixtures import rehearsal
from rayflow.testing.simulation.weather import Weather
from rayflow.testing.stage import Plan
from rayflow.testing.storms import Stormy, _Storm

__all__ = ["rehearsal"]


@task(namespace="rehearsed")
def load(n: int) -> list[int]:
    return list(range(n))


@task(namespace="rehearsed")
def train(data: list[int], factor: int = 1) -> int:
    return sum(data) * factor


@task(namespace="rehearsed")
def main(n: int = 3) -> int:
    return train(load(n)) + train(load(n)) + train(load(n), 2)


@pytest.mark.slow
def test_it_tells_what_was_computed_cached_and_shared(rehearsal: Rehearsal) -> None:
    assert rehearsal.run(main()) == 12
    rehearsal.assert_computed("main", load, train=2)
    rehearsal.assert_shared("train", load=2)
    rehearsal.assert_cached()
    assert rehearsal.computed == {"main": 1, "load": 1, "train": 2}
    assert rehearsal.run(main()) == 12
    rehearsal.assert_computed()
    assert rehearsal.cached["main"] == 1
    rehearsal.run(main(4))
    rehearsal.assert_computed("main", "load", train=2)
    rehearsal.forget_all()
    rehearsal.run(main(4))
    rehearsal.assert_computed("main", "load", "train", "train")


def test_a_root_that_is_no_call_is_not_counted(rehearsal: Rehearsal) -> None:
    assert rehearsal.run([load(1), {"a": load(2)}]) == [[0], {"a": [0, 1]}]
    rehearsal.assert_computed(load=2)


def test_a_failed_assertion_names_what_differs_and_each_job_with_its_why(rehearsal: Rehearsal) -> None:
    rehearsal.run(main())
    rehearsal.run(main(4))
    with pytest.raises(AssertionError) as caught:
        rehearsal.assert_computed("main", "train", "evaluate")
    lines = str(caught.value).splitlines()
    assert lines[0] == ("computed in the last run: evaluate 0, expected 1; load 1, expected 0; train 2, expected 1")
    assert "  computed rehearsed.main(n=4): n was 3 and is 4" in lines
    assert any(line.startswith("  shared rehearsed.load(n=4): an equal call of this run") for line in lines)
    with pytest.raises(AssertionError, match="nothing has run yet"):
        Rehearsal().assert_computed()


def test_jobs_tell_arguments_results_and_reasons(rehearsal: Rehearsal) -> None:
    rehearsal.run(main())
    told = rehearsal.jobs("train")
    computed = [(job.arguments["factor"], job.result, job.attempts) for job in told if job.how == "computed"]
    assert sorted(computed) == [("1", "3", 1), ("2", "6", 1)]
    assert rehearsal.jobs(main)[0].why == "it was never evaluated here"
    rehearsal.run(main())
    assert rehearsal.jobs(main)[0].why == "an earlier run had its result"


# --- fakes and accidents ----------------------------------------------------------------------------------------------


def test_a_task_can_be_replaced_and_its_own_results_do_not_count_for_the_fake(rehearsal: Rehearsal) -> None:
    assert rehearsal.run(main()) == 12
    rehearsal.replace(load, lambda n: [n])
    assert rehearsal.run(main()) == 12
    rehearsal.assert_computed("load", train=2)
    rehearsal.replace("load", lambda n: [10 * n])
    assert rehearsal.run(main()) == 120
    rehearsal.assert_computed("load", train=2)
    rehearsal.restore()
    assert rehearsal.run(main()) == 12
    rehearsal.assert_computed()


@task(namespace="rehearsed", retries=3, retry_delay=60.0, retry_backoff=2.0)
def fetched(url: str) -> str:
    return f"content of {url}"


def test_an_attempt_can_fail_and_nobody_waits_for_the_next(rehearsal: Rehearsal) -> None:
    rehearsal.fail(fetched, ConnectionError("no route"), attempts=(1, 2))
    assert rehearsal.run(fetched("a")) == "content of a"
    assert rehearsal.waited_seconds == pytest.approx(60 + 120, abs=1)
    assert rehearsal.jobs("fetched")[0].attempts == 3
    rehearsal.run(fetched("a"))
    assert rehearsal.waited_seconds == 0


def test_a_failure_comes_out_as_in_earnest(rehearsal: Rehearsal) -> None:
    rehearsal.fail(fetched, TaskTimeout("too slow"), attempts=range(1, 5))
    with pytest.raises(TaskTimeout, match="too slow"):
        rehearsal.run(train([1], fetched("a")))
    rehearsal.assert_failed("fetched")
    rehearsal.assert_not_run("train")
    rehearsal.restore()
    rehearsal.fail("fetched", ValueError("never"), attempts=range(1, 5))
    assert rehearsal.run(catch(fetched("a"), ValueError, str)) == "never"


def test_a_lost_worker_is_no_failure_until_it_is_lost_too_often(rehearsal: Rehearsal) -> None:
    rehearsal.lose("load")
    assert rehearsal.run(main()) == 12
    rehearsal.forget_all()
    rehearsal.lose("load", attempts=range(1, 9))
    with pytest.raises(WorkerLost, match="as the rehearsal wanted it"):
        rehearsal.run(main())


@task(namespace="rehearsed", cache_for="1d")
def weather() -> str:
    return "rain"


def test_ages_pass_without_waiting(rehearsal: Rehearsal) -> None:
    rehearsal.run(weather())
    rehearsal.skip("23h")
    rehearsal.run(weather())
    rehearsal.assert_cached("weather")
    rehearsal.skip("2h")
    rehearsal.run(weather())
    rehearsal.assert_computed("weather")


def test_skipped_time_shows_in_the_records_of_executions_and_jobs_alike(rehearsal: Rehearsal) -> None:
    rehearsal.skip("2d")
    rehearsal.run(main())
    (times,) = rehearsal.sql(
        """select e.started_at > now() + interval 1 day, e.started_at <= min(j.queued_at),
                  max(j.finished_at) <= e.finished_at
           from executions e join jobs j using (execution_id) group by e.started_at, e.finished_at"""
    ).fetchall()
    assert times == (True, True, True)


def test_prints_and_warnings_are_kept(rehearsal: Rehearsal) -> None:
    @task(namespace="rehearsed")
    def speaking() -> int:
        print("one\ntwo")
        load(3)
        return 1

    rehearsal.run(speaking())
    assert rehearsal.printed[:2] == [("speaking", "one"), ("speaking", "two")]
    assert "created and not returned" in rehearsal.printed[2][1]


def test_results_may_be_kept_for_the_next_rehearsal(tmp_path: Path) -> None:
    for expected in (1, 0):
        with Rehearsal(store=str(tmp_path / "store")) as kept:
            kept.run(main())
            assert kept.computed["main"] == expected


def test_the_projects_own_store_is_left_alone(project: Project) -> None:
    with Rehearsal() as made:
        made.run(main())
    assert not (project.path / ".rayflow").exists()


# --- storms -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_pure_workflow_comes_to_the_same_in_any_storm(rehearsal: Rehearsal) -> None:
    rehearsal.storm(main(4), seeds=range(20))


@pytest.mark.slow
def test_a_storm_loses_workers_repeats_answers_and_crashes() -> None:
    lost, lives = 0, []
    for seed in range(10):
        with _Storm(Rehearsal().config, Plan(), seed, Weather(lost=0.5, repeated=0.5, crashed=0.05)) as scheduler:
            submission = scheduler.submit(main(4))
            assert isinstance(submission, Stormy)
            assert submission.finish().outcome == 24
            lives.append(submission.lives)
            lost += scheduler.sql("select count(*) from attempts where ended = 'lost'").fetchall()[0][0]
    assert max(lives) > 1
    assert lost > 0


def test_a_storm_changes_the_order_of_calls(rehearsal: Rehearsal) -> None:
    orders: list[list[int]] = []
    rehearsal.replace(main, lambda n=3: orders.append([]) or [load(each) for each in range(n)])
    rehearsal.replace(load, lambda n: orders[-1].append(n) or [n])
    rehearsal.storm(main(5), weather=Weather())
    assert len(orders) == 11
    assert len({tuple(order) for order in orders}) > 5


_COUNTED: list[int] = []


@task(namespace="rehearsed")
def counted(n: int) -> int:
    _COUNTED.append(n)
    return len(_COUNTED)


def test_a_task_that_keeps_something_between_its_calls_is_found_and_the_seed_is_named(rehearsal: Rehearsal) -> None:
    with pytest.raises(AssertionError, match=r"^seed \d+: in the storm it came to .*, and in calm weather to "):
        rehearsal.storm([counted(1), counted(2)])


def test_what_fails_in_calm_weather_raises_its_error(rehearsal: Rehearsal) -> None:
    rehearsal.fail("load", ValueError("no"), attempts=range(1, 99))
    with pytest.raises(ValueError, match="no"):
        rehearsal.storm(main(4))


@task(namespace="rehearsed")
async def awaiting(n: int) -> int:
    return await gather(train(load(n))) + 1


@task(namespace="rehearsed")
def wide(n: int) -> int:
    return subrun(awaiting(n))


def test_async_tasks_and_subruns_are_rehearsed_too(rehearsal: Rehearsal) -> None:
    assert rehearsal.run(wide(4)) == 7
    rehearsal.assert_computed("wide", "subrun", "awaiting", "train", "load")
    rehearsal.storm(wide(4), seeds=range(5))
    rehearsal.replace(load, lambda n: [n])
    assert rehearsal.run(wide(4)) == 5
    rehearsal.replace(awaiting, lambda n: 10 * n)
    assert rehearsal.run(wide(4)) == 40
    rehearsal.restore()
    rehearsal.lose(train)
    assert rehearsal.run(wide(5)) == 11


# --- pytest -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_fixture_is_had_by_one_line_of_a_conftest(project: Project) -> None:
    project.write("conftest.py", 'pytest_plugins = ["rayflow.testing.fixtures"]')
    project.write(
        "flow.py",
        """
        from rayflow import task

        @task
        def double(x: int) -> int:
            return 2 * x
        """,
    )
    project.write(
        "test_flow.py",
        """
        from flow import double

        def test_the_body():
            assert double.func(4) == 8

        def test_the_workflow(rehearsal):
            assert rehearsal.run(double(double(1))) == 4
            rehearsal.assert_computed(double=2)

        def test_what_fails(rehearsal):
            rehearsal.run(double(1))
            rehearsal.assert_computed()
        """,
    )
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts="],
        cwd=project.path,
        capture_output=True,
        text=True,
    )
    assert "1 failed, 2 passed" in ended.stdout, ended.stdout + ended.stderr
    assert "computed in the last run: double 1, expected 0" in ended.stdout
    assert "computed flow.double(x=1): it was never evaluated here" in ended.stdout
