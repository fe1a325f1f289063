"""What the code of a class is: said by the room of tasks, or by the process that a class has come from.

In: classes. Out: digests of their code. Never: reads source.

The code of a class at the top level of a module is no part of what its instances are; it counts where they are used
(see definitions.py). A class that a function makes travels with its values, code and all, so there it is a part: two of
them are the same class when their code and the plain values that they hold are.
"""

from __future__ import annotations

import site
import sys
import sysconfig
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any

from rayflow.values.digests import digest

_code_of: list[Callable[[type], bytes]] = []
_CODES: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()
_TOLD: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()
"""As long as the class lives: what was told of one whose source is not here cannot be found out again."""

_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})
_busy = threading.local()


def set_class_code(code_of: Callable[[type], bytes]) -> None:
    """Let `code_of` say what the code of a class of the project is, in bytes."""
    _code_of[:] = [code_of]


def remember_code(of: type, code: bytes) -> None:
    """Take the code of a class as another process has told it, which has its source."""
    _TOLD[of] = code


def forget_codes() -> None:
    """Find out anew what the code of each class of this process is: definitions that they use may have changed."""
    _CODES.clear()


def code_of(of: type) -> bytes | None:
    """The code of a class, in bytes; None while nobody says what that is, or while it is being found out: what a class
    reaches may hold instances of it."""
    known = _TOLD.get(of) or _CODES.get(of)
    if known is not None or not _code_of:
        return known
    busy: set[type] = _busy.__dict__.setdefault("classes", set())
    if of in busy:
        return None
    busy.add(of)
    try:
        found = _code_of[0](of)
        if is_local(of):
            found = digest("local class", found, *_held(of))
    finally:
        busy.discard(of)
    _CODES[of] = found
    return found


def is_local(of: type) -> bool:
    """Whether a class is made by a function of the user's: each call of that makes another one of the same name. One
    of `make_dataclass` may say that it is of the module `types`."""
    if of.__module__ == "types" and not hasattr(types, of.__name__):
        return True
    if "<locals>" not in of.__qualname__:
        return False
    file = getattr(sys.modules.get(of.__module__), "__file__", None)
    return file is None or of.__module__ == "__main__" or not is_installed_file(file)


def _held(of: type) -> list[bytes]:
    """The plain values that stand in a class, by name: a function may make several of one text that differ by them."""
    held: dict[str, Any] = {name: own for name, own in vars(of).items() if name[:2] != "__" and type(own) in _PLAIN}
    return [f"{name} {_written(held[name])}".encode("utf-8", "surrogatepass") for name in sorted(held)]


def _written(value: Any) -> str:
    return hex(value) if type(value) is int else repr(value)


# --- what is installed ------------------------------------------------------------------------------------------------


def _installed_places() -> tuple[str, ...]:
    places = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    places.update(site.getsitepackages() if hasattr(site, "getsitepackages") else ())
    return tuple(f"{place.rstrip('/')}/" for place in places if place)


_INSTALLED = _installed_places()


def is_installed_file(file: str) -> bool:
    """Whether a file belongs to the standard library or to an installed package."""
    return file.startswith(_INSTALLED) or "/site-packages/" in file or "/dist-packages/" in file
