"""Digests: the only hash function of the package.

In: a tag and some bytes. Out: BLAKE3 digests of 20 bytes (16 for ids). Never: knows what the bytes mean.

The hashed bytes are the tag and each part, each after its length, so that two different lists of parts never give the
same bytes.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, TypeAlias

from blake3 import blake3

DIGEST_BYTES = 20
SHORT_DIGEST_BYTES = 16

Digest: TypeAlias = bytes

_PARALLEL_FROM = 1 << 20
"""Buffers of at least this many bytes are hashed by several threads."""

_PREFIXES: dict[str, bytes] = {}

_LENGTHS = tuple(length.to_bytes(8, "little") for length in range(256))
"""The encoded lengths of short parts, computed once: most parts are hashes and short texts."""


def _prefix(tag: str) -> bytes:
    """The tag after its length. There are few tags, so the result is kept."""
    known = _PREFIXES.get(tag)
    if known is None:
        name = tag.encode()
        known = len(name).to_bytes(2, "little") + name
        if len(_PREFIXES) < 10_000:
            _PREFIXES[tag] = known
    return known


_TOGETHER = 4_096
"""Parts that are joined at one time. (To join a piece takes 80 bytes beside it.)"""


def _preimage(before: bytes, parts: Sequence[bytes]) -> bytes:
    """These bytes, then the parts, each after its length."""
    pieces = [before]
    for part in parts:
        length = len(part)
        pieces.append(_LENGTHS[length] if length < 256 else length.to_bytes(8, "little"))
        pieces.append(part)
    return b"".join(pieces)


def digest(tag: str, *parts: bytes) -> Digest:
    """The digest of a tag and parts, in this order: 20 bytes."""
    if len(parts) > _TOGETHER:
        return _digest_of_many(tag, parts)
    return blake3(_preimage(_PREFIXES.get(tag) or _prefix(tag), parts)).digest(DIGEST_BYTES)


def _digest_of_many(tag: str, parts: Sequence[bytes]) -> Digest:
    """`digest`, in little memory."""
    hasher = blake3(_prefix(tag))
    for start in range(0, len(parts), _TOGETHER):
        hasher.update(_preimage(b"", parts[start : start + _TOGETHER]))
    found: bytes = hasher.digest(DIGEST_BYTES)
    return found


def short_digest(tag: str, *parts: bytes) -> bytes:
    """The same in 16 bytes, for ids that are shown and stored often."""
    return blake3(_preimage(_PREFIXES.get(tag) or _prefix(tag), parts)).digest(SHORT_DIGEST_BYTES)


def digests(tag: str, *parts: bytes | Sequence[bytes], size: int = DIGEST_BYTES) -> list[Digest]:
    """The digests of many lists of parts. A part that is given as bytes is the same in each list.

    At least one part differs: it is given as a sequence, with the bytes for each list. size: of a digest, in bytes.
    """
    before = _PREFIXES.get(tag) or _prefix(tag)
    columns: list[Sequence[bytes]] = []
    heads: list[bytes | list[bytes]] = []
    """The bytes before each part of a column: mostly the same in each row, since most parts are hashes."""
    for part in parts:
        if isinstance(part, bytes):
            before += _length(part) + part
            continue
        lengths = set(map(len, part))
        columns.append(part)
        heads.append(before + lengths.pop().to_bytes(8, "little") if len(lengths) == 1 else _heads(before, part))
        before = b""
    same = [head for head in heads if isinstance(head, bytes)]
    if len(same) == len(columns) == 1:
        first = same[0]
        return [blake3(first + each + before).digest(size) for each in columns[0]]
    if len(same) == len(columns) == 2:
        first, second = same
        return [blake3(first + one + second + other + before).digest(size) for one, other in zip(*columns, strict=True)]
    rows = [
        piece
        for head, column in zip(heads, columns, strict=True)
        for piece in (repeat(head, len(column)) if isinstance(head, bytes) else head, column)
    ]
    return [blake3(b"".join(pieces) + before).digest(size) for pieces in zip(*rows, strict=True)]


def _heads(before: bytes, column: Sequence[bytes]) -> list[bytes]:
    return [before + _length(each) for each in column]


def _length(part: bytes) -> bytes:
    return _LENGTHS[len(part)] if len(part) < 256 else len(part).to_bytes(8, "little")


def digest_buffers(tag: str, buffers: Iterable[Any]) -> Digest:
    """The same 20 bytes as `digest` of the buffers' bytes, without a copy; several threads hash large buffers.

    Each buffer is a contiguous object with the buffer protocol, and may be read-only.
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
    """A digest of the concatenated buffers, 20 bytes: to find damage, not to identify values."""
    views = [_flat(buffer) for buffer in buffers]
    hasher = _hasher(views)
    for view in views:
        hasher.update(view)
    found: bytes = hasher.digest(length=DIGEST_BYTES)
    return found


def checksum_of_file(content: memoryview) -> Digest:
    """The same 20 bytes for the content of a file, of which a mapped file has only a piece in memory at a time.

    content: read-only. The pages of a mapped file are released after they were read; using them loads them again.
    """
    hasher = _hasher([content])
    for start in range(0, content.nbytes, _MAPPED_PIECE_BYTES):
        hasher.update(content[start : start + _MAPPED_PIECE_BYTES])
        if isinstance(content.obj, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            content.obj.madvise(mmap.MADV_DONTNEED)
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
    """The number of bytes of a binary stream until its end, and their digest as hex."""
    hasher = blake3(max_threads=blake3.AUTO)
    size = 0
    while piece := stream.read(_PIECE_BYTES):
        hasher.update(piece)
        size += len(piece)
    return size, hasher.digest(length=DIGEST_BYTES).hex()


_PIECE_BYTES = 1 << 20

_MAPPED_PIECE_BYTES = 32 << 20


def to_hex(value: bytes) -> str:
    """Lower-case hex, for people."""
    return value.hex()
