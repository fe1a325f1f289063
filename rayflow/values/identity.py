"""The identity of values: equal content, equal hash, in any process.

In: any value that can be kept. Out: its canonical bytes or its 20-byte hash. Never: pickles a container (a pickle
depends on object identity, interning and set order), never recurses.

The hash of a container is made of the identities of its parts: short scalars stand there as themselves, everything else
by its hash. So a container hashes alike whether its parts are at hand or only references to them.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from math import isnan
from typing import Any

from rayflow.errors import NotSerializable
from rayflow.values.culprits import explain
from rayflow.values.digests import digest, digest_buffers
from rayflow.values.handlers import class_path, handler_for
from rayflow.values.nested import SCALARS, Container, cycle_error, parts_of
from rayflow.values.opaque import Unreducible, reduced
from rayflow.values.refs import TaggedTree

SHORT_BYTES = 32
"""Canonical bytes of a scalar up to this length stand in its container's preimage as they are."""

BULK_FROM = 64
"""Lists and tuples of one type of number or of short texts are hashed in bulk from this many elements on."""

_HASHED = b"\xff"
"""First byte of an identity that is a hash; no canonical form of a scalar begins with it."""

# --- scalars ----------------------------------------------------------------------------------------------------------

_pack_double = struct.Struct(">d").pack
_NAN = _pack_double(float("nan"))


def _of_none(value: None) -> bytes:
    return b"n"


def _of_bool(value: bool) -> bytes:
    return b"t" if value else b"f"


def _of_int(value: int) -> bytes:
    if -(1 << 63) <= value < 1 << 63:
        return b"i%d" % value
    return b"j%x" % value  # hexadecimal: Python refuses decimal digits past 4300


def _of_float(value: float) -> bytes:
    return b"d" + (_pack_double(value) if value == value else _NAN)


def _of_complex(value: complex) -> bytes:
    return b"c" + _of_float(value.real)[1:] + _of_float(value.imag)[1:]


def _of_str(value: str) -> bytes:
    return b"s" + value.encode("utf-8", "surrogatepass")


def _of_bytes(value: bytes) -> bytes:
    return b"b" + value


_CANONICAL: dict[type, Callable[[Any], bytes]] = {
    type(None): _of_none,
    bool: _of_bool,
    int: _of_int,
    float: _of_float,
    complex: _of_complex,
    str: _of_str,
    bytes: _of_bytes,
}


def canonical(value: Any) -> bytes | None:
    """The canonical bytes of a native scalar (of any length), None for everything else."""
    write = _CANONICAL.get(type(value))
    return write(value) if write is not None else None


def is_short_scalar(value: Any) -> bool:
    """Whether a value is a native scalar with a canonical form of at most 32 bytes: such a one is never a reference."""
    write = _CANONICAL.get(type(value))
    return write is not None and len(write(value)) <= SHORT_BYTES


def identity(value: Any) -> bytes:
    """Canonical bytes of a short native scalar; for every other value 0xff and its 20-byte hash.

    Raises NotSerializable for what has no identity: a value that contains itself, a generator, a lock.
    """
    write = _CANONICAL.get(type(value))
    if write is not None:
        written = write(value)
        return written if len(written) <= SHORT_BYTES else _HASHED + digest("scalar", written)
    return _identity_of_object(value)


def value_hash(value: Any, *, name: str = "value") -> bytes:
    """The 20-byte hash of a value, by content. name: what the value is called in an error.

    Types count: `[1]` and `(1,)`, `1`, `True` and `1.0` differ. The order of dicts and sets does not. NaN equals NaN.
    Raises NotSerializable as `identity` does.
    """
    write = _CANONICAL.get(type(value))
    if write is not None:
        return digest("scalar", write(value))
    found = _identity_of_object(value, name)
    return found[1:] if found[:1] == _HASHED else digest("scalar", found)


# --- everything else --------------------------------------------------------------------------------------------------

