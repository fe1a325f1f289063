"""ShippedContext a body: what is kept of its output, and what becomes of a body that wants to end the process."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap
import threading

import pytest

from rayflow.api import Scheduler
from rayflow.errors import StoreUnavailable, TaskFailed
from rayflow.lang import created_calls
from rayflow.lang.created_calls import collecting_calls
from rayflow.runtime.output import printing
from rayflow.runtime.output.printing import Output
from rayflow.runtime.protocol.attempts import Call
from rayflow.runtime.worker.body import hint_of
from rayflow.runtime.worker.worker import Worker, WorkerContext
from rayflow.store.open import open_store
from rayflow.values.failures import failure_from_exception

CALL = Call(1, 1, b"j" * 16, "flow.f", b"h", {})


LETTERS = "abcdefghijklmnopqrst"


@pytest.mark.parametrize("pieces", [[LETTERS], list(LETTERS), [LETTERS[:7], LETTERS[7:]]])
def test_of_a_very_long_output_the_first_and_the_last_part_are_kept(monkeypatch, pieces):
    monkeypatch.setattr(printing, "MOST_KEPT_CHARACTERS", 5)
    output = Output("flow.f", None)
    for piece in pieces:
        output.add("stdout", piece)
    (row,) = output.rows(CALL, open_store(":memory:"))
    assert row.text == "abcde\n[rayflow: 10 characters are missing here]\npqrst"


def test_an_output_that_just_fits_is_kept_whole(monkeypatch):
    monkeypatch.setattr(printing, "MOST_KEPT_CHARACTERS", 5)
    output = Output("flow.f", None)
    for letter in "abcdefghij":
        output.add("stdout", letter)
    (row,) = output.rows(CALL, open_store(":memory:"))
    assert row.text == "abcdefghij"


FLOW = """
    import sys
    from rayflow import catch, task

    class Odd(BaseException):
        pass

    @task
    def ends(code):
        sys.exit(code)

    @task
    def odd():
        raise Odd("very")

    @task
    def told(error):
        return str(error)

    @task
    def caught(code):
        return catch(ends(code), Exception, told)

    @task
    def loud(n):
        print("x" * n)
        return n
