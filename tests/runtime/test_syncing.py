"""What a task has written is on the disk before its result is sent: its files, and the directories made for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Dir, File, history, script
from rayflow.errors import StoreUnavailable
from rayflow.records import LogRow, TagRow
from rayflow.runtime.protocol.attempts import Reply
from rayflow.values.failures import failure_from_exception
from rayflow.values.filesystems import fsync
from rayflow.values.filesystems.fsync import WrittenPaths, make_directories

WRITERS = """
    import os
    from rayflow import Dir, File, catch, script, task

    @task
    def write(path: str):
        File(path).write("x")
        return File(path)

    @task
    def stream(path: str):
        with File(path).open("w") as stream:
            stream.write("x")
        return File(path)

    @task
    def both(path: str):
        with File(path).open("w+") as stream:
            stream.write("x")
        return File(path)

    @task
    def touch(path: str):
        File(path).touch()
        return File(path)

    @task
    def copy(path: str):
        return File("given").copy_to(path)

    @task
    def written_in_a_thread(path: str):
        import threading

        thread = threading.Thread(target=File(path).write, args=("x",))
        thread.start()
        thread.join()
        return 1

    @task
    async def awaiting(path: str):
        await noop()
        File(path).write("x")
        return File(path)

    @task
    def noop():
        return 1

    @task
    def run(path: str):
        return script("echo x > out", inputs=[], outputs=File(path).stage("out"))

    @task
    def in_place(path: str):
        return script(f"mkdir -p {os.path.dirname(path)}; echo x > {path}", tempdir=False, outputs=File(path))

    @task
    def operation(path: str):
        return given().copy_to(path)

    @task
    def given():
        return File("given")

    @task
    def fail(path: str):
        File(path).write("x")
        raise ValueError

    @task
    def said(n: int):
        print("said", n)
        return n

    @task
    def said_and_wrote(path: str):
        print("wrote", path)
        File(path).write("x")
        return 3

    @task
    async def paused_and_wrote(path: str):
        print("paused for", path)
        File(path).write("x")
        await noop()
        return 4

    @task
    def several():
        calls = said(1), said_and_wrote("bad"), paused_and_wrote("late"), said(2)
        return [catch(call, Exception, told) for call in calls]

    @task
    def told(error):
        return type(error).__name__

    @task
    def gone(path: str):
        File(path).write("x")
        File(path).remove()
"""


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The paths of what was synced, in order."""
    found: list[str] = []
    real = fsync.sync

    def sync(path: str) -> None:
        real(path)
        found.append(path)

    monkeypatch.setattr(fsync, "sync", sync)
    yield found
    assert fsync._open == []


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(WRITERS)
    (project.path / "given").write_text("given")
    return made


WAYS = ["write", "stream", "both", "touch", "copy", "written_in_a_thread", "awaiting", "run", "operation"]


@pytest.mark.parametrize("task", WAYS)
def test_what_a_task_writes_is_synced_with_its_directories(flow: Flow, synced: list[str], task: str) -> None:
    project = flow.project.path
    flow.call(task, "new/deep/file")
    assert set(synced) >= {str(project / name) for name in ("new/deep/file", "new/deep", "new", "")} - {f"{project}/"}
    assert synced.index(str(project / "new/deep/file")) < synced.index(str(project / "new/deep"))
    synced.clear()
    flow.call(task, "new/deep/file")
    assert synced == [] and flow.computed() == {}


def test_what_a_script_writes_in_its_place_is_synced(flow: Flow, synced: list[str]) -> None:
    flow.call("in_place", "new/file")
    assert set(synced) >= {str(flow.project.path / name) for name in ("new/file", "new")}


def test_a_directory_that_a_script_gives_is_synced_whole(flow: Flow, synced: list[str]) -> None:
    flow.run(script("mkdir -p out/a/empty; touch out/a/x", outputs=Dir("tree").stage("out")))
    project = flow.project.path
    assert set(synced) >= {str(project / name) for name in ("tree", "tree/a", "tree/a/empty", "tree/a/x")}
    assert str(project) in synced


