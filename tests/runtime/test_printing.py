"""sys.stdout, sys.stderr and sys.stdin as a body has them."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest
from evaluations import Flow
from projects import Project
from streams import FLOW, WAYS, looked_at


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(FLOW)
    return made


@pytest.fixture
def no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it in a process that was started without


@pytest.mark.usefixtures("no_input")
@pytest.mark.parametrize("way", WAYS)
def test_what_a_body_writes_is_its_log_however_it_writes(flow: Flow, way: str) -> None:
    before = sys.stdout
    assert flow.call("use", way) == [None, way]
    assert flow.project.sql("select text from logs where stream = 'stdout'") == [(WAYS[way][1],)]
    assert sys.stdout is before


def test_a_body_s_streams_have_what_streams_have(
    flow: Flow, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with capfd.disabled(), open(os.devnull, "w") as out, open(os.devnull, "w") as err:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        assert flow.call("look") == [looked_at("stdout"), looked_at("stderr")]


def test_between_bodies_the_streams_are_those_beneath(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    from rayflow.runtime.output.printing import many_bodies

    bytes_of = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(bytes_of, "latin-1"))
    with many_bodies():
        print("ä", end="", flush=True)
        sys.stdout.buffer.write(b"b")
        sys.stdout.reconfigure(encoding="utf-8")
        assert sys.stdout.encoding == "utf-8"
        print("ä", end="", flush=True)
        sys.stdout.close()
        assert bytes_of.getvalue() == b"\xe4b\xc3\xa4"
    of_text = io.StringIO()
    monkeypatch.setattr(sys, "stdout", of_text)
    with many_bodies():
        sys.stdout.buffer.write("ä".encode())
    assert of_text.getvalue() == "ä"


def test_a_process_without_streams_runs_bodies(project: Project) -> None:
    project.write("flow.py", FLOW)
    code = """
        import os, sys
        for number in (0, 1, 2):
            os.close(number)
        sys.stdin = sys.stdout = sys.stderr = None
        from rayflow import Scheduler
        import flow
        with Scheduler(inline=True) as scheduler:
            scheduler.run(flow.use("no input"))
            scheduler.run(flow.use("text and bytes"))
        print("nowhere")
    """
    project.write("driver.py", code)
    done = subprocess.run([sys.executable, "driver.py"], cwd=project.path, timeout=60, check=False)
    assert done.returncode == 0
    expected = sorted(WAYS[way][1] for way in ("no input", "text and bytes"))
    assert [text for (text,) in project.sql("select text from logs order by text")] == expected


LONG = """
    import resource, sys
    from rayflow import Scheduler, script, task

    @task
    def prints():
        for _ in range(2000):
            sys.stdout.write("x" * 99_999 + "\\n")

    WAYS = {
        "a script": lambda: script("head -c 200000000 /dev/zero | tr '\\\\0' 'x'; printf end", outputs=None),
        "a script's stderr": lambda: script("head -c 200000000 /dev/zero | tr '\\\\0' 'x' >&2", outputs=None),
        "a body": lambda: prints(),
    }

    if __name__ == "__main__":
        with Scheduler(inline=True) as scheduler:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            scheduler.run(WAYS[sys.argv[1]]())
            print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("way", ["a script", "a script's stderr", "a body"])
def test_of_a_very_long_output_both_ends_are_kept_and_memory_stays_bounded(project: Project, way: str) -> None:
    project.write("flow.py", LONG)
    words = [sys.executable, "flow.py", way]
    done = subprocess.run(
        words, cwd=project.path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120, check=True
    )
    assert int(done.stdout) < 150, "of 200 MB"
    kept = b"".join(file.read_bytes() for file in project.path.glob(".rayflow/blobs/*/*"))
    assert b"[rayflow: 183" in kept and b" characters are missing here]" in kept
    assert len(kept) < 20_000_000
