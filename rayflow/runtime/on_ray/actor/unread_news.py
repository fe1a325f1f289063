"""News for the drivers of executions, kept until they ask.

In: news, each of one execution. Out: the news of the execution that a driver asks for. Never: grows without end: of
each execution the newest are kept, and the number of the lost ones is known.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_UNREAD = 10_000
"""The most news of one execution that are kept."""


class UnreadNews(Generic[T]):
    """News by execution. Several threads may add and take."""

    def __init__(self, most: int = MOST_UNREAD) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._unread: dict[str, tuple[deque[T], list[int]]] = {}
        """By execution the newest, and the number of all that came."""

    def add(self, execution_id: str, news: T) -> None:
        with self._lock:
            unread, came = self._unread.setdefault(execution_id, (deque(maxlen=self._most), [0]))
            unread.append(news)
            came[0] += 1

    def take(self, execution_id: str) -> tuple[tuple[T, ...], int]:
        """The news of an execution since the last call, and the number of those that were lost."""
        with self._lock:
            unread, came = self._unread.pop(execution_id, (deque[T](), [0]))
        return tuple(unread), came[0] - len(unread)
