"""The only walker of containers in the house; no recursion, so that any depth works.

In: a value. Out: its parts one level down, its leaves, or the same value with other leaves. Never: evaluates or hashes.

Containers are the exact built-in list, tuple, dict, set and frozenset, tagged trees, and whatever a container handler
takes apart. An object with a `__rayflow_identity__` method (an expression, a reference) is always a leaf.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import is_ as _is
from typing import Any

from rayflow.errors import NotSerializable
from rayflow.values import builtin
from rayflow.values.handlers import container_handler, container_handler_for
from rayflow.values.refs import TaggedTree

SCALARS: frozenset[type] = frozenset({type(None), bool, int, float, complex, str, bytes})
"""The exact types of native scalars: they are never containers and hold nothing."""

_NATIVE: frozenset[type] = frozenset({list, tuple, dict, set, frozenset})

NATIVE = SCALARS | _NATIVE
"""The exact types that every process knows without a handler."""

builtin.register_all()


@dataclass(slots=True)
class Container:
    """One container, taken apart one level.

    kind: "list", "tuple", "dict", "set", "frozenset", or the kind of a handler.
    header: plain data besides the parts; empty for the built-in ones.
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
        """How Python would write the way to a part: `[3]`, `["key"]`, `.name`."""
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
"""How Python would write the way to the parts of a container that is no plain one; the last stands for all after it."""


def build(kind: str, header: tuple[Any, ...], parts: Sequence[Any]) -> Any:
    """The container that a kind, a header and parts describe."""
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
    if of in _NATIVE:
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
    """Whether every part is a native scalar: quick, for skipping long flat lists at once."""
    return SCALARS.issuperset(map(type, parts))


class _Frame:
    """A container on the way down: the parts still to come and what became of the parts before."""

    __slots__ = ("coming", "container", "done")

    def __init__(self, container: Container) -> None:
        self.container = container
        self.coming = iter(container.parts)
        self.done: list[Any] = []


def path_text(root: str, frames: Sequence[tuple[Container, int]]) -> str:
    """The way from a root to a part, as Python would write it: `result["model"].lock`."""
    return root + "".join(container.step(position) for container, position in frames)


def cycle_error(root: str, frames: Sequence[tuple[Container, int]], value: object) -> NotSerializable:
    """The error for a container that contains itself, which has neither a hash nor an end."""
    return NotSerializable(
        f"{path_text(root, frames)} is the {type(value).__name__} that it stands in: a value that contains itself has "
        "no hash. Break the cycle, for example by keeping keys or indices in place of the object."
    )


def iter_leaves(value: Any, *, scalars: bool = False, is_leaf: Callable[[Any], bool] | None = None) -> Iterator[Any]:
    """Every leaf, in order; with `scalars` also None, numbers, strings and bytes.

    is_leaf: containers for which it is true are given back whole. A container that stands in several places is walked
    once. A container inside itself is walked once, too.
    """
    seen: dict[int, Any] = {}
    stack: list[Iterator[Any]] = [iter((value,))]
    while stack:
        for part in stack[-1]:
            if type(part) in SCALARS:
                if scalars:
                    yield part
                continue
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

    Containers in which nothing changed are given back as they are, the same objects, unless `always` asks for fresh
    ones. With `scalars` None, numbers, strings and bytes are shown to `change` too. `is_leaf`: containers for which it
    is true are replaced whole. `rebuild` makes the new container from the old one and its new parts. `take_apart` says
    what a container is: None for a leaf. A container that stands in several places is changed once and its image stands
    in all of them.
    Raises NotSerializable when a container contains itself.
    """
    if type(value) in SCALARS:
        return change(value) if scalars else value
    container = None if is_leaf is not None and is_leaf(value) else take_apart(value)
    if container is None:
        return change(value)
    images: dict[int, tuple[Any, Any]] = {}
    """id of a container -> itself (kept alive, so that the id stays its own) and its image, or _OPEN on the way."""
    stack = [_Frame(container)]
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
                stack.append(_Frame(below))
                break
            if known[1] is _OPEN:
                raise cycle_error("value", [(each.container, len(each.done)) for each in stack], part)
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
    """The value with fresh containers all the way down, around the same leaves."""
    return map_leaves(value, _same, always=True)


def _same(leaf: Any) -> Any:
    return leaf