def test_what_a_task_writes_is_synced_before_its_result_is_kept(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    real = fsync.sync

    def sync(path: str) -> None:
        kept.append(history().sql("select count(*) from reductions").fetchall()[0][0])
        real(path)

    monkeypatch.setattr(fsync, "sync", sync)
    flow.call("write", "file")
    assert kept == [0, 0]  # the file, its directory


def test_a_disk_that_refuses_fails_the_call(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(fsync, "sync", refuse)
    with pytest.raises(StoreUnavailable, match=r"Cannot write .*file to the disk: Input/output error"):
        flow.call("write", "file")


def test_a_disk_that_refuses_fails_no_call_that_has_written_nothing_and_keeps_what_was_printed(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = ["bad", "late"]

    def refuse(path: str) -> None:
        if os.path.basename(path) in refused:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(fsync, "sync", refuse)
    assert flow.call("several") == [1, "StoreUnavailable", "StoreUnavailable", 2]
    said = sorted(text for (text,) in flow.project.sql("select distinct text from logs"))
    assert said == ["paused for late\n", "said 1\n", "said 2\n", "wrote bad\n"]
    refused.clear()
    assert flow.call("several") == [1, 3, 4, 2]
    assert flow.computed() == {"said_and_wrote": 1, "paused_and_wrote": 1}


def test_a_reply_that_failed_in_the_end_keeps_what_was_printed() -> None:
    failure = failure_from_exception(StoreUnavailable("the disk"))
    log = LogRow(b"job", 1, "stdout", "said\n", None)
    other = TagRow(*[""] * len(TagRow._fields))  # type: ignore[arg-type]
    reply = Reply(1, 1, b"term", None, (0, 0.0, 0.0, None), (), (log, other))
    assert reply.failed(None) is reply
    assert reply.failed(failure) == reply._replace(term=None, failure=failure, rows=(log,))
    for each in (reply._replace(is_paused=True), reply._replace(term=None, failure=failure)):
        assert each.failed(failure) is each


def test_what_is_gone_or_failed_is_no_trouble(flow: Flow, synced: list[str]) -> None:
    flow.call("gone", "file")
    with pytest.raises(ValueError):
        flow.call("fail", "other")
    assert str(flow.project.path / "file") not in synced


def test_each_of_two_bodies_syncs_what_was_written_while_it_ran(tmp_path: Path, synced: list[str]) -> None:
    with WrittenPaths() as one:
        File(str(tmp_path / "a")).write("x")
        with WrittenPaths() as other:
            File(str(tmp_path / "b")).write("x")
            other.sync()
        assert synced == [str(tmp_path / "b"), str(tmp_path)]
        synced.clear()
        one.sync()
    assert sorted(synced) == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "b")]
    File(str(tmp_path / "c")).write("x")  # outside of any body: nobody waits for it


def test_what_is_written_again_while_it_is_brought_to_the_disk_is_brought_there_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = str(tmp_path / "a"), []

    def sync(each: str) -> None:
        synced.append(each)
        if each == path and synced.count(path) == 1:
            File(path).write("y")

    with WrittenPaths() as noted:
        File(path).write("x")
        monkeypatch.setattr(fsync, "sync", sync)
        noted.sync()
        noted.sync()
        noted.sync()
    assert synced.count(path) == 2


def test_what_could_not_be_brought_to_the_disk_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = str(tmp_path / "a"), []

    def sync(each: str) -> None:
        synced.append(each)
        if len(synced) == 1:
            raise OSError("full")

    monkeypatch.setattr(fsync, "sync", sync)
    with WrittenPaths() as noted:
        File(path).write("x")
        with pytest.raises(StoreUnavailable):
            noted.sync()
        noted.sync()
    assert synced.count(path) == 2


@pytest.mark.parametrize("mode", ["r+", "r+b", "w+", "a+b"])
def test_a_stream_that_reads_and_writes_is_brought_to_the_disk_once_it_is_closed(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with WrittenPaths() as noted:
        with File(str(path)).open(mode) as stream:
            noted.sync()
            assert not noted._written
            stream.write(b"new" if "b" in mode else "new")
            stream.seek(0)
            assert stream.read(3)
        assert list(noted._written) == [str(path)]
    assert b"new" in path.read_bytes()


def test_a_pipe_or_a_file_that_may_not_be_read_is_no_trouble(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "secret").touch(0o200)
    for name in ("pipe", "secret", "."):
        fsync.sync(str(tmp_path / name))


def test_all_directories_that_are_made_are_told_of(tmp_path: Path) -> None:
    changed = [str(tmp_path / name) for name in ("a/b", "a", ".")]
    assert make_directories(str(tmp_path / "a" / "b" / "c")) == changed
    assert make_directories(str(tmp_path / "a" / "b" / "d")) == [str(tmp_path / "a/b")]
    assert make_directories(str(tmp_path / "a")) == []
