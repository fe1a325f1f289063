"""Calls the user's `setup` function, which the configuration names: once in a driver, before its first run.

In: a configuration. Out: values for `get_context`; those of the configuration and of the run come before them. Never:
calls the function in a worker, or twice in one process; waits for a function that waits for this run.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

from rayflow.config import Config
from rayflow.errors import BadConfig, RayflowError
from rayflow.lang.modules import load_file, load_from, shown_to_users
from rayflow.lang.options.option_values import check_context

_LOOK_SECONDS = 0.2
"""How often a thread that waits for another thread's setup checks whether that thread waits for this one."""

_done: dict[tuple[str, str], Mapping[str, Any]] = {}
_changed = threading.Condition()
_caller: int | None = None
"""The thread that is calling a setup function."""


def set_up(config: Config) -> Mapping[str, Any]:
    """Call the project's setup function, unless this process has done so, and return its values. Raises BadConfig."""
    global _caller
    if config.setup is None:
        return {}
    key = (config.project_dir, config.setup)
    with _changed:
        while key not in _done and _caller is not None:
            if _caller == threading.get_ident() or _waits_for_this_thread(_caller):
                raise BadConfig(
                    f"setup = {config.setup!r}: setup cannot run tasks, because it is called before the first run. "
                    "Call what it needs as plain functions (`task.func(...)`)."
                )
            _changed.wait(_LOOK_SECONDS)
        if key in _done:
            return _done[key]
        _caller = threading.get_ident()
    try:
        _done[key] = found = _called(config.setup, config.project_dir)
        return found
    finally:
        with _changed:
            _caller = None
            _changed.notify_all()


def _waits_for_this_thread(caller: int) -> bool:
    """Whether a thread joins this one, or waits for the result of work that this one does for an executor."""
    from concurrent.futures import Future

    this = threading.current_thread()
    tasks = [each for each in _selves(sys._getframe()) if hasattr(each, "future")]
    awaited = _selves(sys._current_frames().get(caller))
    mine = [this, *(each.future for each in tasks)]
    return any(each is one for each in awaited if isinstance(each, threading.Thread | Future) for one in mine)


def _selves(frame: FrameType | None) -> Iterator[Any]:
    """The threads and executors of Python whose methods are on a stack."""
    while frame is not None:
        if frame.f_globals.get("__name__") in ("threading", "concurrent.futures._base", "concurrent.futures.thread"):
            yield frame.f_locals.get("self")
        frame = frame.f_back


def _called(setup: str, project_dir: str) -> Mapping[str, Any]:
    place, _, name = setup.partition(":")
    is_file = place.endswith(".py")
    module = load_file(os.path.join(project_dir, place)) if is_file else load_from(project_dir, place)
    function = getattr(module, name, None)
    # A task is called by a run, and this is before any.
    function = getattr(function, "func", function)
    if not callable(function):
        raise BadConfig(f"setup = {setup!r}: {place} has no function {name}.")
    try:
        given = function()
    except RayflowError:
        raise
    except Exception as error:
        raise BadConfig(f"setup = {setup!r} failed:\n{shown_to_users(error)}") from error
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise BadConfig(f"setup = {setup!r} returned a {type(given).__name__}: return a dict for get_context, or None.")
    check_context(given, where=f"setup = {setup!r}")
    return given
