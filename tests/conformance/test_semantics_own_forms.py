"""Threads, tags, and forms of a user's own: what they reduce, what is recorded, and what is kept of it."""

from __future__ import annotations

import json

import pytest
from evaluations import Flow, shown
from projects import Project

from rayflow import apply_tags, catch, const, fork_thread, identity, join_thread, seq
from rayflow.errors import BadArguments, BadForm

TASKS = """
    from rayflow import Become, Fail, Failed, Need, form, fork_thread, join_thread, task

    @task
    def double(x):
        return 2 * x

    @task
    def fail(x):
        raise ValueError(f"no {x}")

    @task
    def later(x):
        return {"thread": fork_thread(double(x)), "x": x}

    @task
    def take(later):
        return join_thread(later["thread"]) + later["x"]

    @task
    def bare(x):
        return fork_thread(fail(x))

    def good(outcome):
        return not isinstance(outcome, Failed)

    @form
    def first_good(args, seen):
        if seen and good(seen[-1]):
            return Become(seen[-1])
        if len(seen) == len(args):
            return Fail(seen[0])
        return Need([args[len(seen)]])

    @form
    def all_then_sum(args, seen):
        (terms, start) = args
        if not seen:
            return Need(terms)
        return Become(double(start + sum(seen)))

    @form
    def refuse(args, seen):
        return Fail(KeyError("refused"))

    @task
    def main():
        return first_good(fail(1), double(4), fail(2))
"""


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(TASKS)
    return made


# --- threads ----------------------------------------------------------------------------------------------------------


def test_a_thread_goes_through_tasks_and_the_cache_and_is_reduced_once(flow: Flow) -> None:
    m = flow.module
    for how in ("computed", "cached"):
        assert flow.run(m.take(m.later(4))) == 12
        assert flow.counts(how) == {"take": 1, "later": 1, "double": 1, "join_thread": 1}


def test_joining_what_this_execution_has_not_forked_reduces_it(flow: Flow) -> None:
    m = flow.module
    thread = flow.run(m.later(4))
    assert flow.counts("computed") == {"later": 1, "double": 1, "join_thread": 1}
    assert flow.run(join_thread(thread["thread"])) == 8
    assert flow.counts("cached") == {"double": 1, "join_thread": 1}


def test_a_forked_expression_goes_on_beside_what_follows(flow: Flow) -> None:
    m = flow.module
    assert flow.run([seq([identity(fork_thread(m.double(5))), m.double(1)])[1], 3]) == [2, 3]
    assert flow.computed() == {"double": 2, "join_thread": 1, "identity": 1}


def test_the_failure_of_a_thread_that_nobody_joins_is_listed_and_fails_nothing(flow: Flow) -> None:
    m = flow.module
    assert flow.run(const(7, m.bare(1))) == 7
    (summary,) = flow.watching.summaries
    assert [name for _, name, _ in summary.failures] == ["flow.fail"]


def test_the_failure_of_a_thread_fails_who_joins_it(flow: Flow) -> None:
    m = flow.module
    with pytest.raises(ValueError, match="no 2"):
        flow.run(join_thread(m.bare(2)))
    assert flow.run(catch(join_thread(m.bare(3)), ValueError, const.partial("caught"))) == "caught"


def test_a_thread_is_a_job_below_where_it_was_forked_and_no_part_of_its_call(flow: Flow, project: Project) -> None:
    m = flow.module
    flow.run(m.later(9))
    above = "select p.task_name from jobs j join jobs p on p.job_id = j.parent_job_id where j.task_name = '{}'"
    assert project.sql(above.format("rayflow.join_thread")) == [("flow.later",)]
    assert project.sql(above.format("flow.double")) == [("rayflow.join_thread",)]
    below = "select count(*) from call_children c join calls p using (call_hash) where p.task_name = 'flow.later'"
    assert project.sql(below) == [(0,)]


def test_a_thread_is_begun_anew_below_a_task_that_is_checked_shallowly(flow: Flow) -> None:
    later = flow.module.later.options(check_valid="shallow")
    for how in ("computed", "cached"):
        assert flow.run(later(6))["x"] == 6
        assert flow.counts(how) == {"later": 1, "double": 1, "join_thread": 1}


# --- tags -------------------------------------------------------------------------------------------------------------


def test_apply_tags_tags_the_value_its_job_and_the_execution(flow: Flow, project: Project) -> None:
    m = flow.module
    expr = apply_tags(m.double(4), {"size": m.double(1)}, job_tags=[("who", "me")], execution_tags={"nightly": True})
    assert flow.run(expr) == 8
    rows = project.sql("select entity, key, value_json from tags where key in ('size', 'who', 'nightly') order by all")
    assert [(entity, key, json.loads(value)) for entity, key, value in rows] == [
        ("execution", "nightly", True), ("job", "who", "me"), ("value", "size", 2),
    ]  # fmt: skip
    of_value = "select c.task_name from tags t join calls c on c.value_hash = t.entity_id where t.key = 'size'"
    assert ("flow.double",) in project.sql(of_value)


def test_tags_that_are_none_are_refused(flow: Flow) -> None:
    with pytest.raises(BadArguments, match="pairs"):
        apply_tags(1, 5)
    with pytest.raises(BadArguments, match="dict"):
        flow.run(apply_tags(1, flow.module.double(1)))


# --- forms of the user's own ------------------------------------------------------------------------------------------


def test_a_form_of_the_users_own_reduces_what_its_rule_needs(flow: Flow) -> None:
    m = flow.module
    assert flow.run(m.first_good(m.fail(1), m.double(4), m.fail(2))) == 8
    assert flow.computed() == {"fail": 1, "double": 1}
    assert flow.run(m.all_then_sum([m.double(1), m.double(2), 5], 100)) == 222
    with pytest.raises(ValueError, match="no 1"):
        flow.run(m.first_good(m.fail(1), m.fail(2)))
    with pytest.raises(KeyError, match="refused"):
        flow.run(m.refuse())


