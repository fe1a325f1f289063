"""Reports long waits of this process, so that the user knows what it waits for.

In: `with waiting(...)` around code that may wait long. Out: a sentence to the listener when a wait has lasted
SLOW_SECONDS. Never: ends a wait, or makes one longer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeAlias

SLOW_SECONDS = 10.0
"""A wait of this length is reported."""

AGAIN_SECONDS = 60.0
"""A wait for the same thing is reported again after this time."""

LOOK_SECONDS = 1.0
"""The longest time between two looks at the open waits."""

Listener: TypeAlias = Callable[[str], None]

_open: set[waiting] = set()
_listeners: list[Listener] = []
_reported_at: dict[str, float] = {}
_news = threading.Event()
_starting = threading.Lock()
_watcher: threading.Thread | None = None


class waiting:  # small, for it is used as a function
    """A context manager: while its block runs, the process waits for something.

    what: the end of the sentence "waits for ...", such as "Ray to start". whom: the thing itself, such as a bucket or a
    cluster; by default, it is `what`. Only one wait for one thing is reported in AGAIN_SECONDS.
    """

    __slots__ = ("_since", "what", "whom")

    def __init__(self, what: str, whom: str | None = None) -> None:
        self.what = what
        self.whom = whom or what
        self._since = 0.0

    def __enter__(self) -> None:
        self._since = time.monotonic()
        _open.add(self)
        if not _news.is_set():
            _news.set()
            _start()

    def __exit__(self, *_: object) -> None:
        _open.discard(self)

    def lasted(self, moment: float) -> float:
        """The length of the wait until this moment, in seconds."""
        return moment - self._since


def listen(listener: Listener) -> None:
    """Report waits to this listener in place of the one before. It is called from another thread."""
    _listeners.append(listener)


def listen_alone(listener: Listener) -> None:
    """Report waits to this listener, and forget all others."""
    _listeners[:] = [listener]


def stop_listening(listener: Listener) -> None:
    """Report waits to the listener before this one again."""
    if listener in _listeners:
        _listeners.remove(listener)


def _start() -> None:
    global _watcher
    with _starting:
        if _watcher is None or not _watcher.is_alive():
            _watcher = threading.Thread(target=_watch, name="rayflow-waits", daemon=True)
            _watcher.start()


def _watch() -> None:
    while True:
        if not _open:
            _news.clear()
            if not _open:  # else a wait has begun meanwhile, and took this thread to be awake
                _news.wait()
        time.sleep(min(LOOK_SECONDS, SLOW_SECONDS / 4))
        moment = time.monotonic()
        for each in sorted(_open.copy(), key=lambda each: -each.lasted(moment)):
            _look_at(each, moment)


def _look_at(wait: waiting, moment: float) -> None:
    lasted = wait.lasted(moment)
    is_reported = moment - _reported_at.get(wait.whom, -AGAIN_SECONDS) < AGAIN_SECONDS
    if lasted < SLOW_SECONDS or is_reported or not _listeners:
        return
    if len(_reported_at) > 1_000:
        _reported_at.clear()
    _reported_at[wait.whom] = moment
    _listeners[-1](f"Still waiting after {lasted:.0f} s for {wait.what}.")
