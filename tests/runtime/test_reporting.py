"""Python's warnings are told once, with the user's place, and counted; how much is told is a setting."""

from __future__ import annotations

import logging
import os
import sys  # noqa: F401  # for _show
import warnings
from typing import Any

import pytest

from rayflow import Scheduler
from rayflow.config import load
from rayflow.errors import BadConfig
from rayflow.runtime.driver.reporting import FilteringReporter, filtering, print_receiver
from rayflow.runtime.protocol.reports import WARNING, Progress, Silent, Summary
from rayflow.values.display.python_warnings import warning_text, write_warnings

FLOW = """
import logging
import warnings
from rayflow import task

@task
def odd(x):
    print("working")
    warnings.warn(f"odd value {x}")
    return x

@task
def sweep(n):
    return [odd(i) for i in range(n)]

@task
def twice():
    for _ in range(3):
        warnings.warn("the same")
    warnings.warn("another", FutureWarning)

@task
def recorded():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("kept")
    return [str(each.message) for each in caught]

@task
def ours():
    warnings.warn_explicit("from inside", UserWarning, RAYFLOW, 1)
"""


class Heard(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.prints: list[str] = []
        self.jobs: list[str] = []
        self.said: list[str] = []

    def printed(self, call: str, stream: str, text: str) -> None:
        assert stream in ("stdout", "stderr")
        self.prints.append(text)

    def warned(self, text: str) -> None:
        self.warnings.append(text)

    def job_ended(self, row: Any) -> None:
        self.jobs.append(row.task_name)

    def connecting(self, what: str) -> None:
        self.said.append(what)

    def progress(self, progress: Progress) -> None:
        self.said.append("progress")

    def ended(self, summary: Summary) -> None:
        self.said.append(summary.status)


@pytest.fixture
def flow(project: Any) -> Any:
    import rayflow.values.custom as ours

    project.write("flow.py", FLOW.replace("RAYFLOW", repr(ours.__file__)))
    return project.load("flow")


@pytest.fixture(autouse=True)
def _as_outside_of_pytest() -> Any:
    """Warnings are written and not recorded, as where nobody tests."""
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("default")
        warnings.showwarning = _show
        yield


_SHOW = "lambda *told: sys.stderr.write(warnings.formatwarning(*told[:4], told[5] if len(told) > 5 else None))"

_show: Any = eval(compile(_SHOW, os.__file__, "eval"))  # as Python's own: no line of a user's


def run(project: Any, expr: Any, **settings: Any) -> tuple[Any, Heard, list[str]]:
    heard = Heard()
    config = load(project.path, store=str(project.path / ".rayflow"), inline=True, **settings)
    with Scheduler(config=config, reporter=heard) as scheduler:
        value = scheduler.run(expr, cache=False)
        logs = [text for (text,) in scheduler.sql("select text from logs where stream = 'stderr'").fetchall()]
    return value, heard, logs


@pytest.mark.parametrize("count", [1, 2, 300])
def test_many_calls_that_warn_are_one_line_and_a_count(flow: Any, project: Any, count: int) -> None:
    _, heard, logs = run(project, flow.sweep(count))
    first, *rest = heard.warnings
    assert first == "flow.py:8: UserWarning: odd value 0  (in odd(x=0))"
    assert rest == (
        [f"flow.py:8: UserWarning came {count} times in all; the log of each call has its own"] if count > 1 else []
    )
    assert sorted(logs) == sorted(f"flow.py:8: UserWarning: odd value {n}\n" for n in range(count))
    assert "warnings.warn" not in "".join(heard.warnings + heard.prints + logs)


def test_places_and_classes_are_told_apart_and_a_body_that_repeats_itself_is_not_counted(
    flow: Any, project: Any
) -> None:
    _, heard, _ = run(project, flow.twice())
    assert heard.warnings == [
        "flow.py:18: UserWarning: the same  (in twice)",
        "flow.py:19: FutureWarning: another  (in twice)",
    ]


def test_who_records_warnings_gets_them(flow: Any, project: Any) -> None:
    value, heard, _ = run(project, flow.recorded())
    assert value == ["kept"] and heard.warnings == []


def test_a_warning_that_blames_our_line_names_the_users(flow: Any, project: Any) -> None:
    _, heard, _ = run(project, flow.ours())
    assert heard.warnings == ["flow.py:30: UserWarning: from inside  (in ours)"]


def test_warnings_that_go_to_the_log_of_a_program_come_there_as_plain_text(
    flow: Any, project: Any, caplog: pytest.LogCaptureFixture
) -> None:
    logging.captureWarnings(True)
    try:
        run(project, flow.twice())
    finally:
        logging.captureWarnings(False)
    assert any("flow.py:18: UserWarning: the same" in text for text in caplog.messages)


def test_how_warnings_are_written_is_put_back() -> None:
    before = warnings.formatwarning
    put_back = write_warnings(lambda text, file: text)
    inner = write_warnings(lambda text, file: None)
    assert warnings.formatwarning("a", UserWarning, "/x/y.py", 3) == "/x/y.py:3: UserWarning: a"
    inner()
    put_back()
    assert warnings.formatwarning is before


def test_a_warning_of_several_lines_is_one() -> None:
    assert warning_text("a\n  b", UserWarning, "/x/y.py", 3) == "/x/y.py:3: UserWarning: a b"


def test_a_notebook_names_no_file() -> None:
    assert warning_text("a", UserWarning, "/tmp/ipykernel_7/99.py", 3) == "<cell>:3: UserWarning: a"


@pytest.mark.parametrize(
    ("settings", "prints", "warns", "jobs"),
    [
        ({}, True, True, False),
        ({"logs": False}, False, True, False),
        ({"log_level": "quiet"}, False, False, False),
        ({"log_level": "quiet", "logs": True}, False, False, False),
        ({"log_level": "verbose"}, True, True, True),
        ({"log_level": "verbose", "logs": False}, False, True, True),
    ],
)
def test_a_level_says_how_much_is_told(
    flow: Any, project: Any, settings: dict[str, Any], prints: bool, warns: bool, jobs: bool
) -> None:
    _, heard, logs = run(project, flow.odd(1), **settings)
    assert (heard.prints == ["working\n"]) == prints
    assert (heard.warnings != []) == warns
    assert heard.jobs == (["flow.odd"] if jobs else [])
    assert heard.said[-1] == "done" and logs  # the end is told, and all is recorded, whatever is shown
    assert settings.get("log_level") != "quiet" or heard.said == ["done"]
    assert run(project, flow.odd(1), **settings)[1].jobs == heard.jobs


def test_an_unknown_level_is_refused(project: Any) -> None:
    with pytest.raises(BadConfig, match="log_level has to be quiet or normal or verbose, not 'loud'"):
        load(project.path, log_level="loud")


def test_a_reporter_that_does_not_know_of_jobs_and_a_silent_one_are_fine() -> None:
    class Old:
        def warned(self, text: str) -> None: ...

    FilteringReporter(Old(), "verbose", True).job_ended(None)  # type: ignore[arg-type]  # as users' are
    silent = Silent()
    assert filtering(silent, load(log_level="verbose")) is silent


def test_the_warnings_of_each_execution_are_counted_by_themselves() -> None:
    heard = Heard()
    told = FilteringReporter(heard, "normal", True)
    for name, count in (("a", 3), ("b", 1), ("a", 2), ("b", 1)):
        for _ in range(count):
            print_receiver(told, name)("f", WARNING, "flow.py:1: UserWarning: odd\n")
    assert heard.warnings == ["flow.py:1: UserWarning: odd  (in f)"] * 2, "each execution tells it once"
    for name, count in (("a", 5), ("b", 2)):
        heard.warnings.clear()
        told.ended(Summary(name, "done", 1.0, {}, {}))
        assert heard.warnings == [f"flow.py:1: UserWarning came {count} times in all; the log of each call has its own"]
    assert told._came == {}
