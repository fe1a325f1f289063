"""Values to bytes and back.

In: a value, or a blob. Out: `Encoded`, `ValueRef`, blobs that describe themselves, the value again. Never: opens files.

A blob is: magic, checksum, lengths, format tag, header, then each buffer at a multiple of 64 bytes, so that a mapped
file gives arrays without a copy. Arrays come back read-only, at every size, unless writable ones are asked for.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from itertools import islice
from typing import Any

from rayflow.errors import BlobDamaged, NotSerializable, VersionMismatch
from rayflow.values import pickling
from rayflow.values.culprits import explain
from rayflow.values.digests import checksum
from rayflow.values.handlers import encoding_handler_for, format_handler
from rayflow.values.hooks import HookFailed, as_finished, hooks_of
from rayflow.values.identity import value_hash
from rayflow.values.nested import SCALARS, build, iter_leaves, only_scalars, parts_of
from rayflow.values.previews import kind_of, preview
from rayflow.values.refs import INLINE_BYTES, Encoded, ValueRef
from rayflow.values.witnesses import OF_VALUE, Noticed, notice

PICKLE = "pickle5"
FLAT = "flat"
BYTES = "bytes"
TEXT = "text"

ALIGNMENT = 64
"""Each buffer of a blob begins at a multiple of this many bytes."""

# --- value <-> Encoded ------------------------------------------------------------------------------------------------


def encode(value: Any, *, name: str = "result", by_value: bool = False) -> Encoded:
    """The value as bytes; large arrays stay where they are, as buffers beside the stream.

    name: what the value is called in an error. by_value: for code that travels: classes of a script go with it. Raises
    NotSerializable, which names the part that cannot be kept.
    """
    of = type(value)
    if of is bytes:
        return Encoded(BYTES, b"", (value,))
    if of is str:
        return Encoded(TEXT, b"", (value.encode("utf-8", "surrogatepass"),))
    plain = _is_plain(value)
    if not plain:
        handler = encoding_handler_for(of)
        if handler is not None:
            return handler.encode(value)
    try:
        stream, buffers = pickling.dump(value, plain=plain, by_value=by_value)
    except pickling.TooDeep:
        return _encode_flat(value, name)
    except HookFailed as failed:
        raise failed.error from None
    except Exception as error:
        raise NotSerializable(explain(value, name, error)) from error
    return Encoded(PICKLE, stream, tuple(buffers))


_MOST_PLAIN = 200
"""Containers looked through before the quick pickler is given up for cloudpickle, whose start matters little then."""


def _is_plain(value: Any) -> bool:
    """Whether a value is a scalar, or a few built-in containers of scalars: most arguments and results are."""
    if type(value) in SCALARS:
        return True
    waiting = [value]
    for each in waiting:
        of = type(each)
        if of is dict:
            if not only_scalars(each):
                return False
            parts: Any = each.values()
        elif of is list or of is tuple or of is set or of is frozenset:
            parts = each
        else:
            return False
        if only_scalars(parts):
            continue
        waiting.extend(part for part in islice(parts, _MOST_PLAIN + 1) if type(part) not in SCALARS)
        if len(parts) > _MOST_PLAIN or len(waiting) > _MOST_PLAIN:
            return False
    return True


def _encode_flat(value: Any, name: str) -> Encoded:
    """A deep value as a program: push a leaf, or build a container from the last so many values."""
    leaves: list[Any] = []
    program: list[Any] = []
    """A number n: push the next n leaves. A triple (kind, header, n): build from the top n."""
    pushed = 0
    open_containers: set[int] = set()
    stack: list[tuple[Any, Any]] = []
    coming: Any = iter((value,))
    container: Any = None
    while True:
        for part in coming:
            below = None if type(part) in SCALARS else parts_of(part)
            if below is None:
                leaves.append(part)
                pushed += 1
                continue
            if id(part) in open_containers:
                raise NotSerializable(f"{name} contains itself: a value that contains itself cannot be kept.")
            open_containers.add(id(part))
            stack.append((coming, container))
            coming, container = iter(below.parts), below
            break
        else:
            if container is None:
                break
            if pushed:
                program.append(pushed)
                pushed = 0
            program.append((container.kind, container.header, len(container.parts)))
            open_containers.discard(id(container.source))
            coming, container = stack.pop()
            continue
        if pushed:
            program.append(pushed)
            pushed = 0
    try:
        stream, buffers = pickling.dump((leaves, program))
    except pickling.TooDeep as error:
        raise NotSerializable(
            f"{name} holds objects that refer to each other in a chain too long to be pickled. Keep them in a list, "
            "with indices in place of references."
        ) from error
    except HookFailed as failed:
        raise failed.error from None
    except Exception as error:
        raise NotSerializable(explain(value, name, error)) from error
    return Encoded(FLAT, stream, tuple(buffers))


def _run_flat(leaves: Sequence[Any], program: Sequence[Any]) -> Any:
    values: list[Any] = []
    position = 0
    for step in program:
        if type(step) is int:
            values.extend(leaves[position : position + step])
            position += step
            continue
        kind, header, count = step
        first = len(values) - count
        made = build(kind, header, values[first:])
        del values[first:]
        values.append(made)
    return values[0]


def decode(encoded: Encoded, *, writable: bool = False) -> Any:
    """The value again. Arrays stand on the buffers, uncopied and read-only; with `writable` they are copies.

    Raises VersionMismatch for a format that this version does not know, and whatever unpickling raises.
    """
    kind = encoded.format
    if kind in (PICKLE, FLAT):
        buffers: list[Any] = [
            bytearray(buffer) if writable else memoryview(buffer).toreadonly() for buffer in encoded.buffers
        ]
        value = pickling.load(encoded.header, buffers)
        if kind == FLAT:
            value = _run_flat(*value)
        if not writable and b"numpy" in encoded.header:
            freeze(value)
        return value
    if kind == BYTES:
        return bytes(encoded.buffers[0])
    if kind == TEXT:
        return str(encoded.buffers[0], "utf-8", "surrogatepass")
    handler = format_handler(kind)
    if handler is None:
        raise VersionMismatch(
            f"The format {kind!r} is unknown here. Update rayflow, or import the module that registers it."
        )
    return handler.decode(encoded)


def freeze(value: Any) -> Any:
    """The same value, its numpy arrays made read-only, also those inside containers."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        for leaf in iter_leaves(value):
            if isinstance(leaf, numpy.ndarray):
                leaf.flags.writeable = False
    return value


