"""Signals that ask a run to end: SIGTERM and SIGHUP work as Ctrl-C does.

In: functions for the first signal, and for a second one. Out: `Stopped`, raised in the main thread. Never: replaces a
handler of the user's, or stays after the run.

Ray installs its own handlers when a process connects: they end the process at once, with a dump of the stack.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from rayflow.pasting import command

ENDING: tuple[int, ...] = tuple([getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)])
"""The signals that Slurm, Kubernetes, CI and a closing terminal send. Windows has no SIGHUP."""


class Stopped(KeyboardInterrupt):
    """A signal asks this process to end. number: of the signal. execution_id, store: of the interrupted run."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.execution_id: str | None = None
        self.store: str | None = None


class Interrupted(KeyboardInterrupt):
    """Another process has asked for the end of an execution of this process: its body is interrupted."""


_INTERRUPTING: int | None = getattr(signal, "SIGURG", None)
"""Raises Interrupted. Nothing else sends it, and a process that does not handle it ignores it: one that comes late does
nothing. None on Windows, which has no such signal."""


@contextlib.contextmanager
def interruptible(may_interrupt: Callable[[], bool]) -> Iterator[Callable[[], None]]:
    """While this lasts, the function that it yields raises Interrupted in the main thread. Any thread may call it.

    It interrupts also a body that sleeps. It does nothing when `may_interrupt`, asked in the main thread, says no; when
    this is not the main thread; or when the user has a handler for SIGURG, or the system has no such signal.
    """
    main = threading.main_thread()
    number = _INTERRUPTING
    if number is None or threading.current_thread() is not main or signal.getsignal(number) != signal.SIG_DFL:
        yield lambda: None
        return
    is_ours = True
    process = os.getpid()
    wanted = threading.Event()

    def heard(received: int, frame: FrameType | None) -> None:
        if os.getpid() == process and wanted.is_set() and may_interrupt():
            wanted.clear()
            raise Interrupted(received)

    def interrupt() -> None:
        wanted.set()
        if is_ours and main.ident is not None:
            signal.pthread_kill(main.ident, number)

    signal.signal(number, heard)
    try:
        yield interrupt
    finally:
        signal.signal(number, signal.SIG_DFL)
        is_ours = False


def stopped_by(error: KeyboardInterrupt, execution_id: str, store: str | None = None) -> str:
    """Note in the error which execution it has interrupted; the name of the signal."""
    if not isinstance(error, Stopped):
        return signal.SIGINT.name
    error.execution_id, error.store = execution_id, store
    return name_of(error.number)


def name_of(number: int) -> str:
    """A signal's name."""
    return signal.Signals(number).name


def exit_code_of(error: KeyboardInterrupt) -> int:
    """The exit code of a process that a signal has ended, as shells and schedulers read it."""
    return 128 + (error.number if isinstance(error, Stopped) else signal.SIGINT)


@contextlib.contextmanager
def raised(
    numbers: Sequence[int], first: Callable[[int], None] | None = None, again: Callable[[int], None] | None = None
) -> Iterator[frozenset[int]]:
    """While this lasts, the first of these signals raises Stopped; a second one ends the process at once.

    Yields the signals that it handles: none outside the main thread, and none for which the user has a handler.
    first, again: called with the number, in the handler; `again` before the process ends.
    """
    before: dict[int, Any] = {}
    came: list[int] = []
    process = os.getpid()

    def heard(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a forked child ends as any process does
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            signal.raise_signal(number)
            return
        came.append(number)
        if len(came) > 1:
            if again is not None:
                again(number)
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            return
        if first is not None:
            first(number)
        raise Stopped(number)

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in numbers if _is_free(signal.getsignal(number))}
    for number in before:
        signal.signal(number, heard)
    try:
        yield frozenset(before)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_free(handler: Any) -> bool:
    """Whether a handler may be replaced: it is Python's own, or Ray's."""
    if handler in (signal.SIG_DFL, signal.default_int_handler):
        return True
    return str(getattr(handler, "__module__", "")).partition(".")[0] == "ray"


@contextlib.contextmanager
def exit_when_stopped(warned: Callable[[str], None]) -> Iterator[None]:
    """For a run in the user's own process: SIGTERM and SIGHUP end the run, and then the process, with the signal's exit
    code. warned: gets a text about how to go on."""
    with raised(ENDING) as heard:
        try:
            yield
        except Stopped as stopped:
            if stopped.number not in heard:
                raise  # another handler raised it, and handles it
            if stopped.execution_id is not None:
                how = f"Go on with: {command('resume', stopped.execution_id, store=stopped.store)}"
                warned(f"stopped by {name_of(stopped.number)}; what was finished is kept. {how}")
            raise SystemExit(exit_code_of(stopped)) from None


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Protect this process and its children while other code starts processes: the handler of SIGTERM stays, and the
    new processes ignore a closing terminal. This process ends them after it has recorded what is finished."""
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        if is_main and handler is not None:
            signal.signal(signal.SIGTERM, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