_LENGTHS = [bytes((length,)) for length in range(256)]


def _join(identities: Sequence[bytes]) -> bytes:
    lengths = _LENGTHS
    return b"".join([lengths[len(each)] + each for each in identities])


def _close_ordered(tag: str) -> Callable[[list[bytes]], bytes]:
    return lambda identities: digest(tag, _join(identities))


def _close_unordered(tag: str) -> Callable[[list[bytes]], bytes]:
    return lambda identities: digest(tag, _join(sorted(identities)))


def _close_dict(identities: list[bytes]) -> bytes:
    lengths = _LENGTHS
    each = iter(identities)
    items = [lengths[len(key)] + key + lengths[len(part)] + part for key, part in zip(each, each, strict=True)]
    items.sort()
    return digest("dict", b"".join(items))


_CLOSE: dict[str, Callable[[list[bytes]], bytes]] = {
    "list": _close_ordered("list"),
    "tuple": _close_ordered("tuple"),
    "set": _close_unordered("set"),
    "frozenset": _close_unordered("frozenset"),
    "dict": _close_dict,
}


class _Frame:
    """Something on the way down whose parts are being identified."""

    __slots__ = ("close", "coming", "container", "done", "source")

    def __init__(self, source: Any, container: Container, close: Callable[[list[bytes]], bytes]) -> None:
        self.source = source
        self.container = container
        self.coming: Iterator[Any] = iter(container.parts)
        self.close = close
        self.done: list[bytes] = []


def _flat(value: Any, of: type) -> bytes | None:
    """The identity of a short list, tuple or dict of scalars, in one go; None for anything else."""
    lengths = _LENGTHS
    write_of = _CANONICAL.get
    pieces: list[bytes] = []
    if of is not dict:
        for part in value:
            write = write_of(type(part))
            if write is None:
                return None
            written = write(part)
            if len(written) > SHORT_BYTES:
                written = _HASHED + digest("scalar", written)
            pieces.append(lengths[len(written)] + written)
        return _HASHED + digest(of.__name__, b"".join(pieces))
    for key, part in value.items():
        write_key, write = write_of(type(key)), write_of(type(part))
        if write_key is None or write is None:
            return None
        written_key, written = write_key(key), write(part)
        if len(written_key) > SHORT_BYTES:
            written_key = _HASHED + digest("scalar", written_key)
        if len(written) > SHORT_BYTES:
            written = _HASHED + digest("scalar", written)
        pieces.append(lengths[len(written_key)] + written_key + lengths[len(written)] + written)
    pieces.sort()
    return _HASHED + digest("dict", b"".join(pieces))


def _open(value: Any) -> bytes | _Frame:
    """The identity of a value that has none below it to wait for, or the frame of one that has."""
    of = type(value)
    if (of is tuple or of is list or of is dict) and len(value) < BULK_FROM:
        flat = _flat(value, of)
        if flat is not None:
            return flat
    if of is list or of is tuple:
        if len(value) >= BULK_FROM:
            written = _bulk(of.__name__, value)
            if written is not None:
                return written
        return _Frame(value, Container(of.__name__, (), value, value), _CLOSE[of.__name__])
    own = getattr(of, "__rayflow_identity__", None)
    if own is not None:
        found: bytes = own(value)
        return found
    container = parts_of(value)
    if container is not None:
        if of is not TaggedTree and container.kind in _CLOSE:
            return _Frame(value, container, _CLOSE[container.kind])
        return _Frame(value, container, _close_tree(container.kind, container.header))
    if of is memoryview:
        return _HASHED + digest_buffers("buffer", (value,))
    handler = handler_for(of)
    if handler is not None:
        kind = handler.kind
        structure = handler.structure(value)  # type: ignore[union-attr]  # containers were taken apart above
        return _Frame(value, Container(kind, (), structure, value), _close_leaf(kind))
    return _Frame(value, Container("object", (), reduced(value), value), _close_leaf(f"object:{class_path(of)}"))


