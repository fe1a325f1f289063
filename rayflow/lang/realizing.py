"""From a symbolic value to the objects that a body sees.

In: symbolic values. Out: the user's objects, in fresh containers. Never: evaluates, decodes by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rayflow.lang.codec import SCALARS
from rayflow.lang.expressions import TaskRef, Term
from rayflow.values.nested import Container, map_leaves, parts_of
from rayflow.values.refs import TaggedTree, ValueRef


def realize(
    term: Term,
    fetch: Callable[[ValueRef], Any],
    task: Callable[[TaskRef], Any],
    build: Callable[[TaggedTree, Any], Any],
) -> Any:
    """The objects that a symbolic value stands for, in fresh containers.

    fetch: reads a reference. task: the Task of a reference to one. build: a tagged tree with real parts. A quoted
    expression stays symbolic inside: it is data until it is released, and then a term again.
    """
    if type(term) in SCALARS:
        return term

    def change(leaf: Any) -> Any:
        kind = type(leaf)
        if kind is ValueRef:
            return fetch(leaf)
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
