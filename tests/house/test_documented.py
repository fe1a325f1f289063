"""What a user can use is documented: public names, verbs, options, settings, examples, tables."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, get_type_hints

import click
import pytest
from projects import REPOSITORY

import rayflow
from rayflow.cli.main import VERBS, command
from rayflow.config import Config
from rayflow.lang.options import OPTIONS
from rayflow.records import TABLES

README = (REPOSITORY / "README.md").read_text()
EXAMPLES = sorted(path.name for path in (REPOSITORY / "examples").iterdir() if path.is_dir())


@pytest.mark.parametrize("name", rayflow.__all__)
def test_a_public_name_has_a_docstring_and_stands_in_the_readme(name: str) -> None:
    value = getattr(rayflow, name)
    assert inspect.getdoc(value), f"rayflow.{name} has no docstring"
    assert f"`{name}`" in README, f"README.md does not mention `{name}`"


@pytest.mark.parametrize("name", rayflow.__all__)
def test_the_methods_of_a_public_class_have_docstrings(name: str) -> None:
    value = getattr(rayflow, name)
    for method, function in vars(value).items() if inspect.isclass(value) else ():
        if not method.startswith("_") and callable(function):
            assert inspect.getdoc(function), f"rayflow.{name}.{method} has no docstring"


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every verb and every verb of a verb, with the words that call it."""
    with click.Context(command) as context:
        for verb in VERBS:
            found = command.get_command(context, verb)
            assert found is not None
            yield verb, found
            if isinstance(found, click.Group):
                for name, sub in found.commands.items():
                    yield f"{verb} {name}", sub


@pytest.mark.parametrize(("words", "verb"), list(commands()))
def test_a_verb_has_help_with_an_example_and_stands_in_the_readme(words: str, verb: click.Command) -> None:
    assert verb.help
    assert f"rayflow {words}" in verb.help or isinstance(verb, click.Group) or " " in words
    assert f"rayflow {words}" in README, f"README.md does not mention `rayflow {words}`"


@pytest.mark.parametrize(("words", "verb"), list(commands()))
def test_an_option_of_a_verb_has_help(words: str, verb: click.Command) -> None:
    for parameter in verb.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"rayflow {words} {parameter.opts[0]} has no help"


@pytest.mark.parametrize("name", OPTIONS)
def test_a_task_option_stands_in_the_readme_as_its_table_says_it(name: str) -> None:
    option = OPTIONS[name]
    default = "" if option.default is None else f"`{option.default!r}`"
    row = f"| `{option.name}` | {option.kinds} | {default} | {option.meaning} |"
    assert row in README.splitlines(), f"README.md lacks this row:\n{row}"


@pytest.mark.parametrize("name", [item.name for item in fields(Config) if item.name != "project_dir"])
def test_a_setting_is_described_and_stands_in_the_readme(name: str) -> None:
    assert f"{name}:" in (Config.__doc__ or "")
    assert f"\n{name} = " in README, f"README.md does not show the setting {name}"


@pytest.mark.parametrize("table", [table.row for table in TABLES], ids=[table.name for table in TABLES])
def test_a_column_says_what_it_means(table: Any) -> None:
    assert table.__doc__
    for name, kind in get_type_hints(table, include_extras=True).items():
        meanings = [note for note in getattr(kind, "__metadata__", ()) if " " in note]
        assert meanings, f"{table.__name__}.{name} has no documentation"


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_has_a_readme_and_stands_in_the_readme(name: str) -> None:
    folder = REPOSITORY / "examples" / name
    assert f"rayflow run examples/{name}/flow.py" in (folder / "README.md").read_text()
    assert f"(examples/{name})" in README
    assert (folder / "rayflow.toml").exists(), "each example is a project of its own"


def test_every_room_stands_in_the_readme() -> None:
    rooms = [path for path in (REPOSITORY / "rayflow").iterdir() if (path / "__init__.py").exists()]
    rooms += [path for path in (REPOSITORY / "rayflow").glob("*.py") if not path.stem.startswith("__")]
    for room in rooms:
        assert f"| `rayflow/{room.name}` |" in README


def test_the_readme_begins_with_the_two_commands() -> None:
    install = "    python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && "
    commands_shown = [line for line in README.splitlines() if line.startswith(install)]
    assert [line.removeprefix(install) for line in commands_shown] == [
        ".venv/bin/rayflow run examples/01_hello_world/flow.py",
        ".venv/bin/python -m pytest",
    ]


def test_the_first_workflow_of_the_readme_is_the_first_example() -> None:
    shown = README.split("```python\n# flow.py\n")[1].split("```")[0]
    flow = (REPOSITORY / "examples/01_hello_world/flow.py").read_text().split('"""')[2]
    assert shown.split() == flow.split()