def _close_tree(kind: str, header: tuple[Any, ...]) -> Callable[[list[bytes]], bytes]:
    return lambda identities: digest("tree", kind.encode(), value_hash(header), _join(identities))


def _close_leaf(kind: str) -> Callable[[list[bytes]], bytes]:
    return lambda identities: digest("leaf", kind.encode(), _join(identities))


_OPEN = b""


def _identity_of_object(value: Any, name: str = "value") -> bytes:
    """The identity of anything but a native scalar, with a stack of our own in place of recursion."""
    try:
        return _walk(value, name)
    except Unreducible as error:
        raise NotSerializable(explain(value, name, error)) from error


def _walk(value: Any, name: str) -> bytes:
    opened = _open(value)
    if type(opened) is bytes:
        return opened
    known: dict[int, tuple[Any, bytes]] = {}
    """id of a container with containers inside -> itself (kept alive) and its identity, or _OPEN on the way."""
    frame: _Frame = opened  # type: ignore[assignment]  # `type() is` does not narrow
    stack = [frame]
    scalars = _CANONICAL
    while True:
        done = frame.done
        below: bytes | _Frame | None = None
        for part in frame.coming:
            write = scalars.get(type(part))
            if write is not None:
                written = write(part)
                done.append(written if len(written) <= SHORT_BYTES else _HASHED + digest("scalar", written))
                continue
            seen = known.get(id(part))
            if seen is not None:
                if seen[1] is _OPEN:
                    raise cycle_error(name, [(each.container, len(each.done)) for each in stack], part)
                done.append(seen[1])
                continue
            below = _open(part)
            if type(below) is bytes:
                done.append(below)
                continue
            break
        else:
            found = _HASHED + frame.close(done)
            stack.pop()
            if not stack:
                return found
            if id(frame.source) in known:
                known[id(frame.source)] = (frame.source, found)
            frame = stack[-1]
            frame.done.append(found)
            continue
        if id(frame.source) not in known:
            known[id(frame.source)] = (frame.source, _OPEN)
            if below.source is frame.source:  # type: ignore[union-attr]  # a frame: see above
                raise cycle_error(name, [(each.container, len(each.done)) for each in stack], frame.source)
        frame = below  # type: ignore[assignment]  # likewise
        stack.append(frame)


# --- long lists of numbers and texts ----------------------------------------------------------------------------------


def _bulk(kind: str, values: Sequence[Any]) -> bytes | None:
    """The identity of a long list or tuple of one plain type, or None. Decided by content alone."""
    first = type(values[0])
    if first not in (int, float, bool, str) or set(map(type, values)) != {first}:
        return None
    if first is str:
        return _bulk_text(kind, values)
    if first is bool:
        return _HASHED + digest_buffers(f"{kind}:bool", (bytes(values),))
    if first is int:
        try:
            numbers: array[Any] = array("q", values)
        except OverflowError:
            return None
    else:
        numbers = array("d", values)
        if isnan(sum(numbers)):  # the sum is quick; only then each
            numbers = array("d", [value if value == value else _ONE_NAN for value in values])
    if sys.byteorder == "big":
        numbers.byteswap()
    return _HASHED + digest_buffers(f"{kind}:{first.__name__}", (numbers,))


_ONE_NAN = struct.unpack(">d", _NAN)[0]


def _bulk_text(kind: str, values: Sequence[str]) -> bytes | None:
    """Short texts: their lengths in characters, then all their characters."""
    longest = SHORT_BYTES - 1
    lengths = list(map(len, values))
    if max(lengths) > longest:
        return None
    text = "".join(values)
    written = text.encode("utf-8", "surrogatepass")
    if len(written) != len(text) and any(len(each.encode("utf-8", "surrogatepass")) > longest for each in values):
        return None
    return _HASHED + digest_buffers(f"{kind}:str", (bytes(lengths), written))


assert _CANONICAL.keys() == SCALARS
