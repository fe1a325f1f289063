"""What open jobs wait for is counted as they move, and always agrees with a count of the jobs themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rayflow.evaluator import commands, messages
from rayflow.evaluator.evaluator import Evaluator
from rayflow.evaluator.job_states import ARGUMENTS, HELD, LOOKUP, RUNNING
from rayflow.testing.patterns import Placeholder
from rayflow.testing.playbook import Playbook, call, finishes, found, looks_up, returned, runs, submitted, task
from rayflow.testing.simulation.world import play


class Counting(Evaluator):
    """Compares the counts after each turn with the jobs that are open."""

    turns = 0
    seen: Counter[str] = Counter()

    def handle(self, incoming: Sequence[messages.Message]) -> list[commands.Command]:
        out = super().handle(incoming)
        for execution_id, execution in self.executions.items():
            Counting.turns += 1
            waits = self.waits(execution_id)
            Counting.seen.update(waits.keys())
            of_vectors = Counter(
                state for vector in execution.vectors.values() for state in vector.states if state in (LOOKUP, RUNNING)
            )
            states = Counter(job.state for job in execution.open.values())
            held = states[HELD]
            limited = sum(count for what, count in waits.items() if what.startswith("limit "))
            assert waits.get("arguments", 0) == states[ARGUMENTS]
            assert waits.get("records", 0) == states[LOOKUP] + of_vectors[LOOKUP]
            assert execution.running == states[RUNNING] + of_vectors[RUNNING]
            assert held == limited + waits.get("retry", 0) or not execution.wanted
            rest = sum(states.values()) - states[ARGUMENTS] - states[LOOKUP] - states[RUNNING] - held
            assert waits.get("calls", 0) == rest or not execution.wanted
        return out


def counting(limits: Mapping[str, float]) -> Any:
    return Counting(limits, fewest=2)


def test_the_counts_agree_with_the_jobs_after_every_turn_of_many_programs() -> None:
    for seed in range(60):
        assert play(seed, counting, with_vectors=bool(seed % 2), with_awaits=seed % 3 == 0) == []
    assert Counting.turns > 1_000
    assert {"arguments", "records", "calls", "retry"} <= Counting.seen.keys()


def test_calls_that_wait_for_a_limit_are_counted_by_its_name() -> None:
    evaluator = Evaluator({"db": 1})
    entry = task("lab.f", "x", limits=["db"], cache=False)
    book = Playbook(evaluator) >> submitted([call("lab.f", number) for number in range(3)], entry)
    assert book << runs("lab.f", arguments={"x": 0})
    assert evaluator.waits("execution") == {"limit db": 2, "calls": 1}


def test_an_execution_that_has_ended_waits_for_nothing() -> None:
    evaluator = Evaluator()
    assert evaluator.waits("execution") == {}
    job = Placeholder("job")
    book = Playbook(evaluator) >> submitted(call("lab.f", 1), task("lab.f", "x"))
    book = book << looks_up("lab.f", asker=job)
    assert book and evaluator.waits("execution") == {"records": 1}
    assert book >> found(job) << runs("lab.f", job=job, arguments={"x": 1}) >> returned(job, 2) << finishes(2)
    assert evaluator.waits("execution") == {}


class NotLookedThrough(dict[int, Any]):
    """Jobs that nobody may look at one by one."""

    def __iter__(self) -> Any:
        raise AssertionError("the jobs are looked through")

    keys = values = items = __iter__  # type: ignore[assignment]  # all of them fail alike


def test_the_counts_of_many_open_jobs_are_given_without_a_look_at_any() -> None:
    evaluator = Evaluator()
    root = [call("lab.f", number) for number in range(3)]
    book = Playbook(evaluator) >> submitted(root, task("lab.f", "x", cache=False))
    assert book << runs("lab.f") << runs("lab.f") << runs("lab.f")
    execution = evaluator.executions["execution"]
    execution.open = NotLookedThrough(execution.open)
    execution.vectors = NotLookedThrough(execution.vectors)
    assert evaluator.waits("execution") == {"calls": 1}
    assert evaluator.explain("execution")["lab.f"]["running"] == 3
