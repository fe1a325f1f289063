"""How long a run may still take is a range from what its tasks took before, and nothing where they are not known."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import pytest

from rayflow.errors import StoreUnavailable
from rayflow.runtime.live import outlook
from rayflow.runtime.live.outlook import BodySpan, Outlook, Spans, TimeLeft, time_left
from rayflow.runtime.protocol.reports import Printing, Progress, Silent, shows_progress
from rayflow.runtime.wording import left_text, progress_text

pytestmark = pytest.mark.quick

SPANS = {"f": BodySpan(1.0, 2.0), "g": BodySpan(10.0, 20.0)}


def counts(open: int, running: int = 0, queued: int = 0) -> dict[str, int]:
    return {"open": open, "running": running, "queued": queued}


def test_what_is_queued_counts_at_least_and_what_runs_or_waits_at_most() -> None:
    assert time_left({"f": counts(100, 4, 96)}, SPANS, 4) == TimeLeft(24.0, 52.0)
    assert time_left({"f": counts(4, 4), "g": counts(2)}, SPANS, 4) == TimeLeft(0.0, 32.0)
    one = time_left({"f": counts(10, 1, 9)}, SPANS, 1)
    assert one is not None and one.low_seconds <= one.high_seconds


@pytest.mark.parametrize("tasks", [{}, {"f": counts(0)}, {"f": counts(3)}, {"f": counts(1, 1), "new": counts(1, 1)}])
def test_nothing_is_said_where_nothing_runs_or_a_task_is_not_known(tasks: dict[str, dict[str, int]]) -> None:
    assert time_left(tasks, SPANS, 1) is None


def test_a_task_that_only_waits_need_not_be_known() -> None:
    assert time_left({"f": counts(2, 1, 1), "main": counts(1)}, SPANS, 1) == TimeLeft(1.0, 6.0)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0, 1.2, ""), (0.2, 30, "up to 30.0 s left"), (128, 238, "2 min 10 s to 4 min 0 s left"),
        (3700, 7300, "1 h 0 min to 2 h 0 min left"), (9.8, 10.1, "about 10.0 s left"),
    ],
)  # fmt: skip
def test_the_time_left_is_said_as_roughly_as_it_is_known(low: float, high: float, text: str) -> None:
    assert left_text(TimeLeft(low, high)) == text


def test_progress_says_counts_rate_and_time_left_as_far_as_they_are_known() -> None:
    known = Progress("e", 30.0, {"f": counts(3, 1, 2)}, rates={"ended": 25.0}, left=TimeLeft(20, 60))
    assert progress_text(known) == "1 running, 2 queued; 25 jobs a second; 20.0 s to 1 min 0 s left"
    assert progress_text(Progress("e", 30.0, {"f": counts(3, 1, 2)})) == "1 running, 2 queued"


class Asked:
    """A store that is asked for durations."""

    def __init__(self) -> None:
        self.names: list[list[str]] = []
        self.answered = threading.Event()

    def __call__(self, names: Iterable[str]) -> Spans:
        self.names.append(list(names))
        self.answered.set()
        return SPANS


def test_the_store_is_asked_in_a_thread_and_only_for_a_run_that_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked()
    made = Outlook(asked)
    tasks = {"f": counts(2, 1, 1), "ended": counts(0)}
    assert made.left(tasks, 1.0) is None and not asked.names
    made.left(tasks, 6.0)
    assert asked.answered.wait(20) and asked.names == [["f"]]
    for thread in threading.enumerate():
        if thread.name == "rayflow-outlook":
            thread.join()
    assert made.left(tasks, 6.5) == TimeLeft(1.0, 6.0)
    assert len(asked.names) == 1, "not again so soon"
    monkeypatch.setattr(outlook, "ASKED_EVERY_SECONDS", 0.0)
    asked.answered.clear()
    made.left(tasks, 7.0)
    assert asked.answered.wait(20)


def test_nobody_is_asked_where_nobody_is_shown_it_and_a_store_that_fails_costs_the_forecast_alone() -> None:
    asked = Asked()
    assert Outlook(asked, is_wanted=False).left({"f": counts(2, 1, 1)}, 60.0) is None
    assert not asked.names

    def fails(names: Iterable[str]) -> Spans:
        raise StoreUnavailable("gone")

    made = Outlook(fails)
    made.left({"f": counts(1, 1)}, 60.0)
    for thread in threading.enumerate():
        if thread.name == "rayflow-outlook":
            thread.join()
    assert made.left({"f": counts(1, 1)}, 61.0) is None


def test_a_reporter_without_progress_wants_no_forecast() -> None:
    class Shown(Silent):
        def progress(self, progress: Progress) -> None: ...

    class Quiet:
        is_quiet = True
        reporter: Any = Shown()

    assert not shows_progress(Silent()) and not shows_progress(Printing()) and shows_progress(Shown())
    assert not shows_progress(Quiet())  # type: ignore[arg-type]  # what a filter has for this
