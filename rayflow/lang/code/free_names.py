"""Finds the names that a piece of syntax uses, but does not define itself.

In: the syntax tree of one function or class. Out: `Names`: the dotted names to look up around it, the names that its
body imports, and the look-ups that cannot be followed. Never: looks at live objects.

The scoping rules are Python's: a name bound anywhere in a function is local to it; a class body does not lend its names
to its methods; a comprehension has a scope of its own, but its first iterable belongs outside. Annotations of functions
are skipped, since they do not count. Annotations of a class are weak: they are looked up, but they may be unknown.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Chain: TypeAlias = tuple[str, ...]
"""A dotted name in its parts: `helpers.clean` is `("helpers", "clean")`."""

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_IMPORTERS = frozenset(("__import__", "import_module"))
_RUNNERS = frozenset(("eval", "exec"))
EVALUATORS = _IMPORTERS | _RUNNERS | {
    "globals", "run_path", "run_module", "resolve_name", "locate", "spec_from_file_location", "iter_modules",
    "walk_packages",
}  # fmt: skip
"""Functions of the standard library that find code or names by a text."""
LIBRARIES_OF_EVALUATORS = frozenset(
    ("builtins", "importlib", "_frozen_importlib", "_frozen_importlib_external", "runpy", "pkgutil", "pydoc")
)
_SPACES = frozenset(("__globals__", "f_globals"))
"""Attributes that are the names of a module."""
_IGNORED = frozenset(
    f"__{word}__"
    for word in (
        *("name", "file", "package", "spec", "loader", "class", "qualname", "module", "path", "debug"),
        *("builtins", "annotations"),
    )
)
"""Names that Python itself binds. They say where code stands, which does not change what it does."""

_READERS = {"getdoc": "__doc__", "get_type_hints": "__annotations__"}
"""Functions of the standard library that read a part of a definition which does not count otherwise."""

_TEXT_LIMIT = 100


@dataclass(frozen=True, slots=True, order=True)
class BodyImport:
    """A dotted name whose first part is imported inside the body: `from module import attribute`."""

    chain: Chain
    module: str
    level: int
    attribute: str | None


@dataclass(frozen=True, slots=True, order=True)
class DynamicLookup:
    """A look-up whose name is known only when it runs, written as `text`.

    chain: with `is_getattr`, the object to look into (`getattr(chain, name)`); else the function that looks (`eval`).
    module: the module that it imports, where the text has its name.
    """

    chain: Chain
    text: str
    is_getattr: bool
    module: str = ""


@dataclass(frozen=True, slots=True)
class Names:
    """The names that a function or class uses from around it, each list sorted.

    strong: dotted names that must be defined. weak: those that may be missing (in annotations, and in decorators of
    local functions). imports: names that the body imports. dynamic: look-ups that cannot be followed.
    """

    strong: tuple[Chain, ...]
    weak: tuple[Chain, ...]
    imports: tuple[BodyImport, ...]
    dynamic: tuple[DynamicLookup, ...]


@dataclass(slots=True, eq=False)
class _NameScope:
    """One scope of the syntax tree. It changes only during the walk."""

    parent: _NameScope | None
    is_class: bool = False
    is_comprehension: bool = False
    bound: dict[str, tuple[str, int, str | None] | None] = field(default_factory=dict)
    outer: set[str] = field(default_factory=set)

    def bind(self, name: str, imported: tuple[str, int, str | None] | None = None) -> None:
        if self.bound.get(name) is None:
            self.bound[name] = imported


def names_of(root: ast.AST, ignored_decorator: Callable[[ast.expr], bool] | None = None) -> Names:
    """The names that a function, lambda or class uses from around it.

    It leaves out the default values of `root`, whose live values are part of the code identity instead; and decorators
    for which `ignored_decorator` is true.
    """
    reader = _NameCollector(ignored_decorator)
    reader.read(root)
    return reader.names()


class _NameCollector:
    """One walk over a tree. It first collects bindings and loads, then decides which loads are free."""

    def __init__(self, ignored_decorator: Callable[[ast.expr], bool] | None) -> None:
        self.ignored_decorator = ignored_decorator
        self.loads: list[tuple[_NameScope, Chain, bool]] = []
        self.lookups: list[tuple[_NameScope, DynamicLookup]] = []
        self.stack: list[tuple[Any, _NameScope, bool]] = []

    def read(self, root: ast.AST) -> None:
        outside = _NameScope(None)
        if isinstance(root, (*_FUNCTIONS, ast.Lambda)):
            self._function(root, outside, with_defaults=False)
        else:
            self._push(root, outside)
        stack = self.stack
        while stack:
            node, scope, weak = stack.pop()
            if isinstance(node, ast.Name):
                if isinstance(node.ctx, ast.Load):
                    self.loads.append((scope, (node.id,), weak))
                else:
                    scope.bind(node.id)
            elif isinstance(node, ast.Attribute):
                self._attribute(node, scope, weak)
            elif isinstance(node, ast.Call):
                self._call(node, scope, weak)
            elif isinstance(node, (*_FUNCTIONS, ast.Lambda)):
                self._function(node, scope, with_defaults=True)
            elif isinstance(node, ast.ClassDef):
                self._class(node, scope, is_root=node is root)
            elif isinstance(node, _COMPREHENSIONS):
                self._comprehension(node, scope, weak)
            elif isinstance(node, ast.NamedExpr):
                holder = scope
                while holder.is_comprehension and holder.parent is not None:
                    holder = holder.parent
                holder.bind(node.target.id)
                self._push(node.value, scope, weak)
            elif isinstance(node, ast.AnnAssign):
                self._push(node.target, scope)
                self._push(node.value, scope)
                if scope.is_class:
                    self._push(node.annotation, scope, weak=True)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                self._import(node, scope)
            elif isinstance(node, (ast.Global, ast.Nonlocal)):
                scope.outer.update(node.names)
            else:
                name = getattr(node, "name", None) or getattr(node, "rest", None)
                if isinstance(name, str):
                    scope.bind(name)
                for child in ast.iter_child_nodes(node):
                    stack.append((child, scope, weak))
        outside.bound.clear()  # its own name means, inside it, whatever the world around binds to that name

    def _push(self, node: ast.AST | None, scope: _NameScope, weak: bool = False) -> None:
        if node is not None:
            self.stack.append((node, scope, weak))

    def _function(self, node: Any, scope: _NameScope, *, with_defaults: bool) -> None:
        inner = _NameScope(scope)
        if not isinstance(node, ast.Lambda):
            scope.bind(node.name)
            for decorator in node.decorator_list:
                if self.ignored_decorator is None or not self.ignored_decorator(decorator):
                    self._push(decorator, scope, weak=True)
            self._type_parameters(node, inner)
        arguments = node.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            inner.bind(argument.arg)
        for argument in (arguments.vararg, arguments.kwarg):
            if argument is not None:
                inner.bind(argument.arg)
        if with_defaults:
            for default in (*arguments.defaults, *arguments.kw_defaults):
                self._push(default, scope)
        for statement in [node.body] if isinstance(node, ast.Lambda) else node.body:
            self._push(statement, inner)

    def _class(self, node: ast.ClassDef, scope: _NameScope, *, is_root: bool) -> None:
        scope.bind(node.name)
        for part in (*node.bases, *(keyword.value for keyword in node.keywords)):
            self._push(part, scope, weak=is_root)
        for decorator in node.decorator_list:
            self._push(decorator, scope, weak=is_root)
        inner = _NameScope(scope, is_class=True)
        self._type_parameters(node, inner)
        for statement in node.body:
            self._push(statement, inner)

    def _type_parameters(self, node: ast.AST, inner: _NameScope) -> None:
        for parameter in getattr(node, "type_params", ()):  # from Python 3.12 on
            inner.bind(parameter.name)

    def _comprehension(self, node: Any, scope: _NameScope, weak: bool) -> None:
        inner = _NameScope(scope, is_comprehension=True)
        for position, generator in enumerate(node.generators):
            self._push(generator.iter, inner if position else scope, weak)
            self._push(generator.target, inner)
            for condition in generator.ifs:
                self._push(condition, inner, weak)
        for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self._push(part, inner, weak)

    def _attribute(self, node: ast.Attribute, scope: _NameScope, weak: bool) -> None:
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            if inner.attr in _SPACES:
                self.lookups.append((scope, DynamicLookup(("globals",), _text(inner), False)))
            inner = inner.value
        chain = chain_of(node)
        if chain is not None:
            self.loads.append((scope, chain, weak))
        else:
            self._push(inner, scope, weak)

    def _call(self, node: ast.Call, scope: _NameScope, weak: bool) -> None:
        called = chain_of(node.func)
        rest: list[ast.expr] = node.args
        if called in (("getattr",), ("hasattr",)) and len(node.args) >= 2:
            chain = chain_of(node.args[0])
            name = node.args[1]
            if chain is not None:
                if isinstance(name, ast.Constant) and isinstance(name.value, str):
                    self.loads.append((scope, (*chain, name.value), weak))
                else:
                    self.lookups.append((scope, DynamicLookup(chain, _text(node), True)))
                    self._push(name, scope, weak)
                rest = node.args[2:]
        elif called is not None and called[-1] in _READERS and node.args:
            chain = chain_of(node.args[0])
            if chain is not None:
                self.loads.append((scope, (*chain, _READERS[called[-1]]), weak))
        elif called == ("vars",) and node.args:
            chain = chain_of(node.args[0])
            if chain is not None:
                self.lookups.append((scope, DynamicLookup(chain, _text(node), True)))
                rest = []
        elif called is not None and called[-1] in EVALUATORS and not _has_own_names(called[-1], node):
            named = node.args[0] if called[-1] in _IMPORTERS and node.args else None
            module = named.value if isinstance(named, ast.Constant) and isinstance(named.value, str) else ""
            self.lookups.append((scope, DynamicLookup(called, _text(node), False, module)))
        for part in (node.func, *rest, *(keyword.value for keyword in node.keywords)):
            self._push(part, scope, weak)

    def _import(self, node: ast.Import | ast.ImportFrom, scope: _NameScope) -> None:
        for alias in node.names:
            if isinstance(node, ast.ImportFrom):
                scope.bind(alias.asname or alias.name, (node.module or "", node.level, alias.name))
            elif alias.asname:
                scope.bind(alias.asname, (alias.name, 0, None))
            else:
                top = alias.name.partition(".")[0]
                scope.bind(top, (top, 0, None))

    def names(self) -> Names:
        """The free names among the loads. Called when all bindings are known."""
        strong: set[Chain] = set()
        weak: set[Chain] = set()
        imports: set[BodyImport] = set()
        dynamic: set[DynamicLookup] = set()
        for scope, chain, is_weak in self.loads:
            if chain[0] in _IGNORED:
                continue
            binding = _binding(scope, chain[0])
            if binding is _FREE:
                (weak if is_weak else strong).add(chain)
            elif isinstance(binding, tuple):
                imports.add(BodyImport(chain, *binding))
            elif binding is _PERHAPS:
                weak.add(chain)
        for scope, lookup in self.lookups:
            binding = _binding(scope, lookup.chain[0])
            is_imported = isinstance(binding, tuple) and binding[0].partition(".")[0] in LIBRARIES_OF_EVALUATORS
            if binding is _FREE or (is_imported and not lookup.is_getattr):
                dynamic.add(lookup)
        by_text = tuple(sorted(imports, key=repr))
        return Names(tuple(sorted(strong)), tuple(sorted(weak - strong)), by_text, tuple(sorted(dynamic)))


def _has_own_names(called: str, node: ast.Call) -> bool:
    """Whether the caller gives the names for code that is run: `exec(code, names)`."""
    return called in _RUNNERS and (len(node.args) > 1 or any(each.arg == "globals" for each in node.keywords))


_FREE = object()
_PERHAPS = object()


def _binding(start: _NameScope, name: str) -> object:
    """Where a name read in `start` comes from: an import inside the body, None for a local, _FREE or _PERHAPS."""
    scope: _NameScope | None = start
    perhaps = False
    while scope is not None:
        if name in scope.bound and name not in scope.outer and (scope is start or not scope.is_class):
            imported = scope.bound[name]
            if imported is not None or not scope.is_class:
                return imported
            perhaps = True  # a class body reads the name from outside until its own line has run
        scope = scope.parent
    return _PERHAPS if perhaps else _FREE


def chain_of(node: ast.AST) -> Chain | None:
    """A dotted name in its parts, or None when the node is something else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    parts.append(node.id)
    return tuple(reversed(parts))


def _text(node: ast.AST) -> str:
    try:
        text = " ".join(ast.unparse(node).split())
    except RecursionError:  # an expression nested too deep to be written out: its type has to do
        return f"<a deeply nested {type(node).__name__}>"
    return text if len(text) <= _TEXT_LIMIT else text[: _TEXT_LIMIT - 3] + "..."
