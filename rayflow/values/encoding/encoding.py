"""Values to bytes and back.

In: a value, or a blob. Out: `Encoded`, `ValueRef`, blobs, or the value again. Never: opens files.

A blob holds: magic, checksum, lengths, format tag, header, then each buffer at a multiple of 64 bytes, so that arrays
can use a mapped file without a copy. Decoded arrays are read-only, at every size, unless the caller asks for writable
ones or the value contains itself.
"""

from __future__ import annotations

import struct
import sys
import weakref
from collections.abc import Sequence
from itertools import islice
from typing import Any, NoReturn

from rayflow.errors import ArgumentChanged, BlobDamaged, NotSerializable, VersionMismatch
from rayflow.values.digests import checksum, checksum_of_file
from rayflow.values.encoding.cyclic_objects import contains_itself
from rayflow.values.encoding.identity import value_hash
from rayflow.values.encoding.nested import build, iter_leaves, loops_in, only_scalars, parts_of
from rayflow.values.encoding.previews import kind_of, preview
from rayflow.values.encoding.unserializable import explain
from rayflow.values.native import SCALARS
from rayflow.values.objects import pickling
from rayflow.values.objects.handlers import encoding_handler_for, format_handler
from rayflow.values.objects.hooks import HookFailed, as_finished, hooks_of
from rayflow.values.refs import INLINE_BYTES, Encoded, ValueRef
from rayflow.values.witnesses import OF_VALUE, WitnessCollector, notice

PICKLE = "pickle5"
OWN = "pickle5 own"
"""As PICKLE, for a value that contains itself. Such objects (a drawing, say) work on their arrays together, so decoded
arrays are writable copies."""

FLAT = "flat"
BYTES = "bytes"
TEXT = "text"

ALIGNMENT = 64
"""Each buffer of a blob begins at a multiple of this many bytes."""

# --- value <-> Encoded ------------------------------------------------------------------------------------------------


def encode(value: Any, *, name: str = "result", by_value: bool = False) -> Encoded:
    """The value as bytes. Large arrays are not copied: they are buffers beside the pickle stream.

    name: the name of the value in an error. by_value: include the classes of a script, for code that travels. Raises
    NotSerializable, which names the part that cannot be stored.
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
        if not (plain or by_value):
            _read_once(of, stream, buffers)
    except pickling.PickleTooDeep:
        return _encode_flat(value, name)
    except Exception as error:
        _raise_named(error, value, name)
    return Encoded(OWN if buffers and contains_itself(value) else PICKLE, stream, tuple(buffers))


def _raise_named(error: Exception, value: Any, name: str) -> NoReturn:
    """Raise NotSerializable, which names the part that cannot be pickled; an error of a hook is raised as it is."""
    if isinstance(error, HookFailed):
        raise error.error from None
    if isinstance(error, ArgumentChanged):
        raise error
    raise NotSerializable(explain(value, name, error)) from error


_ALWAYS_READ_BYTES = 4 * 1024 * 1024
"""Streams of at most this many bytes are always loaded once after they are written."""

_read: weakref.WeakSet[type] = weakref.WeakSet()
"""Types of which one value was loaded: larger streams of these types are not loaded again."""


def _read_once(of: type, stream: bytes, buffers: list[Any]) -> None:
    """Load the object, so that one that cannot be loaded fails the call that made it, and not a later reader."""
    if len(stream) <= _ALWAYS_READ_BYTES or of not in _read:
        pickling.load(stream, [memoryview(buffer).toreadonly() for buffer in buffers])
        _read.add(of)


_MOST_PLAIN = 200
"""The most containers that are looked through. For more, cloudpickle is used, whose slow start matters little then."""


def _is_plain(value: Any) -> bool:
    """Whether a value is a scalar, or a few built-in containers of scalars, as most arguments and results are."""
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
    """A deeply nested value as a program for a stack: push leaves, or build a container from the topmost values."""
    leaves: list[Any] = []
    program: list[Any] = []
    """A number n: push the next n leaves. A triple (kind, header, n): build a container from the topmost n values."""
    pushed = 0
    loops = loops_in(value)  # a container that contains itself is pickled whole, as a leaf
    stack: list[tuple[Any, Any]] = []
    coming: Any = iter((value,))
    container: Any = None
    while True:
        for part in coming:
            below = None if type(part) in SCALARS or id(part) in loops else parts_of(part)
            if below is None:
                leaves.append(part)
                pushed += 1
                continue
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
            coming, container = stack.pop()
            continue
        if pushed:
            program.append(pushed)
            pushed = 0
    try:
        stream, buffers = pickling.dump((leaves, program))
        _read_once(type(value), stream, buffers)
    except pickling.PickleTooDeep as error:
        raise NotSerializable(
            f"{name} holds objects that refer to each other in a chain too long to be pickled. Keep them in a list, "
            "with indices in place of references."
        ) from error
    except Exception as error:
        _raise_named(error, value, name)
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
    """The value. Its arrays use the buffers, without a copy and read-only; with `writable` they are copies.

    Raises VersionMismatch for a format that this version does not know, and any error of unpickling.
    """
    kind = encoded.format
    if kind in (PICKLE, OWN, FLAT):
        writable = writable or kind == OWN
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
    """Make the numpy arrays in a value read-only, also those inside containers, and return the value."""
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
    """The blob as buffers to write one after the other. The value's own buffers are among them, not copied."""
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
    """The blob as one bytes object."""
    return b"".join(write_parts(encoded))


