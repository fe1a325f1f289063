"""Inputs of a script that are not staged: a hint where the script cannot see them, and none where it can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Dir, File, FileSet, script
from rayflow.errors import ScriptFailed


@pytest.fixture
def flow(project: Project) -> Flow:
    for name in ("reads.fq", "folder/x"):
        project.write(name, "reads\n")
    return Flow(project)


UNSEEN: list[Any] = [
    "reads.fq",
    Path("reads.fq"),
    ["folder/x"],
    {"in": (1, None, "reads.fq")},
    File("reads.fq"),
    Dir("folder"),
    FileSet("folder/*"),
    File("folder/x"),
]


@pytest.mark.parametrize("inputs", UNSEEN, ids=repr)
def test_a_failure_says_that_an_input_is_not_there(flow: Flow, inputs: Any) -> None:
    with pytest.raises(ScriptFailed, match=r"exit code 1[^$]*of its own, where .* is not: write inputs="):
        flow.run(script("cat reads.fq", inputs=inputs))
    with pytest.raises(ScriptFailed, match=r"did not write 'out'.*\n.*where .* is not: write inputs="):
        flow.run(script("true", inputs=inputs, outputs=File("o").stage("out")))


def test_the_hint_can_be_written_as_it_stands(flow: Flow) -> None:
    one, other = File("reads.fq").stage(), [File("folder/x").stage()]
    for inputs, written in ((Path("reads.fq"), one), (FileSet("folder/*"), other)):
        with pytest.raises(ScriptFailed) as raised:
            flow.run(script("exit 1", inputs=inputs))
        hint = str(raised.value).partition("write inputs=")[2].partition("\n")[0].partition(". ")[0].removesuffix(".")
        assert eval(hint) == written


def test_it_is_told_too_where_the_script_did_not_mind(flow: Flow) -> None:
    flow.run(script("cat reads.fq || true", inputs=["reads.fq", File("folder/x")]))
    (told,) = [line for line in flow.watching.lines if line.startswith("rayflow: ")]
    assert "where 'reads.fq', File('folder/x') are not: write inputs=File('reads.fq').stage()." in told
    assert "If a path is not a File, rayflow does not see that the file has changed, either." in told


@pytest.mark.parametrize(
    "inputs", ["sample-7", "", "a\nb", "x" * 5000, 7, "folder", File("memory://unstaged/x"), "memory://unstaged/x"]
)
def test_what_names_no_file_of_the_project_is_nothing_to_tell_of(flow: Flow, inputs: Any) -> None:
    File("memory://unstaged/x").write("x")
    flow.run(script("true", inputs=inputs))
    assert flow.watching.lines == []


def test_what_can_be_seen_is_nothing_to_tell_of(flow: Flow) -> None:
    whole = File(str(flow.project.path / "reads.fq"))
    assert flow.run(script(f"cat {whole}", inputs=whole)) == "reads\n"
    assert flow.run(script("cat reads.fq", inputs="reads.fq", tempdir=False)) == "reads\n"
    staged = [File("reads.fq").stage(), "reads.fq", File("reads.fq")]
    assert flow.run(script("cat reads.fq", inputs=staged)) == "reads\n"
    assert [line for line in flow.watching.lines if "rayflow" in line] == []
