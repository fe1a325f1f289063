"""What somebody means by a word that is none: options, settings, flags, verbs, files, tasks, members of an enum."""

from __future__ import annotations

import enum
from typing import Any, Literal

import pytest
from projects import Project

from rayflow import config, task
from rayflow.cli import main as verbs
from rayflow.cli.verbs import run
from rayflow.errors import BadArguments, BadConfig, BadOption, NotFound
from rayflow.lang.arguments import from_text
from rayflow.lang.options import options
from rayflow.lang.options.options import MEANT, OPTIONS, check_options


def test_what_is_offered_exists_and_what_exists_is_not_guessed_at() -> None:
    assert set(MEANT.values()) <= set(OPTIONS)
    assert not set(MEANT) & (set(OPTIONS) | set(options.ALIASES))
    settings = set(config.Config.__dataclass_fields__)
    assert set(config.MEANT.values()) <= settings
    assert not set(config.MEANT) & settings
    assert {words.split()[0] for words in verbs.MEANT.values()} <= {*verbs.VERBS, "--help", "--version"}
    assert not set(verbs.MEANT) & set(verbs.VERBS)
    flags = {name for option in run.command.params for name in option.opts}
    assert {words.split()[0] for words in run.MEANT.values()} <= flags
    assert not set(run.MEANT) & flags


@pytest.mark.parametrize("name", MEANT)
def test_an_option_of_another_tool_is_offered_ours_wherever_options_are_given(name: str) -> None:
    said = rf"no task option '{name}'\. Did you mean '{MEANT[name]}'\?"
    with pytest.raises(BadOption, match=said):
        task(**{name: 1})(lambda: 1)
    for at_call, many in ((True, False), (True, True), (False, False)):
        with pytest.raises(BadOption, match=said):
            check_options({name: 1}, where="here", at_call=at_call, many=many)
    with pytest.raises(BadOption, match=said):
        options.parse_option(f"{name}=1")


@pytest.mark.parametrize("name", config.MEANT)
def test_a_setting_of_another_tool_is_offered_ours(project: Project, name: str) -> None:
    project.write("rayflow.toml", f'{name} = "x"\n')
    with pytest.raises(BadConfig, match=rf"no setting '{name}'\. Did you mean '{config.MEANT[name]}'\?"):
        config.load()


def test_a_task_option_among_the_settings_says_where_it_belongs(project: Project) -> None:
    project.write("rayflow.toml", "retries = 2\n")
    with pytest.raises(BadConfig, match=r"options = \{ retries = \.\.\. \}"):
        config.load()


@pytest.mark.parametrize("flag", run.MEANT)
def test_a_flag_of_another_tool_is_offered_ours_before_and_behind_the_file(rayflow: Any, flag: str) -> None:
    found = rayflow("run", flag, rayflow.file)
    assert found.code == 1
    assert f"Did you mean '{run.MEANT[flag]}'?" in found.err
    if flag.startswith("--"):
        assert f"Did you mean {run.MEANT[flag]}?" in rayflow.run("--greet", "x", flag, "1").err


@pytest.mark.parametrize("verb", verbs.MEANT)
def test_a_verb_of_another_tool_is_offered_ours(rayflow: Any, verb: str) -> None:
    found = rayflow(verb)
    assert (found.code, f"Did you mean `rayflow {verbs.MEANT[verb]}`?" in found.err) == (1, True)


# --- enums ------------------------------------------------------------------------------------------------------------


class Color(enum.Enum):
    red = 1
    DARK_BLUE = "navy"


class Inner:
    class Color(enum.IntEnum):
        green = 3


@pytest.mark.parametrize("text", ["red", "RED", "Color.red", f"{__name__}.Color.red", "1"])
def test_a_member_of_an_enum_is_written_as_its_name_or_as_in_code(text: str) -> None:
    assert from_text.parse(text, Color) is Color.red


def test_members_of_inner_classes_containers_and_literals() -> None:
    assert from_text.parse("Inner.Color.green", Inner.Color) is Inner.Color.green
    assert from_text.parse("Color.dark-blue", Color) is Color.DARK_BLUE
    assert from_text.parse_many(["Color.red", "navy"], list[Color]) == [Color.red, Color.DARK_BLUE]
    assert from_text.parse("Color.red", Literal[Color.red]) is Color.red
    assert from_text.parse("Color.red", Color | None) is Color.red


@pytest.mark.parametrize("text", ["Color.rod", "Colour.red", "Color.", "Color.Color.rod", "red.Color"])
def test_no_member_lists_the_members(text: str) -> None:
    with pytest.raises(BadArguments, match="red, DARK_BLUE"):
        from_text.parse(text, Color)


