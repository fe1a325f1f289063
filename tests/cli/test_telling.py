"""What a person sees: progress, summaries, tables, shortened results."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest

from rayflow.cli.output import output, render, style
from rayflow.cli.output.errors import show_failures
from rayflow.cli.output.progress import LIVE_AFTER_SECONDS, LiveReporter, PlainReporter, busiest, reporter_for
from rayflow.runtime.protocol.reports import Progress, Summary
from rayflow.store.history.answer_types import GroupLine, JobLine, RecordedArgument
from rayflow.values.failures import Failure


class Terminal(io.StringIO):
    """A stream that somebody looks at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)


def _progress(seconds: float, **counts: int) -> Progress:
    return Progress("0193", seconds, {"flow.step": {"open": 3, **counts}})


SUMMARY = Summary(
    "0193aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee",
    "done",
    1.25,
    {"jobs": 3, "computed": 2, "cached": 1},
    {"flow.main": {"computed": 1}, "flow.step": {"jobs": 2, "computed": 1, "cached": 1}},
)


def test_a_pipe_gets_plain_lines_and_a_terminal_a_live_table() -> None:
    assert type(reporter_for(io.StringIO())) is PlainReporter
    assert type(reporter_for(Terminal())) is LiveReporter


def test_plain_progress_is_told_seldom_and_only_when_something_has_changed() -> None:
    stream = io.StringIO()
    reporter = PlainReporter(stream)
    for tenth in range(200):
        reporter.progress(_progress(tenth / 10, running=1, computed=tenth // 10))
    told = stream.getvalue().splitlines()
    assert told == ["5.00 s: 1 running, 2 waiting, 5 computed", "10.0 s: 1 running, 2 waiting, 10 computed"]
    reporter.progress(_progress(100, running=1, computed=10))
    assert stream.getvalue().splitlines() == told


def test_that_all_has_ended_is_no_progress() -> None:
    stream = io.StringIO()
    PlainReporter(stream).progress(Progress("id", 60.0, {}))
    assert stream.getvalue() == ""


def test_the_summary_says_what_ran_what_was_cached_and_how_long_it_took() -> None:
    stream = io.StringIO()
    reporter = PlainReporter(stream)
    reporter.finish()
    assert stream.getvalue() == ""
    reporter.ended(SUMMARY)
    reporter.finish()
    assert stream.getvalue().splitlines() == [
        "done in 1.25 s: 3 jobs, 2 computed, 1 cached  (rayflow log 0193aaaa-bbbb-7ccc)",
        "  flow.main  1 computed",
        "  flow.step  1 computed, 1 cached",
    ]


def test_cancelled_calls_are_counted_apart_from_failed_ones() -> None:
    stream = io.StringIO()
    reporter = PlainReporter(stream)
    counts = {"jobs": 9, "computed": 6, "cached": 0, "shared": 0, "failed": 0, "cancelled": 3}
    by_task = {"flow.main": {"open": 0, "cancelled": 1}, "flow.step": {"computed": 6, "cancelled": 2}}
    reporter.ended(Summary("0193aaaa-bbbb-7ccc-8ddd", "cancelled", 1.25, counts, by_task))
    reporter.finish()
    assert stream.getvalue().splitlines() == [
        "cancelled in 1.25 s: 9 jobs, 6 computed, 3 cancelled  (rayflow log 0193aaaa-bbbb-7ccc)",
        "  flow.main  1 cancelled",
        "  flow.step  6 computed, 2 cancelled",
    ]


def test_prints_warnings_and_waiting_calls_are_told_with_their_names() -> None:
    stream = io.StringIO()
    reporter = PlainReporter(stream)
    reporter.printed("step(n=3)", "stdout", "one\ntwo\n")
    reporter.warned("careful")
    reporter.warned("careful")
    reporter.progress(Progress("0193", 0.1, {}, ("flow.step needs a GPU that no node has",)))
    reporter.progress(Progress("0193", 0.2, {}, ("flow.step needs a GPU that no node has",)))
    assert stream.getvalue().splitlines() == [
        "[step(n=3)] one",
        "[step(n=3)] two",
        "warning: careful",
        "waiting: flow.step needs a GPU that no node has",
    ]


def test_a_reader_of_stderr_that_is_gone_does_not_end_the_run() -> None:
    stream = io.StringIO()
    stream.close()
    PlainReporter(stream).say("nobody hears this")


def test_a_short_run_draws_no_table_and_a_long_one_does() -> None:
    stream = Terminal()
    reporter = LiveReporter(stream)
    reporter.progress(_progress(LIVE_AFTER_SECONDS / 2, running=1))
    assert stream.getvalue() == ""
    reporter.progress(_progress(LIVE_AFTER_SECONDS * 2, running=1, computed=4))
    reporter.printed("flow.step", "stdout", "[not markup]\n")
    reporter.stop()
    shown = stream.getvalue()
    assert "1 running, 2 waiting, 4 computed" in shown and "flow.step" in shown
    assert "[not markup]" in shown
    reporter.progress(_progress(9.0, running=1))
    assert stream.getvalue() == shown


def test_of_many_tasks_the_busy_ones_are_shown_and_the_rest_summed_up() -> None:
    by_task = {f"t{number}": {"computed": 1} for number in range(100)} | {"bad": {"failed": 1}, "busy": {"running": 2}}
    shown = dict(busiest(by_task))
    assert len(shown) == 15
    assert {"bad", "busy", "88 other tasks"} <= shown.keys()
    assert shown["88 other tasks"] == {"computed": 88}


# --- colours ----------------------------------------------------------------------------------------------------------


def test_colours_are_for_terminals_whose_user_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert style.on_terminal(style.styled("x", "red", Terminal())) == "\x1b[31mx\x1b[0m"
    assert style.styled("x", "red", io.StringIO()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert style.styled("x", "red", Terminal()) == "x"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert style.styled("x", "red", Terminal()) == "x"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0004, "0.4 ms"),
        (0.25, "0.25 s"),
        (12.34, "12.3 s"),
        (125, "2 min 5 s"),
        (3700, "1 h 1 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert style.duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 40, "3.0 TiB")])
def test_sizes_read_well(count: int, text: str) -> None:
    assert style.size(count) == text


# --- tables and trees -------------------------------------------------------------------------------------------------


def test_a_table_is_cut_to_the_terminal_and_whole_in_a_pipe() -> None:
    rows = [("done", "x" * 300, 3), ("failed", "line\nbreak", None)]
    whole = render.table(("status", "text", "n"), rows, io.StringIO(), right=("n",))
    assert "x" * 300 in whole and "line break" in whole and "\x1b" not in whole
    cut = render.table(("status", "text", "n"), rows, Terminal(), right=("n",), flexible=("text",))
    assert "\x1b[31mfailed" in style.on_terminal(cut) and "done    x" in cut
    assert max(len(style.without_styles(line)) for line in cut.splitlines()) <= 100


def _job(depth: int, name: str, **more: Any) -> JobLine:
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    job = {"job_id": "ab" * 16, "task_name": name, "label": None, "how": "computed", "status": "done", "error": None,
           "queued_at": moment, "started_at": None, "finished_at": moment, "wall_seconds": None}  # fmt: skip
    return JobLine(depth, {**job, **more}, (RecordedArgument("n", "00", "int", "3"),), "4")


def test_what_a_worker_with_another_clock_says_is_no_time_below_that_of_its_body() -> None:
    at = [datetime(2020, 1, 1, second=second, tzinfo=UTC) for second in (1, 4, 9)]
    job = {"queued_at": at[0], "started_at": at[1], "finished_at": at[2], "wall_seconds": 2.0}
    assert render.seconds_taken(job) == 5.0
    assert render.seconds_taken({**job, "started_at": None}) == 8.0
    assert render.seconds_taken({**job, "started_at": at[2], "finished_at": at[1]}) == 2.0
    assert render.seconds_taken({**job, "finished_at": None}) is None


def test_a_tree_shows_how_each_call_ended() -> None:
    sums = {"jobs": 10_000, "computed": 1, "cached": 9_999, "wall_seconds": 2.0}
    lines = [_job(0, "main"), _job(1, "step", status="failed", error="ValueError: no"), GroupLine(1, "step", 12, sums)]
    shown = list(render.tree(lines, io.StringIO()))
    assert shown[0] == "computed     0.0 ms main(n=3) = 4  abababababab"
    assert shown[1] == "failed       0.0 ms   step(n=3) ! ValueError: no  abababababab"
    assert shown[2].strip() == "... and 9,988 more step; all 10,000 jobs, 1 computed, 9,999 cached; 2.00 s in bodies"


def test_a_deep_tree_stays_on_the_page() -> None:
    shown = list(render.tree((_job(depth, "step") for depth in range(10_000)), io.StringIO()))
    assert max(map(len, shown)) < 200
    assert "(9999) step(n=3)" in shown[-1]
    cut = list(render.tree([_job(60, "step" * 40)], Terminal()))
    assert len(cut[0]) <= 100 and cut[0].endswith("…  abababababab")


# --- results and failures ---------------------------------------------------------------------------------------------


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_results_are_shown_by_their_repr_unless_they_are_long() -> None:
    import numpy

    assert output.shown("a\nb") == ("'a\\nb'", False)
    assert output.shown(numpy.arange(3)) == ("array([0, 1, 2])", False)
    text, is_short = output.shown(list(range(100_000)))
    assert is_short and len(text) < 3000
    assert output.shown("x" * 20_000)[1]
    assert output.shown(Rude()) == ("<Rude whose repr raises RuntimeError>", False)
    nested: Any = 0
    for _ in range(10_000):
        nested = [nested]
    assert output.shown(nested)[1]


def _failure(message: str, fault: str = "user") -> Failure:
    return Failure("builtins.ValueError", ("builtins.ValueError",), message, b"", fault=fault, trail=("main(n=1)",))


@pytest.mark.parametrize(("fault", "code"), [("user", 1), ("world", 2), ("bug", 3)])
def test_the_first_failure_is_shown_whole_and_says_whose_fault_it_was(fault: str, code: int) -> None:
    stream = io.StringIO()
    failures = [("ab" * 16, "flow.step", _failure("first", fault)), ("cd" * 16, "flow.step", _failure("two\nlines"))]
    assert show_failures(failures, stream) == code
    lines = stream.getvalue().splitlines()
    assert lines[0] == "error: flow.step failed: ValueError: first"
    assert "  main(n=1)" in lines and "  rayflow log abababababab" in lines
    assert lines[-1] == "also failed: flow.step: ValueError: two lines  (rayflow log cdcdcdcdcdcd)"
    assert ("Please report it" in stream.getvalue()) == (code == 3)


def test_an_error_that_no_line_of_the_users_raised_is_said_once_and_whole() -> None:
    stream = io.StringIO()
    message = "the worker was lost " * 30
    lost = Failure("rayflow.errors.WorkerLost", ("rayflow.errors.WorkerLost",), message, b"", trail=("main(n=1)",))
    show_failures([("ab" * 16, "flow.step", lost)], stream)
    assert stream.getvalue().count("WorkerLost") == 1
    assert stream.getvalue().count(message.strip()) == 1
    assert "  main(n=1)\n" in stream.getvalue()


def test_a_long_error_among_the_others_is_cut_at_its_end() -> None:
    stream = io.StringIO()
    failures = [("ab" * 16, "flow.step", _failure("first")), ("cd" * 16, "flow.step", _failure("x" * 500 + "END"))]
    show_failures(failures, stream)
    last = stream.getvalue().splitlines()[-1]
    assert last.startswith(f"also failed: flow.step: ValueError: {'x' * 100}") and "END" not in last
    assert last.endswith("x...  (rayflow log cdcdcdcdcdcd)")
