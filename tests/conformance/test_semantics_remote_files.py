"""Files far away: in a bucket, in memory, on a web server."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Dir, File, FileSet, script
from rayflow.errors import FileMissing, StoreUnavailable

FLOW = """
    from rayflow import Dir, File, FileSet, task

    @task
    def upper(source: File, target: str) -> File:
        File(target).write(source.read().upper())
        return File(target)

    @task
    def main(source, target):
        return upper(File(source), target)

    @task
    def made(root, count):
        return [one(f"{root}/{number}") for number in range(count)]

    @task
    def one(path):
        File(path).write(path)
        return File(path)

    @task
    def count(files):
        return sum(file.size() for file in files)

    @task
    def count_all(pattern):
        return count(FileSet(pattern))
"""


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(FLOW)
    return made


def test_a_file_in_a_bucket_counts_as_one_here(flow: Flow, bucket: str) -> None:
    source, target = File(f"{bucket}/in put.txt"), f"{bucket}/deep/out.txt"
    source.write("abc")
    for _ in range(2):
        assert flow.call("main", source.path, target).read() == "ABC"
    assert flow.computed() == {}
    source.write("xyz")  # of the same size
    assert flow.call("main", source.path, target).read() == "XYZ"
    assert flow.computed() == {"main": 1, "upper": 1}
    File(target).remove()
    assert flow.call("main", source.path, target).read() == "XYZ"
    assert flow.computed() == {"upper": 1}
    assert flow.project.sql(f"select size_bytes, version is not null from files where path = '{target}'") == [
        (3, True), (3, True)
    ]  # fmt: skip


def test_many_files_in_a_bucket_are_asked_together(flow: Flow, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = flow.call("made", bucket, 30)
    assert len(made) == 30
    assert flow.call("count", made) == sum(len(file.path) for file in made)
    from rayflow.values.filesystems import remote

    asked: list[int] = []
    single: list[str] = []
    several = remote.RemoteFileSystem.stat_many
    monkeypatch.setattr(
        remote.RemoteFileSystem, "stat_many",
        lambda self, paths: (asked.append(len(paths)), several(self, paths))[1],
    )  # fmt: skip
    monkeypatch.setattr(remote.RemoteFileSystem, "stat", lambda self, path: single.append(path))
    flow.call("made", bucket, 30)
    assert flow.computed() == {}
    assert asked == [30]
    asked.clear()
    flow.call("count", made)
    assert flow.computed() == {}
    assert asked and set(asked) == {30} and single == []


def test_a_set_of_files_and_a_directory_in_a_bucket_count_with_their_members(flow: Flow, bucket: str) -> None:
    for name in ("a.txt", "b.txt"):
        File(f"{bucket}/set/{name}").write(name)
    assert flow.call("count_all", f"{bucket}/set/*.txt") == 10
    assert [file.path for file in FileSet(f"{bucket}/set/*.txt")] == [f"{bucket}/set/a.txt", f"{bucket}/set/b.txt"]
    assert [file.read() for file in Dir(f"{bucket}/set")] == ["a.txt", "b.txt"]
    File(f"{bucket}/set/c.txt").write("c")
    assert flow.run(flow.module.count(Dir(f"{bucket}/set"))) == 11


def test_a_script_takes_from_a_bucket_and_gives_to_it(flow: Flow, bucket: str) -> None:
    source = File(f"{bucket}/reads.txt")
    source.write("b\na\n")
    File(f"{bucket}/tree/x").write("x\n")
    expr = script(
        "cat in deep/tree/x | sort > out; mkdir -p all/of; cp out all/of/it",
        inputs=[source.stage("in"), Dir(f"{bucket}/tree").stage("deep/tree")],
        outputs={"file": File(f"{bucket}/result/out.txt").stage("out"), "dir": Dir(f"{bucket}/all").stage("all")},
    )
    given = flow.run(expr)
    assert given["file"].read() == "a\nb\nx\n"
    assert [file.path for file in given["dir"]] == [f"{bucket}/all/of/it"]
    flow.run(expr)
    assert flow.computed() == {}
    File(f"{bucket}/all/stale").write("x")
    given["file"].remove()
    assert [file.path for file in flow.run(expr)["dir"]] == [f"{bucket}/all/of/it"]
    assert flow.computed() == {"script": 1}


def test_a_directory_in_a_bucket_has_nothing_of_what_an_earlier_script_wrote(flow: Flow, bucket: str) -> None:
    def numbers(count: int) -> list[str]:
        many = flow.run(
            script(f"mkdir -p d/e; for i in $(seq {count}); do echo $i > d/e/$i; done", outputs=Dir(url).stage("d"))
        )
        return [file.path for file in many]

    url = f"{bucket}/numbers"
    File(f"{bucket}/numbers-of-others").write("stay")
    assert len(numbers(3)) == 3
    assert numbers(2) == [f"{url}/e/1", f"{url}/e/2"]
    assert File(f"{bucket}/numbers-of-others").exists()


def test_the_files_of_a_directory_are_staged_at_the_same_time(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    from rayflow.values.filesystems.remote import RemoteFileSystem

    for name in ("get_file", "put_file"):
        together, copy = threading.Barrier(4), getattr(RemoteFileSystem, name)

        def copies(self: object, *words: str, together: threading.Barrier = together, copy: Any = copy) -> None:
            together.wait(timeout=20)
            copy(self, *words)

        monkeypatch.setattr(RemoteFileSystem, name, copies)
    tree = Dir("memory://staged-at-once/in")
    for number in range(4):
        tree.file(f"{number}").write(f"{number}")
    copied = flow.run(script("true", inputs=tree.stage("d"), outputs=Dir("memory://staged-at-once/out").stage("d")))
    assert [file.read() for file in copied] == ["0", "1", "2", "3"]


def test_what_is_wrong_with_a_bucket_is_said(flow: Flow, bucket: str) -> None:
    with pytest.raises(FileMissing, match=f"There is no file {bucket}/never"):
        flow.call("main", f"{bucket}/never", f"{bucket}/out")
    with pytest.raises(StoreUnavailable, match="Cannot write s3://no-such-bucket-at-all/x"):
        File("s3://no-such-bucket-at-all/x").write("x")


def test_copies_go_between_any_two_places(flow: Flow, bucket: str, tmp_path: Path) -> None:
    here = File(str(tmp_path / "here.txt"))
    here.write("text")
    there = here.copy_to(f"{bucket}/there.txt")
    assert there.copy_to(f"{bucket}/again.txt").copy_to(str(tmp_path / "back.txt")).read() == "text"
    tree = Dir(f"{bucket}/tree")
    for name in ("a", "deep/b"):
        tree.file(name).write(name)
    copy = tree.copy_to(str(tmp_path / "tree"))
    assert [file.read() for file in copy] == ["a", "deep/b"]


# --- the web ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server's address, and the folder that it serves."""
    folder = tmp_path / "site"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", folder
    server.shutdown()
    server.server_close()


def test_a_file_on_the_web_is_an_input(flow: Flow, site: tuple[str, Path]) -> None:
    pytest.importorskip("aiohttp")
    import os

    address, folder = site
    (folder / "data.txt").write_text("abc")
    os.utime(folder / "data.txt", (1_000_000_000, 1_000_000_000))
    for _ in range(2):
        assert flow.call("main", f"{address}/data.txt", "out.txt").read() == "ABC"
    assert flow.computed() == {}
    (folder / "data.txt").write_text("xyz")
    assert flow.call("main", f"{address}/data.txt", "out.txt").read() == "XYZ"
    assert flow.computed() == {"main": 1, "upper": 1}
    assert flow.run(script("cat in", inputs=File(f"{address}/data.txt").stage("in"))) == "xyz"
    with pytest.raises(FileMissing, match="There is no file http"):
        flow.call("main", f"{address}/never.txt", "out.txt")
    with pytest.raises(StoreUnavailable, match="Cannot write http"):
        File(f"{address}/new.txt").write("x")
