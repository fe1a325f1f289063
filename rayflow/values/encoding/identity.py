"""The identity of values: equal content has an equal hash, in any process.

In: any value that can be stored. Out: its canonical bytes, or its 20-byte hash. Never: pickles a container (a pickle
depends on object identity, interning and set order); recurses.

The hash of a container is computed from the identities of its parts: a short scalar is its own identity, any other
value has its hash. So a container of references to values has the same hash as a container of the values.
"""

from __future__ import annotations

import struct
import sys
import weakref
from array import array
from collections.abc import Callable, Iterator, Sequence
from math import isnan
from typing import Any

from rayflow.errors import NotSerializable
from rayflow.values.digests import digest, digest_buffers, digests
from rayflow.values.encoding.cycles import Member, cycles_in, identities_in
from rayflow.values.encoding.nested import Container, parts_of
from rayflow.values.encoding.unserializable import explain
from rayflow.values.native import SCALARS
from rayflow.values.objects.handlers import class_path, handler_for
from rayflow.values.objects.opaque import Unreducible, by_encoding, reduced, warn_of_unsteady
from rayflow.values.refs import TaggedTree, ValueRef

SHORT_BYTES = 32
"""The longest canonical bytes of a scalar that are their own identity; longer ones are hashed."""

BULK_FROM = 64
"""Lists and tuples of at least this many elements, all of one type of number or all short texts, are hashed in bulk."""

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
    """The canonical bytes of a native scalar, of any length; None for any other value."""
    write = _CANONICAL.get(type(value))
    return write(value) if write is not None else None


def is_short_scalar(value: Any) -> bool:
    """Whether a value is a native scalar of at most 32 canonical bytes: a term holds it itself, and no reference."""
    write = _CANONICAL.get(type(value))
    return write is not None and len(write(value)) <= SHORT_BYTES


def identity(value: Any) -> bytes:
    """The canonical bytes of a short native scalar; for any other value 0xff and its 20-byte hash.

    Raises NotSerializable for a value without an identity, such as a generator or a lock.
    """
    write = _CANONICAL.get(type(value))
    if write is not None:
        written = write(value)
        return written if len(written) <= SHORT_BYTES else _HASHED + digest("scalar", written)
    return _identity_of_object(value)


def scalar_identities(values: Sequence[Any]) -> list[bytes]:
    """The identities of native scalars, in order."""
    written = _written(values)
    if max(map(len, written), default=0) <= SHORT_BYTES:
        return written
    return [each if len(each) <= SHORT_BYTES else _HASHED + digest("scalar", each) for each in written]


def scalar_hashes(values: Sequence[Any]) -> list[bytes]:
    """The hashes of native scalars, in order."""
    return digests("scalar", _written(values))


def _written(values: Sequence[Any]) -> list[bytes]:
    """The canonical bytes of native scalars, in order."""
    kinds = set(map(type, values))
    if len(kinds) == 1:
        return list(map(_CANONICAL[kinds.pop()], values))
    return [_CANONICAL[type(value)](value) for value in values]


def value_hash(value: Any, *, name: str = "value") -> bytes:
    """The 20-byte hash of a value, by content. name: the name of the value in an error.

    Types matter: `[1]` and `(1,)` differ, and so do `1`, `True` and `1.0`. The order of a dict's items matters, the
    order of a set does not. NaN equals NaN.
    Raises NotSerializable as `identity` does.
    """
    write = _CANONICAL.get(type(value))
    if write is not None:
        return digest("scalar", write(value))
    return _hash_of_identity(_identity_of_object(value, name))


def _hash_of_identity(found: bytes) -> bytes:
    """The hash of a value, from its identity."""
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


_ITEMS = "items"
"""The tag of a dict, whose items are hashed in their order. (Older hashes, without order, had the tag "dict".)"""

_CLOSE: dict[str, Callable[[list[bytes]], bytes]] = {
    "list": _close_ordered("list"),
    "tuple": _close_ordered("tuple"),
    "set": _close_unordered("set"),
    "frozenset": _close_unordered("frozenset"),
    "dict": _close_ordered(_ITEMS),
}


