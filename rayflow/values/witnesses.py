"""What must still be true for a value to be: its witnesses, and who checks them.

In: objects that are being encoded; later, witnesses of recorded values. Out: witnesses as plain data; whether each
still holds. Never: decides what is run again (the evaluator does, from the verdicts).

Some values are true only while the world is as it was: a file may be overwritten, a handle rolled back. Such a value
says so by a *witness*, a pair of a kind and plain data, hashable and small: `("file", (path, size, modified))`.

How a class declares one: by a method

    def __rayflow_witness__(self) -> Witness | None: ...

It is asked when the value is encoded, wherever the value stands: by itself, in containers and dataclasses, deep inside
objects that rayflow knows nothing of. The reference to what was encoded carries all of them, a packed term lists those
of all its references at its front, and a cached term counts only while each of them holds. A value without witnesses
costs nothing.

How a kind is checked: by a validator, registered with `register_validator`. It gets the payloads of its kind that a
tick asks for, each once, and answers for all of them, in order; it may ask concurrently. One that needs the user's
code says `on_worker`, and is asked in a process that has it. What nobody validates does not hold.
"""

from __future__ import annotations

import importlib
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

Witness: TypeAlias = tuple[str, tuple[Any, ...]]
"""A kind, and what its validator has to know: hashable plain data (None, numbers, text, bytes, tuples of them)."""

OF_TASK = "task"
"""The kind of a task inside a value: its full name and task_hash. The evaluator checks these itself."""

OF_HANDLE = "handle"
"""The kind of a state of a handle: the state."""

OF_VALUE = "value"
"""The kind of a value whose class says itself whether it holds: its hash, and its blob when that is small."""

OF_FILE = "file"
"""The kind of a file: how it is identified, its path, size and version (see files.py)."""


OF_DEFINITION = "definition"
"""The kind of a class or function of the project: its path. A value that names one that is gone cannot be read."""

OF_CODE = "code"
"""The kind of the code of a class of the project: its path and the digest of its code. What was computed from its
instances counts only while it is the same."""


class Validator(Protocol):
    """Says which witnesses of one kind still hold."""

    def __call__(self, payloads: Sequence[tuple[Any, ...]], store: Any, /) -> Sequence[bool]:
        """One answer for each payload, in order. store: the open store (rayflow.store.base.Store).

        What it raises means that none of these holds, and is told as a warning.
        """
        ...


class _Kind(NamedTuple):
    validate: Validator
    on_worker: bool


_here = threading.local()

_KINDS: dict[str, _Kind] = {}

_HOMES: dict[str, str] = {
    OF_VALUE: "rayflow.values.custom",
    OF_FILE: "rayflow.values.validity",
    OF_HANDLE: "rayflow.values.handles",
    OF_DEFINITION: "rayflow.values.definitions",
    OF_CODE: "rayflow.values.definitions",
}
"""Kind -> our module that registers its validator, imported when the first such witness is met."""


def register_validator(kind: str, validate: Validator, *, on_worker: bool = False) -> None:
    """Have witnesses of this kind checked by `validate`; on_worker: in a process that has the user's code."""
    _KINDS[kind] = _Kind(validate, on_worker)


def _kind(name: str) -> _Kind | None:
    home = _HOMES.get(name)
    if name not in _KINDS and home is not None and home not in sys.modules:
        importlib.import_module(home)
    return _KINDS.get(name)


def needs_worker(witness: Witness) -> bool:
    """Whether it takes a process with the user's code to check this witness: so too where its kind is unknown here."""
    kind = _kind(witness[0])
    return kind is None or kind.on_worker


def check(
    witnesses: Iterable[Witness], store: Any, warned: Callable[[str], None] | None = None
) -> dict[Witness, bool]:
    """Whether each of these holds, asked here, each kind in one batch. warned: told of validators that fail."""
    by_kind: dict[str, list[Witness]] = {}
    for witness in witnesses:
        by_kind.setdefault(witness[0], []).append(witness)
    verdicts: dict[Witness, bool] = {}
    for name, members in by_kind.items():
        kind = _kind(name)
        _here.told = warned
        try:
            if kind is None:
                raise LookupError(f"nothing here validates values of the kind {name!r}")
            answers = list(kind.validate([payload for _, payload in members], store))
            if len(answers) != len(members):
                raise ValueError(f"{len(answers)} answers to {len(members)} questions")
        except Exception as error:
            # What cannot be checked does not count: at worst something is computed once more.
            if warned is not None:
                warned(
                    f"Whether {len(members)} cached values of the kind {name!r} still hold cannot be told "
                    f"({type(error).__name__}: {error}); what made them runs again."
                )
            answers = [False] * len(members)
        finally:
            _here.told = None
        for witness, answer in zip(members, answers, strict=True):
            verdicts[witness] = bool(answer)
    return verdicts


def tell(text: str) -> None:
    """What a validator has to say to the user: to whoever asked for the check, else as a warning."""
    told: Callable[[str], None] | None = getattr(_here, "told", None)
    if told is not None:
        told(text)
    else:
        warnings.warn(text, stacklevel=3)


# --- found while a value is encoded -----------------------------------------------------------------------------------


Made: TypeAlias = tuple[Any, Any, Any]
"""A part: its ValueRef, its Encoded, the object itself."""


class Noticed:
    """Collects what this thread meets while it encodes; one in use inside another passes on what it has found.

    found: witnesses. objects: by id, the objects that are parts of what is encoded: those with witnesses, or that have
    parts themselves. made: of each part, by id, the reference, the bytes and the object. wholes: the digest of each
    value with such parts, and those.
    """

    __slots__ = ("_before", "found", "made", "objects", "wholes")

    def __init__(self) -> None:
        self.found: dict[Witness, None] = {}
        self.objects: dict[int, Any] = {}
        self.wholes: list[tuple[bytes, list[Made]]] = []
        self._before: Noticed | None = listening()
        self.made: dict[int, Made] = {} if self._before is None else self._before.made

    def __enter__(self) -> Noticed:
        _here.noticed = self
        return self

    def __exit__(self, *_: object) -> None:
        _here.noticed = self._before
        if self._before is not None and (self.found or self.wholes):
            self._before.found.update(self.found)
            self._before.wholes.extend(self.wholes)


def listening() -> Noticed | None:
    """Who collects what this thread meets, if anybody does."""
    noticed: Noticed | None = getattr(_here, "noticed", None)
    return noticed


def notice(witness: Witness) -> None:
    """What is being encoded in this thread holds only while this witness does."""
    noticed = listening()
    if noticed is not None:
        noticed.found[witness] = None
