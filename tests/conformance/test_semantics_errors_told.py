"""Section F, what is told of an error: which comes first, what it came from, where it was made."""

from __future__ import annotations

import pytest
from evaluations import Flow
from projects import Project


@pytest.fixture
def flow(project: Project) -> Flow:
    return Flow(project)


def test_an_error_of_recover_is_raised_with_the_one_that_it_was_to_recover_from(flow: Flow) -> None:
    flow.write("""
        from rayflow import catch, catch_all, task

        @task
        def bad(x):
            raise ValueError(f"bad {x}")

        @task
        def recover(error):
            raise KeyError("broken")

        @task
        def again(error):
            raise error

        @task
        def main():
            return catch(bad(1), ValueError, recover)

        @task
        def of_several():
            return catch_all([bad(1), bad(2)], ValueError, recover)

        @task
        def raised_again():
            return catch(bad(1), ValueError, again)
    """)
    for name in ("main", "of_several"):
        with pytest.raises(KeyError, match="broken") as raised:
            flow.call(name)
        handled = raised.value.__context__
        assert type(handled) is ValueError and handled.args == ("bad 1",)
        assert "flow.bad(x=1)" in handled.__notes__[0]
        (_, first, failure), *others = flow.watching.summaries[-1].failures
        assert (first, [each.summary for each in failure.related]) == ("flow.recover", ["ValueError: bad 1"])
        assert {name for _, name, _ in others} == {"flow.bad"}
    with pytest.raises(ValueError, match="bad 1") as raised:
        flow.call("raised_again")
    assert raised.value.__context__ is None


def test_an_error_of_a_lazy_operator_tells_where_the_task_is_that_made_it(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        @task
        def one():
            return 1

        @task
        def main():
            x = one()
            return [x + "a"]
    """)
    with pytest.raises(TypeError, match="unsupported operand") as raised:
        flow.call("main")
    (note,) = raised.value.__notes__
    place = flow.project.path / "flow.py"
    assert note.endswith(f"flow.main()\n  (one() + 'a')  made by the task at {place}:7")
