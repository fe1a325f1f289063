"""Failures: the errors of tasks as values.

In: an exception, on the worker that raised it. Out: a `Failure`, plain data for any process; later, an exception to
raise for it, and its text. Never: raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from rayflow import errors
from rayflow.errors import Bug, RayflowError, TaskFailed, WorldError
from rayflow.values.digests import digest
from rayflow.values.display.masking import masked, masked_parts, secrets_in
from rayflow.values.display.tracebacks import (
    Frame,
    Hidden,
    frames_of,
    hidden_by_default,
    is_the_users,
    syntax_frame,
    traceback_from,
    traceback_lines,
)
from rayflow.values.encoding.identity import identity
from rayflow.values.encoding.previews import preview
from rayflow.values.objects import exceptions, pickling
from rayflow.values.process.base_exceptions import contained


@dataclass(frozen=True, slots=True)
class Related:
    """An error that belongs to another error.

    relation: CAUSE (`raise ... from` it), CONTEXT (it was being handled) or MEMBER (of a group).
    summary: its type and message. trail: the calls that led to it, if they differ from those of the other error.
    related: the errors that belong to this one.
    """

    relation: str
    summary: str
    pickled: bytes | None = None
    frames: tuple[Frame, ...] = ()
    notes: tuple[str, ...] = ()
    related: tuple[Related, ...] = ()
    trail: tuple[str, ...] = ()


CAUSE, CONTEXT, MEMBER = "cause", "context", "member"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as data.

    type_name: full name of the exception class ("builtins.ValueError").
    classes: full names of the class and all its bases, derived classes first; `catch` compares these.
    message: str() of the exception.
    digest: the error's identity, from type and arguments, without traceback and line numbers.
    pickled: the encoded exception, or None when it cannot be pickled.
    frames: the user's frames of the traceback, outermost first.
    trail: the calls that led to the error, root first, each as text ("main(n=3)"); filled in as the failure rises.
    fault: "user", "world" or "bug".
    notes: the notes of the exception.
    related: the errors that caused it, and the members of a group.
    retry_after_seconds: the wait before the next attempt, where the error asks for one.
    origin: the id of the job where it happened; filled in together with the trail. Equal failures of two equal calls
    differ in this alone.
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
    related: tuple[Related, ...] = ()
    retry_after_seconds: float | None = None
    origin: bytes = field(default=b"", compare=False)

    @property
    def summary(self) -> str:
        """Type and message, as Python prints them."""
        return _summary(self.type_name, self.message)

    @property
    def is_cancelled(self) -> bool:
        """Whether the only reason is that the execution was cancelled."""
        return self.type_name == error_name(errors.Cancelled)

    def is_a(self, of: type[RayflowError]) -> bool:
        """Whether the error is an instance of this class of rayflow's."""
        return error_name(of) in self.classes


Outcome: TypeAlias = object
"""The outcome of a reduction: a `Failure`, or any other object, which is the value."""


def error_name(of: type[BaseException]) -> str:
    """The full name of an exception class: "builtins.ValueError"."""
    return f"{of.__module__}.{of.__qualname__}"


def _classes(of: type[BaseException]) -> tuple[str, ...]:
    return tuple(error_name(base) for base in of.__mro__ if base is not object)


def own_failure(of: type[RayflowError], message: str) -> Failure:
    """A failure without an exception, which rayflow itself finds: bad arguments, a cycle, a lost worker."""
    return Failure(
        type_name=error_name(of),
        classes=_classes(of),
        message=message,
        digest=digest("failure", error_name(of).encode(), message.encode()),
        fault="world" if issubclass(of, WorldError) else "user",
    )


MOST_PICKLED_BYTES = 256 * 1024
"""An exception of more bytes (one that holds a table, for example) travels only as type and message."""

MOST_RELATED_BYTES = 16 * 1024
"""The same for an error that belongs to another one."""

MOST_GROUPED = 15
"""How many members of an exception group are kept; the others are counted, as Python does."""

MOST_RELATED = 60
"""How many related errors of one failure are kept, at all levels together."""

LONGEST_MESSAGE = 3_000
"""The most characters of a message. Only both ends of a longer message are shown."""

MOST_LINES = 60
"""The most lines of a message. Only both ends of a longer message are shown."""


