"""Prints of tasks are picked out of what Ray's workers write."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("ray")

from rayflow.runtime.on_ray.connection import ray_output
from rayflow.runtime.on_ray.remote import MARK, NAME, SEPARATOR
from rayflow.runtime.protocol.reports import Silent


class Hearer(Silent):
    def __init__(self) -> None:
        self.heard: list[tuple[str, str, str]] = []

    def printed(self, call: str, stream: str, text: str) -> None:
        self.heard.append((call, stream, text))


class Watching:
    """A reporter as users write them: no subclass of ours."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, str]] = []

    def __getattr__(self, name: str) -> object:
        return lambda *words: self.heard.append(words)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    ray_output.silence()
    yield
    ray_output.silence()


def line(channel: str, task: str, stream: str, text: str) -> str:
    return f"{MARK}{channel}{SEPARATOR}{task}{SEPARATOR}{stream}{SEPARATOR}{text}"


def test_a_line_goes_to_the_reporter_of_its_channel_only():
    one, two = Watching(), Watching()
    first, second = ray_output.channel_for(one), ray_output.channel_for(two)
    assert first != second and ray_output.channel_for(one) == first
    ray_output._take({"lines": [line(first, "f", "stdout", f"a{SEPARATOR}b"), line(second, "g", "stderr", "")]})
    assert one.heard == [("f", "stdout", f"a{SEPARATOR}b\n")]
    assert two.heard == [("g", "stderr", "\n")]


def test_a_silent_reporter_has_no_channel():
    assert ray_output.channel_for(Silent()) == ""
    assert ray_output.channel_for(Hearer()) != ""


def test_what_a_program_of_a_task_prints_is_told_with_the_tasks_name_and_rays_own_lines_are_not():
    reporter = Watching()
    ray_output.channel_for(reporter)
    ray_output._take({"lines": ["from a program"], "task_name": f"{NAME}flow.f", "is_err": True})
    ray_output._take({"lines": ["A worker died"], "task_name": None, "pid": "raylet"})
    ray_output._take({"lines": ["2026 INFO"], "task_name": "Scheduler.wait"})
    ray_output._take("no dict at all")
    assert reporter.heard == [("f", "stderr", "from a program\n")]


def test_the_end_of_a_run_waits_for_lines_that_are_on_their_way():
    reporter = Watching()
    channel = ray_output.channel_for(reporter)
    ray_output._take({"lines": [line(channel, "f", "stdout", "first")]})
    late = threading.Timer(0.1, ray_output._take, [{"lines": [line(channel, "f", "stdout", "last")]}])
    late.start()
    ray_output.flush(channel, 2)
    assert [text for _, _, text in reporter.heard] == ["first\n", "last\n"]


def test_where_no_line_ever_comes_the_wait_is_made_once(monkeypatch):
    monkeypatch.setattr(ray_output, "FLUSH_SECONDS", 0.05)
    reporter = Watching()
    channel = ray_output.channel_for(reporter)
    ray_output.flush(channel, 1)
    monkeypatch.setattr(ray_output, "FLUSH_SECONDS", 60.0)
    begun = time.monotonic()
    ray_output.flush(channel, 2)
    assert time.monotonic() - begun < 10


def test_a_reporter_that_nobody_holds_any_more_is_let_go_of():
    reporter = Watching()
    channel = ray_output.channel_for(reporter)
    del reporter
    ray_output._take({"lines": [line(channel, "f", "stdout", "x")]})
    other = Watching()
    ray_output.channel_for(other)
    assert channel not in ray_output._channels


def test_a_script_that_names_no_reporter_sees_what_its_tasks_print_on_stderr(project):
    project.write(
        "flow.py",
        """
        from rayflow import run, task

        @task
        def speak():
            print("one\\ntwo")
            return 3

        if __name__ == "__main__":
            print(run(speak(), inline=True))
        """,
    )
    done = project.python("flow.py", is_warm=False)
    assert done.stdout == "3\n", done.stderr
    assert done.stderr.splitlines()[-2:] == ["[speak] one", "[speak] two"]
