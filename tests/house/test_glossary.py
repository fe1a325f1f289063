"""The glossary is complete and true: one plain sentence for a word, one class for a name, no word that is avoided.

In: `rayflow/docs/glossary.md`, which lists all of them, and the package. Out: what disagrees. Never: a list of its own.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections import Counter
from pathlib import Path

import doc_tables
import pytest
from projects import REPOSITORY

import rayflow
from rayflow.records import TABLES

PACKAGE = REPOSITORY / "rayflow"
DOCS = PACKAGE / "docs"
GLOSSARY = (DOCS / "glossary.md").read_text()

LONGEST = 140
"""A meaning with more characters is more than one idea."""


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    section = GLOSSARY.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


MEANINGS = [row for part in ("What a user writes", "What happens", "What is recorded") for row in rows(part)]
PUBLIC = [name for name in rayflow.__all__ if inspect.isclass(getattr(rayflow, name))]


@pytest.mark.parametrize("name", [*PUBLIC, *(table.name for table in TABLES)])
def test_a_public_class_and_a_table_stand_in_the_glossary(name: str) -> None:
    assert f"`{name}`" in [word for word, _ in MEANINGS]


def test_a_word_has_one_meaning_in_one_sentence() -> None:
    assert [word for word, count in Counter(word for word, _ in MEANINGS).items() if count > 1] == []
    for word, meaning in MEANINGS:
        assert 0 < len(meaning) <= LONGEST, word
        assert ". " not in meaning, f"{word}: one sentence"


# --- one name, one class ----------------------------------------------------------------------------------------------

PARTED = {name for row in rows("One name, one class") for name in row[0].split(", ")}
"""Names of which more than one class had been called; the glossary says whose they are."""

def classes() -> dict[str, list[str]]:
    """Each class name of the package, with the modules that define it."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(path.relative_to(REPOSITORY).as_posix())
    return found


def test_a_class_name_stands_once_in_the_package() -> None:
    twice = {name: places for name, places in classes().items() if len(places) > 1}
    assert twice == {}, "Give the less public one a name of its own."


# --- words that are avoided -------------------------------------------------------------------------------------------

AVOIDED = {row[0]: [each.strip() for each in row[2].split(";") if each.strip()] for row in rows("Not to be used")}

def avoided_in(text: str) -> list[str]:
    """The avoided words of a text, without its code and without the longer phrases that are exceptions."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"`[^`\n]*`", "", prose)
    prose = re.sub(r"\s+", " ", prose).lower()
    found = []
    for word, exceptions in AVOIDED.items():
        rest = prose
        for exception in exceptions:
            rest = re.sub(rf"\b{re.escape(exception)}\b", "", rest)
        found += re.findall(rf"\b{re.escape(word)}\b", rest)
    return found


def test_a_word_is_found_in_prose_and_not_in_code_nor_in_an_exception() -> None:
    assert avoided_in("It is told.\nWhoever comes. This is\nno value.") == ["told", "whoever", "is no"]
    assert avoided_in("`told`, an event loop.\n\n```text\ntold\n```\n\nIt is no longer so; there is no page.") == []


@pytest.mark.parametrize("page", sorted(path.stem for path in DOCS.glob("*.md")))
def test_a_page_has_no_avoided_word(page: str) -> None:
    text = doc_tables.without_written((DOCS / f"{page}.md").read_text())
    if page == "glossary":
        text = re.sub(r"\n## (Reserved|Not to be used).*?(?=\n## )", "", text, flags=re.DOTALL)
    assert avoided_in(text) == []


def test_the_readmes_have_no_avoided_word() -> None:
    readmes = [REPOSITORY / "README.md", REPOSITORY / "cluster" / "README.md"]
    readmes += sorted((REPOSITORY / "examples").glob("*/README.md"))
    said = {path.relative_to(REPOSITORY).as_posix(): avoided_in(path.read_text()) for path in readmes}
    assert {name: words for name, words in said.items() if words} == {}


def docstrings_of(folder: Path) -> dict[str, list[str]]:
    """The modules directly in a folder whose docstrings have avoided words, and these."""
    found = {
        path.relative_to(REPOSITORY).as_posix(): avoided_in(ast.get_docstring(ast.parse(path.read_text())) or "")
        for path in sorted(folder.glob("*.py"))
    }
    return {name: words for name, words in found.items() if words}


@pytest.mark.parametrize(
    "folder", sorted({path.parent.relative_to(REPOSITORY).as_posix() for path in PACKAGE.rglob("*.py")})
)
def test_module_docstrings_have_no_avoided_word(folder: str) -> None:
    assert docstrings_of(REPOSITORY / folder) == {}