def from_bytes(blob: Any) -> Encoded:
    """The encoded value in a blob, whose buffers are views into the blob. Raises BlobDamaged if it is not a blob.

    The checksum is not checked: see `verify`.
    """
    view = memoryview(blob).cast("B").toreadonly()
    try:
        return _parse(view)
    except (struct.error, UnicodeDecodeError) as error:
        raise BlobDamaged(f"A stored value of {view.nbytes} bytes is cut short.") from error


def _parse(view: memoryview) -> Encoded:
    if view.nbytes < _CHECKED_FROM or view[:8] != _MAGIC:
        raise BlobDamaged(f"These {view.nbytes} bytes are not a stored value: they begin with {bytes(view[:8])!r}.")
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
    """Whether a blob matches its checksum; nothing is decoded. blob: bytes, or a read-only map."""
    view = memoryview(blob).cast("B")
    if view.nbytes < _CHECKED_FROM or view[:8] != _MAGIC:
        return False
    return checksum_of_file(view[_CHECKED_FROM:]) == view[8:_CHECKED_FROM]


# --- references -------------------------------------------------------------------------------------------------------


def make_ref(value: Any, *, name: str = "result", known: bytes | None = None) -> tuple[ValueRef, Encoded]:
    """The reference to a value, and the encoded value. A small value is inside its reference, as a whole blob.

    name: the name of the value in an error. known: its hash, if the caller has it.
    Raises NotSerializable, which names the part that cannot be stored.
    """
    with WitnessCollector() as noticed:
        encoded = encode(value, name=name)
        value = as_finished(value)
        # After encoding, whose errors name the part that cannot be stored.
        digest = value_hash(value, name=name) if known is None else known
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


def _take_parts(value: Any, digest: bytes, inline: bytes | None, noticed: WitnessCollector) -> None:
    """Add the parts of a value, with a reference for each, and the witness of the value itself to the collector."""
    inside = [each for each in noticed.objects.values() if each is not value]
    hooks = hooks_of(type(value)) if id(value) in noticed.objects else None
    if hooks is not None:
        if hooks.checks:
            notice((OF_VALUE, (digest, inline)))
        inside.extend(hooks.parts(value))
    made = noticed.made
    for each in reversed(inside):  # inner parts first, so that outer parts find them in `made`
        if id(each) not in made:
            made[id(each)] = (*make_ref(each), each)
    if inside:
        noticed.wholes.append((digest, [made[id(each)] for each in inside]))


def decode_inline(ref: ValueRef, *, writable: bool = False) -> Any:
    """The value inside a reference. Raises ValueError when the reference does not hold it."""
    if ref.inline is None:
        raise ValueError(f"The value {ref.digest.hex()} ({ref.kind}, {ref.size} bytes) is not inside its reference.")
    return decode(from_bytes(ref.inline), writable=writable)
