"""Values that contain themselves, of all kinds: what makes one, and what makes one with another content."""

from __future__ import annotations

import ast
import collections
import dataclasses
import functools
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import attrs


class Node:
    """Knows its parent and its children."""

    def __init__(self, name: Any, parent: Node | None = None) -> None:
        self.name = name
        self.parent = parent
        self.children: list[Node] = []
        if parent is not None:
            parent.children.append(self)


class Slotted:
    __slots__ = ("__weakref__", "back", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.back = [self]


@dataclasses.dataclass
class Person:
    name: str
    friends: list[Person] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    name: str
    inside: list[Any]


@attrs.define
class Made:
    name: str
    other: Any = None


class Pair(NamedTuple):
    name: str
    inside: list[Any]


class Names(dict):  # type: ignore[type-arg]
    pass


class Items(list):  # type: ignore[type-arg]
    pass


class Two(tuple):  # type: ignore[type-arg]
    pass


class Queue(collections.deque):  # type: ignore[type-arg]
    pass


class Ordered(collections.OrderedDict):  # type: ignore[type-arg]
    pass


class Grown(collections.defaultdict):  # type: ignore[type-arg]
    pass


class Group(set):  # type: ignore[type-arg]
    pass


class Failed(Exception):
    pass


class ByState:
    """Says itself what is kept of it."""

    def __init__(self, name: Any) -> None:
        self.name, self.me = name, self

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "me": self}


def tree(name: Any) -> Node:
    root = Node("root")
    for each in ("left", name):
        Node([each], Node(each, root))
    return root


def leaf_of_tree(name: Any) -> Node:
    return tree(name).children[0]


def with_attribute(value: Any, name: Any, add: Callable[[Any], None]) -> Any:
    value.name = name
    add(value)
    return value


def ring(name: Any) -> list[Any]:
    made: list[Any] = [name]
    made.append(made)
    return made


def ring_of_dicts(name: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name}
    made["next"] = {"next": {"next": made}}
    return made


def tuple_in_list(name: Any) -> Any:
    inner: list[Any] = [name]
    inner.append((inner, "x"))
    return inner[1]


def friends(name: str) -> Person:
    one, other = Person("one"), Person(name)
    one.friends.extend([other, one])
    other.friends.append(one)
    return one


def frozen(name: str) -> Frozen:
    made = Frozen(name, [])
    made.inside.append({"up": made})
    return made


def made(name: str) -> Made:
    found = Made(name)
    found.other = Made("other", found)
    return found


def pair(name: str) -> Pair:
    found = Pair(name, [])
    found.inside.append(found)
    return found


def two(name: str) -> Two:
    inner: list[Any] = [name]
    found = Two([inner, 2])
    found.extra = name  # type: ignore[attr-defined]
    inner.append(found)
    return found


def linked(name: Any) -> Node:
    first = Node(name)
    for number in range(100):
        Node(number, first)
    return first


def doubly_linked(name: Any, length: int = 90) -> Node:
    first = last = Node("x")
    for _ in range(length):
        last = Node("x", last)
    last.name = name
    return first


def graph(name: Any) -> dict[int, dict[str, Any]]:
    nodes: dict[int, dict[str, Any]] = {number: {"name": number, "near": []} for number in range(20)}
    for number in nodes:
        nodes[number]["near"] = [nodes[number * 7 % 20], nodes[(number * 3 + 1) % 20]]
    nodes[13]["name"] = name
    return nodes


def set_of_nodes(name: Any) -> Node:
    root = Node("root")
    found = {Node(each) for each in ("a", "b", name)}
    for each in found:
        each.parent = root
    root.children = found  # type: ignore[assignment]
    return root


def simple(name: Any) -> types.SimpleNamespace:
    made = types.SimpleNamespace(name=name)
    made.me = [made]
    return made


def error(name: Any) -> Failed:
    made = Failed(name)
    made.me = made  # type: ignore[attr-defined]
    return made


