"""References to values: what the scheduler sees instead of the bytes.

In: a digest and where the bytes are. Out: `ValueRef`, `TaggedTree`. Never: the bytes of anything large.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rayflow.values.witnesses import Witness

INLINE_BYTES = 4096
"""Encoded values up to this size travel inside their reference; larger ones are blobs. In bytes."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value as bytes: a format tag, a header (pickle stream or schema) and large buffers taken out of it unread.

    Keeping the buffers apart lets numpy and Arrow values be written and read without a copy.
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
    """A value by its hash. Two references are equal when their hashes are.

    digest: the value_hash.
    kind: the value's type for people ("numpy.ndarray").
    size: size of the encoded bytes.
    format: format tag of the encoding.
    inline: the encoded value when it is small (at most INLINE_BYTES and without buffers), else None: a blob holds it.
    witnesses: what must still be true for the value to be, of all Files, Handles and Tasks inside (see witnesses.py).
    preview: a shortened repr, made where the value was encoded.
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
        """The identity of the value that it stands for. Scalars with a short canonical form are never references."""
        return b"\xff" + self.digest


@dataclass(frozen=True, slots=True)
class TaggedTree:
    """A container that only user code can build (a dataclass, a namedtuple, an OrderedDict), kept as plain data.

    kind: which handler takes it apart and builds it again.
    header: what that handler needs besides the parts (class path, field names), as canonical plain data.
    parts: the terms inside.

    It hashes exactly as the object that it stands for.
    """

    kind: str
    header: tuple[Any, ...]
    parts: tuple[Any, ...]
