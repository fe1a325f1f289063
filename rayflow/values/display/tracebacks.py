"""Tracebacks as data, and tracebacks rebuilt from the data.

In: Python's tracebacks. Out: `Frame`s, plain data for any process; lines of text; tracebacks that Python, debuggers and
notebooks show like their own. Never: shows frames of rayflow or Ray, unless the user asks for full tracebacks.
"""

from __future__ import annotations

import functools
import linecache
import os
import sys
import sysconfig
import traceback
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import CodeType, FrameType, TracebackType
from typing import Any, NoReturn, TypeAlias, TypeVar, cast

from rayflow.errors import Bug, RayflowError
from rayflow.installation import PACKAGE, is_installed


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a traceback.

    function: empty for the line of a SyntaxError. left_out: a text about the frames after it that are not shown.
    """

    file: str
    line: int
    function: str
    text: str
    left_out: str = ""


MOST_FRAMES = 60
"""The most frames of a traceback without a recursion. Of a longer one, the outermost and innermost frames are kept."""

LONGEST_CYCLE = 8
"""A recursion of at most this many functions that call each other is shown once, with a count."""

LONGEST_LINE = 160
"""The most characters of a line of source. Only the beginning of a longer line is shown."""

FULL = "RAYFLOW_FULL_TRACEBACKS"
"""An environment variable: when it is 1, tracebacks also show the frames of rayflow and Ray."""

Hidden: TypeAlias = Callable[[str], bool]

Place: TypeAlias = "tuple[str, int, str]"
"""File, line and function."""

_LIBRARY = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_PROGRAMS = {
    os.path.dirname(sys.executable), sysconfig.get_path("scripts"), sysconfig.get_path("scripts", f"{os.name}_user"),
}  # fmt: skip
"""Folders of installed programs, such as `rayflow` and `pytest`."""
_STARTERS = tuple(
    _LIBRARY + name for name in ("asyncio" + os.sep, "concurrent" + os.sep, "threading.py", "contextlib.py")
)
"""Modules whose frames stand between rayflow and a body that it starts in an event loop or a thread."""
_RUNNERS = (_LIBRARY + "runpy.py", _LIBRARY + "threading.py")


def hidden_by_default(file: str) -> bool:
    """Whether a file belongs to rayflow, to Ray or to Python's import system, and full tracebacks are off."""
    return not is_full() and _is_machinery(file)


def _is_machinery(file: str) -> bool:
    if file.startswith((PACKAGE, "<frozen importlib")):
        return True
    ray = _installed_at("ray")
    return ray is not None and file.startswith(ray)


def is_the_users(file: str) -> bool:
    """Whether a file is the user's code: not rayflow's or Ray's, not of a library, not a program that starts rayflow.

    This one rule decides which lines are shown, and which line a warning names.
    """
    return not (_is_machinery(file) or is_library(file) or _is_program(file))


def is_a_librarys(file: str) -> bool:
    """Whether a file belongs to a library that may call rayflow; not to one that starts or runs the user's code."""
    if not is_library(file) or _is_machinery(file) or file.startswith((*_RUNNERS, "<frozen ")):
        return False
    click = _installed_at("click")
    return click is None or not file.startswith(click)


def is_library(file: str) -> bool:
    """Whether a file belongs to Python or to an installed package."""
    return file.startswith("<frozen ") or is_installed(file)


@functools.lru_cache(maxsize=4096)
def _is_program(file: str) -> bool:
    """Whether a file is an installed program. Those have no file extension: `flow.py` beside them is the user's."""
    return not file.endswith(".py") and not _PROGRAMS.isdisjoint(
        {os.path.dirname(file), os.path.dirname(os.path.realpath(file))}
    )


