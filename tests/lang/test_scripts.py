"""What a call of a script is known by, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayflow import Dir, File, FileSet, script, task
from rayflow.errors import BadArguments, BadOption
from rayflow.lang.packing.pack import pack
from rayflow.lang.scripts import Promise, Script, promised, script_of
from rayflow.lang.terms.codec import dumps
from rayflow.lang.terms.expressions import TaskCall


@task(namespace="scripted")
def made(name: str) -> File:
    return File(name)


def packed(expr: object) -> bytes:
    return dumps(pack(expr, lambda *_: None))


def test_a_script_is_one_lazy_call() -> None:
    call = script("true", timeout=3)
    assert type(call) is TaskCall
    assert (call._task, call._options) == ("rayflow.script", {"timeout": 3})
    assert script("true")._options is None


def test_a_script_takes_the_options_of_a_call() -> None:
    call = script("true", num_cpus=4, limits=["db"], timeout=3)
    assert call._options == {"num_cpus": 4, "limits": ["db"], "timeout": 3}
    with pytest.raises(BadOption, match="Did you mean 'num_cpus'"):
        script("true", num_cpu=4)
    with pytest.raises(BadArguments, match=r"no argument 'output'\. Did you mean 'outputs'"):
        script("true", output=File("x"))


def test_how_an_output_was_before_does_not_count(tmp_path: Path) -> None:
    target = tmp_path / "out"
    expr = script("true", outputs=[File(str(target)).stage("out"), Dir(str(tmp_path)).stage("dir")])
    before = packed(expr)
    target.write_text("written")
    assert packed(expr) == before
    again = script("true", outputs=[File(str(target)).stage("out"), Dir(str(tmp_path)).stage("dir")])
    assert packed(again) == before


def test_how_an_input_is_counts(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_text("1")
    expr = script("true", inputs={"in": [File(str(source)).stage("in")]})
    before = packed(expr)
    assert packed(expr) == before
    source.write_text("longer")
    assert packed(expr) != before


def test_a_promise_stands_for_each_output_in_any_nesting() -> None:
    found = promised({"a": [File("x").stage("in/x"), 3], "b": (File("-"), Dir("d", immutable=True))})
    of_file, of_dir = "rayflow.values.files:File", "rayflow.values.files:Dir"
    assert found == {
        "a": [Promise("x", "in/x", of_file), 3],
        "b": (Promise("-", None, of_file), Promise("d", None, of_dir, True)),
    }
    assert promised(found) == found


def test_commands_inputs_and_outputs_may_be_lazy() -> None:
    call = script(made("a").read(), inputs=[made("b").stage("b")], outputs={"out": made("c")})
    assert b"scripted.made" in packed(call)


def test_the_task_gives_its_script_for_tests_of_the_users() -> None:
    given = script_of.func("cat in", [], File("x").stage("y"), True, {"A": "1"}, None, "sh")
    assert given == Script("cat in", [], promised(File("x").stage("y")), True, {"A": "1"}, None, "sh")


def test_what_makes_no_sense_is_refused_where_it_is_written() -> None:
    with pytest.raises(BadArguments, match="takes the command as text, not 3"):
        script(3)
    with pytest.raises(BadArguments, match="needs tempdir=False"):
        script("true", cwd="x")
    with pytest.raises(BadArguments, match="cannot be an output"):
        script("true", outputs=FileSet("*"))
    with pytest.raises(BadOption, match="script"):
        task(script="text")(lambda: "true")


def test_the_option_counts_as_part_of_the_code() -> None:
    def command() -> str:
        return "true"

    hashes = {task(name="scripted", namespace="t", script=kind)(command).hash for kind in (False, True, "bytes")}
    assert len(hashes) == 3
