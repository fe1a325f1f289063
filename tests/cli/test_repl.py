"""`rayflow repl`: a prompt with a project's tasks and its store."""

from __future__ import annotations

import io
from typing import Any

import pytest


class Terminal(io.StringIO):
    """Lines that somebody types."""

    def isatty(self) -> bool:
        return True


def told(rayflow: Any, monkeypatch: pytest.MonkeyPatch, text: str, *, is_typed: bool = False) -> Any:
    monkeypatch.setattr("sys.stdin", (Terminal if is_typed else io.StringIO)(text))
    return rayflow("repl", rayflow.file, "--inline")


def test_lines_from_stdin_use_the_tasks_and_the_scheduler(rayflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "for greet in ('Hi',):\n    print(run(main(greet)))\nprint(len(log()), len(sql('from jobs').fetchall()))\n"
    done = told(rayflow, monkeypatch, text)
    assert done.code == 0 and done.out.endswith("Hi, World!\n1 3\n"), done.err


def test_rayflows_own_names_are_there(rayflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    done = told(rayflow, monkeypatch, "print(s.run(map_(leaf, [1, 2])))")
    assert done.out.endswith("[1, 2]\n")


def test_a_lazy_value_is_shown_as_lazy_and_kept(rayflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    done = told(rayflow, monkeypatch, "leaf(7)\nrun(_) + 1\n", is_typed=True)
    assert "lazy: leaf(7); run(_) gives its value\n>>> 8\n" in done.out


def test_an_error_in_the_lines_is_the_users_own(rayflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, message in (("1 / 0", "ZeroDivisionError"), ("a b", "SyntaxError"), ("run(fail(1))", "no 1")):
        done = told(rayflow, monkeypatch, text)
        assert done.code == 1 and message in done.err and "mistake in rayflow" not in done.err
        assert "api.py" not in done.err and done.err.count("Traceback") < 3


def test_an_error_at_the_prompt_is_shown_without_our_frames(rayflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    done = told(rayflow, monkeypatch, "run(fail(1))\nleaf()\n40 + 2\n", is_typed=True)
    assert done.code == 0 and "42" in done.out
    assert "ValueError: no 1" in done.err and "missing 1 required argument: 'i'" in done.err
    assert 'File "<console>", line 1' in done.err and "rayflow/" not in done.err and "code.py" not in done.err
