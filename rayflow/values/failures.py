"""A task's error as a value.

In: an exception, on the worker where it was raised. Out: `Failure`, plain data that any process can hold; and
the way back to an exception that can be raised. Never: raises.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeAlias

from rayflow import errors
from rayflow.errors import Bug, TaskFailed, WorldError
from rayflow.values import exceptions, pickling
from rayflow.values.digests import digest
from rayflow.values.identity import identity
from rayflow.values.masking import is_secret_in, masked


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a traceback, the user's or a task call between two tasks."""

    file: str
    line: int
    function: str
    text: str


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, as data.

    type_name: full name of the exception class ("builtins.ValueError").
    classes: full names of its class and all bases, most special first: what `catch` matches on.
    message: str() of the exception.
    digest: the error's identity: type and arguments, never traceback or line numbers.
    pickled: the encoded exception, or None when it cannot be pickled.
    frames: the user's own frames, outermost first.
    trail: the calls that led here, root first, each as text ("main(n=3)"); filled in as the failure rises.
    fault: "user", "world" or "bug".
    notes: the notes added to it, and the errors that caused it, as text.
    """

    type_name: str
    classes: tuple[str, ...]
    message: str
    digest: bytes
    pickled: bytes | None = None
    frames: tuple[Frame, ...] = ()
    trail: tuple[str, ...] = ()
    fault: str = "user"
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """Type and message on one line, as Python prints them."""
        name = self.type_name.removeprefix("builtins.")
        return f"{name}: {self.message}" if self.message else name

    @property
    def is_cancelled(self) -> bool:
        """Whether nothing went wrong but that the execution was cancelled."""
        return self.type_name == "rayflow.errors.Cancelled"


Outcome: TypeAlias = object
"""How a reduction ends: a `Failure`, or any other object, which is the value."""


MOST_PICKLED_BYTES = 256 * 1024
"""A larger exception (one that carries a table, say) travels by type and message alone. In bytes."""

MOST_FRAMES = 60
"""Of a longer traceback (a recursion) the outer and the inner ends are kept."""

MOST_GROUPED = 20
"""Of an exception group with more errors the rest is only mentioned."""

_MEMBER = "with "

Hidden: TypeAlias = Callable[[str], bool]


def _installed_at(package: str) -> str | None:
    found = sys.modules.get(package)
    file = getattr(found, "__file__", None)
    return os.path.dirname(os.path.abspath(file)) + os.sep if file else None


def hidden_by_default(file: str) -> bool:
    """Whether a frame is machinery's: rayflow's own or Ray's."""
    if file.startswith(_OUR_PLACE):
        return True
    ray = _installed_at("ray")
    return ray is not None and file.startswith(ray)


_OUR_PLACE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def failure_from_exception(
    error: BaseException, *, project_dir: str | None = None, hide: Hidden = hidden_by_default
) -> Failure:
    """The error as data.

    project_dir: files below it are named relative to it. hide: whether frames of a file are left out.
    """
    of = type(error)
    classes = tuple(f"{base.__module__}.{base.__qualname__}" for base in of.__mro__ if base is not object)
    message = masked(_message(error))
    return Failure(
        type_name=classes[0],
        classes=classes,
        message=message,
        digest=_digest(error, classes[0], message),
        pickled=_pickled(error, message),
        frames=frames_of(error.__traceback__, project_dir=project_dir, hide=hide),
        fault=_fault(error),
        notes=tuple(map(masked, _notes(error))),
    )


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:
        return f"<its __str__ raised {type(broken).__name__}>"


def _fault(error: BaseException) -> str:
    if isinstance(error, Bug):
        return "bug"
    return "world" if isinstance(error, WorldError) else "user"


def _digest(error: BaseException, type_name: str, message: str) -> bytes:
    try:
        return digest("failure", type_name.encode(), identity(error.args))
    except Exception:  # arguments without an identity: the message has to do
        return digest("failure", type_name.encode(), b"message", message.encode("utf-8", "replace"))


def _notes(error: BaseException) -> tuple[str, ...]:
    """The error's own notes, the errors that it groups, then the errors that caused it, outermost first."""
    notes = [str(note) for note in getattr(error, "__notes__", ())]
    notes.extend(_grouped(error))
    seen = {id(error)}
    cause: BaseException | None = error
    while cause is not None and len(seen) < 20:
        word = "caused by" if cause.__cause__ is not None else "raised while handling"
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
        if cause is None or id(cause) in seen:
            break
        seen.add(id(cause))
        name = f"{type(cause).__module__}.{type(cause).__qualname__}".removeprefix("builtins.")
        notes.append(f"{word} {name}: {_message(cause)}")
    return tuple(notes)


def _grouped(error: BaseException) -> list[str]:
    """The errors inside a group, each on its line, groups within it before what they hold."""
    notes: list[str] = []
    stack = _members(error, 1)
    while stack:
        inner, depth = stack.pop()
        if len(notes) == MOST_GROUPED:
            notes.append(f"  {_MEMBER}more errors than are shown here")
            break
        name = f"{type(inner).__module__}.{type(inner).__qualname__}".removeprefix("builtins.")
        notes.append(f"{'  ' * min(depth, MOST_GROUPED)}{_MEMBER}{name}: {_message(inner)}")
        stack.extend(_members(inner, depth + 1))
    return notes


def _members(error: BaseException, depth: int) -> list[tuple[BaseException, int]]:
    """The errors of a group with their depth, the last one first; nothing of any other error."""
    return [(inner, depth) for inner in reversed(error.exceptions)] if isinstance(error, BaseExceptionGroup) else []


