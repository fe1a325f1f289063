"""Files as values: what runs again when a file has changed, and what a file's task may do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from evaluations import Flow
from projects import Project

from rayflow import File, FileSet
from rayflow.api import history
from rayflow.errors import BadConfig, FileConflict, FileMissing, NotFound

COPYING = """
    import dataclasses
    from rayflow import ContentFile, Dir, File, FileSet, task

    @task
    def process(source: File) -> File:
        target = File("output.txt")
        target.write(source.read().upper())
        return target

    @task
    def main():
        return process(File("input.csv"))

    @task
    def length(file):
        return len(file.read())

    @task
    def lengths(files: FileSet):
        return [length(file) for file in files]

    @task
    def of_set():
        return lengths(FileSet("data/*.txt"))

    @task
    def by_content():
        return length(ContentFile("input.csv"))

    @task
    def while_there():
        return length(File("input.csv", immutable=True))

    @task
    def total(folder):
        return sum(len(file.read()) for file in folder)

    @task
    def of_folder():
        return total(Dir("data"))

    @task
    def altering(file: File):
        file.write(file.read() + "more")
        return file

    @task
    def alter():
        return altering(File("input.csv"))

    @task
    def creating(file: File):
        file.write("created")
        return 1

    @task
    def create():
        return creating(File("created.txt"))

    @task
    def left(path):
        File(path).write("left")
        return [File(path)]

    @task
    def right(path, after=None):
        File(path).write("right!")
        return {"file": File(path)}

    @task
    def both(path):
        return [left(path), right(path)]

    @task
    def one_after_the_other(path):
        return right(path, left(path))

    @task
    def told(file):
        return file

    @task
    def passed_on():
        return [told(told(left("passed.txt"))), left("passed.txt")]

    @dataclasses.dataclass
    class Report:
        name: str
        file: File

    class Opaque:
        def __init__(self, inside):
            self.inside = inside

    SHAPES = {
        "alone": lambda file: file,
        "list": lambda file: [1, file],
        "dict": lambda file: {"deep": [{"file": file}]},
        "dataclass": lambda file: Report("r", file),
        "opaque": lambda file: Opaque([file]),
        "large": lambda file: [file, "x" * 10_000],
    }

    @task
    def shaped(shape):
        File("shaped.txt").write("made")
        return SHAPES[shape](File("shaped.txt"))

    @task
    def forgetful(shape):
        return SHAPES[shape](File("never.txt"))
"""


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(COPYING)
    (project.path / "input.csv").write_text("a,b\n")
    return made


def rewrite(path: Path, text: str) -> None:
    """Write a file so that its modification time surely differs."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    os.utime(path, ns=(before + 1_000_000_000, before + 1_000_000_000))


class TestAFileThatTheCodeNames:
    NAMING = """
        from rayflow import Dir, File, FileSet, task

        OUT, ALL, FOLDER = File("out.txt"), FileSet("*.txt"), Dir("folder")

        @task
        def write(n):
            OUT.write(str(n))
            FOLDER.file("inside").write(str(n))
            return OUT

        @task
        def look(n, files: FileSet = ALL):
            return n

        @task
        def main():
            return [write(1), look(1, FileSet("*.toml"))]
    """

    def test_it_counts_by_its_path_and_not_by_how_it_is(self, project: Project) -> None:
        flow = Flow(project)
        flow.write(self.NAMING)
        for _ in range(2):
            flow.call("main")
        assert flow.computed() == {}
        (project.path / "other.txt").write_text("other")
        flow.write(self.NAMING)
        flow.call("main")
        assert flow.computed() == {}

    def test_another_path_is_other_code(self, project: Project) -> None:
        flow = Flow(project)
        flow.write(self.NAMING)
        flow.call("main")
        flow.write(self.NAMING.replace('"out.txt"', '"out 2.txt"'))
        flow.call("main")
        assert flow.computed() == {"write": 1}

    def test_as_a_default_it_is_an_argument_like_others(self, project: Project) -> None:
        flow = Flow(project)
        flow.write(self.NAMING)
        for expected in (1, 0):
            flow.call("look", 1)
            assert flow.computed().get("look", 0) == expected
        (project.path / "new.txt").write_text("new")
        flow.call("look", 1)
        assert flow.computed() == {"look": 1}