def parsed(name: Any) -> ast.AST:
    syntax = ast.parse(f"a + {name!r}")
    for each in ast.walk(syntax):
        for child in ast.iter_child_nodes(each):
            if not isinstance(child, ast.expr_context | ast.operator):  # these are one for all trees
                child.parent = each  # type: ignore[attr-defined]
    return syntax


def partial(name: Any) -> Any:
    inner: list[Any] = [name]
    made = functools.partial(sorted, inner)
    inner.append(made)
    return made


def method(name: Any) -> Any:
    node = Node(name)
    node.children.append(node.__init__)  # type: ignore[misc, arg-type]
    return node


def default(name: Any) -> Any:
    found: Any = collections.defaultdict(list)
    found["me"].append(found)
    found["name"].append(name)
    return found


def items(name: Any) -> Items:
    return with_attribute(Items([1]), name, lambda made: made.append(made))


MAKERS: dict[str, Callable[[Any], Any]] = {
    "a list in itself": ring,
    "dicts in a ring": ring_of_dicts,
    "a tuple in its list": tuple_in_list,
    "a tree with parents": tree,
    "a leaf that knows its tree": leaf_of_tree,
    "slots": lambda name: Slotted(name),
    "dataclasses": friends,
    "a frozen dataclass with slots": frozen,
    "an attrs class": made,
    "a namedtuple": pair,
    "a tuple's subclass": two,
    "a list's subclass": items,
    "a dict's subclass": lambda name: with_attribute(Names(), name, lambda made: made.update(me=made)),
    "a deque": lambda name: (lambda made: made.append(made) or made)(collections.deque([name], 5)),
    "a deque's subclass": lambda name: with_attribute(Queue(), name, lambda made: made.append([made])),
    "an OrderedDict": lambda name: (lambda made: made.update(me=made) or made)(collections.OrderedDict(name=name)),
    "an OrderedDict's subclass": lambda name: with_attribute(Ordered(), name, lambda made: made.update(me=made)),
    "a defaultdict": default,
    "a defaultdict's subclass": lambda name: with_attribute(Grown(list), name, lambda made: made.update(me=made)),
    "a set's subclass": lambda name: with_attribute(Group(), name, lambda made: setattr(made, "me", made)),
    "children of one parent": linked,
    "a long chain": doubly_linked,
    "a graph of dicts": graph,
    "a set of nodes": set_of_nodes,
    "a namespace": simple,
    "an exception": error,
    "a syntax tree with parents": parsed,
    "a partial": partial,
    "its own method": method,
    "one that says what is kept": lambda name: ByState(name),
    "one in other values": lambda name: {"deep": [(ring(name), 1), "x"], "tree": tree("same")},
    "two that share one": lambda name: (lambda node: [node, {"again": node}, node.parent])(leaf_of_tree(name)),
}


def shape_of(value: Any) -> list[Any]:
    """What can be told of a value and of which parts of it are one object: two with equal shapes are alike."""
    numbers: dict[int, int] = {}
    kept: list[Any] = []
    shape: list[Any] = []
    waiting = [value]
    for part in waiting:
        if isinstance(part, str | int | float | bytes | type(None) | type | types.FunctionType):
            shape.append(part)
            continue
        if id(part) in numbers:
            shape.append(("again", numbers[id(part)]))
            continue
        numbers[id(part)] = len(numbers)
        kept.append(part)
        shape.append(type(part).__qualname__)
        if isinstance(part, dict):
            waiting.extend(each for item in part.items() for each in item)
        elif isinstance(part, set | frozenset):
            waiting.extend(sorted(part, key=lambda each: str(getattr(each, "name", each))))
        elif isinstance(part, list | tuple | collections.deque):
            waiting.extend(part)
        if isinstance(part, functools.partial):
            waiting.extend((part.func, part.args, part.keywords))
        if isinstance(part, types.MethodType):
            waiting.append(part.__self__)
        if isinstance(part, BaseException):
            waiting.extend(part.args)
        for name in ("__dict__", *getattr(type(part), "__slots__", ())):
            if name not in ("__weakref__",) and hasattr(part, name):
                found = getattr(part, name)
                waiting.extend(found.values() if name == "__dict__" else [found])
    return shape