def failure_from_exception(
    error: BaseException, *, project_dir: str | None = None, hide: Hidden = hidden_by_default
) -> Failure:
    """The failure of an exception.

    project_dir: files in it are named relative to it. hide: says of a file whether its frames are left out.
    """
    of = type(error)
    frames, related = _frames(error, project_dir, hide), _Relatives(error, project_dir, hide).found
    if of.__module__ == RayflowError.__module__:
        # The message of rayflow's own errors is complete: frames of libraries add nothing.
        related = tuple(each for each in related if _has_users_line(each))
        frames = frames if any(is_the_users(frame.file) for frame in frames) else ()
    classes = _classes(of)
    message = masked(_message(error))
    return Failure(
        type_name=classes[0],
        classes=classes,
        message=message,
        digest=_digest(error, classes[0], message),
        pickled=_pickled(error, message),
        frames=frames,
        fault=_fault(error),
        notes=_notes(error),
        related=related,
        retry_after_seconds=_asked_delay(error),
    )


def _asked_delay(error: BaseException) -> float | None:
    """The seconds after which an error asks to be tried again (see `rayflow.RetryAfter`)."""
    asked = getattr(error, "retry_after_seconds", None)
    return asked if type(asked) is float else None


def _has_users_line(related: Related) -> bool:
    return any(is_the_users(frame.file) for frame in related.frames) or any(map(_has_users_line, related.related))


def _frames(error: BaseException, project_dir: str | None, hide: Hidden) -> tuple[Frame, ...]:
    frames = frames_of(error.__traceback__, project_dir=project_dir, hide=hide)
    return (*frames, *syntax_frame(error, project_dir))


def _summary(type_name: str, message: str) -> str:
    name = type_name.removeprefix("builtins.")
    return f"{name}: {message}" if message else name


def _message(error: BaseException) -> str:
    try:
        with contained:
            return str(error)
    except Exception as broken:
        of = type(error)
        if of.__str__ in (BaseException.__str__, KeyError.__str__):  # the repr of an argument has failed
            return preview(error.args[0] if len(error.args) == 1 else error.args)
        return f"<its __str__ raised {type(broken).__name__}>"


def _fault(error: BaseException) -> str:
    if isinstance(error, Bug):
        return "bug"
    return "world" if isinstance(error, WorldError) else "user"


def _digest(error: BaseException, type_name: str, message: str) -> bytes:
    try:
        with contained:
            return digest("failure", type_name.encode(), identity(error.args))
    except Exception:  # the arguments have no identity: take the message
        return digest("failure", type_name.encode(), b"message", message.encode("utf-8", "replace"))


def _notes(error: BaseException) -> tuple[str, ...]:
    notes = getattr(error, "__notes__", ())
    return tuple(masked(str(note)) for note in notes) if isinstance(notes, list | tuple) else ()


class _Relatives:
    """Collects the errors that belong to one error, each once, and only up to the limits."""

    def __init__(self, error: BaseException, project_dir: str | None, hide: Hidden) -> None:
        self._project_dir = project_dir
        self._hide = hide
        self._seen = {id(error)}
        self.found = self._of(error)

    def _of(self, error: BaseException) -> tuple[Related, ...]:
        found: list[Related | None] = []
        if error.__cause__ is not None:
            found.append(self._related(CAUSE, error.__cause__))
        elif error.__context__ is not None and not error.__suppress_context__:
            found.append(self._related(CONTEXT, error.__context__))
        if isinstance(error, BaseExceptionGroup):
            found += self._members(error.exceptions)
        return tuple(each for each in found if each is not None)

    def _members(self, errors: Sequence[BaseException]) -> list[Related | None]:
        found: list[Related | None] = []
        for place, each in enumerate(errors):
            if place == MOST_GROUPED or len(self._seen) > MOST_RELATED:
                return [*found, Related(MEMBER, f"and {len(errors) - place:,} more")]
            found.append(self._related(MEMBER, each) or Related(MEMBER, f"{type(each).__qualname__}: shown above"))
        return found

    def _related(self, relation: str, error: BaseException) -> Related | None:
        if id(error) in self._seen or len(self._seen) > MOST_RELATED:
            return None
        self._seen.add(id(error))
        message = masked(_message(error))
        # Members are in the group's own pickle.
        pickled = _pickled(error, message, MOST_RELATED_BYTES) if relation != MEMBER else None
        return Related(
            relation=relation,
            summary=_summary(error_name(type(error)), message),
            pickled=pickled,
            frames=_frames(error, self._project_dir, self._hide),
            notes=_notes(error),
            related=self._of(error),
        )


