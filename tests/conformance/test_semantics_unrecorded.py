"""Provenance switched off: nothing below a call is recorded, and the call itself is cached."""

from __future__ import annotations

import pytest
from evaluations import Flow
from projects import Project


@pytest.fixture
def flow(project: Project) -> Flow:
    return Flow(project)


WIDE = """
    from rayflow import no_prov, task

    @task
    def leaf(x):
        print("leaf", x)
        return x + 1

    @task
    def middle(x):
        return [leaf(x), leaf(x + 1)]

    @task(prov=False)
    def wide(x):
        return [middle(x), middle(x)]

    @task
    def main(x):
        return wide(x)

    @task
    def quoted(x):
        return no_prov([middle(x), leaf(x)])

    @task
    def form(x):
        return no_prov(middle(x))
"""


def test_below_prov_false_nothing_is_recorded_and_the_call_itself_is_cached(flow: Flow) -> None:
    flow.write(WIDE)
    assert flow.call("main", 1) == [[2, 3], [2, 3]]
    assert flow.computed() == {"main": 1, "wide": 1}
    assert flow.watching.summaries[-1].counts["jobs"] == 6, "they are counted, and shared as ever"
    for table, expected in {"calls": 2, "call_children": 1, "logs": 0, "reductions": 3}.items():
        assert flow.project.sql(f"select count(*) from {table}") == [(expected,)], table
    flow.watching.lines.clear()
    assert flow.call("main", 1) == [[2, 3], [2, 3]]
    assert flow.counts("cached") == {"main": 1, "wide": 1}
    assert flow.watching.lines == []


def test_an_unrecorded_call_is_answered_no_more_when_a_task_below_has_changed(flow: Flow) -> None:
    flow.write(WIDE)
    flow.call("main", 1)
    flow.edit("return x + 1", "return x + 2")
    assert flow.call("main", 1) == [[3, 4], [3, 4]]
    assert flow.counts("cached") == {"main": 1, "wide": 1}, "their bodies need not run again; what is below them does"
    assert flow.call("main", 1) == [[3, 4], [3, 4]]
    assert flow.watching.summaries[-1].counts["jobs"] == 2


def test_no_prov_switches_the_records_off_for_an_expression(flow: Flow) -> None:
    flow.write(WIDE)
    assert flow.call("form", 1) == [2, 3]
    assert flow.computed() == {"form": 1, "no_prov": 1}
    assert flow.call("form", 1) == [2, 3]
    assert flow.counts("cached") == {"form": 1, "no_prov": 1}
    assert flow.call("quoted", 1) == [[2, 3], 2]
    assert flow.computed() == {"quoted": 1, "no_prov": 1}, "a container of expressions, too"


def test_a_recorded_call_whose_twin_is_not_recorded_leaves_its_call_node(flow: Flow) -> None:
    flow.write(f"""
        from rayflow import seq
        {WIDE.strip()}

    @task
    def both(x):
        return seq([wide(x), middle(x)])
    """.replace("        from rayflow import seq\n        ", "    from rayflow import seq\n    "))
    assert flow.call("both", 1) == [[[2, 3], [2, 3]], [2, 3]]
    missing = """
        select j.task_name from jobs j left join calls c using (call_hash) where c.call_hash is null
        union all select parent.call_hash from call_children parent
        left join calls c on c.call_hash = child_call_hash where c.call_hash is null
    """
    assert flow.project.sql(missing) == []


def test_a_failure_below_is_told_and_its_job_is_the_nearest_that_is_recorded(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        @task
        def leaf():
            raise ValueError("no")

        @task(prov=False)
        def main():
            return leaf()
    """)
    with pytest.raises(ValueError, match="no"):
        flow.call("main")
    ((job_id, name, _),) = flow.watching.summaries[-1].failures
    assert name == "flow.leaf"
    assert flow.project.sql("select job_id, status, task_name from jobs") == [(job_id, "failed", "flow.main")]
