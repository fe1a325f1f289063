"""The code of classes, as digests. They come from the code reader, or from the process that sent a class.

In: classes. Out: digests of their code. Never: reads source.

If a class is at the top level of a module, its code is not part of the hash of its instances: the code matters where
the instances are used (see definition_witnesses.py). If a function creates a class, its values are sent together with
the class and its code, and the code is part of their hash. Two such classes are the same if their code and their plain
attributes are equal.
"""

from __future__ import annotations

import sys
import threading
import types
import weakref
from typing import Any

from rayflow.installation import is_installed
from rayflow.values.digests import digest
from rayflow.values.native import SCALARS
from rayflow.values.process.code_reader import code_reader

_CODES: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()
_RECEIVED: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()
"""Codes of classes that came from another process, as long as the class lives. Their source is not in this process."""

_busy = threading.local()


def remember_code(of: type, code: bytes) -> None:
    """Store the code of a class that came from another process. Only that process has the source."""
    _RECEIVED[of] = code


def forget_codes() -> None:
    """Forget all codes of this process's own classes, so that they are read again. The definitions may have changed."""
    _CODES.clear()


def code_of(of: type) -> bytes | None:
    """The digest of the code of a class.

    It is None without a code reader. It is also None while this code is being read: the code may use an instance of the
    class itself.
    """
    known = _RECEIVED.get(of) or _CODES.get(of)
    if known is not None:
        return known
    reader = code_reader()
    if reader is None:
        return None
    busy: set[type] = _busy.__dict__.setdefault("classes", set())
    if of in busy:
        return None
    busy.add(of)
    try:
        found = reader.class_code(of)
        if is_local(of):
            found = digest("local class", found, *_held(of))
    finally:
        busy.discard(of)
    _CODES[of] = found
    return found


def is_local(of: type) -> bool:
    """Whether a function of the user creates this class. Each call of such a function creates another class.

    `make_dataclass` may give its class the module `types`. Such a class counts as one that a function creates.
    """
    if of.__module__ == "types" and not hasattr(types, of.__name__):
        return True
    if "<locals>" not in of.__qualname__:
        return False
    file = getattr(sys.modules.get(of.__module__), "__file__", None)
    return file is None or of.__module__ == "__main__" or not is_installed(file)


def _held(of: type) -> list[bytes]:
    """The plain attributes of a class, as text. The classes that one function creates may differ only in these."""
    held: dict[str, Any] = {name: own for name, own in vars(of).items() if name[:2] != "__" and type(own) in SCALARS}
    return [f"{name} {_written(held[name])}".encode("utf-8", "surrogatepass") for name in sorted(held)]


def _written(value: Any) -> str:
    return hex(value) if type(value) is int else repr(value)
