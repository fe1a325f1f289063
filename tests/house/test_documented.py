"""What a user can use is documented: public names, verbs, options, settings, examples, tables, folders.

Each has one page of `rayflow/docs` where it stands. Links between pages lead somewhere, and programs on the pages run.
"""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, get_type_hints

import click
import doc_tables
import pytest
from projects import REPOSITORY, Project

import rayflow
from rayflow.cli.main import VERBS, command
from rayflow.cli.verbs.help import topics
from rayflow.config import Config
from rayflow.lang.options.options import OPTIONS
from rayflow.records import TABLES

README = (REPOSITORY / "README.md").read_text()
DOCS = REPOSITORY / "rayflow" / "docs"
PAGES = {path.stem: path.read_text() for path in sorted(DOCS.glob("*.md"))}
EXAMPLES = sorted(path.name for path in (REPOSITORY / "examples").iterdir() if path.is_dir())

MOST_LINES_OF_README = 150


# --- what a user can use ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", rayflow.__all__)
def test_a_public_name_has_a_docstring_and_stands_in_the_page_of_the_language(name: str) -> None:
    value = getattr(rayflow, name)
    assert inspect.getdoc(value), f"rayflow.{name} has no docstring"
    rows = [line for line in PAGES["language"].splitlines() if line.startswith("| `")]
    named = {word for row in rows for word in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert name in named, f"no table of language.md has a row for `{name}`"


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
def test_a_verb_has_help_with_an_example_and_stands_in_a_page(words: str, verb: click.Command) -> None:
    assert verb.help
    assert f"rayflow {words}" in verb.help or isinstance(verb, click.Group) or " " in words
    assert any(f"rayflow {words}" in text for text in PAGES.values()), f"no page mentions `rayflow {words}`"


@pytest.mark.parametrize(("words", "verb"), list(commands()))
def test_an_option_of_a_verb_has_help(words: str, verb: click.Command) -> None:
    for parameter in verb.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"rayflow {words} {parameter.opts[0]} has no help"


@pytest.mark.parametrize("name", OPTIONS)
def test_a_task_option_stands_in_the_page_of_options(name: str) -> None:
    assert f"\n| `{name}` |" in PAGES["options"]


@pytest.mark.parametrize("table", [table.name for table in TABLES])
def test_a_table_and_its_columns_stand_in_the_page_of_provenance(table: str) -> None:
    section = PAGES["provenance-and-sql"].split(f"\n### `{table}`\n")[1].split("\n### ")[0]
    [row] = [each.row for each in TABLES if each.name == table]
    shown = {"at": "recorded_at"}
    for column in row._fields:
        assert f"\n| `{shown.get(column, column)}` |" in section


@pytest.mark.parametrize("name", doc_tables.WRITTEN)
def test_a_table_that_is_written_from_the_code_is_as_the_code_says(name: str) -> None:
    page, make = doc_tables.WRITTEN[name]
    stands = doc_tables.between((DOCS / page).read_text(), name)
    assert stands == make(), f"{page} is behind the code: run `.venv/bin/python tests/support/doc_tables.py`"


@pytest.mark.parametrize("table", [table.row for table in TABLES], ids=[table.name for table in TABLES])
def test_a_column_says_what_it_means(table: Any) -> None:
    assert table.__doc__
    for name, hint in get_type_hints(table, include_extras=True).items():
        meanings = [note for note in getattr(hint, "__metadata__", ()) if " " in note]
        assert meanings, f"{table.__name__}.{name} has no documentation"


@pytest.mark.parametrize("name", [item.name for item in fields(Config) if item.name != "project_dir"])
def test_a_setting_is_described_and_stands_in_the_page_of_the_configuration(name: str) -> None:
    assert f"{name}:" in (Config.__doc__ or "")
    shown = PAGES["configuration"].split("```toml\n")[1].split("```")[0]
    assert name in tomllib.loads(shown), f"configuration.md does not show the setting {name}"


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_has_a_readme_and_stands_in_the_readme(name: str) -> None:
    folder = REPOSITORY / "examples" / name
    read_me = (folder / "README.md").read_text()
    assert f"rayflow run examples/{name}/flow.py" in read_me or f"cd examples/{name}\nrayflow serve flow.py" in read_me
    assert f"(examples/{name})" in README
    assert (folder / "rayflow.toml").exists(), "each example is a project of its own"


# --- the code's own plan ----------------------------------------------------------------------------------------------


def folders() -> set[str]:
    """Every folder and every single file below `rayflow` that is a room or a part of one."""
    package = REPOSITORY / "rayflow"
    found = {path.parent for path in package.rglob("*/__init__.py")} | {path.parent for path in package.rglob("*.sql")}
    found |= {path for path in package.glob("*.py") if path.name != "__init__.py"} | {DOCS}
    return {path.relative_to(REPOSITORY).as_posix() for path in found}


def test_the_page_of_the_architecture_has_a_line_for_each_folder_and_for_no_other() -> None:
    lines = re.findall(r"^\| `(rayflow/[\w/.]+)` \| .*\w", PAGES["architecture"], re.MULTILINE)
    assert sorted(lines) == sorted(folders())


def test_the_picture_of_the_readme_names_every_room() -> None:
    picture = README.split("## The rooms of the code")[1].split("```")[1]
    rooms = {name.split("/")[1] for name in folders()} - {"__main__.py"}
    assert rooms == {word.rstrip("/") for word in re.findall(r"\w+(?:\.py|/)", picture)}


QUESTIONS = {
    "a new task option": "rayflow/lang/options",
    "a storage backend": "rayflow/store/folders",
    "queue time": "rayflow/cli/output/render.py",
    "a special form": "rayflow/evaluator/forms.py",
    "the retry policy": "rayflow/evaluator",
    "column of the records": "rayflow/records.py",
    "a value handler": "rayflow/values/types",
    "a verb": "rayflow/cli/verbs",
    "a Ray resource": "rayflow/runtime/on_ray/lowering.py",
    "a rule of code identity": "rayflow/lang/code",
}
"""What somebody may want to change -> where the page of the architecture sends them first of all."""


@pytest.mark.parametrize("change", QUESTIONS)
def test_the_page_of_the_architecture_says_where_to_change_what(change: str) -> None:
    table = PAGES["architecture"].split("## Where would you change")[1]
    rows = [line for line in table.splitlines() if line.startswith("| ") and change in line.split("|")[1]]
    row = rows[0] if rows else ""
    assert f"`{QUESTIONS[change]}" in row, f"no row says where to change: {change}"


def test_the_paths_that_the_pages_name_are_there() -> None:
    """In code: `rayflow/...`, `tests/...`, `examples/...`, `cluster/...`."""
    missing = [
        (page, path)
        for page, text in PAGES.items()
        for path in re.findall(r"`((?:rayflow|tests|examples|cluster)/[\w/.-]+)", text)
        if "VERB" not in path and not (REPOSITORY / path).exists()
    ]
    assert missing == []


# --- README and pages -------------------------------------------------------------------------------------------------


def test_the_readme_begins_with_the_two_commands_and_is_short() -> None:
    install = "    python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && "
    commands_shown = [line for line in README.splitlines() if line.startswith(install)]
    assert [line.removeprefix(install) for line in commands_shown] == [
        ".venv/bin/rayflow run examples/01_hello_world/flow.py",
        ".venv/bin/python -m pytest -n 2",
    ]
    assert len(README.splitlines()) <= MOST_LINES_OF_README


def test_the_first_workflow_of_the_readme_is_the_first_example() -> None:
    shown = README.split("```python\n# flow.py\n")[1].split("```")[0]
    flow = (REPOSITORY / "examples/01_hello_world/flow.py").read_text().split('"""')[2]
    assert shown.split() == flow.split()


def test_every_page_is_listed_and_begins_with_a_title_and_one_paragraph_about_it() -> None:
    assert sorted(topics()) == sorted(PAGES.keys() - {"index"})
    for page, text in PAGES.items():
        assert re.match(r"# .+\n\n\w", text), page
        assert f"rayflow/docs/{page}.md" in README or page == "index"


def anchors(text: str) -> set[str]:
    """The names under which the headings of a page can be linked."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_link_leads_somewhere() -> None:
    documents = [REPOSITORY / "README.md", *DOCS.glob("*.md"), *(REPOSITORY / "examples").glob("*/README.md")]
    dangling = []
    for document in documents:
        prose = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
        for link in re.findall(r"(?<!`)\[[^\]`]+\]\(([^)\s]+)\)", prose):
            path, _, anchor = link.partition("#")
            if "://" in link:
                continue
            target = (document.parent / path) if path else document
            if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
                dangling.append((document.relative_to(REPOSITORY).as_posix(), link))
    assert dangling == []


def test_pages_lead_only_to_pages_that_are_shipped_with_them() -> None:
    for page, text in PAGES.items():
        assert not re.findall(r"\]\((?!\w[\w-]*\.md)(?!https?://)[^)\s]*[./][^)\s]*\)", text), page


# --- what the pages show ----------------------------------------------------------------------------------------------

BLOCK = re.compile(r"^```(python|pycon|toml|console|text|diff|sh)?( fragment)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def programs() -> Iterator[Any]:
    """The whole programs of the pages that define `main`, each with what it prints, as the text behind it shows."""
    for page, text in PAGES.items():
        blocks = [(found[1], found[2], found[3]) for found in BLOCK.finditer(text)]
        for number, (language, fragment, code) in enumerate(blocks):
            if language == "python" and not fragment:
                after = blocks[number + 1] if number + 1 < len(blocks) else ("", "", "")
                printed = after[2] if after[0] == "text" and "print(" in code else None
                yield pytest.param(code, printed, id=f"{page}-{number}")


@pytest.mark.parametrize(("code", "printed"), list(programs()))
def test_a_program_of_a_page_runs_and_prints_what_stands_below_it(
    code: str, printed: str | None, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.path)
    (project.path / "input.csv").write_text("a,b\n")
    project.write("rayflow.toml", "")
    project.write("flow.py", code)
    flow = project.load("flow")
    value = rayflow.run(flow.main(), inline=True)
    project.forget()
    if printed is None:
        assert "print(" not in code, "what it prints has to stand below it, as ```text"
        return
    shown = re.search(r"^    print\((.*)\)$", code, re.MULTILINE)
    assert shown is not None
    assert str(eval(shown[1].replace("run(main())", "value"), {"value": value})) == printed.rstrip("\n")


def test_every_block_says_what_it_is() -> None:
    for page, text in PAGES.items():
        fences = [line for line in text.splitlines() if line.startswith("```")]
        assert len(fences) == 2 * len(BLOCK.findall(text)), f"{page}.md has a fence that is not closed, or not known"
        assert all(fence != "```" for fence in fences[::2]), f"{page}.md has a block without a language"


@pytest.mark.slow
def test_the_pages_come_with_the_package() -> None:
    """As the build says it: everything below `rayflow`, and git does not ignore the pages."""
    build = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert build["wheel"] == {"packages": ["rayflow"]}
    if (REPOSITORY / ".git").exists():
        ignored = subprocess.run(
            ["git", "-C", os.fspath(REPOSITORY), "check-ignore", *map(os.fspath, DOCS.glob("*.md"))],
            capture_output=True,
            text=True,
        )
        assert ignored.stdout == ""


@pytest.mark.parametrize("page", ["architecture", "contributing"])
def test_the_files_and_tables_that_a_page_on_the_code_names_are_there(page: str) -> None:
    files = {path.name: path.read_text() for path in (REPOSITORY / "rayflow").rglob("*.py")}
    words = re.findall(r"`([^`\n]+)`", PAGES[page])
    assert not [word for word in words if re.fullmatch(r"[a-z_]+\.py", word) and word not in files]
    tables = [word for word in words if re.fullmatch(r"_?[A-Z][A-Z_]{3,}", word)]
    bound = "\n".join(files.values())
    assert not [name for name in tables if not name.startswith("TEST_") and not re.search(rf"^{name}\b", bound, re.M)]
