"""Walks over nested containers: the only ones in the package. They do not recurse, so any depth works.

In: a value. Out: its parts one level down, its leaves, or the same value with other leaves. Never: evaluates or hashes.

Containers are the exact built-in list, tuple, dict, set and frozenset, tagged trees, and the classes that have a
container handler. An object with a `__rayflow_identity__` method (an expression, a reference) is always a leaf.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import is_ as _is
from typing import Any

from rayflow.values.encoding.cycles import cycles_in
from rayflow.values.native import NATIVE_CONTAINERS, SCALARS
from rayflow.values.objects.handlers import container_handler, container_handler_for
from rayflow.values.refs import TaggedTree
from rayflow.values.types import builtin

builtin.register_all()


@dataclass(slots=True)
class Container:
    """One container, taken apart one level.

    kind: "list", "tuple", "dict", "set", "frozenset", or the kind of a handler.
    header: plain data besides the parts; empty for built-in containers.
    parts: the values inside; of a dict: key, value, key, value ...
    source: the container itself.
    """

    kind: str
    header: tuple[Any, ...]
    parts: Sequence[Any]
    source: Any

    def build(self, parts: Sequence[Any]) -> Any:
        """A container of the same kind around other parts (a tagged tree stays a tagged tree)."""
        if type(self.source) is TaggedTree:
            return TaggedTree(self.kind, self.header, tuple(parts))
        return build(self.kind, self.header, parts)

    def step(self, position: int) -> str:
        """The path to a part as Python writes it: `[3]`, `["key"]`, `.name`."""
        if self.kind == "dict":
            key = self.parts[position - position % 2]
            return f"[{_short(key)}]" if position % 2 else f".keys()[{position // 2}]"
        if self.kind in ("list", "tuple", "deque"):
            return f"[{position}]"
        if self.kind == "OrderedDict" and position < len(self.parts) - 1:
            return f"[{_short(self.parts[position - 1])}]" if position % 2 else f".keys()[{position // 2}]"
        steps = _STEPS.get(self.kind)
        if steps is not None:
            return steps[min(position, len(steps) - 1)]
        if self.kind in ("set", "frozenset"):
            return "{...}"
        names = self.header[1:] if type(self.source) is not TaggedTree else ()
        if position < len(names) and isinstance(names[position], str):
            return f".{names[position]}"
        return f".parts[{position}]"


_STEPS: dict[str, tuple[str, ...]] = {
    "OrderedDict": (".__dict__",),
    "defaultdict": (".default_factory", "", ".__dict__"),
    "dict_subclass": ("", ".__dict__"),
    "list_subclass": ("", ".__dict__"),
    "tuple_subclass": ("", ".__dict__"),
    "set_subclass": ("", ".__dict__"),
    "frozenset_subclass": ("", ".__dict__"),
    "object": (".__reduce__()[0]", ".__reduce__()[1]", ".__dict__", "", ""),
}
"""kind -> the paths to the parts of such a container, in order; the last is for all parts from there on."""


def build(kind: str, header: tuple[Any, ...], parts: Sequence[Any]) -> Any:
    """The container of this kind, with this header and these parts."""
    maker = _BUILDERS.get(kind)
    if maker is not None:
        return maker(parts)
    return container_handler(kind).build(header, parts)


def _build_dict(parts: Sequence[Any]) -> dict[Any, Any]:
    each = iter(parts)
    return dict(zip(each, each, strict=True))


_BUILDERS: dict[str, Callable[[Sequence[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "dict": _build_dict,
    "set": set,
    "frozenset": frozenset,
}


def parts_of(value: Any) -> Container | None:
    """The value taken apart one level, or None for a leaf."""
    of = type(value)
    if of in SCALARS:
        return None
    if of in NATIVE_CONTAINERS:
        if of is list or of is tuple:
            return Container(of.__name__, (), value, value)
        if of is dict:
            return Container("dict", (), [side for item in value.items() for side in item], value)
        return Container(of.__name__, (), list(value), value)
    if of is TaggedTree:
        return Container(value.kind, value.header, value.parts, value)
    if hasattr(of, "__rayflow_identity__"):
        return None
    handler = container_handler_for(of)
    if handler is None:
        return None
    header, parts = handler.take_apart(value)
    return Container(handler.kind, header, parts, value)


def _short(key: object) -> str:
    if type(key) in SCALARS:
        text = json.dumps(key, ensure_ascii=False) if type(key) is str else repr(key)
        return text if len(text) <= 60 else text[:57] + "..."
    return type(key).__name__


def only_scalars(parts: Sequence[Any]) -> bool:
    """Whether every part is a native scalar: a quick check, to skip long flat lists."""
    return SCALARS.issuperset(map(type, parts))


class _MapFrame:
    """A container on the stack: the parts still to come, and the changed parts before."""

    __slots__ = ("coming", "container", "done")

    def __init__(self, container: Container) -> None:
        self.container = container
        self.coming = iter(container.parts)
        self.done: list[Any] = []


def iter_leaves(value: Any, *, scalars: bool = False, is_leaf: Callable[[Any], bool] | None = None) -> Iterator[Any]:
    """Every leaf, in order; with `scalars` also None, numbers, strings and bytes.

    is_leaf: containers for which it is true are leaves. A container in several places is walked once, and so is one
    that contains itself.
    """
    seen: dict[int, Any] = {}
    stack: list[Iterator[Any]] = [iter((value,))]
    while stack:
        for part in stack[-1]:
            of = type(part)
            if of in SCALARS:
                if scalars:
                    yield part
                continue
            if is_leaf is None and (of is tuple or of is list):
                parts = part  # without a Container: there may be very many short ones
            else:
                container = None if is_leaf is not None and is_leaf(part) else parts_of(part)
                if container is None:
                    yield part
                    continue
                parts = container.parts
            if only_scalars(parts):
                if scalars:
                    yield from parts
                continue
            if id(part) in seen:
                continue
            seen[id(part)] = (part, parts)
            stack.append(iter(parts))
            break
        else:
            stack.pop()


def map_leaves(
    value: Any,
    change: Callable[[Any], Any],
    *,
    is_leaf: Callable[[Any], bool] | None = None,
    scalars: bool = False,
    always: bool = False,
    rebuild: Callable[[Container, Sequence[Any]], Any] = Container.build,
    take_apart: Callable[[Any], Container | None] = parts_of,
) -> Any:
    """The value with every leaf replaced by `change(leaf)`.

    A container in which nothing changed stays the same object, unless `always` asks for fresh containers. scalars: also
    call `change` for None, numbers, strings and bytes. is_leaf: containers for which it is true are leaves. rebuild:
    makes the new container from the old one and its new parts. take_apart: returns the parts of a container, and None
    for a leaf. A container in several places is changed once, and its image stands in all of them. A container that
    contains itself, directly or through others, is a leaf.
    """
    try:
        return _mapped(value, change, is_leaf, scalars, always, rebuild, take_apart)
    except _ContainsItself:
        loops = loops_in(value, is_leaf, take_apart)

    def is_whole(part: Any) -> bool:
        return id(part) in loops or (is_leaf is not None and is_leaf(part))

    return _mapped(value, change, is_whole, scalars, always, rebuild, take_apart)


class _ContainsItself(Exception):
    """A container contains itself."""


def loops_in(
    value: Any,
    is_leaf: Callable[[Any], bool] | None = None,
    take_apart: Callable[[Any], Container | None] = parts_of,
) -> dict[int, Any]:
    """id -> container, for the containers in a value that contain themselves, directly or through others."""
    numbers = {id(value): 0}
    sources = [value]
    below: list[list[int]] = []
    containers: list[Container] = []
    for source in sources:
        below.append([])
        container = None if is_leaf is not None and is_leaf(source) else take_apart(source)
        if container is None or only_scalars(container.parts):
            continue
        containers.append(container)  # to keep its parts alive: they may exist only here
        for part in container.parts:
            if type(part) in SCALARS:
                continue
            number = numbers.setdefault(id(part), len(sources))
            if number == len(sources):
                sources.append(part)
            below[-1].append(number)
    return {
        id(sources[each]): sources[each]
        for cycle in cycles_in(below)
        for each in cycle
        if len(cycle) > 1 or each in below[each]
    }


def _mapped(
    value: Any,
    change: Callable[[Any], Any],
    is_leaf: Callable[[Any], bool] | None,
    scalars: bool,
    always: bool,
    rebuild: Callable[[Container, Sequence[Any]], Any],
    take_apart: Callable[[Any], Container | None],
) -> Any:
    """As `map_leaves`, but raises _ContainsItself for a container that contains itself."""
    if type(value) in SCALARS:
        return change(value) if scalars else value
    container = None if is_leaf is not None and is_leaf(value) else take_apart(value)
    if container is None:
        return change(value)
    images: dict[int, tuple[Any, Any]] = {}
    """id of a container -> the container (to keep it alive, and its id unique), and its image or _OPEN."""
    stack = [_MapFrame(container)]
    while True:
        frame = stack[-1]
        source = frame.container.source
        done = frame.done
        for part in frame.coming:
            if type(part) in SCALARS:
                done.append(change(part) if scalars else part)
                continue
            below = None if is_leaf is not None and is_leaf(part) else take_apart(part)
            if below is None:
                done.append(change(part))
                continue
            if not scalars and only_scalars(below.parts):
                done.append(rebuild(below, below.parts) if always else part)
                continue
            images.setdefault(id(source), (source, _OPEN))
            known = images.get(id(part))
            if known is None:
                stack.append(_MapFrame(below))
                break
            if known[1] is _OPEN:
                raise _ContainsItself
            done.append(known[1])
        else:
            unchanged = not always and all(map(_is, frame.container.parts, done))
            image = source if unchanged else rebuild(frame.container, done)
            images[id(source)] = (source, image)
            stack.pop()
            if not stack:
                return image
            stack[-1].done.append(image)


_OPEN = object()


def copy_containers(value: Any) -> Any:
    """The value with fresh containers at all levels, and the same leaves."""
    return map_leaves(value, _same, always=True)


def _same(leaf: Any) -> Any:
    return leaf
