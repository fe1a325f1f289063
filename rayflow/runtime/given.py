"""The classes of the project whose instances a call was given: what it gives depends on their code, too.

In: the references and containers that a call's arguments are made of, as they are read. Out: witnesses of the code that
those classes have here, to stand at the front of what the call gives. Never: looks into a value.

A value's hash says its class and its content, so that an edited method does not change what is equal; what was computed
by the method it does change. The task's own code says which classes it names, but a task (or an operation: a method, an
attribute) may be given instances of classes that it does not name.
"""

from __future__ import annotations

from typing import Any

from rayflow.lang.codec import with_conditions
from rayflow.values.definitions import code_witness, definition_witness
from rayflow.values.refs import ValueRef
from rayflow.values.witnesses import OF_DEFINITION, Witness


class Given:
    """The classes and functions that were met so far, as witnesses."""

    def __init__(self) -> None:
        self._met: set[Witness] = set()

    def take_ref(self, ref: ValueRef) -> None:
        """A value was read that is kept as a whole."""
        self._met.update(each for each in ref.witnesses if each[0] == OF_DEFINITION)

    def take_container(self, container: Any) -> None:
        """A container of the user's own was built."""
        witness = definition_witness(type(container))
        if witness is not None:
            self._met.add(witness)

    def stamped(self, packed: bytes) -> bytes:
        """What the call gave, with its conditions."""
        if not self._met:
            return packed
        found = [code_witness(each) for each in sorted(self._met)]
        return with_conditions(packed, [each for each in found if each is not None])