def frames_of(
    trace: TracebackType | None, *, project_dir: str | None = None, hide: Hidden = hidden_by_default
) -> tuple[Frame, ...]:
    """The frames of a traceback that are not hidden, outermost first."""
    places: list[tuple[str, int, str]] = []
    while trace is not None:
        code = trace.tb_frame.f_code
        if not hide(code.co_filename):
            places.append((code.co_filename, trace.tb_lineno, code.co_qualname))
        trace = trace.tb_next
    if len(places) > MOST_FRAMES:
        half = MOST_FRAMES // 2
        places = places[:half] + places[-half:]
    root = None if project_dir is None else os.path.join(os.path.abspath(project_dir), "")
    return tuple(
        Frame(
            file=file[len(root) :] if root is not None and file.startswith(root) else file,
            line=line,
            function=function,
            text=linecache.getline(file, line).strip(),
        )
        for file, line, function in places
    )


# --- the exception itself ---------------------------------------------------------------------------------------------

_PICKLE, _PIECES = b"p", b"a"


def _pickled(error: BaseException, message: str) -> bytes | None:
    """Bytes that give an equal exception back (without secrets), tried out; None when there are none."""
    ways = [_write_pickle, _write_pieces, _write_what_can_be]
    for write in ways:
        try:
            written = write(error)
            if len(written) > MOST_PICKLED_BYTES:
                return None
            if is_secret_in(written):
                # Only for the secret's sake: an exception that lacks its attributes is not what was raised.
                if _write_masked not in ways:
                    ways.append(_write_masked)
                continue
            again = _read(written)
            if type(again) is type(error) and str(again) == message:
                return written
        except Exception:  # its own reduction or constructor fails: the next way, or none
            continue
    return None


def _write_pickle(error: BaseException) -> bytes:
    stream, _ = pickling.dump(error, apart=False)
    return _PICKLE + stream


def _write_pieces(error: BaseException) -> bytes:
    """Class, arguments and attributes, for classes whose own reduction does not give them back."""
    stream, _ = pickling.dump(exceptions.pieces_of(error), apart=False)
    return _PIECES + stream


def _write_what_can_be(error: BaseException) -> bytes:
    """The same with stand-ins for what cannot be pickled, such as the answer in an error of an HTTP client."""
    stream, _ = pickling.dump(exceptions.kept_pieces_of(error, _can_be_pickled), apart=False)
    return _PIECES + stream


def _can_be_pickled(part: object) -> bool:
    try:
        pickling.load(pickling.dump(part, apart=False)[0])
    except Exception:  # whatever its reduction raises
        return False
    return True


def _write_masked(error: BaseException) -> bytes:
    """Class and arguments, the texts among them masked."""
    arguments = tuple([masked(each) if isinstance(each, str) else each for each in error.args])
    stream, _ = pickling.dump((type(error), arguments, {}), apart=False)
    return _PIECES + stream


def _read(written: bytes) -> BaseException:
    loaded: Any = pickling.load(memoryview(written)[1:])
    if written[:1] == _PIECES:
        loaded = exceptions.from_pieces(*loaded)
    if not isinstance(loaded, BaseException):
        raise TypeError(f"not an exception: {type(loaded).__qualname__}")
    return loaded


def restore(pickled: bytes | None, summary: str) -> BaseException:
    """The exception of a failure's `pickled` and `summary`: itself where that can be, else TaskFailed with that."""
    if pickled is not None:
        try:
            return _read(pickled)
        except Exception:  # the class is not on this side, or has changed
            return TaskFailed(summary)
    return TaskFailed(summary)


def exception_from_failure(failure: Failure) -> BaseException:
    """The exception to raise for a failure: of the same type where that can be, else TaskFailed with its message.

    Its notes tell the way to it: the calls, and the user's frames.
    """
    raised = _own_error(failure) or restore(failure.pickled, failure.summary)
    raised.__dict__.pop("__notes__", None)
    shows_its_members = isinstance(raised, BaseExceptionGroup)
    for note in failure.notes:
        if not (shows_its_members and note.startswith("  ") and note.lstrip().startswith(_MEMBER)):
            raised.add_note(note)
    way = _render_way(failure)
    if way:
        raised.add_note("\n".join(way))
    return raised


def _own_error(failure: Failure) -> BaseException | None:
    """The exception of a failure that was never one: the evaluator or the shell has found it (a lost worker, say)."""
    module, _, name = failure.type_name.rpartition(".")
    known = getattr(errors, name, None) if failure.pickled is None and module == errors.__name__ else None
    return known(failure.message) if known is not None else None


def _render_way(failure: Failure) -> list[str]:
    lines: list[str] = []
    if failure.trail:
        lines.append("Task calls (outermost first):")
        lines.extend(f"  {call}" for call in failure.trail)
    if failure.frames:
        lines.append("Traceback (most recent call last):")
        for frame in failure.frames:
            lines.append(f'  File "{frame.file}", line {frame.line}, in {frame.function}')
            if frame.text:
                lines.append(f"    {frame.text}")
    return lines


def render(failure: Failure, *, with_summary: bool = True) -> str:
    """The failure as its user should see it: the calls, their own frames, type and message, notes.

    with_summary: whether type and message are among it; not where they have been said already.
    """
    return "\n".join([*_render_way(failure), *([failure.summary] if with_summary else []), *failure.notes])