class _HashFrame:
    """A container on the stack: the parts to come, and the identities of the parts before."""

    __slots__ = ("close", "coming", "container", "done", "source")

    def __init__(self, source: Any, container: Container, close: Callable[[list[bytes]], bytes]) -> None:
        self.source = source
        self.container = container
        self.coming: Iterator[Any] = iter(container.parts)
        self.close = close
        self.done: list[bytes] = []


def _flat(value: Any, of: type) -> bytes | None:
    """The identity of a short list or tuple of scalars and references, or of a short dict of scalars, without a frame;
    None for any other container."""
    lengths = _LENGTHS
    write_of = _CANONICAL.get
    pieces: list[bytes] = []
    if of is not dict:
        for part in value:
            write = write_of(type(part))
            if write is not None:
                written = write(part)
                if len(written) > SHORT_BYTES:
                    written = _HASHED + digest("scalar", written)
            elif type(part) is ValueRef:
                written = part.__rayflow_identity__()
            else:
                return None
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
    return _HASHED + digest(_ITEMS, b"".join(pieces))


def _open(value: Any) -> bytes | _HashFrame:
    """The identity of a value; or its frame, when the identities of its parts have to be computed first."""
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
        return _HashFrame(value, Container(of.__name__, (), value, value), _CLOSE[of.__name__])
    own = getattr(of, "__rayflow_identity__", None)
    if own is not None:
        found: bytes = own(value)
        return found
    if of is memoryview and value.format == "B" and value.ndim == 1:  # else its handler adds the format
        return _HASHED + digest_buffers("buffer", (value if value.c_contiguous else value.tobytes(),))
    container = parts_of(value)
    if container is not None:
        if of is not TaggedTree and container.kind in _CLOSE:
            return _HashFrame(value, container, _CLOSE[container.kind])
        return _HashFrame(value, container, _close_tree(container.kind, container.header))
    handler = handler_for(of)
    if handler is not None:
        kind = handler.kind
        structure = handler.structure(value)  # type: ignore[union-attr]  # containers were taken apart above
        return _HashFrame(value, Container(kind, (), structure, value), _close_leaf(kind))
    return _HashFrame(value, Container("object", (), reduced(value), value), _close_leaf(f"object:{class_path(of)}"))


def _close_tree(kind: str, header: tuple[Any, ...]) -> Callable[[list[bytes]], bytes]:
    return lambda identities: digest("tree", kind.encode(), value_hash(header), _join(identities))


def _close_leaf(kind: str) -> Callable[[list[bytes]], bytes]:
    return lambda identities: digest("leaf", kind.encode(), _join(identities))


_OPEN = b""


def _identity_of_object(value: Any, name: str = "value") -> bytes:
    """The identity of any value but a native scalar, computed with a stack in place of recursion."""
    try:
        found = _walk(value)
        return _walk_cycles(value) if found is None else found
    except Unreducible as error:
        raise NotSerializable(explain(value, name, error)) from error


def _walk(value: Any) -> bytes | None:
    """The identity of a value; None when the value, or a part of it, contains itself."""
    opened = _open(value)
    if isinstance(opened, bytes):
        return opened
    known: dict[int, tuple[Any, bytes]] = {}
    """id of a container with containers inside -> the container (to keep it alive), and its identity or _OPEN."""
    frame = opened
    stack = [frame]
    scalars = _CANONICAL
    while True:
        done = frame.done
        for part in frame.coming:
            write = scalars.get(type(part))
            if write is not None:
                written = write(part)
                done.append(written if len(written) <= SHORT_BYTES else _HASHED + digest("scalar", written))
                continue
            seen = known.get(id(part))
            if seen is not None:
                if seen[1] is _OPEN:
                    return None
                done.append(seen[1])
                continue
            opened = _open(part)
            if isinstance(opened, bytes):
                done.append(opened)
                continue
            below = opened
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
            if below.source is frame.source:
                return None
        frame = below
        stack.append(frame)


# --- values that contain themselves -----------------------------------------------------------------------------------

_WITHOUT_ORDER = frozenset({"set", "frozenset"})


_LOOKED_AT: weakref.WeakSet[type] = weakref.WeakSet()
"""Types of which a value that contains itself was hashed twice, to see whether the hash is stable."""


