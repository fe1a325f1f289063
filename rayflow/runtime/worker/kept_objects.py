"""The objects that this process has loaded for parameters that are `Kept`.

In: a key, and how to load the object. Out: the object, loaded or from before. Never: lets an object go that a body has.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rayflow.lang.parameters.kept import KeptObject
from rayflow.lang.terms.codec import dumps
from rayflow.lang.terms.expressions import Term
from rayflow.runtime.worker.process_state import lasting_changes
from rayflow.values.digests import digest
from rayflow.values.display.user_warnings import warn_user

MOST_OBJECTS = 8
"""How many objects a process keeps, beside those that a body has."""

SHARE_OF_MEMORY = 0.25
"""The share of the machine's memory for all objects of a process that tell their size."""


class KeptUser:
    """Has objects in use as long as it lives."""

    __slots__ = ("__weakref__",)


@dataclass(slots=True)
class _Loaded:
    value: Any
    size: int
    users: weakref.WeakSet[KeptUser] = field(default_factory=weakref.WeakSet)


class KeptObjects:
    """Keeps the objects that were used last. most: how many. most_bytes: of those that tell their size, together."""

    def __init__(self, most: int, most_bytes: float) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._loaded: OrderedDict[bytes, _Loaded] = OrderedDict()
        self._lock = threading.RLock()
        """Two threads must not load one object twice. A loader may itself run calls that load others."""

    def __len__(self) -> int:
        return len(self._loaded)

    def get(self, key: bytes, load: Callable[[], Any], user: KeptUser) -> Any:
        """The object of this key, which the user has from now on. Raises what the load raises."""
        with self._lock:
            found = self._loaded.get(key)
            if found is None:
                self._let_go(self._most - 1, self._most_bytes)
                value = load()
                found = self._loaded[key] = _Loaded(value, told_bytes(value))
            found.users.add(user)
            self._loaded.move_to_end(key)
            self._let_go(self._most, self._most_bytes)
            return found.value

    def _let_go(self, most: int, most_bytes: float) -> None:
        """Let go of the objects that were used longest ago, down to these bounds; of none that a body has."""
        count, size = len(self._loaded), sum(each.size for each in self._loaded.values())
        for key, each in list(self._loaded.items()):
            if count <= most and size <= most_bytes:
                return
            if not each.users and (count > most or each.size):
                del self._loaded[key]
                count, size = count - 1, size - each.size
                _close(each.value)


def _close(value: Any) -> None:
    close = getattr(value, "close", None)
    if callable(close) and not isinstance(value, type):
        try:
            close()
        except Exception as error:  # no call is to blame: the next one has nothing to do with this object
            warn_user(f"An object that was kept could not be closed: {type(error).__name__}: {error}")


def told_bytes(value: Any) -> int:
    """The size that an object tells by an attribute or method `nbytes`, as arrays and tables do; 0 without one."""
    told = getattr(value, "nbytes", 0)
    try:
        told = told() if callable(told) else told
    except Exception:  # somebody else's method, called for no more than a bound
        return 0
    return told if isinstance(told, int) and told > 0 else 0


def _memory_bytes() -> float:
    """The memory of this machine; no bound where the system does not tell it, as Windows does not."""
    if not hasattr(os, "sysconf"):
        return float("inf")
    return float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")


KEPT_OBJECTS = KeptObjects(MOST_OBJECTS, SHARE_OF_MEMORY * _memory_bytes())
"""Those of this process. Calls of all executions share them."""


def loaded_argument(kept: KeptObject, term: Term, user: KeptUser, directory: str) -> Any:
    """The object for an argument. term: the argument as it has travelled, with the hashes of all that counts.
    directory: of the project, since the loader may be given a path relative to it."""

    def load() -> Any:
        with lasting_changes():
            return kept.load()

    return KEPT_OBJECTS.get(digest("kept", directory.encode(errors="surrogateescape"), dumps(term)), load, user)
