"""Witnesses: facts that must still be true for a recorded value to be valid, and the table of their validators.

In: objects that are being encoded; later, the witnesses of recorded values. Out: witnesses as plain data; whether each
is still valid. Never: decides what runs again (the evaluator does, from these answers).

Some values depend on the outside world: a file may be overwritten, a handle may be rolled back. Such a value has a
*witness*, a pair of a form and plain data, hashable and small: `("file", (path, size, modified))`.

A class declares its witness by a method

    def __rayflow_witness__(self) -> Witness | None: ...

rayflow calls it when the value is encoded: alone, in containers and dataclasses, or deep inside objects of unknown
classes. The reference to the encoded value carries all these witnesses. A packed term begins with the witnesses of all
its references. A cached term is valid only while each of its witnesses is. A value without witnesses costs
nothing.

VALIDATORS names the function that checks each form of witness. The function gets all witnesses of its form in a tick as
one batch, and gives one answer for each, in order. It may check several at a time. A validator with `on_worker` needs
the user's code, and runs in a process that has this code. A witness without a validator is not valid.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

from rayflow.values.display.user_warnings import warn_user

Witness: TypeAlias = tuple[str, tuple[Any, ...]]
"""A form, and the data for its validator: hashable plain data (None, numbers, text, bytes, tuples of them)."""

OF_TASK = "task"
"""A task inside a value: its full name and task_hash. The evaluator checks these itself."""

OF_HANDLE = "handle"
"""A state of a handle: the state, and the earlier state (or fork) that a call changed to make it."""

OF_VALUE = "value"
"""A value whose class defines `is_valid`: its hash, and its blob when that is small."""

OF_FILE = "file"
"""The state of a file: how it is identified, its path, size and version (see files.py)."""

OF_DEFINITION = "definition"
"""The path of a class or function of the project. A value that names it cannot be read once it is gone."""

OF_CODE = "code"
"""The path of a class of the project, and the digest of its code. Results that were computed from instances of the
class are valid only while its code is the same."""

OF_SECRET = "secret"
"""The reference of a secret whose text is in the result of a call. It is always valid; checking it masks the text."""


class Validator(Protocol):
    """Says which witnesses of one form are still valid."""

    def __call__(self, payloads: Sequence[tuple[Any, ...]], store: Any, /) -> Sequence[bool]:
        """One answer for each payload, in order. store: the open store (rayflow.store.store.Store).

        If it raises an error, none of these witnesses is valid, and the user gets a warning.
        """
        ...


class ValidatorAt(NamedTuple):
    """Where a validator is defined: it is imported when the first witness of its form is checked.

    on_worker: it needs the user's code, and so runs in a process that has it.
    """

    module: str
    function: str
    on_worker: bool = False


VALIDATORS: dict[str, ValidatorAt] = {
    OF_FILE: ValidatorAt("rayflow.values.files.validity", "still_as_recorded"),
    OF_HANDLE: ValidatorAt("rayflow.values.handles", "are_current_states"),
    OF_VALUE: ValidatorAt("rayflow.values.custom", "are_valid", on_worker=True),
    OF_DEFINITION: ValidatorAt("rayflow.values.objects.definition_witnesses", "are_defined", on_worker=True),
    OF_CODE: ValidatorAt("rayflow.values.objects.definition_witnesses", "have_same_code", on_worker=True),
    OF_SECRET: ValidatorAt("rayflow.values.secrets", "mask_again"),
}
"""The validator of each form of witness. The evaluator checks OF_TASK."""

_thread = threading.local()


def needs_worker(witness: Witness) -> bool:
    """Whether only a process with the user's code can check this witness; also when its form is unknown here."""
    place = VALIDATORS.get(witness[0])
    return place is None or place.on_worker


def _imported(place: ValidatorAt) -> Validator:
    return cast(Validator, getattr(importlib.import_module(place.module), place.function))


def check(witnesses: Iterable[Witness], store: Any, warned: Callable[[str], None] | None = None) -> dict[Witness, bool]:
    """Whether each of these witnesses is valid, asked in this process, in one batch for each form.

    warned: called with a text for each validator that fails.
    """
    by_form: dict[str, list[Witness]] = {}
    for witness in witnesses:
        by_form.setdefault(witness[0], []).append(witness)
    verdicts: dict[Witness, bool] = {}
    for form, members in by_form.items():
        place = VALIDATORS.get(form)
        _thread.warned = warned
        try:
            if place is None:
                raise LookupError(f"nothing here validates values of the kind {form!r}")
            answers = list(_imported(place)([payload for _, payload in members], store))
            if len(answers) != len(members):
                raise ValueError(f"{len(answers)} answers to {len(members)} questions")
        except Exception as error:
            # A witness that cannot be checked is not valid: at worst something is computed once more.
            if warned is not None:
                warned(
                    f"rayflow cannot tell whether {len(members)} cached values of the kind {form!r} are still valid "
                    f"({type(error).__name__}: {error}), so the tasks that made them run again."
                )
            answers = [False] * len(members)
        finally:
            _thread.warned = None
        for witness, answer in zip(members, answers, strict=True):
            verdicts[witness] = bool(answer)
    return verdicts


def warn_of_check(text: str) -> None:
    """Warn the user from inside a validator: through the `warned` of the running `check`, else as a Python warning."""
    warned: Callable[[str], None] | None = getattr(_thread, "warned", None)
    if warned is not None:
        warned(text)
    else:
        warn_user(text)


# --- collected while a value is encoded -------------------------------------------------------------------------------


EncodedPart: TypeAlias = tuple[Any, Any, Any]
"""A part: its ValueRef, its Encoded, the object itself."""


class WitnessCollector:
    """Collects witnesses and parts while this thread encodes a value. An inner collector hands them to the outer one.

    found: the witnesses. objects: by id, the parts of the value that have witnesses or parts themselves. made: by id,
    the reference, the bytes and the object of each encoded part. wholes: the digest of each value with such parts, and
    these parts.
    """

    __slots__ = ("_before", "found", "made", "objects", "wholes")

    def __init__(self) -> None:
        self.found: dict[Witness, None] = {}
        self.objects: dict[int, Any] = {}
        self.wholes: list[tuple[bytes, list[EncodedPart]]] = []
        self._before: WitnessCollector | None = collector()
        self.made: dict[int, EncodedPart] = {} if self._before is None else self._before.made

    def __enter__(self) -> WitnessCollector:
        _thread.collector = self
        return self

    def __exit__(self, *_: object) -> None:
        _thread.collector = self._before
        if self._before is not None and (self.found or self.wholes):
            self._before.found.update(self.found)
            self._before.wholes.extend(self.wholes)


def collector() -> WitnessCollector | None:
    """The innermost collector of this thread, if one is open."""
    found: WitnessCollector | None = getattr(_thread, "collector", None)
    return found


def notice(witness: Witness) -> None:
    """Add a witness to the value that this thread is encoding."""
    found = collector()
    if found is not None:
        found.found[witness] = None
