"""`check_valid="shallow"` is answered by any record that tells the final value and the tasks below (section M, 7).

Also by one that was made in full: files between are not looked at. No such answer is stale, and none hides what has to
be done again.
"""

from __future__ import annotations

from typing import Any

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Scheduler
from rayflow.store.exchange.transfer import transfer
from rayflow.store.open import open_store

TASKS = """
    from dataclasses import dataclass

    import numpy

    from rayflow import (
        File, Handle, apply_tags, catch, const, fork_thread, get_context, no_prov, subrun, task
    )

    @task
    def make(n):
        made = File("made.txt")
        made.write("x" * n)
        return made

    @task
    def count(f):
        return len(f.read())

    @task
    def main(n):
        return [count(make(n)), n]

    @task
    def above(n):
        return main(n)

    @task
    def given():
        return count(File("in.txt"))

    @task
    def copied(f):
        out = File("out.txt")
        out.write(f.read())
        return out

    @task
    def ends_in_file():
        return copied(File("in.txt"))

    @task
    def ends_in_files():
        return {"files": [copied(File("in.txt"))]}

    # --- results of other kinds

    @task
    def array_of(size):
        return numpy.arange(size)

    @task
    def array():
        return array_of(count(make(5)) * 2000)

    @task
    def arrays():
        return [array_of(count(make(5)) * 2000), array_of(3), "x"]

    @task
    def list_of(size):
        return list(range(size))

    @task
    def long_list():
        return list_of(count(make(5)) * 4000)

    @dataclass
    class Box:
        size: int

    @task
    def box_of(size):
        return Box(size)

    @task
    def boxed():
        return box_of(count(make(5)))

    # --- dangers

    @task
    def checked(f):
        if "bad" in f.read():
            raise ValueError("bad")
        return f.read()

    @task
    def checks():
        return [checked(File("in.txt"))]

    @task(ANEW)
    def probe(x):
        return x + 1

    @task
    def steady(f, x):
        return probe(x)

    @task
    def anew():
        return [steady(make(5), 1)]

    @task
    def fails(f):
        raise ValueError("no")

    @task
    def catches():
        return catch(fails(make(5)), ValueError, const.partial("caught"))

    @task
    def catches_below():
        return [catches()]

    @task
    def reads(f):
        return get_context("who", "nobody")

    @task
    def in_context():
        return [reads(make(5))]

    @task
    def begins():
        return {"thread": fork_thread(count(make(5)))}

    @task
    def begins_below():
        return [begins()]

    @task
    def size_of(box, f):
        return box.size

    @task
    def with_class():
        return size_of(box_of(3), make(5))

    class Db(Handle):
        pass

    @task
    def advance(db, f):
        return db

    @task
    def finish(db):
        return 7

    @task
    def with_handle(db):
        return [finish(advance(db, make(5)))]

    @task(prov=False)
    def unrecorded():
        return count(File("in.txt"))

    @task
    def above_unrecorded():
        return [no_prov(count(File("in.txt")))]

    @task
    async def awaits():
        return await count(File("in.txt"))

    @task
    def runs_below():
        return subrun(count(File("in.txt")))

    @task
    def above_awaits():
        return [awaits()]
"""


@pytest.fixture
def flow(project: Project, monkeypatch: pytest.MonkeyPatch) -> Flow:
    monkeypatch.chdir(project.path)
    project.write("in.txt", "12345")
    made = Flow(project)
    made.write(TASKS.replace("ANEW", ""))
    return made


def shallow(flow: Flow, name: str, *args: Any, **settings: Any) -> Any:
    """The value of a call that checks nothing below, as the next process would ask for it."""
    flow.module = flow.project.load("flow")
    return flow.run(getattr(flow.module, name).options(check_valid="shallow")(*args), **settings)


def spoil(flow: Flow) -> None:
    """Alter the files between."""
    flow.project.write("made.txt", "altered")
    flow.project.write("in.txt", "1234567")


def rows(flow: Flow, table: str) -> int:
    [[count]] = flow.project.sql(f"select count(*) from {table}")
    return int(count)


# --- answered ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "args"), [("main", (5,)), ("above", (5,)), ("given", ()), ("above_unrecorded", ())])
def test_what_was_made_in_full_answers_whole_whatever_became_of_files_between(
    flow: Flow, name: str, args: tuple[Any, ...]
) -> None:
    value = flow.call(name, *args)
    spoil(flow)
    for _ in range(2):
        assert shallow(flow, name, *args) == value
        assert flow.computed() == {}
        assert flow.counts("cached") == {name: 1}
    assert (flow.project.path / "made.txt").read_text() == "altered"


