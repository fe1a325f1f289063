"""Staged files in the arguments of script calls. The cache key contains their names and contents, not their paths.

In: a task, or a bound argument of a call. Out: whether the task sees only staged files, and not their paths; for such a
task, the argument with each staged file replaced by its name and content. Never: looks at a file; the reference to the
file contains its state.

The body of any other task sees the paths of its arguments. So its cache key contains the paths.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from rayflow.lang.terms.expressions import Term
from rayflow.values.encoding.nested import map_leaves
from rayflow.values.files.files import Staged, known_when_staged
from rayflow.values.objects.handlers import class_path
from rayflow.values.refs import TaggedTree, ValueRef

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__rayflow_sees_staged_alone__"


def seeing_staged_alone(func: F) -> F:
    """Mark a function whose result depends only on the names and contents of staged files. Put it below @task."""
    setattr(func, _MARK, True)
    return func


def sees_staged_alone(task: Any) -> bool:
    """Whether a task's function is marked by `seeing_staged_alone`."""
    return getattr(task.func, _MARK, False) is True


def as_staged(argument: Term) -> Term:
    """The argument with a stand-in for each staged file whose content is known. It has the name and content."""
    return map_leaves(argument, _as_staged, is_leaf=_is_staged)


_STAGED = class_path(Staged)


class _Counts:
    """A stand-in for a staged file in a hash."""

    __slots__ = ("identity",)

    def __init__(self, identity: bytes) -> None:
        self.identity = identity

    def __rayflow_identity__(self) -> bytes:
        return self.identity


def _is_staged(part: Any) -> bool:
    return type(part) is TaggedTree and part.header[:1] == (_STAGED,)


def _as_staged(leaf: Any) -> Any:
    if not _is_staged(leaf):
        return leaf
    local, remote = leaf.parts
    known = known_when_staged(local, remote.witnesses) if type(remote) is ValueRef else None
    return leaf if known is None else _Counts(known)
