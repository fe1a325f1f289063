"""References to values, which the scheduler handles in place of the values themselves.

In: a digest and the form of the encoded value. Out: `ValueRef`, `Encoded`, `TaggedTree`. Never: reads or writes bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rayflow.values.witnesses import Witness

INLINE_BYTES = 4096
"""Encoded values up to this size, in bytes, are inside their reference; larger values are blobs in the store."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value as bytes: a format tag, a header (pickle stream or schema), and large buffers beside the header.

    Because the buffers are separate, numpy and Arrow values are written and read without a copy.
    """

    format: str
    header: bytes
    buffers: tuple[Any, ...] = ()

    @property
    def size(self) -> int:
        """Total size in bytes."""
        return len(self.header) + sum(memoryview(buffer).nbytes for buffer in self.buffers)


@dataclass(frozen=True, slots=True, eq=False)
class ValueRef:
    """A reference to a value, by its hash. Two references are equal when their hashes are.

    digest: the value_hash.
    kind: the name of the value's type, for people ("numpy.ndarray").
    size: size of the encoded bytes.
    format: format tag of the encoding.
    inline: the encoded value when it is small (at most INLINE_BYTES and without buffers), else None: a blob holds it.
    witnesses: facts that must be true for the value to be valid, from all Files, Handles and Tasks inside it.
    preview: a shortened repr, from the process that encoded the value.
    """

    digest: bytes
    kind: str
    size: int
    format: str
    inline: bytes | None = None
    witnesses: tuple[Witness, ...] = ()
    preview: str = field(default="", repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ValueRef) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __rayflow_identity__(self) -> bytes:
        """The identity of the value. A reference never stands for a short scalar, whose identity would be another."""
        return b"\xff" + self.digest


@dataclass(frozen=True, slots=True)
class TaggedTree:
    """A container that was taken apart (a dataclass, a namedtuple, an OrderedDict), as plain data.

    kind: the kind of the handler that takes it apart and builds it again.
    header: canonical plain data that the handler needs besides the parts (class path, field names).
    parts: the terms inside.

    It has the same hash as the container.
    """

    kind: str
    header: tuple[Any, ...]
    parts: tuple[Any, ...]