@pytest.mark.parametrize("name", ["awaits", "runs_below", "unrecorded", "above_awaits"])
def test_a_final_value_that_was_recorded_to_be_checked_in_full_answers_too(flow: Flow, name: str) -> None:
    value = flow.call(name)
    spoil(flow)
    assert shallow(flow, name) == value
    assert flow.computed() == {}
    assert flow.call(name) != value


def test_no_rows_are_added_for_it(flow: Flow) -> None:
    flow.call("above", 5)
    tables = ("reductions", "calls", "values", "task_sets")
    before = [rows(flow, table) for table in tables]
    assert before[0] == 4
    shallow(flow, "above", 5)
    assert [rows(flow, table) for table in tables] == before


@pytest.mark.parametrize("name", ["array", "arrays", "long_list", "boxed"])
def test_a_value_of_any_kind_comes_back_as_it_was(flow: Flow, name: str) -> None:
    value = flow.call(name)
    [[known, preview]] = flow.project.sql(
        f"select value_hash, preview from calls join values using (value_hash) where task_name like '%.{name}'"
    )
    spoil(flow)
    assert repr(shallow(flow, name)) == repr(value)
    assert flow.counts("cached") == {name: 1}
    [[again]] = flow.project.sql("select value_hash from executions order by started_at desc limit 1")
    assert again == known
    [[still]] = flow.project.sql(f"select preview from values where value_hash = '{known}'")
    assert still == preview


def test_a_merged_store_answers_as_before(flow: Flow) -> None:
    flow.call("above", 5)
    spoil(flow)
    store = open_store(str(flow.project.path / ".rayflow"))
    store.compact()
    store.close()
    assert shallow(flow, "above", 5) == [5, 5]
    assert flow.counts("cached") == {"above": 1}
    store = open_store(str(flow.project.path / ".rayflow"))
    store.compact()  # the answered call has left its node once more, and without its value
    store.close()
    assert shallow(flow, "above", 5) == [5, 5]
    assert flow.counts("cached") == {"above": 1}


def test_the_latest_record_answers(flow: Flow) -> None:
    for text, size in (("12345", 5), ("1234567", 7), ("12345", 5)):
        flow.project.write("in.txt", text)
        assert flow.call("given") == size
        flow.project.write("in.txt", "altered since")
        assert shallow(flow, "given") == size


def test_the_latest_record_of_one_process_answers(flow: Flow) -> None:
    assert flow.module is not None
    with Scheduler(store=str(flow.project.path / ".rayflow"), inline=True) as scheduler:
        for text, size in (("12345", 5), ("1234567", 7), ("12345", 5)):
            flow.project.write("in.txt", text)
            assert scheduler.run(flow.module.given()) == size
    flow.project.write("in.txt", "altered since")
    assert shallow(flow, "given") == 5


# --- not answered -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "old", "new", "value"),
    [
        ("above", "return len(f.read())", "return len(f.read()) + 1", [6, 5]),
        ("above", "return [count(make(n)), n]", "return [count(make(n)), n + 1]", [5, 6]),
        ("above", 'made.write("x" * n)', 'made.write("xx" * n)', [10, 5]),
    ],
)
def test_a_changed_task_below_is_seen(flow: Flow, name: str, old: str, new: str, value: Any) -> None:
    flow.call(name, 5)
    flow.edit(old, new)
    assert shallow(flow, name, 5) == value
    flow.edit(new, old)
    assert shallow(flow, name, 5) == [5, 5]


def test_an_older_value_does_not_hide_what_the_body_has_returned_since(flow: Flow) -> None:
    flow.call("checks")
    flow.project.write("in.txt", "is bad")
    for call in (flow.call, lambda name: shallow(flow, name)):
        with pytest.raises(ValueError, match="bad"):
            call("checks")


def test_a_told_value_is_as_old_as_the_oldest_record_behind_it(flow: Flow) -> None:
    flow.call("make", 5)
    [[made_at]] = flow.project.sql("select max(recorded_at) from reductions")
    flow.call("above", 5)
    assert flow.project.sql("select task_name, since from calls where recorded_at is not null order by task_name") == [
        ("flow.above", made_at), ("flow.main", made_at)
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["ends_in_file", "ends_in_files"])
def test_a_file_in_the_value_is_looked_at(flow: Flow, name: str) -> None:
    flow.call(name)
    spoil(flow)
    shallow(flow, name)
    assert flow.counts("cached") == {name: 1}
    flow.project.write("out.txt", "altered")
    shallow(flow, name)
    assert flow.computed() == {name: 1, "copied": 1}
    assert (flow.project.path / "out.txt").read_text() == "1234567"