# --- Encoded <-> blob -------------------------------------------------------------------------------------------------

_MAGIC = b"rayflow\x01"
_CHECKED_FROM = 28  # magic and checksum
_LENGTHS = struct.Struct("<HHI")  # of the format tag, number of buffers (see _MANY), of the header
_MANY = 0xFFFF
_LARGE = 0xFFFFFFFF


def write_parts(encoded: Encoded) -> list[Any]:
    """The blob as buffers to be written one after the other; the value's own are among them, uncopied."""
    tag = encoded.format.encode()
    buffers = [memoryview(buffer).cast("B") if memoryview(buffer).nbytes else b"" for buffer in encoded.buffers]
    count, header_length = len(buffers), len(encoded.header)
    lengths = _LENGTHS.pack(len(tag), min(count, _MANY), min(header_length, _LARGE))
    if count >= _MANY:
        lengths += struct.pack("<Q", count)
    if header_length >= _LARGE:
        lengths += struct.pack("<Q", header_length)
    lengths += struct.pack(f"<{count}Q", *map(len, buffers))
    parts: list[Any] = [b"".join((lengths, tag, encoded.header))]
    position = _CHECKED_FROM + len(parts[0])
    for buffer in buffers:
        padding = -position % ALIGNMENT if len(buffer) >= ALIGNMENT else 0
        if padding:
            parts.append(bytes(padding))
        parts.append(buffer)
        position += padding + len(buffer)
    return [_MAGIC + checksum(parts), *parts]


def to_bytes(encoded: Encoded) -> bytes:
    """The blob in one piece."""
    return b"".join(write_parts(encoded))


