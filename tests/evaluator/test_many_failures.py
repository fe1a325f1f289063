"""Of very many failures an execution remembers some: the records have all of them."""

from __future__ import annotations

import pytest

from rayflow.evaluator import closing
from rayflow.evaluator.evaluator import Evaluator
from rayflow.records import JobRow
from rayflow.testing.patterns import Placeholder, unordered
from rayflow.testing.playbook import Playbook, call, fails, failure, finishes, raised, runs, submitted, task

F = task("lab.f", "x", cache=False)


@pytest.mark.parametrize(("most", "listed"), [(10, ["0", "1", "2"]), (2, ["0", "1"]), (1, ["0", "1"])])
def test_the_first_failures_are_listed_and_the_one_that_the_execution_ends_with(
    most: int, listed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "MOST_FAILURES", most)
    jobs = [Placeholder(str(n)) for n in range(3)]
    book = Playbook(Evaluator()) >> submitted([call("lab.f", n) for n in range(3)], F)
    assert book << unordered(*[runs("lab.f", arguments={"x": n}, job=job) for n, job in enumerate(jobs)])
    order = [1, 0, 2] if most == 1 else [0, 1, 2]
    for n in order[:-1]:
        assert book >> raised(jobs[n], failure(message=str(n)))
    said = finishes(
        fails("ValueError", "0"), failures=lambda found: [failure.message for _, _, failure in found] == listed
    )
    assert book >> raised(jobs[order[-1]], failure(message=str(order[-1]))) << said
    recorded = {row.error for row in book.rows(JobRow) if row.task_name == "lab.f"}
    assert recorded >= {"ValueError: 0", "ValueError: 1", "ValueError: 2"}