def _walk_cycles(value: Any) -> bytes:
    """As `_walk`, for a value that contains itself. Warns, once for each type, if a second hash differs."""
    opened = _open(value)
    if isinstance(opened, bytes):
        return opened
    found, entries = _closed_cycles(opened)
    unknown = {type(source) for source, _ in entries} - set(_LOOKED_AT)
    if unknown:
        _LOOKED_AT.update(unknown)
        reopened = _open(value)
        assert isinstance(reopened, _HashFrame)
        _, again = _closed_cycles(reopened)
        for (source, one), (_, other) in zip(entries, again, strict=False):
            if one != other:
                warn_of_unsteady(type(source))
    return found


def _closed_cycles(opened: _HashFrame) -> tuple[bytes, list[tuple[Any, bytes]]]:
    """The identity of a value; and, with its identity, each part that contains itself and is entered from outside.

    First all parts are opened, then their identities are computed from the inside out.
    """
    frames = [opened]
    numbers: dict[int, int | bytes] = {id(opened.source): 0}
    """id of a part -> its index in `frames` (which keep it alive), or its identity."""
    leaves: list[Any] = []
    """Parts without a frame, to keep them alive."""
    members: list[Member] = []
    for frame in frames:
        member = Member(frame.close, frame.container.kind not in _WITHOUT_ORDER)
        members.append(member)
        for part in frame.coming:
            write = _CANONICAL.get(type(part))
            if write is not None:
                written = write(part)
                member.parts.append(written if len(written) <= SHORT_BYTES else _HASHED + digest("scalar", written))
                continue
            known = numbers.get(id(part))
            if known is None:
                below = _open(part)
                if isinstance(below, bytes):
                    known = below
                    leaves.append(part)
                else:
                    known = len(frames)
                    frames.append(below)
                numbers[id(part)] = known
            member.parts.append(known)
    graph = [[part for part in member.parts if type(part) is int] for member in members]
    cycles = cycles_in(graph)
    in_cycle = [0] * len(frames)
    for number, cycle in enumerate(cycles):
        for each in cycle:
            in_cycle[each] = number
    entries = {part for each, parts in enumerate(graph) for part in parts if in_cycle[part] != in_cycle[each]} | {0}
    found: list[bytes] = [b""] * len(frames)
    for cycle in cycles:
        for each, identity in _close_cycle(cycle, members, found, entries).items():
            found[each] = by_encoding(frames[each].source) if identity is None else identity
    lengths = [len(cycle) for cycle in cycles]
    return found[0], [
        (frames[each].source, found[each])
        for each in sorted(entries)
        if lengths[in_cycle[each]] > 1 or each in graph[each]
    ]


def _close_cycle(
    cycle: list[int], members: list[Member], found: list[bytes], entries: set[int]
) -> dict[int, bytes | None]:
    """The identities of parts that contain each other, or of a single part.

    entries: the parts whose identity is needed outside the cycle.
    """
    if len(cycle) == 1 and cycle[0] not in members[cycle[0]].parts:
        return {cycle[0]: members[cycle[0]].closed(found.__getitem__)}
    places = {each: place for place, each in enumerate(cycle)}
    inside: list[Member] = []
    for each in cycle:
        member = members[each]
        parts = [part if type(part) is not int else places.get(part, found[part]) for part in member.parts]
        inside.append(Member(member.close, member.is_ordered, parts))
    known = identities_in(inside, [places[each] for each in cycle if each in entries])
    return {cycle[place]: identity for place, identity in known.items()}


# --- long lists of numbers and texts ----------------------------------------------------------------------------------


def _bulk(kind: str, values: Sequence[Any]) -> bytes | None:
    """The identity of a long list or tuple of elements of one plain type; None for any other list or tuple."""
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
        if isnan(sum(numbers)):  # the sum is quick to compute; only then look at each element
            numbers = array("d", [value if value == value else _ONE_NAN for value in values])
    if sys.byteorder == "big":
        numbers.byteswap()
    return _HASHED + digest_buffers(f"{kind}:{first.__name__}", (numbers,))


_ONE_NAN = struct.unpack(">d", _NAN)[0]


def _bulk_text(kind: str, values: Sequence[str]) -> bytes | None:
    """The identity of a list of short texts: their lengths in characters, then all their characters."""
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
