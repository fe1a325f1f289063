"""Signatures as plain data: binding a call without the user's function.

In: a function, or the parameters of one; the arguments of a call. Out: bound arguments. Never: evaluates a default.

The evaluator binds calls too and has no user code, so a signature is a small frozen `Parameters` that travels in the
task table.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rayflow.errors import BadArguments
from rayflow.lang.terms.expressions import Expression
from rayflow.values.encoding.nested import map_leaves

POSITIONAL_ONLY, POSITIONAL, VAR_POSITIONAL, KEYWORD_ONLY, VAR_KEYWORD = range(5)
"""Kinds of parameters, as in inspect.Parameter."""


@dataclass(frozen=True)
class Parameters:
    """The parameters of a task, in order: names, kinds, and which of them have a default."""

    names: tuple[str, ...]
    kinds: tuple[int, ...]
    defaulted: frozenset[str]

    @cached_property
    def positional(self) -> tuple[str, ...]:
        """Names that positional arguments fill, in order."""
        return tuple(n for n, k in zip(self.names, self.kinds, strict=True) if k in (POSITIONAL_ONLY, POSITIONAL))

    @cached_property
    def keywords(self) -> frozenset[str]:
        """Names that may be given by keyword."""
        return frozenset(n for n, k in zip(self.names, self.kinds, strict=True) if k in (POSITIONAL, KEYWORD_ONLY))

    @cached_property
    def rest(self) -> str | None:
        """The name of *args, if there is one."""
        return next((n for n, k in zip(self.names, self.kinds, strict=True) if k == VAR_POSITIONAL), None)

    @cached_property
    def keyword_rest(self) -> str | None:
        """The name of **kwargs, if there is one."""
        return next((n for n, k in zip(self.names, self.kinds, strict=True) if k == VAR_KEYWORD), None)

    @cached_property
    def _plain(self) -> bool:
        return all(kind == POSITIONAL for kind in self.kinds)

    def bind(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None, *, name: str = "task", partial: bool = False
    ) -> dict[str, Any]:
        """The arguments by parameter name, in the signature's order; parameters left to their default are absent.

        *args is bound as a tuple, **kwargs as a dict in the order of the call, both only when not empty. With `partial`
        nothing needs to be there. Raises BadArguments in Python's own words.
        """
        if self._plain and not kwargs and len(args) == len(self.names):
            return dict(zip(self.names, args, strict=True))
        given: dict[str, Any] = dict(zip(self.positional, args, strict=False))
        extra = args[len(self.positional) :]
        if extra and self.rest is None:
            most = len(self.positional)
            plural = "s" * (most != 1)
            raise BadArguments(f"{name}() takes {most} positional argument{plural} but {len(args)} were given")
        unknown: dict[str, Any] = {}
        for key, value in (kwargs or {}).items():
            if key in self.keywords:
                if key in given:
                    raise BadArguments(f"{name}() got multiple values for argument {key!r}")
                given[key] = value
            elif self.keyword_rest is not None:
                unknown[key] = value
            else:
                raise BadArguments(f"{name}() got an unexpected keyword argument {key!r}{self._nearest(key)}")
        if not partial:
            self._complain_of_missing(given, name)
        bound: dict[str, Any] = {}
        for parameter, kind in zip(self.names, self.kinds, strict=True):
            if kind == VAR_POSITIONAL:
                if extra:
                    bound[parameter] = tuple(extra)
            elif kind == VAR_KEYWORD:
                if unknown:
                    bound[parameter] = unknown
            elif parameter in given:
                bound[parameter] = given[parameter]
        return bound

    def in_order(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Keywords in order: first the named parameters, in the order of the signature, then the rest as they came."""
        named = {name: kwargs[name] for name in self.names if name in kwargs and name in self.keywords}
        return {**named, **kwargs}

    def _complain_of_missing(self, given: Mapping[str, Any], name: str) -> None:
        missing = [
            parameter
            for parameter, kind in zip(self.names, self.kinds, strict=True)
            if kind not in (VAR_POSITIONAL, VAR_KEYWORD) and parameter not in given and parameter not in self.defaulted
        ]
        if missing:
            names = " and ".join(map(repr, missing)) if len(missing) < 3 else ", ".join(map(repr, missing))
            raise BadArguments(f"{name}() missing {len(missing)} required argument{'s' * (len(missing) > 1)}: {names}")

    def _nearest(self, key: str) -> str:
        near = difflib.get_close_matches(key, self.keywords, n=1)
        return f"; did you mean {near[0]!r}?" if near else ""

    def accepts(self, count: int, keywords: tuple[str, ...]) -> bool:
        """Whether a call with so many positional arguments and these keywords fits."""
        try:
            self.bind((None,) * count, dict.fromkeys(keywords))
        except BadArguments:
            return False
        return True

    def spread(self, bound: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Bound arguments as the function takes them: positional and by keyword."""
        if self._plain and len(bound) == len(self.names):
            return [bound[name] for name in self.names], {}
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for parameter, kind in zip(self.names, self.kinds, strict=True):
            if parameter not in bound:
                continue
            value = bound[parameter]
            if kind == VAR_POSITIONAL:
                args.extend(value)
            elif kind == VAR_KEYWORD:
                kwargs.update(value)
            elif kind == KEYWORD_ONLY or len(args) < self._index(parameter):
                # Behind a parameter that was left to its default, the others can only go by keyword.
                kwargs[parameter] = value
            else:
                args.append(value)
        return args, kwargs

    def _index(self, parameter: str) -> int:
        return self.names.index(parameter)


def parameters_of(function: Callable[..., Any]) -> tuple[Parameters, dict[str, Any]]:
    """A function's parameters, and its default values by name."""
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    return (
        Parameters(tuple(p.name for p in parameters), tuple(int(p.kind) for p in parameters), frozenset(defaults)),
        defaults,
    )


def without_lazy_defaults(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function without those defaults that are lazy, since expressions cannot be pickled.

    The evaluator fills in the defaults of a call. A function without lazy defaults is returned as it is.
    """
    positional, named = getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None)
    eager = map_leaves((positional, named), lambda leaf: None if isinstance(leaf, Expression) else leaf)
    if eager[0] is positional and eager[1] is named:
        return function
    assert isinstance(function, types.FunctionType)
    made = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, eager[0], function.__closure__
    )
    for name in functools.WRAPPER_ASSIGNMENTS:
        setattr(made, name, getattr(function, name))
    made.__dict__.update(function.__dict__)
    made.__kwdefaults__ = eager[1]
    return made


def length_of(func: Callable[..., Any], nout: int | None) -> int | None:
    """How many items a function's result has: from `nout`, else from its annotation; None when it is not known."""
    if nout is not None:
        return nout
    annotation = getattr(func, "__annotations__", {}).get("return")
    if isinstance(annotation, str):
        if not annotation.lower().startswith(("tuple[", "typing.tuple[")):
            return None
        try:
            annotation = eval(annotation, inspect.unwrap(func).__globals__)
        except Exception:  # an annotation that only a type checker can resolve: the length stays unknown
            return None
    args = getattr(annotation, "__args__", ())
    if getattr(annotation, "__origin__", None) is tuple and args and Ellipsis not in args:
        return len(args)
    return None
