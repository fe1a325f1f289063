"""Looks at all files at URLs in a term at the same time, before the term is packed.

In: a term that is about to be packed. Out: a context manager; while it lasts, the states of these files are known.
Never: looks at a file when there are few of them.
"""

from __future__ import annotations

import contextlib
from typing import Any

from rayflow.lang.terms.codec import children
from rayflow.lang.terms.expressions import Expression, Term
from rayflow.values.encoding.nested import only_scalars, parts_of
from rayflow.values.files.file_states import asked_together
from rayflow.values.files.files import File, many_remote
from rayflow.values.native import SCALARS

_NOTHING = contextlib.nullcontext()


def looked_at_together(term: Term) -> contextlib.AbstractContextManager[None]:
    """A context in which the Files at URLs in a term keep the states that they had at its start.

    It knows those in expressions and containers. Files inside of other objects are looked at one by one.
    """
    return asked_together(_remote_paths(term)) if many_remote() else _NOTHING


def _remote_paths(term: Term) -> list[str]:
    """The URLs of the Files in a term, as far as they stand in expressions and containers."""
    found: dict[str, None] = {}
    seen: dict[int, Any] = {}
    waiting: list[Any] = [term]
    while waiting:
        part = waiting.pop()
        if type(part) in SCALARS or id(part) in seen:
            continue
        seen[id(part)] = part  # kept alive, so that its id stays its own
        if isinstance(part, File):
            if part.is_remote():
                found[part.path] = None
        elif isinstance(part, Expression):
            waiting.extend(children(part))
        elif not hasattr(type(part), "__rayflow_symbol__"):
            container = parts_of(part)
            if container is not None and not only_scalars(container.parts):
                waiting.extend(container.parts)
    return list(found)
