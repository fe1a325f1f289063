"""The state of the process that a body may change: its directory and its environment, and the processes that it forks.

In: the begin or end of a body. Out: the directory and the environment as the first body found them, with what imports
have changed; nothing of a child process that a body has forked. Never: looks at what a body returns.

The directory and the environment belong to the process. Bodies that overlap in one process share both: they are put
back when the last of them has ended or paused. A change that a module makes while a body imports it stays, as in any
program: the next body that imports it finds the change, too (in a Ray worker, a change of the directory lasts for the
rest of its bundle only). A variable that another thread of the user's sets while a body runs counts as the body's.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, NamedTuple

from rayflow.values.display.masking import masked
from rayflow.values.forks import at_fork


class ProcessState(NamedTuple):
    """The directory of a process (None if it was removed), and its environment.

    It can also be a change of these: the directory if it has changed, and the changed variables. A removed variable is
    None.
    """

    directory: str | None
    environment: Mapping[bytes, bytes | None]


_environment: dict[bytes, bytes] = os.environb._data  # type: ignore[attr-defined]  # private to CPython
"""The variables behind os.environ and os.environb. A copy by way of these takes as long as a small body."""

_NOT_A_BODYS = (b"RAYFLOW_", b"RAY_")
"""The beginnings of the variables of rayflow and Ray. They are set for the whole process, and never restored."""


def _directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def _state_now() -> ProcessState:
    return ProcessState(_directory(), _environment.copy())


def _difference(start: ProcessState, end: ProcessState) -> ProcessState:
    """The change that leads from the start to the end."""
    directory = end.directory if end.directory != start.directory else None
    old, new = start.environment, end.environment
    if old == new:
        return ProcessState(directory, {})
    names = [name for name in old.keys() | new.keys() if old.get(name) != new.get(name)]
    return ProcessState(directory, {name: new.get(name) for name in names if not name.startswith(_NOT_A_BODYS)})


def _apply(change: ProcessState) -> None:
    if change.directory is not None:
        with contextlib.suppress(OSError):  # removed meanwhile: a body that opens a file there gets the error
            os.chdir(change.directory)
    for name, value in change.environment.items():
        if value is not None:
            os.environb[name] = value
        elif name in _environment:
            del os.environb[name]


_lock = threading.RLock()
_body_count = 0
_initial: ProcessState = _state_now()
"""The state that the first of the running bodies found, with the changes of imports since then."""

_fork_depth = 0
"""How many forks lie between the process that imported this module and this process."""


def change_so_far() -> ProcessState:
    """The changes that the running body has made to the state that it found."""
    return _difference(_initial, _state_now())


# --- imports and forks ------------------------------------------------------------------------------------------------

_BOOTSTRAP: Any = importlib._bootstrap  # private to CPython
"""Every form of import of a module that is not loaded yet ends in a function of this module."""

_load: Callable[[str, Any], Any] = _BOOTSTRAP._find_and_load


def _find_and_load(name: str, import_: Callable[..., Any]) -> Any:
    if not _body_count:
        return _load(name, import_)
    before = _state_now()
    try:
        return _load(name, import_)
    finally:
        _keep_change_since(before)


# Python's tracebacks leave out the frames of its own import functions; so they leave out this one, too.
_find_and_load.__code__ = _find_and_load.__code__.replace(co_filename=_load.__code__.co_filename)


def _keep_change_since(before: ProcessState) -> None:
    """Keep the change that an import has made, beyond the end of the bodies: a module is imported once in a process."""
    global _initial
    with _lock:
        change = _difference(before, _state_now())
        environment = {**_initial.environment, **change.environment}
        present = {name: value for name, value in environment.items() if value is not None}
        _initial = ProcessState(change.directory or _initial.directory, present)


@contextlib.contextmanager
def lasting_changes() -> Iterator[None]:
    """A context manager for what a body does once for all later ones: its changes of directory and environment stay, as
    those of an import do."""
    before = _state_now()
    try:
        yield
    finally:
        if _body_count:
            _keep_change_since(before)


@functools.cache
def watch_process() -> None:
    """Notice from now on the changes that imports make, and forks of this process. It does this once in a process."""
    global _load
    _load = _BOOTSTRAP._find_and_load
    _BOOTSTRAP._find_and_load = _find_and_load
    at_fork(in_child=_forked)


def _forked() -> None:
    """Set up a forked child: it is another process, and lacks its parent's other threads."""
    global _lock, _fork_depth
    _lock = threading.RLock()
    _fork_depth += 1


# --- bodies -----------------------------------------------------------------------------------------------------------


class own_process:
    """A context manager around a running body. The body goes on in this process only: a child that it forks ends at the
    end of the block.

    change: the changes of the body when it paused. It goes on with them.
    """

    def __init__(self, change: ProcessState | None = None) -> None:
        self._change = change
        self._fork_depth = _fork_depth

    def __enter__(self) -> None:
        global _body_count, _initial
        with _lock:
            if not _body_count:
                _initial = _state_now()
            _body_count += 1
            if self._change is not None:
                _apply(self._change)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        global _body_count
        self.end_child(error)
        with _lock:
            _body_count -= 1
            if not _body_count:
                _apply(_difference(ProcessState(_directory(), _environment), _initial))

    def is_as_before(self) -> bool:
        """Whether this is the process that the body has begun in, with the directory and the environment of then."""
        return (
            _fork_depth == self._fork_depth
            and _environment == _initial.environment
            and _directory() == _initial.directory
        )

    async def around(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine; a forked child ends here, inside the event loop, whose files its parent still needs."""
        try:
            result = await coroutine
        except BaseException as error:
            self.end_child(error)
            raise
        self.end_child(None)
        return result

    def end_child(self, error: BaseException | None) -> None:
        """End this process if it is a child that the body has forked, since its parent gives the answer. It ends as a
        Python program does that came to its end, or that raised this error."""
        if _fork_depth == self._fork_depth:
            return
        code = 0
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
            if code and not isinstance(error.code, int):
                sys.stderr.write(f"{masked(str(error.code))}\n")
        elif error is not None:
            code = 1
            sys.stderr.write(masked("".join(traceback.format_exception(error))))
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # closed: nobody reads it
                stream.flush()
        os._exit(code & 0xFF)
