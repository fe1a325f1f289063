"""Files that are written twice, altered while they are read, or called strangely: handled, or one clear error."""

from __future__ import annotations

import os

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Dir, File, script
from rayflow.errors import FileConflict, ScriptFailed

NAME = "a b'c\"d\ne$(x) \N{SNOWMAN}.txt"
"""A file's name with what shells, URLs and tables stumble over."""

FLOW = """
    from rayflow import Dir, File, script, task
    import os

    @task
    def one(path):
        File(path).write("one")
        return File(path)

    @task
    def other(path):
        File(path).write("other")
        return File(path)

    @task
    def both(path, again):
        return [one(path), other(again)]

    @task
    def mixed(path):
        return [one(path), script("echo script > o", outputs=File(path).stage("o"))]

    @task
    def scripts(path):
        return [script(f"echo {n} > o", outputs=File(path).stage("o")) for n in range(2)]

    @task
    def folders(path):
        return [script(f"mkdir d; echo {n} > d/{n}", outputs=Dir(path).stage("d")) for n in range(2)]

    @task
    def added(folder: Dir, name):
        folder.file(name).write(name)
        return folder

    @task
    def chain(path):
        Dir(path).makedirs()
        return added(added(Dir(path), "x"), "y")

    @task
    def slow(file: File):
        before = file.read()
        os.truncate("in.txt", 1)  # what somebody else does meanwhile
        return before + file.read()

    @task
    def reading():
        return slow(File("in.txt"))

    @task
    def strange(folder, name):
        file = File(f"{folder}{name}")
        file.write("text\\n")
        return staged(file, folder, name)

    @task
    def staged(file, folder, name):
        return script(
            "cat $'in \\\\'\\\\n\\"' > $'out \\\\'\\\\n\\"'; mkdir $'d \\\\n'; cp out* $'d \\\\n/in \\\\'it'",
            inputs=file.stage("in '\\n\\""),
            outputs=[
                File(f"{folder}out {name}").stage("out '\\n\\""), Dir(f"{folder}dir {name}").stage("d \\n")
            ],
        )
"""


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(FLOW)
    (project.path / "in.txt").write_text("input")
    return made


class TestTwoThatWriteOnePath:
    def test_are_both_named_however_the_path_is_written(self, flow: Flow) -> None:
        for again in ("out.txt", "./out.txt", str(flow.project.path / "out.txt")):
            with pytest.raises(FileConflict, match=r"both wrote .*out\.txt") as error:
                flow.call("both", "out.txt", again)
            assert "flow.one(" in str(error.value) and "flow.other(" in str(error.value)

    @pytest.mark.parametrize("task", ["mixed", "scripts", "folders"])
    def test_are_both_named_where_they_are_scripts(self, flow: Flow, task: str) -> None:
        with pytest.raises(FileConflict, match=rf"flow\.{task}:script\(command='.*both wrote out: each would undo"):
            flow.call(task, "out")

    def test_may_add_to_one_directory_when_one_gets_it_from_the_other(self, flow: Flow) -> None:
        assert [file.basename() for file in flow.call("chain", "folder")] == ["x", "y"]


def test_a_file_that_changes_while_a_task_reads_it_is_told_and_read_again_by_the_next_run(flow: Flow) -> None:
    assert flow.call("reading") == "inputi"
    assert any("has altered its own input in.txt (or something else did" in line for line in flow.watching.lines)
    assert flow.call("reading") == "ii"
    os.utime("in.txt", (1, 1))
    flow.call("reading")
    assert flow.computed() == {"reading": 1, "slow": 1}


@pytest.mark.parametrize("place", ["", "deep/er/", "s3"])
def test_a_name_with_spaces_quotes_and_newlines_is_a_name_like_others(
    flow: Flow, place: str, request: pytest.FixtureRequest
) -> None:
    folder, name = place, NAME
    if place == "s3":  # moto knows no newlines in names
        folder, name = f"{request.getfixturevalue('bucket')}/x y/", NAME.replace("\n", "%0A")
    for computed in ({"strange": 1, "staged": 1, "script": 1}, {}):
        file, tree = flow.call("strange", folder, name)
        assert file.path == f"{folder}out {name}" and file.read() == "text\n"
        assert [(each.path, each.read()) for each in tree] == [(f"{folder}dir {name}/in 'it", "text\n")]
        assert flow.computed() == computed
    told = flow.project.rayflow("log", file.path)
    assert told.returncode == 0 and ":script(" in told.stdout.partition("made by")[2]
    file.remove()
    flow.call("strange", folder, name)
    assert flow.computed() == {"script": 1}


def test_an_output_of_another_kind_is_told_as_what_it_is(flow: Flow) -> None:
    with pytest.raises(ScriptFailed, match=r"'o' as a directory, .* meant as a file: write outputs=Dir\('x'\)\.stage"):
        flow.run(script("mkdir o", outputs=File("x").stage("o")))
    with pytest.raises(ScriptFailed, match=r"'o' as a file, .* meant as a directory: write outputs=File\('x'\)\.stage"):
        flow.run(script("touch o", outputs=Dir("x").stage("o")))
