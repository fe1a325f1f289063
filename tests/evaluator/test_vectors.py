"""Plain calls that stand together go as a vector; what is special about one of them concerns it alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from rayflow.evaluator import commands, messages, sharing
from rayflow.evaluator.evaluator import Evaluator
from rayflow.evaluator.graph import MOST_MEMBERS
from rayflow.evaluator.reduction import MOST_RUNNING
from rayflow.evaluator.timers import OpeningTimer
from rayflow.evaluator.vectors import FEWEST
from rayflow.lang.terms.codec import dumps
from rayflow.lang.terms.expressions import Form, Term
from rayflow.records import ArgumentRow, CallChildRow, CallRow, JobRow, ReductionRow, ValueRow
from rayflow.testing.playbook import EXECUTION, call, failure, submitted, task
from rayflow.values.failures import Failure

F = task("lab.f", "x")
RETRIED = task("lab.f", "x", retries=1)
G = task("lab.g", "x")
COUNT = 2 * FEWEST
COST = messages.Cost(5, 0.5, 0.25, 1000, "n1", 7)


class Talk:
    """An evaluator, and all that it has said."""

    def __init__(self, root: Term, *entries: Any, fewest: int = FEWEST, **fields: Any) -> None:
        self.evaluator = Evaluator(fewest=fewest)
        self.said: list[commands.Command] = []
        self.at = 1_000_000
        self.tell(submitted(root, *entries, **fields))

    def tell(self, *told: Any) -> list[Any]:
        self.at += 1_000
        came = self.evaluator.handle([each._replace(at=self.at) for each in told])
        self.said += came
        return came

    def one(self, of: type) -> Any:
        (found,) = self.all(of)
        return found

    def all(self, of: type) -> list[Any]:
        return [each for each in self.said if type(each) is of]

    def rows(self, of: type) -> list[Any]:
        records = self.all(commands.Record)
        columns = [each for record in records for each in record.columns if each.row is of]
        return [
            *(row for record in records for row in record.rows if type(row) is of),
            *(row for each in columns for row in each.rows()),
        ]

    def nothing_found(self) -> Any:
        """Answer the look-up of the vector; the attempts that follow."""
        self.tell(messages.LookedUpVector(0, self.one(commands.LookUpVector).first, {}))
        return self.one(commands.RunVector)

    def outcome(self) -> Any:
        return self.one(commands.Finish).outcome


def returned(jobs: Sequence[int], values: Sequence[Any]) -> messages.ReturnedVector:
    count = len(jobs)
    columns: list[list[Any]] = [[5] * count, [0.5] * count, [0.25] * count, [1000] * count]
    return messages.ReturnedVector(0, jobs, list(map(dumps, values)), *columns, "n1", 7)


def calls(count: int = COUNT, name: str = "lab.f") -> list[Term]:
    return [call(name, number) for number in range(count)]


def ten(numbers: Sequence[int]) -> list[int]:
    return [10 * number for number in numbers]


VALUES = ten(range(COUNT))


def test_plain_calls_are_looked_up_sent_and_recorded_together() -> None:
    talk = Talk(calls(), F)
    run = talk.nothing_found()
    assert run.names == ("x",)
    assert run.arguments == [(number,) for number in range(COUNT)]
    talk.tell(returned(run.jobs, VALUES))
    assert talk.outcome() == VALUES
    assert not talk.all(commands.LookUp) and not talk.all(commands.RunTask)
    assert len(talk.rows(CallRow)) == COUNT + 1  # and the root's
    jobs = [row for row in talk.rows(JobRow) if row.task_name == "lab.f"]
    assert [(row.how, row.status, row.attempts, row.ordinal) for row in jobs] == [
        ("computed", "done", 1, number + 2) for number in range(COUNT)
    ]
    assert len(talk.rows(ArgumentRow)) == len(talk.rows(ReductionRow)) == COUNT
    assert {row.value_hash for row in talk.rows(ArgumentRow)} <= {row.value_hash for row in talk.rows(ValueRow)}


def test_few_calls_and_calls_of_few_go_as_jobs() -> None:
    talk = Talk([*calls(FEWEST - 1), *calls(FEWEST - 1, "lab.g")], F, G)
    assert len(talk.all(commands.LookUp)) == 2 * FEWEST - 2
    assert not talk.all(commands.LookUpVector)


def test_plain_calls_are_found_between_others() -> None:
    mixed: list[Term] = []
    for number in range(COUNT):
        mixed += call("lab.f", number), call("lab.g", [number])
    talk = Talk(mixed, F, G)
    assert len(talk.one(commands.LookUpVector).eval_hashes) == COUNT
    assert len(talk.all(commands.LookUp)) == COUNT
    run = talk.nothing_found()
    for each in talk.all(commands.LookUp):
        talk.tell(messages.LookedUp(0, each.asker, ()))
    for each in talk.all(commands.RunTask):
        talk.tell(messages.Returned(0, each.job, 1, dumps("g"), COST))
    talk.tell(returned(run.jobs, VALUES))
    assert talk.outcome() == [each for value in VALUES for each in (value, "g")]


@pytest.mark.parametrize(
    "special",
    [
        call("lab.f", 1, options={"priority": 2}),
        call("lab.f", [1]),
        call("lab.f", call("lab.g", 1)),
        call("lab.f", "x" * 2_000),
        call("lab.unknown", 1),
        call("lab.f", 1, 2),
    ],
    ids=["an option", "a container", "an expression", "a long text", "no such task", "too many arguments"],
)
def test_a_call_that_is_not_plain_is_a_job_beside_the_vector(special: Term) -> None:
    talk = Talk([*calls(), special], F, G)
    assert len(talk.one(commands.LookUpVector).eval_hashes) == COUNT


def test_arguments_by_name_and_defaults_are_bound_as_in_a_job() -> None:
    def left(fewest: int) -> set[bytes]:
        entry = task("lab.two", "x", "y", defaults={"y": 5})
        given = [call("lab.two", y=number, x=1) for number in range(COUNT)]
        given += [call("lab.two", number) for number in range(COUNT)]
        talk = Talk(given, entry, fewest=fewest)
        vectors = [key for each in talk.all(commands.LookUpVector) for key in each.eval_hashes]
        assert len(talk.all(commands.LookUpVector)) == (2 if fewest == FEWEST else 0)
        return {*vectors, *(each.eval_hash for each in talk.all(commands.LookUp))}

    assert left(FEWEST) == left(10**9)


def test_records_answer_members_each_for_itself() -> None:
    talk = Talk(calls(), F)
    ask = talk.one(commands.LookUpVector)
    known = messages.Candidate("single", dumps("old"), "earlier", 3)
    own = known._replace(execution_id=EXECUTION)
    gone = known._replace(verdict=False)
    talk.tell(messages.LookedUpVector(0, ask.first, {0: (known,), 1: (gone, known), 2: (gone,), 3: (own,)}))
    run = talk.one(commands.RunVector)
    assert [values for (values,) in run.arguments] == list(range(4, COUNT))
    assert talk.one(commands.RunTask).arguments == {"x": 2}
    talk.tell(messages.Returned(0, talk.one(commands.RunTask).job, 1, dumps("new"), COST))
    talk.tell(returned(run.jobs, VALUES[4:]))
    assert talk.outcome() == ["old", "old", "new", "old", *VALUES[4:]]
    hows = [row.how for row in talk.rows(JobRow) if row.task_name == "lab.f"]
    assert (hows.count("cached"), hows.count("shared"), hows.count("computed")) == (2, 1, COUNT - 3)


def test_a_record_of_another_execution_answers_no_member_that_it_may_not_answer() -> None:
    talk = Talk(calls(), F, cache=False, life=1)
    ask = talk.one(commands.LookUpVector)
    foreign = messages.Candidate("single", dumps("old"), "earlier", 3)
    talk.tell(messages.LookedUpVector(0, ask.first, {0: (foreign,), 1: (foreign._replace(execution_id=EXECUTION),)}))
    assert talk.one(commands.RunTask).arguments == {"x": 0}
    assert len(talk.one(commands.RunVector).jobs) == COUNT - 2


def test_a_member_that_raises_is_tried_again_alone() -> None:
    talk = Talk(calls(), RETRIED)
    run = talk.nothing_found()
    talk.tell(messages.Raised(0, run.jobs[3], 1, failure("ValueError", "no"), COST))
    again = talk.one(commands.RunTask)
    assert (again.job, again.attempt, again.arguments) == (run.jobs[3], 2, {"x": 3})
    talk.tell(returned([job for job in run.jobs if job != again.job], [v for v in VALUES if v != 30]))
    talk.tell(messages.Returned(0, again.job, 2, dumps("at last"), COST))
    assert talk.outcome() == [*VALUES[:3], "at last", *VALUES[4:]]


def test_a_member_that_fails_fails_its_container_and_the_others_are_recorded() -> None:
    talk = Talk(calls(), F)
    run = talk.nothing_found()
    talk.tell(messages.Raised(0, run.jobs[3], 1, failure("ValueError", "no"), COST))
    talk.tell(returned([*run.jobs[:3], *run.jobs[4:]], [*VALUES[:3], *VALUES[4:]]))
    assert isinstance(talk.outcome(), Failure)
    statuses = [row.status for row in talk.rows(JobRow) if row.task_name == "lab.f"]
    assert (statuses.count("failed"), statuses.count("done")) == (1, COUNT - 1)


def test_a_member_whose_worker_is_lost_is_sent_again_alone() -> None:
    talk = Talk(calls(), F)
    run = talk.nothing_found()
    talk.tell(returned(run.jobs[1:], VALUES[1:]))
    talk.tell(messages.WorkerGone(0, run.jobs[0], 1, "killed"))
    (timer,) = [each for each in talk.all(commands.SetTimer) if not isinstance(each.timer, OpeningTimer)]
    talk.tell(messages.TimerFired(0, timer.timer))
    again = talk.one(commands.RunTask)
    assert (again.job, again.attempt, again.losses) == (run.jobs[0], 2, 1)
    talk.tell(returned(run.jobs[:1], ["of the first attempt"]))  # too late
    talk.tell(messages.Returned(0, again.job, 2, dumps(0), COST))
    assert talk.outcome() == VALUES


def test_a_member_that_returns_an_expression_is_reduced_further() -> None:
    talk = Talk(calls(), F, G)
    run = talk.nothing_found()
    talk.tell(returned(run.jobs, [*VALUES[:-1], call("lab.g", 1)]))
    inner = talk.one(commands.LookUp)
    talk.tell(messages.LookedUp(0, inner.asker, (messages.Candidate("single", dumps("inner"), "earlier", 3),)))
    assert talk.outcome() == [*VALUES[:-1], "inner"]
    children = [row.child_call_hash for row in talk.rows(CallChildRow)]
    assert len(children) == COUNT + 1 == len(set(children))


def test_equal_calls_share_with_an_open_member_and_with_one_that_is_done() -> None:
    later = Form("seq", (call("lab.g", 0), call("lab.f", 4)))
    talk = Talk([calls(), call("lab.f", 3, options={"priority": 1}), later], F, G)
    first = talk.one(commands.LookUp)
    run = talk.nothing_found()
    open_one = talk.one(commands.RunTask)
    assert open_one.arguments == {"x": 3}
    talk.tell(returned(run.jobs, [*VALUES[:3], *VALUES[4:]]))
    talk.tell(messages.Returned(0, open_one.job, 1, dumps(30), COST))
    talk.tell(messages.LookedUp(0, first.asker, (messages.Candidate("single", dumps("g"), "earlier", 3),)))
    assert talk.outcome() == [VALUES, 30, ["g", 40]]
    jobs = [row for row in talk.rows(JobRow) if row.task_name == "lab.f"]
    assert len(jobs) == COUNT + 2
    assert len({row.call_hash for row in jobs}) == COUNT
    assert len([row for row in jobs if row.how == "shared"]) == 2


def test_repeated_calls_are_one_job_that_asks_with_the_hash_of_its_column(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(fewest: int) -> set[bytes]:
        entry = task("lab.two", "x", "y", defaults={"y": 5})
        numbers = [*range(COUNT), 3, 3, *[COUNT] * COUNT]
        talk = Talk([call("lab.two", number) for number in numbers], entry, fewest=fewest)
        vectors = [key for each in talk.all(commands.LookUpVector) for key in each.eval_hashes]
        assert len(vectors) == (COUNT - 1 if fewest == FEWEST else 0)
        keys = [*vectors, *(each.eval_hash for each in talk.all(commands.LookUp))]
        assert len(keys) == len(set(keys)) == COUNT + 1
        return set(keys)

    one_by_one = asked(10**9)
    monkeypatch.setattr(sharing, "args_hash_of", None)  # for a call in a column, no hash is made again
    assert asked(FEWEST) == one_by_one


def test_members_are_stopped_one_by_one() -> None:
    talk = Talk(calls(), F)
    run = talk.nothing_found()
    talk.tell(returned(run.jobs[:4], VALUES[:4]))
    talk.tell(messages.CancelRequested(0, EXECUTION, "a person"))
    assert [each.job for each in talk.all(commands.Stop)] == run.jobs[4:]
    talk.tell(returned(run.jobs[4:-1], VALUES[4:-1]), messages.WorkerGone(0, run.jobs[-1], 1, "stopped"))
    assert talk.outcome().is_cancelled
    statuses = [row.status for row in talk.rows(JobRow) if row.task_name == "lab.f"]
    assert (statuses.count("done"), statuses.count("cancelled")) == (4, COUNT - 4)


def test_a_cancelled_execution_takes_no_answer_to_a_look_up() -> None:
    talk = Talk(calls(), F)
    talk.tell(messages.CancelRequested(0, EXECUTION, "a person"))
    talk.tell(messages.LookedUpVector(0, talk.one(commands.LookUpVector).first, {}))
    assert talk.outcome().is_cancelled
    assert not talk.all(commands.RunVector) and not talk.all(commands.RunTask)


def test_repeated_and_late_answers_change_nothing() -> None:
    talk = Talk(calls(), F)
    run = talk.nothing_found()
    asked = messages.LookedUpVector(0, run.jobs[0], {0: (messages.Candidate("single", dumps("old"), "earlier", 3),)})
    assert talk.tell(asked) == []
    talk.tell(returned(run.jobs[:5], VALUES[:5]))
    assert talk.tell(returned(run.jobs[:5], ["again"] * 5)) == []
    assert talk.tell(messages.Raised(0, run.jobs[0], 1, failure("ValueError", "late"), COST)) == []
    talk.tell(returned(run.jobs[5:], VALUES[5:]))
    assert talk.outcome() == VALUES
    assert talk.tell(returned(run.jobs[5:], VALUES[5:])) == []


def test_members_that_stay_open_are_recorded_as_open() -> None:
    talk = Talk(calls(), F)
    run = talk.nothing_found()
    talk.tell(returned(run.jobs[:5], VALUES[:5]))
    talk.at += 2_000_000
    talk.tell(messages.TimerFired(0, OpeningTimer(1)))
    opened = [row for row in talk.rows(JobRow) if row.status == "open" and row.task_name == "lab.f"]
    assert [row.call for row in opened] == [f"lab.f(x={number})" for number in range(5, COUNT)]
    talk.tell(returned(run.jobs[5:], VALUES[5:]))
    closed = [row for row in talk.rows(JobRow) if row.status == "done"]
    assert {row.job_id for row in opened} < {row.job_id for row in closed}


def test_jobs_that_wait_for_each_other_are_found_beside_a_vector_that_is_done() -> None:
    talk = Talk([*calls(), call("lab.g", 1)], F, G)
    run = talk.nothing_found()
    talk.tell(messages.LookedUp(0, talk.one(commands.LookUp).asker, ()))
    talk.tell(returned(run.jobs, VALUES))
    talk.tell(messages.Returned(0, talk.one(commands.RunTask).job, 1, dumps(call("lab.g", 1)), COST))
    assert "needs its own result" in talk.outcome().summary


def test_calls_that_no_cache_may_answer_wait_for_those_before_them() -> None:
    count = 4 * MOST_RUNNING
    talk = Talk(calls(count), task("lab.f", "x", cache_scope="NONE"))
    running = most = 0
    for _ in range(count):
        news = talk.all(commands.RunVector)
        running += sum(len(each.jobs) for each in news)
        most = max(most, running)
        if not news:
            break
        talk.said = []
        for each in news:
            talk.tell(returned(each.jobs, [0] * len(each.jobs)))
            running -= len(each.jobs)
    assert talk.outcome() == [0] * count
    assert MOST_RUNNING / 2 < most < 1.5 * MOST_RUNNING


def test_the_first_bodies_start_while_later_calls_are_still_to_be_met() -> None:
    count = 4 * MOST_MEMBERS
    talk = Talk(calls(count), F)
    asked = talk.all(commands.LookUpVector)
    assert sum(len(each.eval_hashes) for each in asked) < count / 2 + 1
    news = talk.tell(messages.LookedUpVector(0, asked[0].first, {}))
    started = [each for each in news if isinstance(each, commands.RunVector)]
    assert sum(len(each.jobs) for each in started) == len(asked[0].eval_hashes)
    met = sum(len(each.eval_hashes) for each in talk.all(commands.LookUpVector))
    assert len(asked[0].eval_hashes) < met < count


def test_an_uncached_member_is_remembered_under_its_own_place() -> None:
    entry = task("lab.f", "x", cache_scope="NONE")
    talk = Talk(calls(), entry)
    run = talk.one(commands.RunVector)
    talk.tell(returned(run.jobs, VALUES))
    resumed = Talk(calls(), entry, life=1)
    assert set(resumed.one(commands.LookUpVector).eval_hashes) == {row.eval_hash for row in talk.rows(ReductionRow)}


def test_a_member_that_leaves_before_its_vector_is_sent_records_when_it_was_sent() -> None:
    talk = Talk([*calls(), call("lab.f", 3)], task("lab.f", "x", cache=False))
    run = talk.one(commands.RunVector)
    talk.tell(returned(run.jobs, VALUES))
    sent = {row.sent_at for row in talk.rows(JobRow) if row.how == "computed" and row.task_name == "lab.f"}
    assert len(sent) == 1 and None not in sent