"""


@pytest.fixture
def flow(project):
    return project.write("flow.py", FLOW) and project.load("flow")


@pytest.mark.parametrize("code", [0, 3, "fatal"])
def test_a_body_that_calls_exit_fails_as_a_task_and_can_be_caught(project, flow, code):
    with Scheduler(store=str(project.path / ".rayflow"), inline=True) as scheduler:
        with pytest.raises(TaskFailed) as raised:
            scheduler.run(flow.ends(code))
        assert str(raised.value) == f"flow.ends called sys.exit({code!r}); a task ends by returning"
        assert scheduler.run(flow.caught(code)) == str(raised.value)


def test_whatever_else_is_no_exception_is_told_as_one(project, flow):
    with Scheduler(store=str(project.path / ".rayflow"), inline=True) as scheduler:
        with pytest.raises(TaskFailed) as raised:
            scheduler.run(flow.odd())
        assert str(raised.value) == "flow.odd raised Odd, which is not an Exception: very"


def test_a_log_that_cannot_be_kept_fails_its_own_call(flow):
    store = open_store(":memory:")

    def refuse(*_):
        raise StoreUnavailable("the disk is full")

    store.put_blob = refuse
    table = {"flow.loud": flow.loud.entry()}
    worker = Worker(WorkerContext(None, (), ":memory:", table), store)
    long, short = [
        worker.run(Call(n, 1, b"j" * 16, "flow.loud", flow.loud.hash, {"n": size}))
        for n, size in ((1, 100_000), (2, 9))
    ]
    assert long.failure is not None
    assert long.failure.message == "the disk is full"
    assert short.failure is None
    assert short.rows


def test_bodies_in_threads_that_overlap_print_each_to_its_own_log_and_leave_the_streams_as_they_were(monkeypatch):
    beneath = io.StringIO()
    monkeypatch.setattr(sys, "stdout", beneath)
    outputs = {name: Output(name, None) for name in ("first", "second")}
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))

    def first():
        with outputs["first"], collecting_calls() as made:
            first_is_in.set()
            assert second_is_in.wait(10)
            print("of the first")
            assert made == []
        first_is_out.set()

    def second():
        assert first_is_in.wait(10)
        with outputs["second"], collecting_calls():
            second_is_in.set()
            assert first_is_out.wait(10)
            print("of the second")
            helper = threading.Thread(target=lambda: print("of its thread"))
            helper.start()
            helper.join()
        print("between bodies")

    threads = [threading.Thread(target=each) for each in (first, second)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    print("seen")
    assert sys.stdout is beneath
    assert beneath.getvalue() == "between bodies\nseen\n"
    assert created_calls.active == ()
    store = open_store(":memory:")
    assert [[row.text for row in output.rows(CALL, store)] for output in outputs.values()] == [
        ["of the first\n"],
        ["of the second\nof its thread\n"],
    ]


def test_a_stream_that_a_body_has_kept_still_writes_when_it_has_ended(monkeypatch):
    beneath = io.StringIO()
    monkeypatch.setattr(sys, "stdout", beneath)
    with Output("flow.f", None):
        kept = sys.stdout
    kept.write("seen")
    assert beneath.getvalue() == "seen"


def test_who_watches_may_write_to_the_stream_that_is_caught(monkeypatch):
    beneath = io.StringIO()
    monkeypatch.setattr(sys, "stdout", beneath)
    with Output("flow.f", lambda task, stream, text: print(f"{task}: {text}", end="")):
        print("told")
    assert beneath.getvalue() == "flow.f: told\n"


@pytest.mark.parametrize("body", ["json.dumps([one()])", '",".join([one()])', "open(one())", "open(one() + 1)",
                                  "dict(one())", "setattr(one(), 'n', 1)", "Path('a') / os.fspath(one())"])  # fmt: skip
def test_an_error_that_names_the_class_of_a_lazy_value_says_what_to_do(project, body):
    project.write(
        "lazy.py",
        f"""
        import json
        import os
        from pathlib import Path
        from rayflow import task

        @task
        def one():
            return 1

        @task
        def main():
            return {body}
        """,
    )
    module = project.load("lazy")
    store = project.path / ".rayflow"
    with Scheduler(store=store, inline=True) as scheduler, pytest.raises((TypeError, AttributeError)) as raised:
        scheduler.run(module.main())
    assert any("Pass it to a task" in note for note in raised.value.__notes__)


def test_other_errors_are_not_told_to_be_lazy_values():
    for error in (TypeError("Operation not permitted"), TypeError("unsupported operand"), ValueError("TaskCall")):
        assert hint_of(failure_from_exception(error)) is None


@pytest.mark.parametrize("name", ["Operation", "Form", "TaskCall"])
def test_a_class_of_the_users_that_is_called_as_one_of_ours_is_not_said_to_be_lazy(name):
    hint = hint_of(failure_from_exception(TypeError(f"unsupported operand type(s) for +: 'int' and '{name}'")))
    assert hint is not None
    assert hint.startswith(f"If this {name} is lazy: ")


def test_an_error_without_a_text_fails_its_task_alone(project):
    project.write(
        "odd.py",
        """
        from rayflow import catch, task

        class Odd(TypeError):
            def __str__(self):
                raise RuntimeError("no text")

        @task
        def odd():
            raise Odd

        @task
        def recovered(error):
            return type(error).__name__

        @task
        def main():
            return catch(odd(), TypeError, recovered)
        """,
    )
    module = project.load("odd")
    with Scheduler(store=project.path / ".rayflow", inline=True) as scheduler:
        assert scheduler.run(module.main()) == "Odd"


@pytest.mark.parametrize("change", ["array.sort()", "array += 1", "frame.iloc[0, 0] = 2", "series[0] = 5"])
def test_an_array_that_cannot_be_changed_in_place_says_what_to_do(project, change):
    project.write(
        "changes.py",
        f"""
        import numpy as np
        import pandas as pd
        from rayflow import task

        @task
        def make():
            return np.ones(3), pd.DataFrame({{"a": [1.0]}}), pd.Series([1])

        @task
        def change(array, frame, series):
            {change}

        @task
        def main():
            made = make()
            return change(made[0], made[1], made[2])
        """,
    )
    module = project.load("changes")
    store = project.path / ".rayflow"
    with Scheduler(store=store, inline=True) as scheduler, pytest.raises(ValueError, match="read-only") as raised:
        scheduler.run(module.main())
    assert any("Take a copy first" in note for note in raised.value.__notes__)


def test_a_deadline_leaves_nothing_open_that_python_would_complain_of() -> None:
    program = """
        from rayflow.runtime.worker.body import deadline
        from rayflow.runtime.worker.process_policy import RAY_WORKER
        from rayflow.runtime.protocol.attempts import Call

        with deadline(Call(1, 1, b"j", "flow.f", b"h", {}, timeout=60), RAY_WORKER, None):
            pass
    """
    told = subprocess.run(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60
    )
    assert (told.returncode, told.stderr) == (0, "")
