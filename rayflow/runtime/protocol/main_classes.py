"""Sends the classes of the driver's `__main__` (a script, a notebook), which workers cannot import.

In: the task table, this process's `__main__`. Out: its classes as bytes; on a worker the same classes; both stored for
a process that resumes the execution. Never: imports a script.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping

from rayflow.lang.task_table import TaskEntry
from rayflow.store.store import Store
from rayflow.values.digests import digest
from rayflow.values.encoding.encoding import decode, encode, from_bytes, to_bytes
from rayflow.values.objects import pickling
from rayflow.values.process.class_codes import code_of, remember_code
from rayflow.values.process.main_module import MainScript, main_name, own_classes
from rayflow.values.refs import Encoded


def script_here() -> MainScript | None:
    """The classes of this process's `__main__`; None when it has none."""
    found = own_classes()
    if not found:
        return None
    failed: dict[str, str] = {}
    try:
        packed = _packed(found)
    except Exception:  # one of them cannot be pickled: a worker that needs it says which one and why
        for name, value in list(found.items()):
            try:
                _packed({name: value})
            except Exception as error:
                failed[name] = str(error)
                del found[name]
        packed = _packed(found)
    codes: dict[str, bytes] = {}
    for each in _with_inner(found.values()):
        code = code_of(each)
        if code is not None:
            codes[each.__qualname__] = code
    return MainScript(main_name(), packed, codes, failed)


def _packed(classes: Mapping[str, type]) -> bytes:
    return to_bytes(encode(dict(classes), name="__main__", by_value=True))


def _with_inner(classes: Iterable[type]) -> list[type]:
    """These classes, and the classes that are defined inside them."""
    found = list(classes)
    for each in found:
        found.extend(
            value
            for name, value in vars(each).items()
            if isinstance(value, type) and value.__qualname__ == f"{each.__qualname__}.{name}"
        )
    return found


def classes_of(script: MainScript) -> Mapping[str, type]:
    """The classes of a driver's `__main__`, by name, made in this process, which remembers the hash of their code."""
    found: dict[str, type] = decode(from_bytes(script.classes))
    for each in _with_inner(found.values()):
        if each.__qualname__ in script.codes:
            remember_code(each, script.codes[each.__qualname__])
    return found


def keep_travelling(store: Store, table: Mapping[str, TaskEntry], script: MainScript | None) -> bytes | None:
    """Store the tasks that are sent by value, and the script, for a process that resumes the execution. Gives the
    digest; None when there are none."""
    travelling = {name: entry for name, entry in table.items() if entry.code is not None}
    if not travelling:
        return None
    packed = pickle.dumps((travelling, script), protocol=5)
    name = digest("table", packed)
    store.put_blob(name, Encoded("bytes", b"", (packed,)))
    return name


def kept_travelling(store: Store, name: bytes | None) -> tuple[dict[str, TaskEntry], MainScript | None]:
    """The tasks and the script that `keep_travelling` has stored."""
    if name is None:
        return {}, None
    kept = pickling.load(decode(store.get_blob(name)))
    # An older rayflow has stored the tasks alone.
    return kept if isinstance(kept, tuple) else (kept, None)
