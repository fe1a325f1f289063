"""Analyses one definition by itself: its digest, and the names from around it that it uses.

In: a live function or class. Out: `Analysis`. Never: follows these names (code_graph.py does).

An analysis is made once for each code object. A function that is defined again has another code object.
"""

from __future__ import annotations

import ast
import builtins
import dis
import functools
import sys
from dataclasses import dataclass, field
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from rayflow.errors import RayflowWarning
from rayflow.lang.code.free_names import Chain, Names, chain_of, names_of
from rayflow.lang.code.normal_form import normalised
from rayflow.lang.code.runtime_attributes import Bound, bound_in
from rayflow.lang.code.source_files import Origin, class_origin, constant_text, first_line, function_origin
from rayflow.values.digests import Digest, digest
from rayflow.values.display.user_warnings import warn_user

MISSING: Any = object()
"""The result of a look-up when there is no such name."""


@dataclass(frozen=True, slots=True)
class NamesAround:
    """The names that a definition finds around it: captured variables first, then its module's, without builtins."""

    captured: dict[str, Any]
    space: dict[str, Any]

    def get(self, name: str) -> Any:
        """The object that a name is bound to, or MISSING."""
        return self.captured[name] if name in self.captured else self.space.get(name, MISSING)


_OWN_PACKAGE = __name__.partition(".")[0]


class SourceUnknown(RayflowWarning):
    """The source of a function is not known for sure, so its compiled code is used instead."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """The analysis of one definition, without the definitions that it uses.

    defaults: the parameters whose default values are more than literals. bound: the names that a class body binds.
    """

    digest: Digest
    names: Names
    path: str | None
    line: int
    source: str | None
    defaults: tuple[str, ...] = ()
    bound: Bound = field(default_factory=dict)


_functions: WeakKeyDictionary[FunctionType, tuple[CodeType, Analysis]] = WeakKeyDictionary()
_classes: WeakKeyDictionary[type, Analysis | None] = WeakKeyDictionary()


def around_function(function: FunctionType) -> NamesAround:
    """The names that a function finds around it."""
    captured: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            captured[name] = cell.cell_contents
        except ValueError:  # not bound yet
            continue
    return NamesAround(captured, function.__globals__)


def around_class(cls: type) -> NamesAround:
    """The names that a class body finds around it, with the variables that its methods have captured."""
    captured: dict[str, Any] = {}
    space: dict[str, Any] = vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {}
    for method in methods_of(cls):
        if not space:
            space = method.__globals__
        for name, cell in zip(method.__code__.co_freevars, method.__closure__ or (), strict=True):
            try:
                captured.setdefault(name, cell.cell_contents)
            except ValueError:  # not bound yet
                continue
    return NamesAround(captured, space)


def methods_of(cls: type) -> list[FunctionType]:
    """The plain functions in a class, without their wrappers."""
    found = []
    for value in vars(cls).values():
        inner = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if isinstance(inner, FunctionType):
            found.append(inner)
    return found


def is_builtin(name: str) -> bool:
    """Whether a name that no module binds is Python's own."""
    return hasattr(builtins, name)


def analysis_of_function(function: FunctionType) -> Analysis:
    """The analysis of a function's syntax. If the source is not reliable, it analyses the compiled code, and warns."""
    known = _functions.get(function)
    if known is not None and known[0] is function.__code__:
        return known[1]
    origin = function_origin(function)
    found = None
    if origin is not None:
        found = _analysed(origin, around_function(function))
    if found is None:
        found = _from_code(function)
    _functions[function] = (function.__code__, found)
    return found


def analysis_of_class(cls: type) -> Analysis | None:
    """The analysis of a class's syntax. None where there is none: a call made the class, or its file has changed."""
    if cls in _classes:
        return _classes[cls]
    origin = class_origin(cls)
    found = _classes[cls] = _analysed(origin, around_class(cls)) if origin is not None else None
    return found


def forget_classes() -> None:
    """Drop the analyses of all classes: their attributes or files may have changed."""
    _classes.clear()


def _analysed(origin: Origin, around: NamesAround) -> Analysis | None:
    node = origin.node
    known = origin.file.memo.get(node)
    if known is None:

        above = _above_task(node, around)

        def ignored(decorator: ast.expr) -> bool:
            return decorator in above or _is_task_decorator(decorator, around)

        try:
            written = normalised(node, ignored)
        except TypeError:  # a tree that holds more than the language's constants
            return None
        known = origin.file.memo[node] = Analysis(
            digest("syntax", written),
            names_of(node, ignored),
            origin.file.path,
            first_line(node),
            origin.file.segment(node),
            () if isinstance(node, ast.ClassDef) else _computed_defaults(node.args),
            bound_in(node.body) if isinstance(node, ast.ClassDef) else {},
        )
    found: Analysis = known
    return found