# --- files and tasks --------------------------------------------------------------------------------------------------

PROJECT = {
    "other.py": """
        from rayflow import task

        @task
        def main():
            return "other"

        @task
        def step():
            return "other step"
        """,
    "one.py": """
        from rayflow import compose, identity, task
        from other import main as their_main, step as their_step

        @task
        def only():
            return "only"
        """,
    "mine.py": """
        from rayflow import identity, task
        from other import main as their_main, step as their_step

        @task
        def main():
            return "mine"

        @task
        def step():
            return "my step"
        """,
    "passed_on.py": "from other import main",
    "two.py": """
        from rayflow import identity, task
        from other import main

        @task
        def a(): return 1

        @task
        def b(): return 2
        """,
    "folder/flow.py": "",
    "empty/nothing.txt": "",
}


@pytest.fixture
def several(rayflow: Any) -> Any:
    for name, text in PROJECT.items():
        rayflow.project.write(name, text)
    rayflow.project.forget()
    yield rayflow
    rayflow.project.forget()


@pytest.mark.parametrize(
    ("words", "result"),
    [
        ("one.py", "only"), ("mine.py", "mine"), ("mine.py step", "my step"), ("passed_on.py", "other"),
        ("two.py main", "other"), ("one.py their-step", None), ("one.py step", "other step"),
    ],
)  # fmt: skip
def test_the_files_own_tasks_count_before_those_that_it_imports(several: Any, words: str, result: str | None) -> None:
    found = several("run", "--inline", *words.split())
    assert (found.out.strip() or None) == (result and repr(result))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("two.py", "none is called main: name one of two.a, two.b"),
        ("folder", "folder is a directory; name the file with the tasks: it has flow.py"),
        ("folder/", "it has flow.py"),
        ("empty", "it has no Python file"),
        ("one.py:only", "write: one.py only"),
        ("one.py::only", "write: one.py only"),
        ("one.only", "write: one.py only"),
        ("onne.py", "Did you mean one.py?"),
        ("zzzzzz.py", "There is "),
        ("onne", "Did you mean one?"),
    ],
)
def test_what_names_no_file_says_what_is_meant(several: Any, target: str, message: str) -> None:
    found = several("run", "--inline", target)
    assert (found.code, message in found.err) == (1, True), found.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("why main.mian", "Did you mean the task"),
        ("log gretter", "Did you mean the task greeter?"),
        ("log x.greetr", "Did you mean the task greeter?"),
        ("viz greeter", "'greeter' is a task: give the id of an execution"),
        ("resume JOB", "is a job: give the id of an execution"),
        ("log ~7", "the store has only 1 execution yet"),
    ],
)
def test_what_names_no_record_says_what_is_meant(rayflow: Any, words: str, message: str) -> None:
    rayflow.run()
    job = rayflow.ids("select job_id from jobs limit 1")[0]
    found = rayflow(*words.replace("JOB", job).split())
    assert (found.code, message in found.err) == (1, True), found.err


@pytest.mark.parametrize("verb", ["log", "resume", "viz", "why"])
def test_the_last_execution_of_a_store_without_one(rayflow: Any, verb: str) -> None:
    from rayflow.store.open import open_store

    history = open_store(".rayflow").history()
    with pytest.raises(NotFound, match="the store has no execution yet"):
        history.resolve("-")
    history.close()
    assert "the store has no execution yet" in rayflow(verb, "-").err


@pytest.mark.parametrize("namespace", ["a b", "a..b", ".a", "a.", "a/b", "a\n", " ", "a:b"])
def test_a_namespace_that_is_none_is_said_at_its_definition(project: Project, namespace: str) -> None:
    project.write("spaced.py", f"from rayflow import task\n\n@task(namespace={namespace!r})\ndef f(): return 1\n")
    with pytest.raises(BadOption, match=r"@task of f \(.*spaced.py:3\): .* is not a valid namespace"):
        project.load("spaced")
    text = f"from rayflow import task\nrayflow_namespace = {namespace!r}\n@task\ndef f(): return 1\n"
    project.write("spaced.py", text)
    with pytest.raises(BadOption, match=r"@task of f \(.*spaced.py:3\): rayflow_namespace: .* not a valid namespace"):
        project.load("spaced")


@pytest.mark.parametrize("namespace", ["a", "a.b", "a-b", "22_c", "é", ""])
def test_a_namespace_stands_before_the_name(project: Project, namespace: str) -> None:
    project.write("spaced.py", f"from rayflow import task\n\n@task(namespace={namespace!r})\ndef f(): return 1\n")
    assert project.load("spaced").f.fullname == f"{namespace}.f".lstrip(".")
