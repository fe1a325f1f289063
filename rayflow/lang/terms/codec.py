"""Symbolic terms as bytes, and back.

In: a symbolic term. Out: bytes that any process can read without user code. Never: a user's object.

A term is written as a flat list of nodes in post-order, so a chain of 100,000 calls or a list nested 10,000 deep needs
no recursion, and an expression in two places is written once and read back as one object. The bytes are a
pickle of built-in types only and are read by an unpickler that refuses everything else.

Many calls that stand together, all of them with scalars only, are written as runs: one node for all calls of a task,
with a column for each argument. A reader that does not know such a node refuses the term.

The head of the packed form names the tasks that the term calls, and the shape of the arguments. So a cached term can be
checked against the current tasks without a walk over it. If the values inside have witnesses (facts that must still be
true) or blobs, these witnesses and the digests of these blobs come before the head, and can be read from the front.
"""

from __future__ import annotations

import functools
import io
import pickle
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count, repeat
from typing import Any

from rayflow.lang.terms.expressions import Form, Operation, Quoted, TaskCall, TaskRef, Term
from rayflow.lang.terms.plain_calls import FEWEST, runs_of
from rayflow.values.digests import digest, short_digest
from rayflow.values.encoding.identity import identity
from rayflow.values.native import SCALARS
from rayflow.values.refs import TaggedTree, ValueRef
from rayflow.values.witnesses import OF_TASK, Witness

(LIST, TUPLE, SET, FROZENSET, DICT, CALL, OPERATION, FORM, QUOTED, REF, TREE, TASK, CALLS) = range(13)

CONTAINERS: dict[type, int] = {list: LIST, tuple: TUPLE, set: SET, frozenset: FROZENSET, dict: DICT}


@dataclass(frozen=True, slots=True)
class Head:
    """The tasks that a packed term needs.

    calls: the distinct (task name, number of positional arguments, keywords) of its calls. tasks: the distinct (name,
    task_hash) of the tasks that it contains as values, also inside other values.
    """

    calls: tuple[tuple[str, int, tuple[str, ...]], ...] = ()
    tasks: tuple[tuple[str, bytes], ...] = ()


