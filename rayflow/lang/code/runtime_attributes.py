"""Attributes of live functions and classes that the text of their definition does not show.

In: a function; or a class, with the names that its body binds. Out: attributes by name, which become part of the code
identity as constants do. Never: looks into their values.

The identity of a class comes from its text. But some attributes get their values elsewhere: `Config.factor = 3` after
the class, a table that other definitions fill, a method that is replaced, the value of `limits = read_limits()`.
"""

from __future__ import annotations

import abc
import ast
import enum
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any

from rayflow.values.native import SCALARS

Bound = dict[str, str]
"""The names that a class body binds, each with one of the four words below."""

_WRITTEN = "written"
"""The text shows the value."""
_NAMED = "named"
"""The value depends on the meaning of names."""
_CALLED = "called"
"""The value comes from a call or an attribute. Such tables, arrays and models count (they are read from files). Such
single numbers and texts do not count: they may be a time, a random number or a temporary directory, which differ from
process to process."""
_DEFINED = "defined"
"""A function, a class, an import."""

_CHANGEABLE = frozenset({list, dict, set, defaultdict, OrderedDict, Counter, deque})
_PLAIN = SCALARS | {tuple, frozenset} | _CHANGEABLE
_OF_NAMED_TUPLES = frozenset(("_fields", "_field_defaults", "_make", "_replace", "_asdict"))
_OF_LIBRARIES = _OF_NAMED_TUPLES | {"_abc_impl", "_is_protocol", "_is_runtime_protocol"}


def attributes_of_function(function: FunctionType) -> list[tuple[str, Any]]:
    """The attributes that were set on a function after its definition, in the order of their names."""
    found = vars(function)
    return [(name, found[name]) for name in sorted(found) if name[:2] != "__"] if found else []


def bound_in(body: list[ast.stmt]) -> Bound:
    """The names that a class body binds."""
    found: Bound = {}
    waiting: list[ast.AST] = [*body]
    for node in waiting:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found[node.name] = _DEFINED
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update((alias.asname or alias.name.partition(".")[0], _DEFINED) for alias in node.names)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            how = _how(node.value)
            for target in targets:
                names = [part.id for part in ast.walk(target) if isinstance(part, ast.Name)]
                is_plain = len(names) == 1 and names[0] not in found
                found.update((name, _NAMED if how == _WRITTEN and not is_plain else how) for name in names)
        elif isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                found[node.id] = _NAMED
        elif not isinstance(node, ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))
    return found


def _how(value: ast.expr | None) -> str:
    kinds = {type(part) for part in ast.walk(value)} if value is not None else set()
    if not kinds.isdisjoint((ast.Call, ast.Attribute)):
        return _CALLED
    return _WRITTEN if kinds.isdisjoint((ast.Name, ast.NamedExpr)) else _NAMED


def attributes_of_class(
    cls: type, bound: Bound, is_own: Callable[[type], bool], owns_function: Callable[[FunctionType], bool]
) -> Iterator[tuple[str, Any]]:
    """The attributes of a class that its text does not show, in the order of their names.

    is_own, owns_function: say which classes and functions are the project's. Attributes that a library's metaclass sets
    are left out.
    """
    if isinstance(cls, enum.EnumType):
        members: Mapping[str, enum.Enum] = cls.__members__
        yield from (
            (name, members[name].value) for name in sorted(members) if _counts(bound.get(name), members[name].value)
        )
        return
    of = type(cls)
    takes_others = of is type or of is abc.ABCMeta or is_own(of)
    for name, value in sorted(vars(cls).items()):
        if name[:2] == "__" or name in _OF_LIBRARIES or isinstance(value, (MemberDescriptorType, GetSetDescriptorType)):
            continue
        if name not in bound:
            if takes_others and type(value).__name__ != "_tuplegetter":
                yield name, value
        elif bound[name] == _DEFINED:
            if isinstance(value, FunctionType) and _is_foreign(value, cls) and owns_function(value):
                yield name, value
        elif _counts(bound[name], value) or (takes_others and bound[name] != _WRITTEN and _is_bulk(value)):
            yield name, value


def _counts(how: str | None, value: Any) -> bool:
    of = type(value)
    if of in _CHANGEABLE:
        return bool(value)
    return of in _PLAIN and (how == _NAMED or (how == _CALLED and of in (tuple, frozenset)))


_SINGLE = frozenset({"datetime", "uuid", "pathlib", "random", "decimal", "fractions", "time", "tempfile"})
"""Modules of the standard library whose objects count as single values: a time, a path, a random number."""


def _is_bulk(value: Any) -> bool:
    """Whether a value in a class is an array, a model or the like, whose content may come from a file. Descriptors are
    not: the text of the class shows them.
    """
    of = type(value)
    if of in _PLAIN or isinstance(value, type) or hasattr(of, "__get__"):
        return False
    return of.__module__.partition(".")[0] not in _SINGLE


def _is_foreign(function: FunctionType, cls: type) -> bool:
    """Whether a function in a class was defined outside of the class."""
    return not function.__code__.co_qualname.startswith(f"{cls.__qualname__}.")


READ_AS_DATA = frozenset(("__doc__", "__annotations__"))
"""The parts of a definition that count only if some code reads them by this name."""


def read_as_data(base: Any, chain: tuple[str, ...]) -> Any:
    """The value of a chain of attributes that ends in one of READ_AS_DATA; None where it cannot be read."""
    for part in chain[:-1]:
        base = next((vars(each)[part] for each in getattr(base, "__mro__", ()) if part in vars(each)), None)
        base = getattr(base, "__func__", base)
    return getattr(base, chain[-1], None)