class TestAFileInAndAFileOut:
    def test_nothing_changed_runs_nothing(self, flow: Flow) -> None:
        assert flow.call("main").read() == "A,B\n"
        assert flow.call("main").path == "output.txt"
        assert flow.computed() == {}

    def test_a_changed_input_runs_the_task(self, flow: Flow) -> None:
        flow.call("main")
        rewrite(flow.project.path / "input.csv", "c,d\n")
        assert flow.call("main").read() == "C,D\n"
        assert flow.computed() == {"main": 1, "process": 1}
        flow.call("main")
        assert flow.computed() == {}

    def test_an_altered_output_is_restored(self, flow: Flow) -> None:
        flow.call("main")
        rewrite(flow.project.path / "output.txt", "spoilt")
        assert flow.call("main").read() == "A,B\n"
        assert flow.computed() == {"process": 1}
        flow.call("main")
        assert flow.computed() == {}

    def test_a_deleted_output_is_restored(self, flow: Flow) -> None:
        flow.call("main")
        (flow.project.path / "output.txt").unlink()
        assert flow.call("main").read() == "A,B\n"
        assert flow.computed() == {"process": 1}
        flow.call("main")
        assert flow.computed() == {}


@pytest.mark.parametrize("shape", ["alone", "list", "dict", "dataclass", "opaque", "large"])
def test_a_file_inside_any_value_counts(flow: Flow, shape: str) -> None:
    flow.call("shaped", shape)
    flow.call("shaped", shape)
    assert flow.computed() == {}
    (flow.project.path / "shaped.txt").unlink()
    flow.call("shaped", shape)
    assert flow.computed() == {"shaped": 1}
    assert (flow.project.path / "shaped.txt").read_text() == "made"


@pytest.mark.parametrize("shape", ["alone", "list", "dict", "dataclass", "opaque", "large"])
def test_an_output_that_is_not_there_is_the_tasks_error_and_not_cached(flow: Flow, shape: str) -> None:
    for _ in range(2):
        with pytest.raises(FileMissing, match=r"not there: never\.txt"):
            flow.call("forgetful", shape)
    assert flow.project.sql("select count(*) from jobs where status = 'failed'") == [(2,)]


def test_a_file_known_by_content_is_not_changed_by_a_touch_but_by_its_content(flow: Flow) -> None:
    source = flow.project.path / "input.csv"
    assert flow.call("by_content") == 4
    os.utime(source, ns=(1, 1))
    flow.call("by_content")
    assert flow.computed() == {}
    source.write_text("c,d\n")
    os.utime(source, ns=(1, 1))
    flow.call("by_content")
    assert flow.computed() == {"by_content": 1, "length": 1}


def test_an_immutable_file_counts_as_unchanged_while_it_exists(flow: Flow) -> None:
    source = flow.project.path / "input.csv"
    flow.call("while_there")
    rewrite(source, "longer than before")
    assert flow.call("while_there") == 4
    assert flow.computed() == {}
    source.unlink()
    with pytest.raises(FileMissing):
        flow.call("while_there")


def test_a_set_of_files_counts_with_its_members(flow: Flow) -> None:
    data = flow.project.path / "data"
    data.mkdir()
    for name in ("one", "two"):
        (data / f"{name}.txt").write_text(name)
    assert flow.call("of_set") == [3, 3]
    flow.call("of_set")
    assert flow.computed() == {}
    (data / "three.txt").write_text("three")
    assert flow.call("of_set") == [3, 5, 3]


def test_a_directory_counts_with_all_that_is_in_it(flow: Flow) -> None:
    deep = flow.project.path / "data" / "deep"
    deep.mkdir(parents=True)
    (deep / "one.txt").write_text("one")
    assert flow.call("of_folder") == 3
    flow.call("of_folder")
    assert flow.computed() == {}
    rewrite(deep / "one.txt", "four")
    assert flow.call("of_folder") == 4
    (deep / "two.txt").write_text("two")
    assert flow.call("of_folder") == 7