def test_a_failure_that_a_rule_passes_on_is_listed_once(flow: Flow) -> None:
    m = flow.module
    with pytest.raises(ValueError):
        flow.run(m.first_good(m.fail(1)))
    (summary,) = flow.watching.summaries
    assert [name for _, name, _ in summary.failures] == ["flow.fail"]


def test_a_rules_answers_are_kept_and_its_code_counts(flow: Flow) -> None:
    for how in ("computed", "cached"):
        assert flow.call("main") == 8
        assert flow.counts(how)["main"] == 1
    flow.edit("return not isinstance(outcome, Failed)", "return not isinstance(outcome, Failed) and outcome != 8")
    with pytest.raises(ValueError, match="no 1"):
        flow.call("main")
    assert flow.computed()["main"] == 1


BAD = {
    "wrong": "return args[0]",
    "empty": "return Need(())",
    "scalar": "return Need(args[0])",
    "raises": "return args[7]",
    "fails": "return Fail('no error')",
}


@pytest.mark.parametrize("name", BAD)
def test_a_rule_that_breaks_its_contract_is_one_clear_error(flow: Flow, name: str) -> None:
    module = flow.write(
        f"""
        from rayflow import Become, Fail, Need, form, task

        @task
        def double(x):
            return 2 * x

        @form
        def {name}(args, seen):
            {BAD[name]}
        """
    )
    with pytest.raises(BadForm, match=f"The rule {name}"):
        flow.run(getattr(module, name)(module.double(1)))


def test_a_form_inside_a_form_and_one_that_becomes_another(flow: Flow) -> None:
    m = flow.module
    inner = m.first_good(m.fail(3), m.double(3))
    assert flow.run(m.first_good(m.first_good(m.fail(1), m.fail(2)), inner)) == 6


# --- how they are shown -----------------------------------------------------------------------------------------------

SHOWN = """
    from rayflow import Become, Need, form, task

    @task
    def one():
        return 1

    @task
    def take(x):
        return x

    @form
    def first_good(args, seen):
        return Become(args[0])

    @form
    def breaks(args, seen):
        raise KeyError("in the rule")

    @form
    def answers_badly(args, seen):
        return 3

    @form
    def never_ends(args, seen):
        return Need([1])

    @task
    def main():
        return first_good(one(), {"key": [one(), (2,)]}, "text")

    @task
    def argument():
        return take(first_good(one(), 2))
"""


def test_a_form_of_ones_own_is_shown_by_its_name_with_its_arguments(flow: Flow) -> None:
    module = flow.write(SHOWN)
    text = "first_good(one(), {'key': [one(), (2,)]}, 'text')"
    assert repr(module.first_good(module.one(), {"key": [module.one(), (2,)]}, "text")) == text
    assert repr(module.take(module.first_good(module.one(), [module.one()]))) == "take(first_good(one(), [one()]))"
    assert repr(module.first_good(module.first_good(module.one()) + 1)) == "first_good((first_good(one()) + 1))"
    flow.call("main")
    flow.call("argument")
    flow.run(module.first_good(module.one(), {"key": [module.one(), (2,)]}, "text"))
    assert (text,) in flow.project.sql("select arguments from executions")
    for words in (["log", "-"], ["viz", "-"], ["why", "main"], ["run", "--inline", "--dry-run", "flow.py", "main"]):
        done = flow.project.rayflow(*words)
        assert done.returncode == 0, done.stderr
        assert "own(" not in done.stdout and "at 0x" not in done.stdout and "step(" not in done.stdout


@pytest.mark.parametrize("name", ["breaks", "answers_badly", "never_ends"])
def test_an_error_of_a_rule_shows_the_form_by_its_name(flow: Flow, name: str) -> None:
    module = flow.write(SHOWN)
    with pytest.raises(BadForm) as raised:
        flow.run(getattr(module, name)(module.one(), [module.one()]))
    told = shown(raised.value)
    assert f"{name}(one(), [one()])" in told
    assert not any(word in told for word in ("own(", "step(", "quote(", " at 0x"))
    assert name != "breaks" or 'raise KeyError("in the rule")' in told


def test_what_a_form_calls_is_shown_by_its_name(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import catch, map_, task

        def plain(x):
            return 1 // 0

        @task
        def bad(x):
            raise ValueError(f"bad {x}")

        @task
        def main():
            return catch(bad(1), ValueError, plain)

        @task
        def mapped():
            return map_(plain, [0])
    """)
    with pytest.raises(ZeroDivisionError) as raised:
        flow.call("main")
    assert "\n  plain(ValueError: bad 1)  made by the task at" in shown(raised.value)
    with pytest.raises(ZeroDivisionError) as raised:
        flow.call("mapped")
    assert "apply_func(func=<function plain>, args=(0,))" in shown(raised.value)
    assert module is not None


@pytest.mark.parametrize("around", ["no_prov", "subrun", "as_it_is"])
def test_an_operation_that_fails_below_a_task_of_ours_names_the_users_task(flow: Flow, around: str) -> None:
    flow.write(f"""
        from rayflow import no_prov, subrun, task

        def as_it_is(x):
            return x

        @task
        def one():
            return 1

        @task
        def main():
            return {around}(one() + "a")
    """)
    with pytest.raises(TypeError, match="unsupported operand") as raised:
        flow.call("main")
    assert f"(one() + 'a')  made by the task at {flow.project.path / 'flow.py'}:10" in shown(raised.value)
