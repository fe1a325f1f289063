"""Turns a user's term into a symbolic one.

In: the result of a body, or the expression of a driver. Out: a symbolic term, and the bytes of large values given to
`keep`. Never: evaluates. (The way back is realize.py.)

`pack` runs where user code is. Only small things stay in the term: scalars, built-in containers, expressions. A value
of any other type, and any expression-free part past the inline limit, becomes one `ValueRef`; a container of the user's
own that holds expressions becomes a `TaggedTree`. Expressions are walked with a worklist, so any depth works.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TypeAlias

from rayflow.errors import ArgumentChanged, NotSerializable
from rayflow.lang.packing.places import place_in
from rayflow.lang.packing.remote_prefetch import looked_at_together
from rayflow.lang.terms.codec import children, content_digest, with_children
from rayflow.lang.terms.expressions import Expression, Operation, Quoted, TaskCall, TaskRef, Term
from rayflow.lang.terms.plain_calls import values_in
from rayflow.values.encoding.cyclic_objects import may_know_others, tied_in
from rayflow.values.encoding.encoding import make_ref
from rayflow.values.encoding.nested import Container, iter_leaves, map_leaves, only_scalars, parts_of
from rayflow.values.encoding.previews import kind_of
from rayflow.values.encoding.snapshots import ValueSnapshot, opened
from rayflow.values.files.files import Staged
from rayflow.values.native import NATIVE_CONTAINERS, SCALARS
from rayflow.values.refs import INLINE_BYTES, Encoded, TaggedTree, ValueRef
from rayflow.values.witnesses import OF_TASK, notice

Keep: TypeAlias = Callable[[ValueRef, Encoded, Any], None]
"""Stores a new reference: takes it, its bytes and the value itself. Large ones are stored before the term is sent."""

_LONG = frozenset({str, bytes, int})
_SPREAD = 64
"""How many parts a container with objects may have to stay open in a term, each object a reference of its own. A longer
container is one value."""
_DEEPEST = 32
"""Values nested deeper than this inside each other become one reference."""
_REFERENCE_BYTES = 100
"""The size of a reference, when the size of a term is estimated."""


def pack(term: Term, keep: Keep, *, root: str = "result", reached: set[int] | None = None) -> Term:
    """The symbolic form of a user's term.

    root: what errors call the term. reached: gets the ids of all expressions that the term holds. Raises
    NotSerializable for a value that cannot be kept, naming the part.
    """
    if type(term) in SCALARS and not is_long(term):
        return term
    packer = _Packer(keep, root)
    with looked_at_together(term):
        packed = packer.pack(term)
    if reached is not None:
        reached.update(packer.memo)
    return packed


def is_long(scalar: Any) -> bool:
    """Whether a scalar is too long to stand in a term itself."""
    kind = type(scalar)
    if kind is str or kind is bytes:
        return len(scalar) > INLINE_BYTES // 2
    return kind is int and scalar.bit_length() > 8 * INLINE_BYTES


def _has_long(scalars: Sequence[Any]) -> bool:
    """Whether one of many scalars is long: quicker than to ask each."""
    for kind in _LONG.intersection(map(type, scalars)):
        own: list[Any] = [each for each in scalars if type(each) is kind]
        if any(map(is_long, (min(own), max(own)) if kind is int else (max(own, key=len),))):
            return True
    return False


def _plain_calls_of(container: Container) -> Collection[Any] | None:
    """The calls in a list, tuple or dict that holds nothing else, if all their parts may stay in the term."""
    source = container.source
    kind = type(source)
    if not source or (kind is not list and kind is not tuple and kind is not dict):
        return None
    calls: Collection[Any] = source.values() if kind is dict else source
    if type(next(iter(calls))) is not TaskCall:
        return None
    values = values_in(calls)
    if values is None or _has_long(values):
        return None
    if kind is dict and (not only_scalars(list(source)) or _has_long(list(source))):
        return None
    return calls


def _is_symbol(value: Any) -> bool:
    """Whether a value is a Task, or a partial of one: it knows its own symbolic form."""
    return hasattr(type(value), "__rayflow_symbol__")


class _Packer:
    """Packs one term.

    memo: the symbolic form of each expression, and of each task with bound arguments, by its id.
    """

    def __init__(self, keep: Keep, root: str) -> None:
        self.memo: dict[int, Term] = {}
        self._keep = keep
        self._root = root
        self._opened: dict[int, _Opened] = {}
        self._symbols: dict[int, TaskRef] = {}
        self._refs: dict[int, tuple[Any, ValueRef]] = {}
        self._current: _Opened | None = None
        self._item: Any = None

    def pack(self, term: Term) -> Term:
        for item in self._in_order(term):
            memo = self.memo
            if not isinstance(item, Expression):
                memo[id(item)] = self._bound_task(self._symbols[id(item)])
                continue
            parts = children(item)
            for part in parts:
                kind = type(part)
                if kind not in SCALARS or (kind in _LONG and is_long(part)):
                    self._item = item
                    memo[id(item)] = with_children(item, tuple([self._packed(each) for each in parts]))
                    break
            else:
                memo[id(item)] = item
            if type(item) is Quoted:
                (inner,) = children(memo[id(item)])
                memo[id(item)] = Quoted(inner, content_digest(inner))
        self._item = None
        return self._packed(term)

    def _in_order(self, term: Term) -> list[Any]:
        """All expressions and bound tasks that the term reaches, each once, arguments before their calls."""
        ordered: list[Any] = []
        done: set[int] = set()
        entered: set[int] = set()
        stack = self._open_parts((term,))
        stack.reverse()
        while stack:
            item = stack[-1]
            if id(item) in done:
                stack.pop()
                continue
            if id(item) not in entered:
                entered.add(id(item))
                inner = [each for each in self._open_parts(self._children(item)) if id(each) not in done]
                if inner:
                    inner.reverse()
                    stack.extend(inner)
                    continue
            done.add(id(item))
            ordered.append(item)
            stack.pop()
        return ordered

    def _children(self, item: Any) -> tuple[Any, ...]:
        return children(item if isinstance(item, Expression) else self._symbols[id(item)])

    def _open_parts(self, parts: tuple[Any, ...]) -> list[Any]:
        """The expressions and bound tasks in these parts, at any depth of containers."""
        found: list[Any] = []
        for part in parts:
            if type(part) in SCALARS:
                continue
            if isinstance(part, Expression):
                found.append(part)
                continue
            if _is_symbol(part):
                self._note(part, found)
                continue
            opened = self._opened.get(id(part))
            if opened is None:
                container = parts_of(part)
                if container is None:
                    continue
                opened = self._opened[id(part)] = _Opened(container)
                for calls in opened.plain_calls:
                    self.memo.update(zip(map(id, calls), calls, strict=True))
            for leaf in opened.open_leaves:
                if isinstance(leaf, Expression):
                    found.append(leaf)
                else:
                    self._note(leaf, found)
        return found

    def _note(self, task: Any, found: list[Any]) -> None:
        symbol = self._symbols.get(id(task))
        if symbol is None:
            symbol = self._symbols[id(task)] = type(task).__rayflow_symbol__(task)
        if symbol.args or symbol.kwargs or symbol.options:
            found.append(task)

    def _packed(self, part: Term) -> Term:
        """A part as a symbolic term. The memo already has everything that the part reaches."""
        opened = self._opened.get(id(part))
        if opened is None or opened.value is not part:
            return self._leaf(part)
        self._current = opened
        return map_leaves(
            part, self._leaf, scalars=True, always=True, rebuild=_rebuild, take_apart=opened.container
        )

    def _leaf(self, leaf: Any) -> Term:
        kind = type(leaf)
        if kind in SCALARS:
            return self._whole(leaf) if kind in _LONG and is_long(leaf) else leaf
        known = self.memo.get(id(leaf)) if isinstance(leaf, Expression) or _is_symbol(leaf) else None
        if known is not None:
            return known
        if kind is ValueRef or kind is TaggedTree or kind is TaskRef:
            return leaf
        if _is_symbol(leaf):
            return self._symbols[id(leaf)]
        copied = self._current.copied.get(id(leaf)) if self._current is not None else None
        return copied[1] if copied is not None else self._whole(leaf)

    def _whole(self, value: Any) -> ValueRef:
        # Very many calls may contain the same value.
        known = self._refs.get(id(value))
        if known is None:
            known = self._refs[id(value)] = value, self._ref_of(value)
        return known[1]

    def _ref_of(self, value: Any) -> ValueRef:
        try:
            if type(value) is ValueSnapshot:
                value.check()
                ref, encoded = make_ref(value.value, name=self._root, known=value.digest)
            else:
                ref, encoded = make_ref(value, name=self._root)
        except ArgumentChanged as error:
            raise ArgumentChanged(f"{self._place_of(value)}: {error}") from None
        except NotSerializable:
            self._refuse_lazy(value)
            ref, encoded = make_ref(opened(value), name=self._place_of(value))  # once more, with the way to it
        if ref.inline is None:
            self._keep(ref, encoded, opened(value))
        return ref

    def _refuse_lazy(self, value: Any) -> None:
        """Raise NotSerializable for a container that contains itself and an expression: it would be one value."""
        lazy = next((leaf for leaf in iter_leaves(value) if isinstance(leaf, Expression)), None)
        if lazy is not None:
            raise NotSerializable(
                f"{self._place_of(value)} (a {kind_of(value)}) contains itself, so it is kept as one value, and "
                f"{lazy!r} in it has no value yet. Pass that to a task as an argument, and make what contains itself "
                "in its body."
            ) from None

    def _place_of(self, value: Any) -> str:
        """The place of a value in the term, for an error."""
        way = self._current.way_to(value) if self._current is not None else None
        outer = value if way is None or self._current is None else self._current.value
        root = self._root if self._item is None else place_in(self._item, outer) or self._root
        return root + (way or "")

    def _bound_task(self, task: TaskRef) -> Term:
        """A task with bound arguments; when some of them are lazy, the operation that will bind them."""
        args = tuple([self._packed(arg) for arg in task.args])
        kwargs = {name: self._packed(arg) for name, arg in task.kwargs.items()}
        options = {name: self._packed(value) for name, value in task.options.items()}
        if any(_has_open_parts(part) for part in (*args, *kwargs.values(), *options.values())):
            return Operation("partial", (TaskRef(task.name, task.hash), args, kwargs, options))
        return TaskRef(task.name, task.hash, args, kwargs, options)


def _has_open_parts(packed: Term) -> bool:
    if type(packed) in SCALARS:
        return False
    if isinstance(packed, Expression):
        return type(packed) is not Quoted
    container = parts_of(packed)
    if container is None:
        return False
    opened = _Opened(container)
    if opened.plain_calls:
        return True
    return any(isinstance(leaf, Expression) and type(leaf) is not Quoted for leaf in opened.open_leaves)


def _rebuild(container: Container, parts: Sequence[Any]) -> Any:
    """Native containers as themselves, all others as tagged trees: only user code may build those."""
    if type(container.source) in NATIVE_CONTAINERS:
        return container.build(parts)
    return TaggedTree(container.kind, container.header, tuple(parts))


class _Opened:
    """One container, looked through once: its lazy parts, and the parts that become one reference each.

    value: the container. open_leaves: its expressions and tasks, in order, each once. plain_calls: the calls in its
    containers of plain calls; these are symbolic as they are, and not among the open leaves. copied: by id, such a
    container and its copy, which stands for it in the term.

    Each container is taken apart once, and the parts are held: some of them exist only then (the items of a
    defaultdict). Else their ids could be reused.
    """

    def __init__(self, container: Container) -> None:
        self.value = container.source
        self.open_leaves: list[Any] = []
        self.plain_calls: list[Collection[TaskCall]] = []
        self.copied: dict[int, tuple[Any, Any]] = {}
        self._containers: dict[int, Container] = {id(container.source): container}
        self._lazy: set[int] = set()
        self._whole: set[int] = set()
        if not self._takes_calls(container):
            self._look_through(container)

    def container(self, value: Any) -> Container | None:
        """The value taken apart, when its parts stay in the term; None for a leaf, or for a value that becomes one
        reference."""
        if type(value) in SCALARS or id(value) in self._whole or id(value) in self.copied:
            return None
        container = self._containers.get(id(value))
        if container is not None:
            return container
        container = parts_of(value)  # it holds nothing but scalars, else it would have been met before
        if container is None or type(value) not in NATIVE_CONTAINERS:
            return None
        return container if _size_of_scalars(container.parts) <= INLINE_BYTES else None

    def way_to(self, value: Any) -> str | None:
        """The way to a part as Python would write it, such as `[3].name`; None when it is not in here."""
        if value is self.value:
            return ""
        waiting: list[tuple[str, Container]] = [("", self._containers[id(self.value)])]
        seen = {id(self.value)}
        for way, container in waiting:
            for position, part in enumerate(container.parts):
                if part is value:
                    return way + container.step(position)
                below = self._containers.get(id(part)) or parts_of(part)
                if below is not None and id(part) not in seen:
                    seen.add(id(part))
                    waiting.append((way + container.step(position), below))
        return None

    def _takes_calls(self, container: Container) -> bool:
        """Take a container as a whole, if it holds nothing but plain calls. Gives whether it does."""
        calls = _plain_calls_of(container)
        if calls is None:
            return False
        source = container.source
        self.plain_calls.append(calls)
        self.copied[id(source)] = source, type(source)(source)
        self._containers[id(source)] = container
        self._lazy.add(id(source))
        return True

    def _look_through(self, container: Container) -> None:
        seen: set[int] = set()
        frame = _Weighed(container, iter(container.parts))
        stack = [frame]
        while True:
            for part in frame.coming:
                kind = type(part)
                if kind in SCALARS:
                    frame.size += len(part) + 2 if kind is str or kind is bytes else 3
                    continue
                if isinstance(part, Expression) or _is_symbol(part):
                    frame.is_open = True
                    if id(part) not in seen:
                        seen.add(id(part))
                        self.open_leaves.append(part)
                    continue
                if kind is ValueRef or kind is TaskRef:
                    frame.is_open = True  # a part of a term that was packed before: never to be pickled inside a value
                    continue
                below = parts_of(part)
                if below is None:
                    frame.add_object()
                    if may_know_others(part):
                        frame.objects[id(part)] = part
                    continue
                if kind in NATIVE_CONTAINERS and only_scalars(below.parts):
                    frame.height = max(frame.height, 1)
                    if frame.size <= INLINE_BYTES:
                        frame.size += _size_of_scalars(below.parts)
                    continue
                if id(part) in self._containers:
                    if id(part) in self._whole:
                        frame.add_object()
                    elif id(part) in self._lazy:
                        frame.is_open = True
                    else:
                        frame.objects[id(part)] = part  # met again: it may be on a cycle
                    continue
                if self._takes_calls(below):
                    frame.is_open = True
                    continue
                self._containers[id(part)] = below
                frame = _Weighed(below, iter(below.parts))
                stack.append(frame)
                break
            else:
                ended = stack.pop()
                self._close(ended)
                if not stack:
                    if len(ended.objects) > 1 and id(self.value) not in self._whole:
                        self._whole.update(tied_in(self.value, ended.objects.values()))
                    return
                frame = stack[-1]
                frame.take(ended, id(ended.container.source) in self._whole)

    def _close(self, frame: _Weighed) -> None:
        """Decide about a container whose parts are all known: is it lazy, one reference, or small enough to stay open?
        Decide about a container whose parts are all known: is it lazy, one reference, or small enough to stay open?"""
        container = frame.container
        kind = type(container.source)
        if frame.is_open or kind is TaggedTree or kind is Staged:  # a script has to tell the name from the file
            frame.is_open = True
            self._lazy.add(id(container.source))
        elif (
            kind not in NATIVE_CONTAINERS
            or frame.height >= _DEEPEST
            or (frame.size > INLINE_BYTES and (not frame.has_objects or len(container.parts) > _SPREAD))
        ):
            self._whole.add(id(container.source))


class _Weighed:
    """A container during the walk.

    size: about the size that it would take in the term itself. height: how deep containers are nested inside. objects:
    by id, objects inside that may refer to each other.
    """

    __slots__ = ("coming", "container", "has_objects", "height", "is_open", "objects", "size")

    def __init__(self, container: Container, coming: Iterator[Any]) -> None:
        self.container = container
        self.coming = coming
        self.size = 0
        self.height = 0
        self.is_open = False
        self.has_objects = False
        self.objects: dict[int, Any] = {}

    def add_object(self) -> None:
        self.size += _REFERENCE_BYTES
        self.has_objects = True

    def take(self, below: _Weighed, whole: bool) -> None:
        self.is_open = self.is_open or below.is_open
        self.has_objects = self.has_objects or below.has_objects or whole
        self.size += _REFERENCE_BYTES if whole else below.size
        self.height = max(self.height, below.height + 1)
        if whole:
            self.objects[id(below.container.source)] = below.container.source
        elif below.objects:
            self.objects.update(below.objects)


def _size_of_scalars(parts: Sequence[Any]) -> int:
    """About how many bytes these scalars take in a term. It stops at the inline limit."""
    if 3 * len(parts) > INLINE_BYTES:
        return 3 * len(parts)
    return sum([len(part) + 2 if type(part) is str or type(part) is bytes else 3 for part in parts])


def notice_task(name: str, task_hash: bytes) -> None:
    """Note that a task is encoded inside some object. The object is valid only while the task's code is."""
    notice((OF_TASK, (name, task_hash)))
