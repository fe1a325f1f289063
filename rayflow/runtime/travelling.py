"""Code that workers cannot import, because it stands in the driver's `__main__` (a script, a notebook): it travels.

In: the task table, this process's `__main__`. Out: its classes as bytes, and made again on a worker; both kept in the
store for who takes the execution up again. Never: imports a script.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping

from rayflow.lang.entries import TaskEntry
from rayflow.store.base import Store
from rayflow.values.class_codes import code_of, remember_code
from rayflow.values.digests import digest
from rayflow.values.encoding import decode, encode, from_bytes, to_bytes
from rayflow.values.main_module import Script, main_name, own_classes
from rayflow.values.refs import Encoded


def script_here() -> Script | None:
    """The classes of this process's `__main__`; None when it has none."""
    found = own_classes()
    if not found:
        return None
    failed: dict[str, str] = {}
    try:
        packed = _packed(found)
    except Exception:  # what one of them holds cannot travel: which one is told to whoever needs it on a worker
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
    return Script(main_name(), packed, codes, failed)


def _packed(classes: Mapping[str, type]) -> bytes:
    return to_bytes(encode(dict(classes), name="__main__", by_value=True))


def _with_inner(classes: Iterable[type]) -> list[type]:
    """These classes, and those that stand in them."""
    found = list(classes)
    for each in found:
        found.extend(
            value
            for name, value in vars(each).items()
            if isinstance(value, type) and value.__qualname__ == f"{each.__qualname__}.{name}"
        )
    return found


def made(script: Script) -> Mapping[str, type]:
    """The classes of a driver's `__main__`, in this process, which takes in what their code is."""
    found: dict[str, type] = decode(from_bytes(script.classes))
    for each in _with_inner(found.values()):
        if each.__qualname__ in script.codes:
            remember_code(each, script.codes[each.__qualname__])
    return found


def keep_travelling(store: Store, table: Mapping[str, TaskEntry], script: Script | None) -> bytes | None:
    """Keep the tasks that travel by value, and the script, for who takes the execution up again."""
    travelling = {name: entry for name, entry in table.items() if entry.code is not None}
    if not travelling:
        return None
    packed = pickle.dumps((travelling, script), protocol=5)
    name = digest("table", packed)
    store.put_blob(name, Encoded("bytes", b"", (packed,)))
    return name


def kept_travelling(store: Store, name: bytes | None) -> tuple[dict[str, TaskEntry], Script | None]:
    """The tasks and the script that were kept so."""
    if name is None:
        return {}, None
    kept = pickle.loads(decode(store.get_blob(name)))
    # An older rayflow has kept the tasks alone.
    return kept if isinstance(kept, tuple) else (kept, None)
