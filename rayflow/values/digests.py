"""The only hash function in the house.

In: a tag and some bytes. Out: BLAKE3 digests, 20 bytes (16 for ids). Never: knows what is being hashed.

A preimage is the tag and each part, all with their lengths before them, so that no two different lists of parts share
one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from blake3 import blake3

DIGEST_BYTES = 20
SHORT_DIGEST_BYTES = 16

Digest: TypeAlias = bytes

_PARALLEL_FROM = 1 << 20
"""Buffers from this size on are hashed by several threads. In bytes."""

_PREFIXES: dict[str, bytes] = {}

_LENGTHS = tuple(length.to_bytes(8, "little") for length in range(256))
"""The lengths of short parts, made once: most parts are hashes and short text."""


def _prefix(tag: str) -> bytes:
    """The tag with its length before it; tags are few, so each is made once."""
    known = _PREFIXES.get(tag)
    if known is None:
        name = tag.encode()
        known = len(name).to_bytes(2, "little") + name
        if len(_PREFIXES) < 10_000:
            _PREFIXES[tag] = known
    return known


def _preimage(tag: str, parts: tuple[bytes, ...]) -> bytes:
    pieces = [_PREFIXES.get(tag) or _prefix(tag)]
    for part in parts:
        length = len(part)
        pieces.append(_LENGTHS[length] if length < 256 else length.to_bytes(8, "little"))
        pieces.append(part)
    return b"".join(pieces)


def digest(tag: str, *parts: bytes) -> Digest:
    """20 bytes that stand for this tag and these parts, in this order."""
    return blake3(_preimage(tag, parts)).digest(DIGEST_BYTES)


def short_digest(tag: str, *parts: bytes) -> bytes:
    """16 bytes that stand for this tag and these parts: for ids that are shown and stored often."""
    return blake3(_preimage(tag, parts)).digest(SHORT_DIGEST_BYTES)


def digest_buffers(tag: str, buffers: Iterable[Any]) -> Digest:
    """The same 20 bytes as `digest` over the buffers' bytes, without copying; large ones are hashed by several threads.

    Each buffer is anything contiguous with the buffer protocol, also read-only.
    """
    views = [_flat(buffer) for buffer in buffers]
    hasher = _hasher(views)
    hasher.update(_prefix(tag))
    for view in views:
        hasher.update(view.nbytes.to_bytes(8, "little"))
        hasher.update(view)
    found: bytes = hasher.digest(length=DIGEST_BYTES)
    return found


def checksum(buffers: Iterable[Any]) -> Digest:
    """20 bytes over the plain concatenation of the buffers: for finding damage, not for identity."""
    views = [_flat(buffer) for buffer in buffers]
    hasher = _hasher(views)
    for view in views:
        hasher.update(view)
    found: bytes = hasher.digest(length=DIGEST_BYTES)
    return found


def _flat(buffer: Any) -> memoryview:
    view = memoryview(buffer)
    if view.nbytes == 0:
        return memoryview(b"")
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def _hasher(views: list[memoryview]) -> Any:
    if max((view.nbytes for view in views), default=0) >= _PARALLEL_FROM:
        return blake3(max_threads=blake3.AUTO)
    return blake3()


def hash_stream(stream: Any) -> tuple[int, str]:
    """How many bytes a binary stream gives until its end, and 20 bytes over them, as hex."""
    hasher = blake3(max_threads=blake3.AUTO)
    size = 0
    while piece := stream.read(_PIECE_BYTES):
        hasher.update(piece)
        size += len(piece)
    return size, hasher.digest(length=DIGEST_BYTES).hex()


_PIECE_BYTES = 1 << 20


def to_hex(value: bytes) -> str:
    """Lower-case hex, as shown to people."""
    return value.hex()
