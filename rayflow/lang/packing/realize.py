"""From a symbolic value to the objects that a body sees.

In: symbolic values, and a function that reads references. Out: the user's objects, in fresh containers. Never:
evaluates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rayflow.lang.registry import find_task
from rayflow.lang.terms.expressions import TaskRef, Term
from rayflow.values.encoding.nested import Container, build, map_leaves, parts_of
from rayflow.values.native import SCALARS
from rayflow.values.refs import TaggedTree, ValueRef


def realize(
    term: Term,
    fetch: Callable[[ValueRef], Any],
    task: Callable[[TaskRef], Any],
    build: Callable[[TaggedTree, Any], Any],
) -> Any:
    """The objects that a symbolic value represents, in fresh containers.

    fetch: reads a reference. task: finds the Task of a TaskRef. build: makes the object of a tagged tree from real
    parts.

    A quoted expression stays symbolic inside, since it is data until it is released. If a reference is in several
    places, it is read once, and all these places get the same object.
    """
    if type(term) in SCALARS:
        return term

    fetched: dict[int, Any] = {}
    """The fetched objects by the ids of their references. The term keeps the references alive."""

    def change(leaf: Any) -> Any:
        kind = type(leaf)
        if kind is ValueRef:
            if id(leaf) not in fetched:
                fetched[id(leaf)] = fetch(leaf)
            return fetched[id(leaf)]
        if kind is TaskRef:
            if not (leaf.args or leaf.kwargs):
                return task(leaf)
            args = [realize(arg, fetch, task, build) for arg in leaf.args]
            kwargs = {name: realize(arg, fetch, task, build) for name, arg in leaf.kwargs.items()}
            return task(TaskRef(leaf.name, leaf.hash, tuple(args), kwargs, leaf.options))
        return leaf

    def rebuild(container: Container, parts: Sequence[Any]) -> Any:
        if type(container.source) is TaggedTree:
            return build(container.source, parts)
        return container.build(parts)

    if parts_of(term) is None:
        return change(term)
    return map_leaves(term, change, always=True, rebuild=rebuild)


def realized(term: Term, fetch: Callable[[ValueRef], Any]) -> Any:
    """The objects that a symbolic value represents, with this process's tasks. fetch: reads a reference."""
    return realize(term, fetch, task_of, tree_built)


def task_of(ref: TaskRef) -> Any:
    """The Task of a reference to one, with the arguments that are bound. Raises NoSuchTask."""
    return find_task(ref.name, ref.args, ref.kwargs, ref.options)


def tree_built(tree: TaggedTree, parts: Any) -> Any:
    """A tagged tree with these parts."""
    return build(tree.kind, tree.header, parts)