def users_frame(frame: FrameType | None) -> FrameType | None:
    """The first frame of the user's code, from this frame outwards."""
    while frame is not None and not is_the_users(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def is_full() -> bool:
    """Whether the user asks for full tracebacks."""
    return os.environ.get(FULL, "").lower() in ("1", "true", "yes")


def _installed_at(package: str) -> str | None:
    found = sys.modules.get(package)
    file = getattr(found, "__file__", None)
    return os.path.dirname(os.path.abspath(file)) + os.sep if file else None


# --- a traceback as data ----------------------------------------------------------------------------------------------


def frames_of(
    trace: TracebackType | None, *, project_dir: str | None = None, hide: Hidden = hidden_by_default
) -> tuple[Frame, ...]:
    """The frames of a traceback that are not hidden, outermost first; repeated frames of a recursion only once."""
    places: list[Place] = []
    scopes: dict[str, dict[str, Any]] = {}
    while trace is not None:
        code = trace.tb_frame.f_code
        if not hide(code.co_filename):
            places.append((code.co_filename, trace.tb_lineno, code.co_qualname))
            scopes[code.co_filename] = trace.tb_frame.f_globals
        trace = trace.tb_next
    if not is_full():
        while places and places[0][0].startswith(_STARTERS) and any(not is_library(each[0]) for each in places):
            del places[0]
    kept = _shortened(list(_folded(places)))
    return tuple(
        Frame(
            file=relative_to(project_dir, file),
            line=line,
            function=function,
            text=_short(linecache.getline(file, line, scopes[file]).strip()),
            left_out=left_out,
        )
        for (file, line, function), left_out in kept
    )


def syntax_frame(error: BaseException, project_dir: str | None = None) -> tuple[Frame, ...]:
    """The line of a SyntaxError, with the mark below it, as Python shows it; nothing for any other error."""
    if not isinstance(error, SyntaxError) or error.filename is None or error.lineno is None:
        return ()
    lines = traceback.format_exception_only(error)[1:-1]
    shown = [line.removeprefix("    ").rstrip() for line in "".join(lines).splitlines() if len(line) <= LONGEST_LINE]
    return (Frame(relative_to(project_dir, error.filename), error.lineno, "", "\n".join(shown)),)


def relative_to(project_dir: str | None, file: str) -> str:
    """The path of a file relative to the project; unchanged if it is not in the project."""
    root = None if project_dir is None else os.path.join(os.path.abspath(project_dir), "")
    return file[len(root) :] if root is not None and file.startswith(root) else file


def _short(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 3]}..."


def _folded(places: Sequence[Place]) -> Iterator[tuple[Place, str]]:
    """The places, with the frames of a recursion only once and a text of how often they are repeated."""
    at = 0
    while at < len(places):
        length, rounds = _cycle_at(places, at)
        if not length:
            yield places[at], ""
            at += 1
            continue
        for place in places[at : at + length - 1]:
            yield place, ""
        what = "Previous line" if length == 1 else f"Previous {length} frames"
        yield places[at + length - 1], f"[{what} repeated {rounds - 1:,} more times]"
        at += length * rounds


def _cycle_at(places: Sequence[Place], at: int) -> tuple[int, int]:
    """Length and number of rounds of the shortest recursion that begins here; 0 and 0 if there is none."""
    for length in range(1, LONGEST_CYCLE + 1):
        first, rounds = places[at : at + length], 1
        while places[at + rounds * length : at + (rounds + 1) * length] == first:
            rounds += 1
        if rounds > 3:
            return length, rounds
    return 0, 0


def _shortened(places: list[tuple[Place, str]]) -> list[tuple[Place, str]]:
    if len(places) <= MOST_FRAMES:
        return places
    half = MOST_FRAMES // 2
    place, left_out = places[half - 1]
    gap = " ".join(filter(None, [left_out, f"[{len(places) - 2 * half:,} more frames]"]))
    return [*places[: half - 1], (place, gap), *places[-half:]]


# --- text -------------------------------------------------------------------------------------------------------------


def traceback_lines(frames: Iterable[Frame]) -> list[str]:
    """The frames as Python prints them; no lines if there are no frames."""
    lines: list[str] = []
    for frame in frames:
        lines.append(f'  File "{frame.file}", line {frame.line}' + (f", in {frame.function}" if frame.function else ""))
        lines.extend(f"    {line}" for line in frame.text.splitlines())
        if frame.left_out:
            lines.append(f"  {frame.left_out}")
    return ["Traceback (most recent call last):", *lines] if lines else []