def raised_while_handling(failure: Failure, handled: Failure) -> Failure:
    """The failure of a recovery, with the failure that it handled at the start of its chain of causes."""
    context = Related(
        relation=CONTEXT,
        summary=handled.summary,
        pickled=handled.pickled,
        frames=handled.frames,
        notes=handled.notes,
        related=handled.related,
        trail=handled.trail,
    )
    return replace(failure, related=_chained(failure.related, context))


def _chained(related: tuple[Related, ...], last: Related) -> tuple[Related, ...]:
    for place, each in enumerate(related):
        if each.relation == MEMBER:
            continue
        if each.summary == last.summary:  # `raise ... from error`: it is in the chain already
            return related
        longer = replace(each, related=_chained(each.related, last))
        return (*related[:place], longer, *related[place + 1 :])
    return (last, *related)


# --- the exception itself ---------------------------------------------------------------------------------------------

_PICKLE, _PIECES = b"p", b"a"


def _pickled(error: BaseException, message: str, most: int = MOST_PICKLED_BYTES) -> bytes | None:
    """Bytes from which an equal exception can be loaded, as was tried, and without secrets; None if there are none."""
    ways = [_write_pickle, _write_pieces, _write_what_can_be]
    for write in ways:
        try:
            written = write(error)
            if len(written) > most:
                return None
            if secrets_in(written):
                # Only because of the secret: otherwise an exception must not lose attributes.
                if _write_masked not in ways:
                    ways.append(_write_masked)
                continue
            again = _read(written)
            pickling.dump(again, apart=False)  # a task that catches it may return it
            # The repr of a masked text may use other quotes, so the messages are compared only without masking.
            if type(again) is type(error) and (write is _write_masked or masked(_message(again)) == message):
                return written
        except Exception:  # its own reduction or constructor fails: try the next way
            continue
    return None


def _write_pickle(error: BaseException) -> bytes:
    stream, _ = pickling.dump(error, apart=False)
    return _PICKLE + stream


def _write_pieces(error: BaseException) -> bytes:
    """Class, arguments and attributes, for classes that do not load from their own pickles."""
    stream, _ = pickling.dump(exceptions.pieces_of(error), apart=False)
    return _PIECES + stream


def _write_what_can_be(error: BaseException) -> bytes:
    """The same pieces, with a StandIn for each part that cannot be pickled, such as the response in an HTTP error."""
    stream, _ = pickling.dump(exceptions.picklable_pieces_of(error, _can_be_pickled), apart=False)
    return _PIECES + stream


def _can_be_pickled(part: object) -> bool:
    try:
        pickling.dump(pickling.load(pickling.dump(part, apart=False)[0]))
    except Exception:  # its reduction may raise anything
        return False
    return True


def _write_masked(error: BaseException) -> bytes:
    """Class, arguments and attributes with masked texts, without attributes that hold a secret in another form."""
    kind, arguments, attributes = exceptions.picklable_pieces_of(error, _can_be_pickled)
    kept = {name: part for name, each in attributes.items() if not _is_secret(part := masked_parts(each))}
    stream, _ = pickling.dump((kind, masked_parts(arguments), kept), apart=False)
    return _PIECES + stream


def _is_secret(part: object) -> bool:
    return bool(secrets_in(pickling.dump(part, apart=False)[0]))


def _read(written: bytes) -> BaseException:
    loaded: Any = pickling.load(memoryview(written)[1:])
    if written[:1] == _PIECES:
        loaded = exceptions.from_pieces(*loaded)
    if not isinstance(loaded, BaseException):
        raise TypeError(f"not an exception: {type(loaded).__qualname__}")
    return loaded


def restore(pickled: bytes | None, summary: str) -> BaseException:
    """The exception from a failure's `pickled`; when that cannot be loaded, TaskFailed with `summary`."""
    if pickled is not None:
        try:
            return _read(pickled)
        except Exception:  # the class is missing in this process, or has changed
            return TaskFailed(summary)
    return TaskFailed(summary)


