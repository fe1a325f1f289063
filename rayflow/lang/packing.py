"""From a user's term to a symbolic one, and back.

In: what a body returned or a driver submits. Out: a symbolic term, and the bytes of large values given to `keep`. In
the other direction: symbolic values become the objects that a body sees. Never: evaluates.

`pack` runs where user code lives. What stays in the term is small: scalars, built-in containers, expressions. A value
of any other type, and any expression-free part past the inline limit, becomes one `ValueRef`; a container of the user's
own that holds expressions becomes a `TaggedTree`. Expressions are walked with a worklist, so any depth works.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from rayflow.lang.codec import SCALARS, children, content_digest, with_children
from rayflow.lang.expressions import Expression, Quoted, TaskRef, Term
from rayflow.values.encoding import make_ref
from rayflow.values.nested import Container, iter_leaves, map_leaves, parts_of
from rayflow.values.refs import INLINE_BYTES, Encoded, TaggedTree, ValueRef

Keep: TypeAlias = Callable[[ValueRef, Encoded, Any], None]
"""Takes a new reference, its bytes and the value itself; large ones have to be stored before the term is sent."""

_NATIVE = frozenset({list, tuple, dict, set, frozenset})
_SPREAD = 64
"""A container of at most so many parts is kept open, each large part a reference of its own; a longer one is one
value."""
_DEEPEST = 32
"""Values nested deeper than this inside each other become one reference."""


def pack(term: Term, keep: Keep, *, root: str = "result", reached: set[int] | None = None) -> Term:
    """The symbolic form of a user's term.

    root: what errors call the term. reached: gets the ids of all expressions that the term holds. Raises
    NotSerializable for a value that cannot be kept, naming the part.
    """
    if type(term) in SCALARS and not _is_long(term):
        return term
    memo: dict[int, Expression] = {}
    for expression in _expressions_in(term):
        parts = children(expression)
        if all(type(part) in SCALARS and not _is_long(part) for part in parts):
            memo[id(expression)] = expression
        else:
            packed = _pack_values(parts, keep, memo, root)
            memo[id(expression)] = with_children(expression, packed)
        if type(expression) is Quoted:
            (inner,) = children(memo[id(expression)])
            memo[id(expression)] = Quoted(inner, content_digest(inner))
    if reached is not None:
        reached.update(memo)
    return _pack_values((term,), keep, memo, root)[0]


def _is_long(scalar: Any) -> bool:
    kind = type(scalar)
    if kind is str or kind is bytes:
        return len(scalar) > INLINE_BYTES // 2
    return kind is int and scalar.bit_length() > 8 * INLINE_BYTES


def _expressions_in(term: Term) -> list[Expression]:
    """All expressions that the term reaches, each once, arguments before what takes them."""
    ordered: list[Expression] = []
    done: set[int] = set()
    entered: set[int] = set()
    stack: list[Expression] = [leaf for leaf in _leaves(term) if isinstance(leaf, Expression)]
    while stack:
        expression = stack[-1]
        if id(expression) in done:
            stack.pop()
            continue
        if id(expression) not in entered:
            entered.add(id(expression))
            inner: list[Expression] = []
            for part in children(expression):
                if type(part) not in SCALARS:
                    inner.extend(leaf for leaf in _leaves(part) if isinstance(leaf, Expression))
            inner = [each for each in inner if id(each) not in done]
            if inner:
                stack.extend(reversed(inner))
                continue
        done.add(id(expression))
        ordered.append(expression)
        stack.pop()
    return ordered


def _leaves(term: Term) -> Any:
    if isinstance(term, Expression):
        return (term,)
    return iter_leaves(term)


def _pack_values(parts: Sequence[Term], keep: Keep, memo: dict[int, Expression], root: str) -> tuple[Term, ...]:
    """Each part as a symbolic term; expressions are those of the memo."""

    def change(leaf: Any) -> Term:
        kind = type(leaf)
        if isinstance(leaf, Expression):
            return memo[id(leaf)]
        if kind in SCALARS:
            return whole(leaf) if _is_long(leaf) else leaf
        if kind is ValueRef or kind is TaggedTree or kind is TaskRef:
            return leaf
        symbol = getattr(kind, "__rayflow_symbol__", None)
        if symbol is not None:
            return _pack_task(symbol(leaf), keep, memo, root)
        return whole(leaf)

    def whole(value: Any) -> ValueRef:
        ref, encoded = make_ref(value, name=root)
        if ref.inline is None:
            keep(ref, encoded, value)
        return ref

    packed: list[Term] = []
    for part in parts:
        if type(part) in SCALARS or isinstance(part, Expression) or parts_of(part) is None:
            packed.append(change(part))
            continue
        lazy = _lazy_containers(part)
        packed.append(
            map_leaves(
                part,
                change,
                is_leaf=_Collapse(part, lazy),
                scalars=True,
                always=True,
                rebuild=_rebuild,
            )
        )
    return tuple(packed)


def _pack_task(task: TaskRef, keep: Keep, memo: dict[int, Expression], root: str) -> TaskRef:
    if not (task.args or task.kwargs):
        return task
    args = _pack_values(task.args, keep, memo, root)
    kwargs = _pack_values(tuple(task.kwargs.values()), keep, memo, root)
    return TaskRef(task.name, task.hash, args, dict(zip(task.kwargs, kwargs, strict=True)), task.options)


def _rebuild(container: Container, parts: Sequence[Any]) -> Any:
    """Native containers as themselves, all others as tagged trees: only user code may build those."""
    if type(container.source) in _NATIVE:
        return container.build(parts)
    return TaggedTree(container.kind, container.header, tuple(parts))


def _lazy_containers(value: Any) -> set[int]:
    """Ids of the containers below (and including) `value` that hold an expression or a task, at whatever depth."""
    lazy: set[int] = set()
    visited: set[int] = set()
    stack: list[tuple[Any, Any]] = [(value, iter(parts_of(value).parts))]  # type: ignore[union-attr]  # a container
    while stack:
        source, parts = stack[-1]
        for part in parts:
            if type(part) in SCALARS:
                continue
            if isinstance(part, Expression) or hasattr(type(part), "__rayflow_symbol__"):
                lazy.add(id(source))
                continue
            below = parts_of(part)
            if below is None:
                continue
            if id(part) in visited:
                if id(part) in lazy:
                    lazy.add(id(source))
                continue
            visited.add(id(part))
            stack.append((part, iter(below.parts)))
            break
        else:
            stack.pop()
            if stack and id(source) in lazy:
                lazy.add(id(stack[-1][0]))
    return lazy


class _Collapse:
    """Decides which containers become one reference: the question that map_leaves asks of each, outermost first."""

    def __init__(self, value: Any, lazy: set[int]) -> None:
        self._lazy = lazy
        self._depths: dict[int, int] = {id(value): 0}

    def __call__(self, part: Any) -> bool:
        kind = type(part)
        if kind in SCALARS or id(part) in self._lazy:
            return False
        container = parts_of(part)
        if container is None:
            return True
        if kind not in _NATIVE:
            return True
        depth = self._depths.get(id(part), 0)
        if depth >= _DEEPEST:
            return True
        if len(container.parts) > _SPREAD and _is_bulky(part):
            return True
        for below in container.parts:
            if type(below) in _NATIVE:
                self._depths[id(below)] = depth + 1
        return False


def _is_bulky(value: Any) -> bool:
    """Whether the encoded value would go past the inline limit; counts no further than that."""
    size = 0
    for leaf in iter_leaves(value, scalars=True):
        kind = type(leaf)
        if kind is str or kind is bytes:
            size += len(leaf) + 2
        elif kind in SCALARS:
            size += 3
        else:
            size += 100
        if size > INLINE_BYTES:
            return True
    return False


def realize(
    term: Term,
    fetch: Callable[[ValueRef], Any],
    task: Callable[[TaskRef], Any],
    build: Callable[[TaggedTree, Any], Any],
) -> Any:
    """The objects that a symbolic value stands for, in fresh containers.

    fetch: reads a reference. task: the Task of a reference to one. build: a tagged tree with real parts.
    """
    if type(term) in SCALARS:
        return term

    def change(leaf: Any) -> Any:
        kind = type(leaf)
        if kind is ValueRef:
            return fetch(leaf)
        if kind is TaskRef:
            return task(leaf)
        if isinstance(leaf, Quoted):
            return _realize_expression(leaf, change_parts)
        return leaf

    def change_parts(parts: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(realize(part, fetch, task, build) for part in parts)

    def rebuild(container: Container, parts: Sequence[Any]) -> Any:
        if type(container.source) is TaggedTree:
            return build(container.source, parts)
        return container.build(parts)

    if parts_of(term) is None:
        return change(term)
    return map_leaves(term, change, always=True, rebuild=rebuild)


def _realize_expression(quoted: Quoted, change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> Any:
    """A quoted expression with real values for its symbolic ones."""
    memo: dict[int, Expression] = {}
    for expression in _expressions_in(quoted):
        parts = tuple(memo.get(id(part), part) for part in children(expression))
        plain = change(tuple(part for part in parts if not isinstance(part, Expression)))
        each = iter(plain)
        memo[id(expression)] = with_children(
            expression, tuple(part if isinstance(part, Expression) else next(each) for part in parts)
        )
    return memo[id(quoted)]
