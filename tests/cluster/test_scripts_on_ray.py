"""Files and scripts on a cluster: what a lost worker, a timeout and a cancel leave behind, which is nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from waiting import until

from rayflow import File, script
from rayflow.api import Scheduler
from rayflow.errors import Cancelled, FileConflict, FileMissing, ScriptFailed, TaskTimeout

pytestmark = pytest.mark.ray


@pytest.fixture
def scheduler(project, ray_cluster) -> Iterator[Scheduler]:
    with Scheduler(store=str(project.path / ".rayflow"), address=ray_cluster) as made:
        yield made


def alive(marker: str) -> list[int]:
    """Processes whose command line holds this."""
    found = subprocess.run(["pgrep", "-f", marker], capture_output=True, text=True).stdout.split()
    return [int(pid) for pid in found if int(pid) != os.getpid()]


FLOW = """
    from rayflow import File, script, task

    @task
    def upper(source: File) -> File:
        target = File("upper.txt")
        target.write(source.read().upper())
        return target

    @task
    def main():
        made = upper(File("in.txt"))
        return script("rev in > out", inputs=[made.stage("in")], outputs=[File("rev.txt").stage("out"), File("-")])

    @task
    def forgetful():
        return [File("never.txt")]

    @task
    def writer(text):
        File("both.txt").write(text)
        return File("both.txt")
"""


def test_files_pass_between_workers_and_scripts_and_count_for_the_cache(project, scheduler):
    project.write("flow.py", FLOW)
    flow = project.load("flow")
    (project.path / "in.txt").write_text("abc\n")
    for _ in range(2):
        files = scheduler.run(flow.main())
        assert (files[0].read(), files[1]) == ("CBA\n", "")
    assert project.counts("computed") == {}
    (project.path / "rev.txt").unlink()
    assert scheduler.run(flow.main())[0].read() == "CBA\n"
    assert project.counts("computed") == {"rayflow.script": 1}
    (project.path / "in.txt").write_text("longer\n")
    assert scheduler.run(flow.main())[0].read() == "REGNOL\n"
    with pytest.raises(FileMissing, match=r"never\.txt"):
        scheduler.run(flow.forgetful())
    with pytest.raises(FileConflict, match=r"flow\.writer\(.*and flow\.writer\(.*both wrote both\.txt"):
        scheduler.run([flow.writer("1"), flow.writer("22")])
    with pytest.raises(ScriptFailed) as caught:
        scheduler.run(script("echo no >&2; exit 3"))
    assert (caught.value.code, caught.value.stderr) == (3, "no\n")


def test_a_timeout_leaves_no_process(project, scheduler):
    with pytest.raises(TaskTimeout):
        scheduler.run(script("sleep 31.4151 & (trap '' TERM; sleep 31.4151) | cat", timeout=1))
    until(lambda: not alive("sleep 31.4151"))


def test_a_cancel_leaves_no_process_and_no_output(project, scheduler):
    submission = scheduler.submit(
        script("echo half > out; sleep 27.1821 | cat", outputs=File("whole.txt").stage("out"))
    )
    until(lambda: alive("sleep 27.1821"))
    submission.cancel()
    with pytest.raises(Cancelled):
        submission.result()
    until(lambda: not alive("sleep 27.1821"))
    assert not (project.path / "whole.txt").exists()


def test_a_killed_worker_leaves_nothing_and_its_script_is_run_again(project, scheduler, tmp_path):
    note = tmp_path / "note"
    command = f"""
        echo half > out
        pwd > {note}.dir
        echo $PPID > {note}.pid
        test -e {note}.second || {{ touch {note}.second; sleep 23.5717; }}
        echo whole > out
    """
    submission = scheduler.submit(script(command, outputs=File("whole.txt").stage("out")))
    until(lambda: alive("sleep 23.5717"))
    first = (tmp_path / "note.dir").read_text().strip()
    os.kill(int((tmp_path / "note.pid").read_text()), signal.SIGKILL)
    until(lambda: not alive("sleep 23.5717"))
    assert submission.result().read() == "whole\n"
    until(lambda: not os.path.exists(first))
    assert project.sql("select ended from attempts") == [("lost",)]
    assert sorted(path.name for path in project.path.iterdir() if path.name.endswith("tmp")) == []
