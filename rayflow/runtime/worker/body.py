"""Helpers around a task's body: its deadline, and the messages about how it ended.

In: a call, an error. Out: TaskTimeout, texts and hints. Never: runs the body, looks at values.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any

from rayflow.errors import TaskTimeout
from rayflow.installation import PACKAGE
from rayflow.lang.terms.expressions import TaskCall, render
from rayflow.runtime.protocol.attempts import Call
from rayflow.runtime.worker.process_policy import ProcessPolicy
from rayflow.values.failures import Failure

TIMEOUT_GRACE_SECONDS = 3.0
"""How long after its timeout a call that cannot be interrupted keeps its worker, before that is ended."""

_depth: ContextVar[int] = ContextVar("rayflow_bodies", default=0)


def is_inside_body() -> bool:
    """Whether a task's body runs here: in this thread, or in the event loop that it has begun in another."""
    return _depth.get() > 0


class inside_body:
    """While this lasts, a body runs here."""

    def __enter__(self) -> None:
        _depth.set(_depth.get() + 1)

    def __exit__(self, *_: object) -> None:
        _depth.set(_depth.get() - 1)


_NO_DEADLINE = contextlib.nullcontext()


def deadline(call: Call, policy: ProcessPolicy, began: Callable[[Call], None] | None) -> AbstractContextManager[None]:
    """Raise TaskTimeout in the body when its time is over. If that does not stop the body, and the policy allows it,
    the process ends. began: called before a body that has a timeout."""
    return _NO_DEADLINE if call.timeout is None else _deadline(call, call.timeout, policy, began)


@contextlib.contextmanager
def _deadline(
    call: Call, seconds: float, policy: ProcessPolicy, began: Callable[[Call], None] | None
) -> Iterator[None]:
    message = f"{call.task} ran longer than its timeout of {seconds:g} s"
    if began is not None:
        began(call)
    if policy.ends_on_timeout:
        # A C thread that does not need Python's lock, which the body may never give back.
        faulthandler.dump_traceback_later(seconds + TIMEOUT_GRACE_SECONDS, exit=True, file=_nowhere())
    on_main = threading.current_thread() is threading.main_thread()
    thread = threading.get_ident()
    timer: threading.Timer | None = None
    previous: Any = None

    def ring(*_: Any) -> None:
        raise TaskTimeout(message)

    if on_main:
        previous = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, seconds)
    else:
        # An exception reaches another thread only between two of its bytecodes.
        import ctypes

        raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
        timer = threading.Timer(seconds, raise_in, (ctypes.c_ulong(thread), ctypes.py_object(TaskTimeout)))
        timer.daemon = True
        timer.start()
    try:
        yield
    except TaskTimeout as error:
        if error.args:
            raise
        raise TaskTimeout(message) from None
    finally:
        if on_main:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        if timer is not None:
            timer.cancel()
        if policy.ends_on_timeout:
            faulthandler.cancel_dump_traceback_later()


@functools.cache
def _nowhere() -> int:
    """A descriptor that drops what is written to it. It stays open as long as this process lives."""
    return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def ended_text(error: BaseException, what: str) -> str:
    """Message for a body that raised a BaseException, such as SystemExit."""
    if isinstance(error, SystemExit):
        return f"{what} called sys.exit({'' if error.code is None else repr(error.code)}); a task ends by returning"
    return f"{what} raised {type(error).__name__}, which is not an Exception: {error}"


def unused_text(unused: list[TaskCall]) -> str:
    """Message for calls that a body has made and not returned."""
    shown = ", ".join(render(call, 80) for call in unused[:3])
    more = f" and {len(unused) - 3} more" if len(unused) > 3 else ""
    return (
        f"rayflow: created and not returned: {shown}{more}. A call is lazy: it runs only if it is part of what the "
        "task returns.\n"
    )


def secret_text(secrets: str) -> str:
    """Message for a result that holds the texts of these secrets; empty for none."""
    if not secrets:
        return ""
    return (
        f"rayflow: what the task returns holds the text of {secrets}, and is kept like any other result. Return the "
        "Secret itself: each task that needs the text reads it.\n"
    )


_SAYS_LAZY = re.compile(r"\bTaskCall\b|'(Operation|Form)'|\b(not|type|and) (Operation|Form)\b|\b(Operation|Form) found")

_REFUSALS = frozenset({"builtins.TypeError", "builtins.AttributeError"})


def hint_of(failure: Failure) -> str | None:
    """Advice for an error in which Python or a library refuses a lazy value, or a change of an array that a task was
    given; None for other errors. The error's own text does not lead to the cause."""
    found = None if _REFUSALS.isdisjoint(failure.classes) else _SAYS_LAZY.search(failure.message)
    if found is not None:
        name = re.sub(".*(TaskCall|Operation|Form).*", r"\1", found[0])
        # Users have classes of these names, too, and the text does not say whose class it is.
        return (
            f"If this {name} is lazy: a call of a task has no value yet where it is made. Pass it to a task, which is "
            "given its value; apply_func(f, expr) does that for a plain function f."
        )
    if "builtins.ValueError" in failure.classes and "read-only" in failure.message:
        return (
            "Arrays that a task is given cannot be changed in place, also those in a data frame: others share their "
            "memory. Take a copy first: array.copy(), frame.copy()."
        )
    return None


def post_mortem(error: BaseException) -> None:
    """Stop in the debugger where the user's code has raised, without our frames above it."""
    import pdb
    import traceback

    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename.startswith(PACKAGE):
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)
    sys.stderr.write("The debugger is where the task raised; q goes on with the run.\n")
    pdb.post_mortem(trace)
