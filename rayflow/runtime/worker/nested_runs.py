"""Refuses a run where none may start: in a task's body, and in a module that is imported to find a task.

In: what this thread and this process are doing. Out: NestedRun, with the line that starts the run. Never: starts a run.

A worker imports the modules of the tasks that it runs. A module that starts a run at its top level would start one in
each worker, whose workers would import the module again, without end.
"""

from __future__ import annotations

import linecache
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ContextDecorator, contextmanager
from types import FrameType

from rayflow.errors import NestedRun
from rayflow.installation import PACKAGE
from rayflow.lang.modules import is_importing
from rayflow.runtime.worker.body import is_inside_body

INSIDE_A_BODY = (
    "A run was started inside a task's body. Return the expression instead: rayflow reduces what a task returns."
)

_VARIABLE = "RAYFLOW_WORKER_IMPORTS"
"""Set for the programs that a module starts while a worker imports it: these may not start a run either."""

_working = threading.local()
_serving = 0


class serving(ContextDecorator):
    """While this lasts, all threads of this process work for a scheduler."""

    def __enter__(self) -> None:
        global _serving
        _serving += 1

    def __exit__(self, *_: object) -> None:
        global _serving
        _serving -= 1


class working:
    """While this lasts, this thread runs calls and imports their modules."""

    def __enter__(self) -> None:
        _working.depth = getattr(_working, "depth", 0) + 1

    def __exit__(self, *_: object) -> None:
        _working.depth -= 1


@contextmanager
def imported_by_worker(module: str) -> Iterator[None]:
    """While this lasts, programs that this process starts can tell that a worker imports the module."""
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = f"{os.getpid()}:{module}"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = before


def refuse_nested() -> None:
    """Raise NestedRun where no run may start."""
    pid, _, module = os.environ.get(_VARIABLE, "").partition(":")
    if pid and pid != str(os.getpid()):
        raise NestedRun(
            f"This program was started by the module {module} while a worker imported it, and starts a run: each "
            'worker would start one. Start the program under `if __name__ == "__main__":`.'
        )
    is_working = getattr(_working, "depth", 0) > 0
    if not (is_inside_body() or is_importing() or is_working or _serving):
        return
    place = _module_that_starts_it(sys._getframe(1))
    if place is None:
        raise NestedRun(INSIDE_A_BODY)
    file, line = place.f_code.co_filename, place.f_lineno
    source = linecache.getline(file, line).strip()
    raise NestedRun(
        f"{file}:{line} starts a run when the module is imported, and rayflow imports it on each worker to find its "
        f'tasks:\n  {source}\nPut it under `if __name__ == "__main__":`.'
    )


def _module_that_starts_it(frame: FrameType | None) -> FrameType | None:
    """The frame of the imported module whose top level has led here; None where a body has."""
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    while frame is not None and not frame.f_code.co_filename.startswith(PACKAGE):
        if frame.f_code.co_name == "<module>":
            return frame
        frame = frame.f_back
    return None
