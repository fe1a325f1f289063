"""The conditions on which a call's result depends, besides the code of its task.

In: the references and containers in a call's arguments, when they are read; the bytes of its result. Out: witnesses,
which are put at the front of the result. Never: looks into a value.

There are two sorts of conditions. First, the result depends on the code of the project's classes whose instances the
call receives. The hash of a value covers its class and its content. An edited method does not change this hash, but it
changes what the method computes. (The code of the task covers the classes that it names. But a task, or an operation
such as a method or an attribute, may receive instances of other classes.) Second, the result depends on the secrets
whose texts it contains.
"""

from __future__ import annotations

from typing import Any

from rayflow.lang.terms.codec import with_conditions
from rayflow.values.display import masking
from rayflow.values.encoding.encoding import to_bytes
from rayflow.values.objects.definition_witnesses import code_witness, definition_witness
from rayflow.values.refs import Encoded, ValueRef
from rayflow.values.secrets import witnesses_of_secrets
from rayflow.values.witnesses import OF_DEFINITION, Witness

LARGEST_SEARCHED_BYTES = 1024 * 1024
"""The size up to which a large value is searched for the texts of secrets."""


class ResultConditions:
    """Collects the conditions of one call's result: classes, functions and secrets, as witnesses."""

    def __init__(self) -> None:
        self._definitions: set[Witness] = set()
        self._secrets: set[Witness] = set()

    def take_ref(self, ref: ValueRef) -> None:
        """Add the conditions of a value that the call reads from the store as a whole."""
        self._definitions.update(each for each in ref.witnesses if each[0] == OF_DEFINITION)

    def take_container(self, container: Any) -> None:
        """Add the condition of a container that the call reads, if its class is the user's."""
        witness = definition_witness(type(container))
        if witness is not None:
            self._definitions.add(witness)

    def take_large(self, encoded: Encoded) -> None:
        """Add the secrets in a large value of the result. Such a value is stored by itself."""
        if masking.known() and encoded.size <= LARGEST_SEARCHED_BYTES:
            self._secrets.update(witnesses_of_secrets(to_bytes(encoded)))

    def stamped(self, packed: bytes, *, with_code: bool = True) -> bytes:
        """The packed result with its conditions. with_code: whether the code of classes is among them."""
        definitions = sorted(self._definitions) if with_code and self._definitions else ()
        found = [code_witness(each) for each in definitions]
        if masking.known():
            self._secrets.update(witnesses_of_secrets(packed))
            found.extend(sorted(self._secrets))
        return with_conditions(packed, [each for each in found if each is not None]) if found else packed

    def secrets(self) -> str:
        """The secrets whose texts are in the stamped result, as a text for people; empty if there are none."""
        return " and ".join([f"Secret({reference!r})" for _, (reference,) in sorted(self._secrets)])