class _PlainUnpickler(pickle.Unpickler):
    """Reads built-in types only: a packed term from a shared store can never run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "complex"):
            return complex
        raise pickle.UnpicklingError(f"a packed term may not name {module}.{name}")


_NAMING = re.compile(rb"[ci\x82-\x84\x93]")
"""The opcodes of a pickle that can name something: GLOBAL, INST, EXT1 to EXT4, STACK_GLOBAL."""

_SHORT_BYTES = 64
"""So short a packed term without any of these is read by pickle itself, in a fifth of the time. In bytes."""


def dumps(term: Term) -> bytes:
    """The packed form of a symbolic term."""
    if type(term) in SCALARS:
        return pickle.dumps(term, protocol=5)
    witnesses: dict[Witness, int] = {}
    nodes = _nodes(term, witnesses)
    packed = pickle.dumps(nodes, protocol=5)
    blobs = {node[1] for node in nodes[2] if node[0] == REF and node[5] is None}
    if blobs:
        packed = _BLOBS + len(blobs).to_bytes(4, "little") + b"".join(sorted(blobs)) + packed
    if witnesses:
        packed = _with_front(tuple(witnesses), packed)
    return packed


def blobs_of(packed: bytes) -> tuple[bytes, ...]:
    """The digests of the blobs that a packed term refers to, read off its front without unpacking it."""
    start = _end_of_witnesses(packed)
    if packed[start : start + 1] != _BLOBS:
        return ()
    count = int.from_bytes(packed[start + 1 : start + 5], "little")
    return tuple(packed[start + 5 + 20 * place : start + 25 + 20 * place] for place in range(count))


def witnesses_of(packed: bytes) -> tuple[Witness, ...]:
    """The witnesses of the values in a packed term, each once, read off its front without unpacking it.

    The values are valid while all witnesses are. Tasks are not among them: those are in the head. Raises ValueError
    when the bytes are damaged.
    """
    return tuple([each for each in _front(packed) if each[0] != OF_TASK]) if packed[:1] == WITH_WITNESSES else ()


def may_have(packed: bytes, kind: str) -> bool:
    """Whether a packed term may have a witness of this kind. It looks for the kind's name, as pickle writes it. So it
    is fast, and True also where the name is there by chance."""
    return packed[:1] == WITH_WITNESSES and packed.find(pickled_name(kind), 5, _end_of_witnesses(packed)) >= 0


@functools.cache
def pickled_name(name: str) -> bytes:
    """A short name as it stands in a pickle."""
    written = name.encode()
    return bytes((0x8C, len(written))) + written


def with_conditions(packed: bytes, conditions: Iterable[Witness]) -> bytes:
    """The packed term with more witnesses at its front: it is valid only while these are, too."""
    known = _front(packed) if packed[:1] == WITH_WITNESSES else ()
    more = [each for each in conditions if each not in known]
    return _with_front((*known, *more), packed[_end_of_witnesses(packed) :]) if more else packed


def has_front(packed: bytes) -> bool:
    """Whether witnesses or blobs of a packed term come before its head."""
    return packed[:1] in (WITH_WITNESSES, _BLOBS)


def front_of(packed: bytes) -> bytes:
    """The witnesses of a packed term as they stand at its front, where `witnesses_of` reads them; empty for none."""
    return packed[: _end_of_witnesses(packed)]


def _with_front(witnesses: tuple[Witness, ...], rest: bytes) -> bytes:
    front = pickle.dumps(witnesses, protocol=5)
    return WITH_WITNESSES + len(front).to_bytes(4, "little") + front + rest


def _front(packed: bytes) -> tuple[Witness, ...]:
    try:
        found: tuple[Witness, ...] = _PlainUnpickler(io.BytesIO(packed[5 : _end_of_witnesses(packed)])).load()
    except Exception as error:  # damaged bytes can raise nearly anything
        raise ValueError(f"not a packed term: {error}") from error
    return found


def _end_of_witnesses(packed: bytes) -> int:
    return 5 + int.from_bytes(packed[1:5], "little") if packed[:1] == WITH_WITNESSES else 0


_BLOBS = b"B"
"""First byte of a packed term with blobs (a pickle never starts so); their number and digests follow."""

WITH_WITNESSES = b"W"
"""First byte of a packed term with witnesses; the length of their pickle and that follow, then blobs and the rest."""


def _nodes(
    term: Term, witnesses: dict[Witness, int]
) -> tuple[tuple[Any, ...], tuple[Any, ...], list[tuple[Any, ...]]]:
    """Calls, tasks and nodes. witnesses: gets the witnesses of the references, each with its number.

    A node ends with its parts, and with the positions of those that are numbers of other terms; None for all of them.
    If they are the calls of one run, the parts are a list of two numbers: of the first, and of the one after the last.
    """
    nodes: list[tuple[Any, ...]] = []
    index: dict[int, int] = {}
    """id of a term -> its number. A run has one number for each call."""
    calls: dict[tuple[str, int, tuple[str, ...]], None] = {}
    tasks: dict[tuple[str, bytes], None] = {}
    # A term is pushed, then its children; when it comes up again its children have their numbers.
    stack: list[tuple[Term, tuple[Any, ...] | None]] = [(term, None)]
    while stack:
        item, parts = stack.pop()
        if id(item) in index:
            continue
        stored: tuple[Any, ...] | list[int] = ()
        if parts is None:
            parts = children(item)
            pending = [part for part in parts if type(part) not in SCALARS and id(part) not in index]
            first = len(index)
            if len(pending) >= FEWEST:
                for shape, members, columns in runs_of(pending):
                    nodes.append((CALLS, *shape, columns, ()))
                    calls[shape.task, shape.positional, shape.keywords] = None
                    index.update(zip(map(id, members), count(len(index)), strict=False))
                    stored = [first, len(index)] if len(members) == len(parts) else ()
            if pending and len(index) == first:
                stack.append((item, parts))
                stack.extend((part, None) for part in reversed(pending))
                continue
        places: tuple[int, ...] | None = None
        if not stored:
            references = [position for position, part in enumerate(parts) if type(part) not in SCALARS]
            stored = parts
            if references:
                stored = tuple([part if type(part) in SCALARS else index[id(part)] for part in parts])
            places = None if references and len(references) == len(stored) else tuple(references)
        index[id(item)] = len(index)
        nodes.append((*_head_of(item), stored, places))
        if type(item) is TaskCall:
            calls[item._task, len(item._args), tuple(item._kwargs or ())] = None
        elif type(item) is TaskRef:
            tasks[item.name, item.hash] = None
        elif type(item) is ValueRef and item.witnesses:
            numbers = []
            for witness in item.witnesses:
                kind, payload = witness
                if kind == OF_TASK:
                    name, task_hash = payload
                    tasks[name, task_hash] = None
                numbers.append(witnesses.setdefault(witness, len(witnesses)))
            nodes[-1] = (*nodes[-1][:-2], tuple(numbers), *nodes[-1][-2:])
    return tuple(calls), tuple(tasks), nodes


def children(item: Term) -> tuple[Any, ...]:
    """The terms directly inside a symbolic term, in a fixed order."""
    kind = type(item)
    if kind is TaskCall:
        keywords = item._kwargs
        if not keywords and not item._options:
            return item._args  # type: ignore[no-any-return]  # comparing types does not narrow
        return (*item._args, *(keywords or {}).values(), *(item._options or {}).values())
    if kind in (list, tuple, set, frozenset):
        return tuple(item)
    if kind is dict:
        return tuple(part for pair in item.items() for part in pair)
    if kind in (Operation, Form):
        return item._args  # type: ignore[no-any-return]  # comparing types does not narrow
    if kind is Quoted:
        return (item._term,)
    if kind is TaggedTree:
        return (item.header, *item.parts)
    if kind is TaskRef:
        return (*item.args, *item.kwargs.values(), *item.options.values())
    if kind is ValueRef:
        return ()
    raise TypeError(f"{kind.__module__}.{kind.__qualname__} is not symbolic: pack() it first")


def _head_of(item: Term) -> tuple[Any, ...]:
    kind = type(item)
    if kind in CONTAINERS:
        return (CONTAINERS[kind],)
    if kind is TaskCall:
        return CALL, item._task, len(item._args), tuple(item._kwargs or ()), tuple(item._options or ()), item._length
    if kind is Operation:
        return OPERATION, item._name
    if kind is Form:
        return FORM, item._name
    if kind is Quoted:
        return QUOTED, item._digest
    if kind is TaggedTree:
        return TREE, item.kind
    if kind is TaskRef:
        return TASK, item.name, item.hash, len(item.args), tuple(item.kwargs), tuple(item.options)
    return REF, item.digest, item.kind, item.size, item.format, item.inline, item.preview


def content_digest(term: Term) -> bytes:
    """The identity of a term as data, equal in every process: made of its values' identities and its expressions'
    parts."""
    digests: dict[int, bytes | None] = {}
    """id of a part -> its identity; None where nothing below is an expression, and so its value is its identity."""
    stack: list[tuple[Term, tuple[Any, ...] | None]] = [(term, None)]
    while stack:
        item, parts = stack.pop()
        kind = type(item)
        if id(item) in digests or kind in SCALARS:
            continue
        if kind is ValueRef or kind is TaskRef:
            digests[id(item)] = None
            continue
        if parts is None:
            parts = children(item)
            below = [part for part in parts if type(part) not in SCALARS and id(part) not in digests]
            if below:
                stack.append((item, parts))
                stack.extend((part, None) for part in below)
                continue
        if kind in _CAN_HOLD and all(type(part) in SCALARS or digests[id(part)] is None for part in parts):
            digests[id(item)] = None
        else:
            digests[id(item)] = _content_of(item, [digests.get(id(part)) or identity(part) for part in parts])
    return digest("quoted", digests.get(id(term)) or identity(term))


def _content_of(item: Term, parts: list[bytes]) -> bytes:
    """The identity of an expression, or of a container with expressions, made from the identities of its parts."""
    kind = type(item)
    if kind is set or kind is frozenset:
        parts = sorted(parts)
    elif kind is TaskCall:
        names = (item._task, len(item._args), *(item._kwargs or ()), None, *(item._options or ()))
        return b"\xff" + digest("quoted call", identity(names), *parts)
    head = () if kind is Quoted else _head_of(item)
    # Hashes of dicts without order had the name "dict".
    name = "items" if kind is dict else kind.__name__
    return b"\xff" + digest("quoted part", identity((name, *head)), *parts)


def with_children(item: Term, parts: tuple[Any, ...]) -> Term:
    """The same term around other parts, in the order of `children`."""
    head = _head_of(item)
    return _BUILDERS[head[0]]((*head, parts, ()), parts)


def loads(data: bytes, path: bytes = b"") -> Term:
    """The symbolic term of a packed form. Raises ValueError when the bytes are not a packed term.

    path: where the term stands, for the paths of its shared expressions.
    """
    return read(data, path)[1]


def read(data: bytes, path: bytes = b"") -> tuple[Head, Term]:
    """The head and the symbolic term of a packed form. Raises ValueError when the bytes are not a packed term.

    path: as for `loads`.
    """
    start = 0
    witnesses: tuple[Witness, ...] = ()
    if data[:1] == WITH_WITNESSES:
        witnesses = _front(data)
        start = _end_of_witnesses(data)
    if data[start : start + 1] == _BLOBS:
        start += 5 + 20 * int.from_bytes(data[start + 1 : start + 5], "little")
    try:
        if not start and len(data) <= _SHORT_BYTES and not _NAMING.search(data):
            unpacked = pickle.loads(data)
        else:
            unpacked = _PlainUnpickler(io.BytesIO(memoryview(data)[start:])).load()
        if type(unpacked) in SCALARS:
            return _EMPTY, unpacked
        calls, tasks, nodes = unpacked
        return _build(calls, tasks, nodes, witnesses, path)
    except Exception as error:  # damaged bytes can raise nearly anything
        raise ValueError(f"not a packed term: {error}") from error


def _build(calls: Any, tasks: Any, nodes: Any, witnesses: tuple[Witness, ...], path: bytes) -> tuple[Head, Term]:
    built: list[Term] = []
    named: dict[int, bool] = {}
    for node in nodes:
        parts, places = node[-2], node[-1]
        if node[0] == CALLS:  # a reader that knew no runs has no builder for this, and so refuses the term
            built.extend(_build_calls(node, parts))
            continue
        if type(parts) is list:
            numbers = range(*parts)
            parts = tuple([built[number] for number in numbers])
            named.update(dict.fromkeys(numbers, False))
        elif places is None:
            for number in parts:
                _mark(built[number], number, named, path)
            parts = tuple([built[number] for number in parts])
        elif places:
            filled = list(parts)
            for position in places:
                number = filled[position]
                filled[position] = built[number]
                _mark(built[number], number, named, path)
            parts = tuple(filled)
        if witnesses and node[0] == REF:
            parts = tuple([witnesses[number] for number in node[7]]) if len(node) > _PLAIN_REF else ()
        built.append(_BUILDERS[node[0]](node, parts))
    return Head(calls, tasks), built[-1]


def _mark(item: Term, number: int, named: dict[int, bool], path: bytes) -> None:
    """Note that an expression or a container is named again. From the second time on it is shared."""
    if type(item) in _CAN_SHARE or type(item) in _CAN_HOLD:
        known = named.get(number)
        if known is None:
            named[number] = False
        elif not known:
            named[number] = True
            _share(item, number, path)


def _share(item: Term, number: int, path: bytes) -> None:
    """Mark an expression as shared, or all expressions in a container. number: of the item in the term."""
    if type(item) in _CAN_SHARE:
        item._shared = _shared_path(path, number, 0)
        return
    position = 0
    stack = [item]
    walked = {id(item)}
    while stack:
        for part in children(stack.pop()):
            if type(part) in _CAN_SHARE:
                position += 1
                part._shared = _shared_path(path, number, position)
            elif type(part) in _CAN_HOLD and id(part) not in walked:
                walked.add(id(part))
                stack.append(part)


def give_paths(term: Term, path: bytes) -> None:
    """Give paths to the shared expressions of a term that have none. path: where the term stands."""
    position = 0
    stack = [term]
    walked: set[int] = set()
    while stack:
        item = stack.pop()
        kind = type(item)
        if kind in SCALARS or kind is ValueRef or id(item) in walked:
            continue
        walked.add(id(item))
        if kind in _CAN_SHARE and item._shared is True:
            item._shared = _shared_path(path, 0, position)
            position += 1
        stack.extend(children(item))


def _shared_path(path: bytes, number: int, position: int) -> bytes | bool:
    """What marks a shared expression: its path, made from its number in the packed term. position: within the item of
    that number."""
    if not path:
        return True
    return short_digest("shared", path, number.to_bytes(8, "little"), position.to_bytes(8, "little"))


_CAN_SHARE = frozenset({TaskCall, Operation, Form})
_CAN_HOLD = frozenset({*CONTAINERS, TaggedTree})
_EMPTY = Head()


def _build_call(node: tuple[Any, ...], parts: tuple[Any, ...]) -> TaskCall:
    _, name, count, keywords, option_names, length, *_ = node
    if not keywords and not option_names:
        return TaskCall(name, parts, None, None, length)
    kwargs = dict(zip(keywords, parts[count:], strict=False))
    options = dict(zip(option_names, parts[count + len(keywords) :], strict=True))
    return TaskCall(name, parts[:count], kwargs or None, options or None, length)


def _build_calls(node: tuple[Any, ...], columns: tuple[Any, ...]) -> Iterable[TaskCall]:
    _, name, count, keywords, option_names, length, *_ = node
    names = repeat(name, len(columns[0]))
    args = zip(*columns[:count], strict=True) if count else repeat(())
    kwargs = _named(keywords, columns[count : count + len(keywords)])
    return map(TaskCall, names, args, kwargs, _named(option_names, columns[count + len(keywords) :]), repeat(length))


def _named(names: tuple[str, ...], columns: tuple[Any, ...]) -> Iterable[dict[str, Any] | None]:
    """A dict of these names for each row of the columns; None without names."""
    if len(names) != len(columns):
        raise ValueError(f"{len(columns)} columns for {len(names)} names")
    if not names:
        return repeat(None)
    return map(dict, map(zip, repeat(names), zip(*columns, strict=True)))


def _build_task(node: tuple[Any, ...], parts: tuple[Any, ...]) -> TaskRef:
    _, name, digest, count, keywords, option_names, *_ = node
    kwargs = dict(zip(keywords, parts[count:], strict=False))
    options = dict(zip(option_names, parts[count + len(keywords) :], strict=True))
    return TaskRef(name, digest, parts[:count], kwargs, options)


def _build_ref(node: tuple[Any, ...], parts: tuple[Any, ...]) -> ValueRef:
    _, digest, kind, size, format, inline, preview, *_ = node
    return ValueRef(digest, kind, size, format, inline, parts, preview)


_PLAIN_REF = 9
"""Length of the node of a reference without witnesses; with them it is longer by the tuple of their numbers."""


_BUILDERS: dict[int, Any] = {
    LIST: lambda node, parts: list(parts),
    TUPLE: lambda node, parts: parts,
    SET: lambda node, parts: set(parts),
    FROZENSET: lambda node, parts: frozenset(parts),
    DICT: lambda node, parts: dict(zip(parts[::2], parts[1::2], strict=True)),
    CALL: _build_call,
    OPERATION: lambda node, parts: Operation(node[1], parts),
    FORM: lambda node, parts: Form(node[1], parts),
    QUOTED: lambda node, parts: Quoted(parts[0], node[1]),
    REF: _build_ref,
    TREE: lambda node, parts: TaggedTree(node[1], parts[0], parts[1:]),
    TASK: _build_task,
}