def exception_from_failure(failure: Failure, *, project_dir: str | None = None) -> BaseException:
    """The exception to raise for a failure: of the same type if possible, else TaskFailed with its message.

    Its traceback, and those of its causes and members, show the user's frames. Its last note lists the task calls that
    led to it. project_dir: the project's directory on this machine.
    """
    raised = _own_error(failure) or restore(failure.pickled, failure.summary)
    _dress(raised, failure, project_dir)
    return raised


def _dress(error: BaseException, data: Failure | Related, project_dir: str | None) -> None:
    """Give an exception the traceback, notes and related errors of the original one."""
    vars(error).pop("__notes__", None)
    members = [each for each in data.related if each.relation == MEMBER]
    is_group = isinstance(error, BaseExceptionGroup)
    notes = [*data.notes, *([] if is_group or not members else ["\n".join(_member_lines(members, None))])]
    if data.trail:
        notes.append("\n".join(_trail_lines(data.trail)))
    for note in notes:
        error.add_note(note)
    error.__traceback__ = traceback_from(data.frames, project_dir)
    if isinstance(error, BaseExceptionGroup):
        for inner, each in zip(error.exceptions, members, strict=False):
            _dress(inner, each, project_dir)
    for each in data.related:
        if each.relation == MEMBER:
            continue
        other = restore(each.pickled, each.summary)
        _dress(other, each, project_dir)
        if each.relation == CAUSE:
            error.__cause__ = other
        else:
            error.__context__ = other


def _own_error(failure: Failure) -> BaseException | None:
    """The exception for a failure that rayflow itself found (see `own_failure`); None for any other failure."""
    module, _, name = failure.type_name.rpartition(".")
    known = getattr(errors, name, None) if failure.pickled is None and module == errors.__name__ else None
    return known(failure.message) if known is not None else None


# --- text for people --------------------------------------------------------------------------------------------------

_BETWEEN = {
    CAUSE: "The above exception was the direct cause of the following exception:",
    CONTEXT: "During handling of the above exception, another exception occurred:",
}
"""The lines that Python prints between two errors."""


def render(failure: Failure, *, with_summary: bool = True, whole: str | None = None) -> str:
    """The text of a failure for its user, as Python prints errors: task calls, frames, type and message, notes.

    with_summary: whether type and message are part of it. whole: shorten huge messages, and name this command, which
    shows the whole message.
    """
    return "\n".join(_error_lines(failure, with_summary, whole))


def shortened(message: str, whole: str) -> str:
    """The message; only both ends of it when it is huge. whole: the command that shows the whole message."""
    if len(message) <= LONGEST_MESSAGE and message.count("\n") < MOST_LINES:
        return message
    first = "".join(message[: LONGEST_MESSAGE // 2].splitlines(keepends=True)[: MOST_LINES // 2])
    last = "".join(message[len(first) :][-LONGEST_MESSAGE // 2 :].splitlines(keepends=True)[-MOST_LINES // 2 :])
    left_out = len(message) - len(first) - len(last)
    return f"{first.rstrip()}\n[... {left_out:,} more characters: {whole}]\n{last}"


def _trail_lines(trail: Iterable[str]) -> list[str]:
    calls = [f"  {call}" for call in trail]
    return ["Task calls (outermost first):", *calls] if calls else []


def _error_lines(data: Failure | Related, with_summary: bool = True, whole: str | None = None) -> list[str]:
    lines: list[str] = []
    members = []
    for each in data.related:
        if each.relation == MEMBER:
            members.append(each)
        else:
            lines += [*_error_lines(each, whole=whole), "", _BETWEEN[each.relation], ""]
    lines += [*_trail_lines(data.trail), *traceback_lines(data.frames)]
    if with_summary:
        lines.append(data.summary if whole is None else shortened(data.summary, whole))
    lines += [note if whole is None else shortened(note, whole) for note in data.notes]
    return lines + _member_lines(members, whole)


def _member_lines(members: Sequence[Related], whole: str | None) -> list[str]:
    """The errors of a group, each in a box."""
    lines: list[str] = []
    for number, each in enumerate(members, 1):
        lines.append(f"  +---------------- {number} ----------------")
        lines += [f"  | {line}" for text in _error_lines(each, whole=whole) for line in text.split("\n")]
    return [*lines, f"  +{'-' * 35}"] if lines else []