def _computed_defaults(arguments: ast.arguments) -> tuple[str, ...]:
    positional = [*arguments.posonlyargs, *arguments.args]
    pairs: list[tuple[ast.arg, ast.expr | None]] = []
    if arguments.defaults:
        pairs.extend(zip(positional[-len(arguments.defaults) :], arguments.defaults, strict=True))
    pairs.extend(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    return tuple(
        argument.arg
        for argument, default in pairs
        if default is not None and any(isinstance(part, (ast.Name, ast.Call, ast.Lambda)) for part in ast.walk(default))
    )


def _above_task(node: ast.AST, around: NamesAround) -> list[ast.expr]:
    """The decorators above a definition's `@task`: they take the task, so they do not change its function."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    own = [place for place, decorator in enumerate(decorators) if _is_task_decorator(decorator, around)]
    return decorators[: own[-1]] if own else []


def _is_task_decorator(decorator: ast.expr, around: NamesAround) -> bool:
    """Whether a decorator is rayflow's own `task`, plain, with options, or under another name."""
    chain = chain_of(decorator.func if isinstance(decorator, ast.Call) else decorator)
    if chain is None:
        return False
    found = around.get(chain[0])
    for part in chain[1:]:
        found = getattr(found, part, MISSING) if isinstance(found, ModuleType) else MISSING
    if isinstance(found, functools.partial):
        found = found.func
    if isinstance(found, MethodType):
        found = found.__func__
    if isinstance(found, (FunctionType, type)):
        return _is_own(found.__module__) and found.__name__ == "task"
    return _is_own(type(found).__module__)


def _is_own(module_name: object) -> bool:
    return isinstance(module_name, str) and module_name.partition(".")[0] == _OWN_PACKAGE


# --- without source ---------------------------------------------------------------------------------------------------


def _from_code(function: FunctionType) -> Analysis:
    code = function.__code__
    warn_user(
        f"rayflow cannot find the source of {function.__module__}.{code.co_qualname} with certainty, so its compiled "
        "code counts: its calls run again under another version of Python. "
        "This happens to what is typed at a prompt or made by exec, to files edited after they were imported, and to "
        "lambdas that share a line.",
        SourceUnknown,
        place=(code.co_filename, code.co_firstlineno),
    )
    strong, weak = _chains(code)
    has_file = not code.co_filename.startswith("<")
    defaults = sorted((function.__kwdefaults__ or {}).keys())
    if function.__defaults__:
        names = code.co_varnames[: code.co_argcount]
        defaults.extend(names[-len(function.__defaults__) :])
    return Analysis(
        digest("compiled", *_code_parts(code)),
        Names(tuple(sorted(strong)), tuple(sorted(weak)), (), ()),
        code.co_filename if has_file else None,
        code.co_firstlineno,
        None,
        tuple(defaults),
    )


def _code_parts(root: CodeType) -> list[bytes]:
    """A code object without the places and lines where it stood, under this version of Python."""
    parts = [repr(sys.version_info[:2]).encode()]
    waiting = [root]
    for code in waiting:
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        parts.extend((code.co_code, repr(counts).encode(), repr(names).encode(), code.co_exceptiontable))
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                waiting.append(constant)
                parts.append(b"code")
            else:
                parts.append(constant_text(constant).encode("utf-8", "surrogatepass"))
    return parts


def _chains(root: CodeType) -> tuple[set[Chain], set[Chain]]:
    """The dotted names that a code object and those inside it load from outside."""
    strong: set[Chain] = set()
    weak: set[Chain] = set()
    waiting = [root]
    for code in waiting:
        waiting.extend(constant for constant in code.co_consts if isinstance(constant, CodeType))
        chain: Chain = ()
        for instruction in dis.get_instructions(code):
            if chain and instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                chain = (*chain, str(instruction.argval))
                continue
            if chain:
                strong.add(chain)
            chain = ()
            if instruction.opname == "LOAD_GLOBAL":
                chain = (str(instruction.argval),)
            elif instruction.opname in ("LOAD_NAME", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_GLOBALS"):
                weak.add((str(instruction.argval),))
    return strong, weak