# --- a traceback from data --------------------------------------------------------------------------------------------


class _RecordedSource:
    """A module loader that returns the recorded lines of a file, which may not exist on this machine."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self._lines = {frame.line: frame.text for frame in frames}

    def get_source(self, _: str) -> str:
        return "\n".join(self._lines.get(number, "") for number in range(1, max(self._lines) + 1))


def traceback_from(frames: Sequence[Frame], project_dir: str | None = None) -> TracebackType | None:
    """A traceback with these frames, for Python, debuggers and notebooks. Its frames have no variables.

    project_dir: the project's directory on this machine.
    """
    trace: TracebackType | None = None
    for frame in reversed(frames):
        if not frame.function:  # a SyntaxError shows its own line
            continue
        file = os.path.join(project_dir, frame.file) if project_dir is not None else frame.file
        file = file if os.path.exists(file) else frame.file
        there = [each for each in frames if each.file == frame.file]
        name = f"{frame.function}  {frame.left_out}".rstrip()
        trace = TracebackType(trace, _frame(file, frame.line, name, _RecordedSource(there)), 0, frame.line)
    return trace


def _template() -> FrameType:
    return sys._getframe()


def _frame(file: str, line: int, name: str, loader: _RecordedSource) -> FrameType:
    """A frame of a function that is made for it, at this place."""
    code = _template.__code__
    code = code.replace(
        co_filename=file, co_name=name, co_qualname=name, co_firstlineno=line, co_linetable=_no_places(code)
    )
    called = types.FunctionType(code, {"sys": sys, "__name__": "recorded", "__loader__": loader})
    made: FrameType = called()
    return made


def _no_places(code: CodeType) -> bytes:
    """A line table without lines, so that Python shows the line number of the traceback entry."""
    left = len(code.co_code) // 2
    entries = []
    while left:
        span = min(left, 8)
        entries.append(0x80 | 15 << 3 | span - 1)
        left -= span
    return bytes(entries)


# --- at the front doors -----------------------------------------------------------------------------------------------


Door = TypeVar("Door", bound=Callable[..., Any])


def front_door(function: Door) -> Door:
    """Decorates a function that users call: an exception that leaves it shows only the user's frames.

    Python adds no frame for a function that raises an exception again by a bare `raise`, so this decorator is not shown
    either. A bug of rayflow keeps all frames, for a report.
    """

    @functools.wraps(function)
    def door(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            hide_frames(error)
            raise

    return cast(Door, door)


_DOOR = front_door(hidden_by_default)


def raise_failure(error: BaseException) -> NoReturn:
    """Raise the error of a task. The frame of this function tells a front door that rayflow itself has no bug."""
    raise error


def hide_frames(error: BaseException) -> None:
    """Remove rayflow's frames from the tracebacks of an exception and its causes, unless it is a bug of rayflow."""
    if is_full() or not _is_the_users(error):
        return
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        each.__traceback__ = _without_ours(each.__traceback__)
        left += [each.__cause__, each.__context__]


def _is_the_users(error: BaseException) -> bool:
    """Whether an error was raised on purpose, or by the user's code."""
    if isinstance(error, Bug):
        return False
    if isinstance(error, RayflowError) or not isinstance(error, Exception):
        return True
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not codes or raise_failure.__code__ in codes or not hidden_by_default(codes[-1].co_filename):
        return True
    # Raised by the front door itself: the arguments do not fit the function.
    return isinstance(error, TypeError) and codes[-1] is _DOOR.__code__


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    kept: list[TracebackType] = []
    while trace is not None:
        if not hidden_by_default(trace.tb_frame.f_code.co_filename):
            kept.append(trace)
        trace = trace.tb_next
    again: TracebackType | None = None
    for each in reversed(kept):
        again = TracebackType(again, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return again
