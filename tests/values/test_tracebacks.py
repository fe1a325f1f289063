"""Tracebacks as data: what is folded, shortened and hidden, and that Python shows what comes back like its own."""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
import traceback
import warnings
from pathlib import Path
from typing import Any

import click
import pytest
import ray

from rayflow.cli.output.errors import complain
from rayflow.errors import BadModule
from rayflow.values.display.python_warnings import warning_text
from rayflow.values.display.tracebacks import (
    LONGEST_LINE,
    MOST_FRAMES,
    Frame,
    frames_of,
    front_door,
    hidden_by_default,
    is_the_users,
    syntax_frame,
    traceback_from,
    traceback_lines,
)
from rayflow.values.display.user_warnings import warn_user


def frames_from(text: str, file: str = "<made>") -> tuple[Frame, ...]:
    """The frames of what a program raises."""
    try:
        exec(compile(text, file, "exec"), {})
    except Exception as error:
        return tuple(frame for frame in frames_of(error.__traceback__) if frame.file == file)
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("length", [1, 2, 3, 8])
def test_a_ring_of_calls_is_shown_once_with_how_often_it_comes_again(length: int) -> None:
    lines = [f"def f{i}(n): return f{(i + 1) % length}(n - 1) if n else 1 // 0" for i in range(length)]
    frames = frames_from("\n".join([*lines, "f0(400)"]))
    assert length <= len(frames) <= 3 * length + 3
    (left_out,) = [frame.left_out for frame in frames if frame.left_out]
    rounds = 401 // length
    assert f"repeated {rounds - 1:,} more times" in left_out or f"repeated {rounds - 2:,} more times" in left_out


def test_three_rounds_are_shown_as_they_are() -> None:
    frames = frames_from("def f(n): return f(n - 1) if n else 1 // 0\nf(2)")
    assert len(frames) == 4 and not any(frame.left_out for frame in frames)


def test_of_a_long_traceback_without_rounds_both_ends_are_kept() -> None:
    lines = [f"def f{i}(): return f{i + 1}()" for i in range(200)]
    frames = frames_from("\n".join(["def f200(): return 1 // 0", *lines, "f0()"]))
    assert len(frames) == MOST_FRAMES - 1  # the outermost one is this file's
    assert (frames[0].function, frames[-1].function) == ("<module>", "f200")
    assert [frame.left_out for frame in frames if frame.left_out] == [f"[{203 - MOST_FRAMES} more frames]"]


def test_a_long_line_of_source_is_shortened(tmp_path: Path) -> None:
    file = tmp_path / "long.py"
    file.write_text(f"x = '{'y' * 10_000}'; 1 // 0\n")
    (frame,) = frames_from(file.read_text(), str(file))
    assert len(frame.text) == LONGEST_LINE and frame.text.endswith("...")


def test_a_syntax_error_shows_its_line_with_a_mark() -> None:
    with pytest.raises(SyntaxError) as raised:
        compile("a = 1\nb = = 2\n", "/project/made.py", "exec")
    frames = syntax_frame(raised.value, "/project")
    assert traceback_lines(frames)[1:] == ['  File "made.py", line 2', "    b = = 2", "        ^"]
    assert syntax_frame(ValueError("other")) == ()


def test_a_traceback_from_data_is_shown_by_python_also_without_the_file() -> None:
    frames = (Frame("gone.py", 3, "outer", "inner(1)"), Frame("gone.py", 700, "A.inner", "raise ValueError"))
    error = ValueError("text").with_traceback(traceback_from(frames))
    told = "".join(traceback.format_exception(error)).splitlines()
    assert told[1:] == [
        '  File "gone.py", line 3, in outer',
        "    inner(1)",
        '  File "gone.py", line 700, in A.inner',
        "    raise ValueError",
        "ValueError: text",
    ]
    assert frames_of(error.__traceback__) == frames, "and is the same data again"


def test_a_door_keeps_name_text_and_signature() -> None:
    @front_door
    def door(x: int, *, y: int = 2) -> int:
        """What it does."""
        return x + y

    assert (door.__name__, door.__doc__, door(1, y=3)) == ("door", "What it does.", 4)


# --- whose code -------------------------------------------------------------------------------------------------------

SITE = os.path.dirname(os.path.dirname(click.__file__))
BIN = os.path.dirname(sys.executable)

USERS = [
    "/home/u/flow.py", "/home/u/click/flow.py", "/home/u/ray/flow.py", "/home/u/bin/flow.py", "/home/u/bin/flow",
    "/home/u/my-site-packages/flow.py", "/home/u/site-packages.py", "/home/u/threading.py", "/home/u/runpy.py",
    "/home/u/lib/python3/flow.py", f"{BIN}/flow.py", "<stdin>", "/tmp/ipykernel_7/1.py",
]  # fmt: skip
NOT_USERS = [
    click.__file__, ray.__file__, threading.__file__, os.__file__, hidden_by_default.__code__.co_filename,
    f"{SITE}/other/some.py", "/home/u/.venv/lib/python3.11/site-packages/a.py", "/usr/lib/python3/dist-packages/a/b.py",
    f"{sysconfig.get_path('stdlib')}/json/decoder.py", f"{BIN}/rayflow", f"{BIN}/pytest", "<frozen runpy>",
    "<frozen importlib._bootstrap>", os.path.join(sysconfig.get_path("scripts", f"{os.name}_user"), "rayflow"),
]  # fmt: skip


def _calls(file: str, action: str, **names: Any) -> None:
    exec(compile(action, file, "exec"), {"__name__": "called", **names})


@pytest.mark.parametrize("file", USERS + NOT_USERS)
def test_all_who_ask_whose_code_a_file_is_agree(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    is_theirs = file in USERS
    assert is_the_users(file) == is_theirs
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _calls(file, "warn('odd')", warn=warn_user)
    assert (caught[0].filename == file) == is_theirs
    said: list[str] = []
    ours = hidden_by_default.__code__.co_filename
    _calls(file, "said.append(text('odd', UserWarning, ours, 1))", said=said, text=warning_text, ours=ours)
    assert (os.path.basename(__file__) not in said[0]) == is_theirs  # else this file's line is blamed
    try:
        _calls(file, "raise error", error=BadModule("odd"))
    except BadModule as error:
        complain(error)
    assert (f'File "{file}"' in capsys.readouterr().err) == is_theirs


@pytest.mark.parametrize(
    ("library", "starter"), [(f"{SITE}/pipelines/run.py", file) for file in (click.__file__, threading.__file__)]
)
def test_where_no_code_of_the_users_led_the_library_is_blamed_and_not_what_runs_it(library: str, starter: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # In a thread, so that no line of this file is on the way.
        names = {"calls": _calls, "library": library, "warn": warn_user, "starter": starter}
        code = compile("call()", starter, "exec")
        inner = compile("warn('odd')", library, "exec")
        call = eval("lambda: run(inner, {'warn': warn, '__name__': 'l'})", {**names, "run": exec, "inner": inner})
        call = call.__class__(call.__code__.replace(co_filename=starter), call.__globals__)
        thread = threading.Thread(target=exec, args=(code, {"call": call, "__name__": "s"}))
        thread.start()
        thread.join()
    assert caught[0].filename == library
