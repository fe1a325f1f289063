"""Commands that a text offers work where they are pasted: with the store that is meant, quoted for a shell."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from projects import REPOSITORY

from rayflow import pasting
from rayflow.pasting import command

SOURCES = sorted((REPOSITORY / "rayflow").rglob("*.py"))

OFFER = re.compile(
    r"(?<!from )\brayflow (run|repl|log|why|viz|tag|sql|resume|forget|push|pull|export|import|fs|store|config)\b"
)

PROSE = {
    "rayflow/store/layout.py",  # names the thing, "a rayflow store"
    "rayflow/store/exchange/archive.py",  # names the verb that has written a file, "what `rayflow export` writes"
    "rayflow/store/open.py",  # likewise
    "rayflow/cli/verbs/init.py",  # comments of a file that it writes, and what to type there
}


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The texts of a module that are neither docstrings nor the help of an option."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
        if isinstance(node, ast.Call):
            skipped.update(id(each.value) for each in node.keywords if each.arg == "help")
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.lineno, node.value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_text_writes_a_command_by_hand(path: Path) -> None:
    name = str(path.relative_to(REPOSITORY))
    if name in PROSE:
        return
    found = [(line, text) for line, text in texts(ast.parse(path.read_text())) if OFFER.search(text)]
    assert found == [], f"{name}: make it with rayflow.pasting.command"


def test_words_are_quoted_for_a_shell_and_placeholders_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pasting, "_default_store", lambda directory: "/home/ada/.rayflow")
    assert command("log", "-") == "rayflow log -"
    assert command("log", "~1", store="/home/ada/.rayflow/") == "rayflow log ~1"
    assert command("log", "JOB", store="s3://bucket/a b") == "rayflow log JOB --store 's3://bucket/a b'"
    words = ["sql", "from calls_of_file('it''s $HOME')"]
    assert shlex.split(command(*words)) == ["rayflow", *words]
    assert command("log", store=":memory:") == "rayflow log"


def test_a_store_is_named_where_nobody_can_tell_which_one_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pasting, "_default_store", None)
    assert command("log", store="file:///data/x") == "rayflow log --store /data/x"


HINTS = re.compile(r"rayflow (?:log|resume|why|sql|store|run)\b[^`)\n]*")


def offered(text: str) -> list[list[str]]:
    """The commands in a text, as a shell takes them apart."""
    return [shlex.split(found)[1:] for found in HINTS.findall(text)]


@pytest.mark.parametrize("where", ["project", "elsewhere", "below"])
@pytest.mark.parametrize("store", [None, "st ore", "$HOME;'q'"])
def test_every_offered_command_works_where_it_is_pasted(
    rayflow: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str, store: str | None
) -> None:
    project = rayflow.path.parent
    directory = {"project": project, "elsewhere": tmp_path / "else where", "below": project / "sub"}[where]
    directory.mkdir(exist_ok=True, parents=True)
    monkeypatch.chdir(directory)
    given = [] if store is None else ["--store", str(tmp_path / store)]
    done = rayflow("run", str(rayflow.path), "several", "--n", "30", "--inline", *given)
    commands = offered(done.err)
    assert done.code == 1 and len(commands) == 22  # of each failure that is told, of the rest, of the whole
    for words in commands[:2] + commands[-2:]:
        told = rayflow(*words)
        assert told.code == 0, (words, told.err)
        assert "no " in told.out or "failed" in told.out
    whole = rayflow("log", *commands[-1][1:])
    assert "several(n=30)" in whole.out


def test_a_lost_execution_is_offered_with_its_store(
    rayflow: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from rayflow.cli.verbs.log import how_to_go_on

    row = {"execution_id": "01a22d6f-9e8b-7a68-8d90-a81c6fc6a390"}
    kept = str(tmp_path / "a b")
    assert how_to_go_on(row, kept) == f"rayflow resume 01a22d6f-9e8b-7a68 --store '{kept}'"


@pytest.mark.parametrize("words", [("run",), ("sql",), ("tag", "list", "--history")])
def test_a_command_that_lacks_a_word_is_offered_with_the_store_that_was_named(rayflow: Any, words: Any) -> None:
    rayflow.run("--store", "other")
    found = rayflow(*words, "--store", "other")
    assert found.code == 1
    assert f": rayflow {words[0]} " in found.err and f" --store {rayflow.project.path / 'other'}\n" in found.err


def test_the_store_of_a_directory_is_read_once_until_something_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rayflow import config

    reads: list[str] = []
    load = config.load
    monkeypatch.setattr(config, "load", lambda directory: (reads.append(directory), load(directory))[1])
    (tmp_path / "rayflow.toml").write_text('store = "s3://one/a"\n')
    (tmp_path / "below").mkdir()

    def asked(count: int) -> tuple[str | None, int]:
        reads.clear()
        (found,) = {config.store_by_default(str(tmp_path / "below")) for _ in range(count)}
        return found, len(reads)

    assert (asked(50), asked(50)) == (("s3://one/a", 1), ("s3://one/a", 0))
    (tmp_path / "rayflow.toml").write_text('store = "s3://two/a"\n')
    assert asked(50) == ("s3://two/a", 1)
    (tmp_path / "pyproject.toml").write_text('[tool.rayflow]\nlogs = false\n')
    assert asked(2) == ("s3://two/a", 1)
    monkeypatch.setenv("RAYFLOW_STORE", "s3://three/a")
    assert asked(50) == ("s3://three/a", 1)
    monkeypatch.delenv("RAYFLOW_STORE")
    assert asked(50) == ("s3://two/a", 1)
    (tmp_path / "rayflow.toml").write_text("store = 3\n")
    assert asked(1)[0] is None