def test_relative_paths_are_relative_to_the_project(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = flow.project.path / "sub"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert flow.call("main").read() == "A,B\n"
    assert (flow.project.path / "output.txt").exists()


def test_files_and_the_calls_that_made_and_read_them_are_recorded(flow: Flow) -> None:
    flow.call("main")
    rows = flow.project.sql("select path, size_bytes, modified_at is not null from files order by path")
    assert rows == [("input.csv", 4, True), ("output.txt", 4, True)]
    assert set(flow.project.sql("select task_name, argument, input_path from lineage_of('output.txt')")) == {
        ("flow.process", "source", "input.csv"), ("flow.main", None, None)
    }  # fmt: skip


@pytest.mark.parametrize(("task", "path"), [("alter", "input.csv"), ("create", "created.txt")])
def test_a_task_that_alters_its_own_input_is_told(flow: Flow, task: str, path: str) -> None:
    flow.call(task)
    (line,) = [line for line in flow.watching.lines if "rayflow:" in line]
    assert f"has altered its own input {path}" in line


class TestTwoTasksThatWriteOnePath:
    def test_are_both_named(self, flow: Flow) -> None:
        for _ in range(2):
            with pytest.raises(FileConflict, match=r"flow\.\w+\(.*\) and flow\.\w+\(.*\) both wrote") as error:
                flow.call("both", "out.txt")
            assert "flow.left(" in str(error.value) and "flow.right(" in str(error.value)

    def test_may_do_so_when_one_gets_the_file_of_the_other(self, flow: Flow) -> None:
        assert flow.call("one_after_the_other", "out.txt")["file"].read() == "right!"

    def test_are_not_those_that_only_pass_it_on(self, flow: Flow) -> None:
        assert flow.call("passed_on") == [[File("passed.txt")]] * 2


def test_the_calls_that_made_passed_on_and_read_a_file_are_told_by_its_path(flow: Flow) -> None:
    flow.call("main")
    rewrite(flow.project.path / "input.csv", "longer\n")
    flow.call("main")
    flow.call("length", File("output.txt"))
    found = flow.project.sql(
        "select size_bytes, role, task_name, argument from calls_of_file('output.txt') order by all"
    )
    assert found == [
        (4, "made", "flow.process", None), (4, "passed on", "flow.main", None),
        (7, "made", "flow.process", None), (7, "passed on", "flow.main", None), (7, "read", "flow.length", "file"),
    ]  # fmt: skip
    told = flow.project.rayflow("log", "./output.txt").stdout
    assert "made by" in told and "flow.process(source=File('input.csv'))" in told and "read by" in told
    assert "flow.py:" in told
    assert flow.project.rayflow("log", str(flow.project.path / "output.txt")).stdout == told


def test_the_configuration_can_make_content_what_counts(flow: Flow) -> None:
    flow.project.write("rayflow.toml", 'files = "content"\n')
    flow.call("main")
    os.utime(flow.project.path / "input.csv", ns=(1, 1))
    os.utime(flow.project.path / "output.txt", ns=(1, 1))
    flow.call("main")
    assert flow.computed() == {}
    rewrite(flow.project.path / "input.csv", "c,d\n")
    flow.call("main")
    assert flow.computed() == {"main": 1, "process": 1}
    flow.project.write("rayflow.toml", 'files = "both"\n')
    with pytest.raises(BadConfig, match='"stat" or "content"'):
        flow.call("main")


def test_a_file_in_a_directory_or_set_is_told_of_by_what_holds_it(flow: Flow) -> None:
    for name in ("data/one.txt", "data/deep/two.txt"):
        File(str(flow.project.path / name)).write(name)
    flow.call("of_folder")
    flow.call("total", FileSet("data/*.txt"))
    told = flow.project.rayflow("log", "data/deep/two.txt").stdout
    assert told.startswith("data/deep/two.txt  in data  ") and "read by" in told
    assert "flow.total(folder=Dir('data'))" in told
    told = flow.project.rayflow("log", "data/one.txt").stdout
    assert "data/one.txt  in data/*.txt  " in told and "flow.total(folder=FileSet('data/*.txt'))" in told
    assert "is called 'elsewhere/x'" in flow.project.rayflow("log", "elsewhere/x").stderr


def test_the_calls_of_a_file_are_told_by_sql_also_where_it_is_in_a_directory_or_set(flow: Flow) -> None:
    for name in ("data/one.txt", "data/deep/two.txt", "database.txt"):
        File(str(flow.project.path / name)).write(name)
    flow.call("of_folder")
    flow.call("total", FileSet("data/*.txt"))
    flow.call("length", File("data/one.txt"))

    def readers(path: str) -> list[tuple[str, str]]:
        query = f"select task_name, argument from calls_of_file('{path}') where role = 'read' order by all"
        return flow.project.sql(query)

    assert readers("data/one.txt") == [("flow.length", "file"), ("flow.total", "folder"), ("flow.total", "folder")]
    assert readers("data/deep/two.txt") == [("flow.total", "folder")]
    assert readers("database.txt") == readers("elsewhere/one.txt") == []


def test_a_call_is_not_said_to_have_read_a_file_that_was_not_there(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import Dir, FileSet, task

        @task
        def total(files):
            return sum(int(file.read()) for file in files.files())

        @task
        def main():
            return [total(FileSet("data/*.txt")), total(Dir("data"))]
    """)
    for name in ("a", "b"):
        flow.project.write(f"data/{name}.txt", "1")
    assert flow.run(module.main()) == [2, 2]
    (flow.project.path / "data/b.txt").unlink()
    assert flow.run(module.main()) == [1, 1]
    asked = history(store=str(flow.project.path / ".rayflow"))
    found = {name: [row["within"] for row in asked.calls_of_file(f"data/{name}.txt")] for name in ("a", "b")}
    assert sorted(found["a"]) == ["data", "data", "data/*.txt", "data/*.txt"]
    assert sorted(found["b"]) == ["data", "data/*.txt"]
    assert asked.resolve("data/b.txt").kind == "file"
    with pytest.raises(NotFound, match=r"data/never\.txt"):
        asked.resolve("data/never.txt")
