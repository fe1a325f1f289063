"""Plain calls, many at a time: calls of tasks whose arguments and options are all scalars.

In: terms that stand together. Out: their arguments, if all are plain calls; the calls as columns. Never: looks at a
value.

A body that makes ten thousand calls returns a list of them. Here Python's own functions, written in C, go through such
a list. That takes a fraction of the time of a walk that looks at each call.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

from rayflow.lang.terms.expressions import TaskCall, Term
from rayflow.values.native import SCALARS

FEWEST = 8
"""Fewer calls are not worth it."""

_task_of, _length_of = attrgetter("_task"), attrgetter("_length")
_args_of, _kwargs_of, _options_of = attrgetter("_args"), attrgetter("_kwargs"), attrgetter("_options")


class CallShape(NamedTuple):
    """What the calls of a run have in common.

    task: its full name. positional: how many arguments have no name. keywords, options: the names of the other
    arguments and of the options. length: of the result, where it is known.
    """

    task: str
    positional: int
    keywords: tuple[str, ...]
    options: tuple[str, ...]
    length: int | None


class Run(NamedTuple):
    """Plain calls of one shape. columns: for each argument, then for each option, its value in each call."""

    shape: CallShape
    calls: Sequence[TaskCall]
    columns: tuple[tuple[Any, ...], ...]


def values_in(terms: Collection[Term]) -> list[Any] | None:
    """All arguments and options of these terms, if all terms are plain calls; else None."""
    if set(map(type, terms)) != {TaskCall}:
        return None
    values = list(chain.from_iterable(map(_args_of, terms)))
    for named_of in (_kwargs_of, _options_of):
        if any(map(named_of, terms)):
            values.extend(chain.from_iterable([named.values() for named in map(named_of, terms) if named]))
    return values if SCALARS.issuperset(map(type, values)) else None


def runs_of(terms: Sequence[Term]) -> list[Run]:
    """The terms as runs, each in the order of the terms. None if they are not all plain calls of a few shapes, or if
    one term stands here twice."""
    if type(terms[0]) is not TaskCall or len(set(map(id, terms))) < len(terms) or values_in(terms) is None:
        return []
    groups: dict[CallShape, Sequence[TaskCall]] = {}
    if _are_alike(terms):
        groups[_shape_of(terms[0])] = terms
    else:
        several: dict[CallShape, list[TaskCall]] = {}
        for call in terms:
            several.setdefault(_shape_of(call), []).append(call)
        groups.update(several)
    runs = [Run(shape, calls, _columns_of(calls)) for shape, calls in groups.items()]
    # A call without arguments has no columns that could tell how many there are.
    return runs if len(runs) * FEWEST <= len(terms) and all(run.columns for run in runs) else []


def _are_alike(calls: Sequence[TaskCall]) -> bool:
    """Whether calls have one shape."""
    return (
        len(set(map(_task_of, calls))) == 1
        and len(set(map(len, map(_args_of, calls)))) == 1
        and len(set(map(_length_of, calls))) == 1
        and len({tuple(named) if named else () for named in map(_kwargs_of, calls)}) == 1
        and len({tuple(named) if named else () for named in map(_options_of, calls)}) == 1
    )


def _shape_of(call: TaskCall) -> CallShape:
    return CallShape(call._task, len(call._args), tuple(call._kwargs or ()), tuple(call._options or ()), call._length)


def _columns_of(calls: Sequence[TaskCall]) -> tuple[tuple[Any, ...], ...]:
    columns = tuple(zip(*map(_args_of, calls), strict=True))
    for named_of in (_kwargs_of, _options_of):
        if named_of(calls[0]):
            columns += tuple(zip(*[named.values() for named in map(named_of, calls)], strict=True))
    return columns
