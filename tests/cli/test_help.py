"""`rayflow help`: the pages that come with the package, on a terminal and in a pipe, and what is near a wrong name."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import click
import pytest

import rayflow
from rayflow.__main__ import main
from rayflow.cli.main import VERBS, command
from rayflow.cli.verbs import help as help_verb

PAGES = Path(rayflow.__file__).parent / "docs"


class Terminal(io.StringIO):
    """A stream that somebody looks at."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command prints that ends well."""
    assert main(["help", *words]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command says that is refused."""
    assert main(["help", *words]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


@pytest.mark.parametrize("page", sorted(path.stem for path in PAGES.glob("*.md") if path.stem != "index"))
def test_a_page_arrives_in_a_pipe_as_it_is_written(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (PAGES / f"{page}.md").read_text()
    lines = shown(capsys, page).splitlines()
    assert [line for line in lines if line] == [
        line for line in text.splitlines() if line and not line.startswith("<!--")
    ]


def test_the_list_has_each_page_and_one_line_about_it(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "--list").splitlines()
    assert sorted(line.split()[0] for line in lines) == sorted({path.stem for path in PAGES.glob("*.md")} - {"index"})
    assert all(len(line.split()) > 4 for line in lines)
    assert shown(capsys).startswith("\n".join(lines))


def test_a_terminal_gets_the_page_rendered_with_links_that_can_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    assert main(["help", "cluster"]) == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    assert "(rayflow help options)" in " ".join(text.split()) and "](options.md)" not in text
    assert "## " not in text and "```" not in text and "`rayflow up`" not in text
    assert max(map(len, text.splitlines())) == 100


def test_the_beginning_of_a_name_and_its_words_are_enough(capsys: pytest.CaptureFixture[str]) -> None:
    whole = shown(capsys, "files-and-scripts")
    for words in (["files"], ["Files", "and", "scripts"], ["files-and-scripts.md"]):
        assert shown(capsys, *words) == whole


def test_a_verb_gets_its_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "gc", "--help"]) == 0
    assert capsys.readouterr().out == shown(capsys, "store", "gc")
    assert shown(capsys, "run").startswith("Usage: rayflow run ")
    assert "`rayflow store gx` is not a command. See `rayflow store --help`" in refused(capsys, "store", "gx")
    assert "is not a command" in refused(capsys, "run", "main")


@pytest.mark.parametrize(
    ("words", "offer"),
    [
        (["cachin", "g"], "Did you mean `rayflow help caching`?"),
        (["redun"], "Did you mean `rayflow help coming-from-redun`?"),
        (["cl", "uster"], "Did you mean `rayflow help cluster`?"),
        (["stor"], "Did you mean `rayflow help store`?"),
        (["con"], "`rayflow help configuration` or `rayflow help contributing`?"),
        (["max_depth"], "It is mentioned in `rayflow help language`, `rayflow help options`"),
        (["xyzzy"], "See `rayflow help`."),
        (["../caching"], "Did you mean `rayflow help caching`?"),
        (["--list", "caching"], "--list lists all pages"),
    ],
)
def test_a_wrong_name_is_offered_what_is_near(words: list[str], offer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert offer in refused(capsys, *words)


def test_a_shell_is_offered_pages_and_verbs_for_the_first_word() -> None:
    def offered(incomplete: str, *before: str) -> set[str]:
        context = click.Context(help_verb.command, parent=click.Context(command))
        context.params["words"] = before
        [argument] = [each for each in help_verb.command.params if isinstance(each, click.Argument)]
        return {item.value for item in argument.shell_complete(context, incomplete)}

    assert offered("") == {*help_verb.topics(), *VERBS}
    assert offered("cac") == {"caching"}
    assert offered("", "caching") == set()