def from_bytes(blob: Any) -> Encoded:
    """What a blob holds; its buffers are views into it, uncopied. Raises BlobDamaged when it is cut short or no blob.

    The checksum is not looked at: see `verify`.
    """
    view = memoryview(blob).cast("B").toreadonly()
    try:
        return _parse(view)
    except (struct.error, UnicodeDecodeError) as error:
        raise BlobDamaged(f"A stored value of {view.nbytes} bytes is cut short.") from error


def _parse(view: memoryview) -> Encoded:
    if view.nbytes < _CHECKED_FROM or view[:8] != _MAGIC:
        raise BlobDamaged(f"These {view.nbytes} bytes are no stored value: they begin with {bytes(view[:8])!r}.")
    tag_length, count, header_length = _LENGTHS.unpack_from(view, _CHECKED_FROM)
    position = _CHECKED_FROM + _LENGTHS.size
    if count == _MANY:
        (count,) = struct.unpack_from("<Q", view, position)
        position += 8
    if header_length == _LARGE:
        (header_length,) = struct.unpack_from("<Q", view, position)
        position += 8
    lengths = struct.unpack_from(f"<{count}Q", view, position)
    position += 8 * count
    tag = str(view[position : position + tag_length], "ascii")
    position += tag_length
    header = bytes(view[position : position + header_length])
    position += header_length
    buffers = []
    for length in lengths:
        if length >= ALIGNMENT:
            position += -position % ALIGNMENT
        buffers.append(view[position : position + length])
        position += length
    if position != view.nbytes:
        raise BlobDamaged(f"A stored value of {view.nbytes} bytes should have {position}.")
    return Encoded(tag, header, tuple(buffers))


def verify(blob: Any) -> bool:
    """Whether a blob is whole and undamaged, by its checksum; nothing is decoded."""
    view = memoryview(blob).cast("B")
    if view.nbytes < _CHECKED_FROM or view[:8] != _MAGIC:
        return False
    return checksum((view[_CHECKED_FROM:],)) == view[8:_CHECKED_FROM]


# --- references -------------------------------------------------------------------------------------------------------


def make_ref(value: Any, *, name: str = "result") -> tuple[ValueRef, Encoded]:
    """The reference to a value and its bytes. Small values travel inside the reference, as a whole blob.

    name: what the value is called in an error. Raises NotSerializable, which names the part that cannot be kept.
    """
    with Noticed() as noticed:
        encoded = encode(value, name=name)
        value = as_finished(value)
        digest = value_hash(value, name=name)  # after encoding, which knows the name of what cannot be kept
        size = encoded.size
        inline = None
        if size <= INLINE_BYTES:
            inline = to_bytes(encoded)
            size = len(inline)
            if size > INLINE_BYTES:
                inline = None
        if noticed.objects:
            _take_parts(value, digest, inline, noticed)
    ref = ValueRef(
        digest=digest,
        kind=kind_of(value),
        size=size,
        format=encoded.format,
        inline=inline,
        witnesses=tuple(noticed.found),
        preview=preview(value),
    )
    return ref, encoded


def _take_parts(value: Any, digest: bytes, inline: bytes | None, noticed: Noticed) -> None:
    """Of a value in which objects with hooks were met: a reference to each, and the witness of the value itself."""
    inside = [each for each in noticed.objects.values() if each is not value]
    hooks = hooks_of(type(value)) if id(value) in noticed.objects else None
    if hooks is not None:
        if hooks.checks:
            notice((OF_VALUE, (digest, inline)))
        inside.extend(hooks.parts(value))
    made = noticed.made
    for each in reversed(inside):  # the innermost first, so that what stands around them finds them made
        if id(each) not in made:
            made[id(each)] = (*make_ref(each), each)
    if inside:
        noticed.wholes.append((digest, [made[id(each)] for each in inside]))


def decode_inline(ref: ValueRef, *, writable: bool = False) -> Any:
    """The value of a reference that carries it. Raises ValueError when it does not."""
    if ref.inline is None:
        raise ValueError(f"The value {ref.digest.hex()} ({ref.kind}, {ref.size} bytes) is not inside its reference.")
    return decode(from_bytes(ref.inline), writable=writable)