@pytest.mark.parametrize("name", ["catches", "catches_below"])
def test_a_caught_failure_below_is_tried_again(flow: Flow, name: str) -> None:
    value = flow.call(name)
    assert shallow(flow, name) == value
    assert flow.computed()["fails"] == 1
    (flow.project.path / "mended").touch()
    flow.edit('raise ValueError("no")', "return 'good'")
    assert "good" in str(shallow(flow, name))


def test_a_context_that_was_read_below_counts(flow: Flow) -> None:
    assert flow.module is not None
    assert flow.run(flow.module.in_context(), context={"who": "Ann"}) == ["Ann"]
    assert shallow(flow, "in_context", context={"who": "Bo"}) == ["Bo"]
    assert shallow(flow, "in_context") == ["nobody"]


@pytest.mark.parametrize("anew", ["cache=False", 'cache_scope="CSE"', 'cache_scope="NONE"', "cache_for=0"])
def test_a_call_below_that_is_made_anew_is_not_hidden_by_what_was_made_in_full(flow: Flow, anew: str) -> None:
    flow.write(TASKS.replace("ANEW", anew))
    assert flow.call("anew") == [2]
    assert shallow(flow, "anew") == [2]
    assert flow.computed() == {"probe": 1}


@pytest.mark.parametrize("name", ["begins", "begins_below"])
def test_a_thread_below_is_begun_again(flow: Flow, name: str) -> None:
    flow.call(name)
    shallow(flow, name)
    assert flow.counts("cached")["count"] == 1


def test_the_code_of_classes_given_to_calls_below_counts(flow: Flow) -> None:
    assert flow.call("with_class") == 3
    flow.edit("    size: int", "    size: int\n    def half(self):\n        return self.size // 2")
    assert shallow(flow, "with_class") == 3
    assert flow.computed()["size_of"] == 1


def test_a_state_of_a_handle_that_was_made_below_is_made_again_after_another(flow: Flow) -> None:
    assert flow.module is not None
    flow.run(flow.module.with_handle(flow.module.Db("a")))
    assert shallow(flow, "with_handle", flow.module.Db("a")) == [7]
    assert flow.counts("cached")["advance"] == 1


@pytest.mark.parametrize("task", ["main", "count", "make"])
def test_what_was_forgotten_of_the_call_or_below_it_answers_no_more(flow: Flow, task: str) -> None:
    flow.call("main", 5)
    store = open_store(str(flow.project.path / ".rayflow"))
    assert store.forget(at=_now(flow), task_name=f"flow.{task}") == 1
    store.close()
    assert shallow(flow, "main", 5) == [5, 5]
    assert flow.computed()[task] == 1


def test_what_was_forgotten_elsewhere_answers_no_more_where_the_execution_is_copied_to(
    flow: Flow, tmp_path_factory: pytest.TempPathFactory
) -> None:
    flow.call("above", 5)
    source = open_store(str(flow.project.path / ".rayflow"))
    [[execution]] = flow.project.sql("select execution_id from executions")
    asked = flow.project.sql("select eval_hash, task_hash from calls order by task_name")
    questions = [(bytes.fromhex(eval_hash), bytes.fromhex(task_hash)) for eval_hash, task_hash in asked]
    answers = []
    for _ in range(2):
        other = open_store(str(tmp_path_factory.mktemp("other")))
        transfer(source, other, [execution])
        other.refresh()
        answers.append([len(each) for each in other.told_values(questions)])
        source.forget(at=_now(flow), task_name="flow.make")
    assert answers == [[1, 0, 1, 0], [0, 0, 0, 0]]


def test_a_call_that_no_earlier_execution_may_answer_is_not_answered(flow: Flow) -> None:
    flow.call("main", 5)
    assert shallow(flow, "main", 5, cache=False) == [5, 5]
    assert flow.computed() == {"main": 1, "make": 1, "count": 1}


def test_what_is_called_in_full_looks_at_files_between_as_ever(flow: Flow) -> None:
    assert flow.call("given") == 5
    assert shallow(flow, "given") == 5
    spoil(flow)
    assert flow.call("given") == 7


def _now(flow: Flow) -> int:
    [[now]] = flow.project.sql("select epoch_us(max(finished_at)) + 1 from jobs")
    return int(now)
