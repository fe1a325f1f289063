"""The source of live functions and classes: their file, their syntax, and whether they are the user's own.

In: function objects, code objects, classes, modules. Out: `Project`, which says what is the user's own; syntax nodes
with their file. Never: runs or imports user code; guesses.

The identity of a function comes from the code that was *loaded*; the file may have changed since. So the syntax is
taken from the file only if the file compiles to the code that the function has. For speed, the compiled form comes from
Python's own cache (.pyc), if that was surely made from the same text. Files are read and parsed once.
"""

from __future__ import annotations
import __future__

import ast
import bisect
import contextlib
import functools
import importlib.util
import linecache
import marshal
import operator
import os
import sys
import types
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from types import CodeType, FunctionType, ModuleType
from typing import Any

from rayflow.installation import PACKAGE, PACKAGE_FOLDERS, STANDARD_LIBRARY
from rayflow.values.native import SCALARS

_OUTSIDE_FOLDERS = PACKAGE_FOLDERS | {"__pypackages__"}
_PYC_HEADER_BYTES = 16
_SAFE_AGE_NS = 2_000_000_000
"""The age in nanoseconds that a source must have when its .pyc is written. A .pyc names its source by the size and by
the second of its last change. So a younger source may have changed again within that second."""
_FUTURE_FLAGS = functools.reduce(
    operator.or_, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
)
"""The compiler flags of `from __future__` imports. Comparisons ignore them: a notebook keeps them for later cells."""

_OWN_PACKAGE = __name__.partition(".")[0]


class Project:
    """Says which code is the user's own, and which is a library's.

    The user's own code is in files under `folder` (if it is None, in any file), and in modules without a file, such as
    `__main__` in a notebook. The standard library, rayflow, and files in a virtual environment or in site-packages do
    not count as the user's.
    """

    def __init__(self, folder: str | None) -> None:
        self.folder = os.path.abspath(folder) if folder is not None else None
        self._roots = sorted({self.folder, os.path.realpath(self.folder)}) if self.folder is not None else []
        self._known: dict[str, bool] = {}

    def owns_file(self, path: str) -> bool:
        """Whether a source file, or a pseudo file such as `<stdin>` or a notebook cell, is the user's."""
        known = self._known.get(path)
        if known is None:
            known = self._known[path] = self._owns(path)
        return known

    def owns_module(self, module: ModuleType) -> bool:
        """Whether a module is the user's."""
        name = module.__name__
        top = name.partition(".")[0]
        if top == _OWN_PACKAGE or top.startswith("_cython_"):  # where compiled modules keep what they share
            return False
        if path := getattr(module, "__file__", None):
            return self.owns_file(path)
        if folders := list(getattr(module, "__path__", ())):
            return any(self.owns_file(os.path.join(folder, "__init__.py")) for folder in folders)
        return name == "__main__" or (getattr(module, "__spec__", None) is None and top not in sys.stdlib_module_names)

    def owns_code(self, code: CodeType, module_name: str | None) -> bool:
        """Whether a function's code is the user's. Code without a file belongs to its module's owner."""
        path = code.co_filename
        if path.startswith("<"):
            module = sys.modules.get(module_name) if module_name else None
            if module is None:
                return not path.startswith("<frozen") and (module_name or "").partition(".")[0] != _OWN_PACKAGE
            return self.owns_module(module)
        return self.owns_file(path) or self._is_notebook_cell(path)

    def owns_class(self, cls: type) -> bool:
        """Whether a class was defined in the project."""
        module = sys.modules.get(cls.__module__)
        if module is None:
            return cls.__module__.partition(".")[0] not in sys.stdlib_module_names
        # Nothing shows which module called make_dataclass to make a class. So the class counts as the user's.
        return self.owns_module(module) or (module is types and not hasattr(types, cls.__name__))

    def place(self, path: str, line: int) -> str:
        """A file and line for people, relative to the project where it is inside."""
        for root in self._roots:
            if path.startswith(root + os.sep):
                return f"{path[len(root) + 1 :]}:{line}"
        return f"{path}:{line}"

    @staticmethod
    def _is_notebook_cell(path: str) -> bool:
        return path in linecache.cache and not os.path.exists(path)

    def _owns(self, path: str) -> bool:
        if path.startswith(("<", PACKAGE)):
            return not path.startswith(("<frozen", PACKAGE))
        for full in dict.fromkeys((os.path.abspath(path), os.path.realpath(path))):
            inner = self._inner(full)
            if inner is not None:
                return not path.endswith((".so", ".pyd")) and not self._is_installed(full, inner)
        return False

    def _inner(self, full: str) -> str | None:
        if self.folder is None:
            return full
        for root in self._roots:
            if full.startswith(root.rstrip(os.sep) + os.sep):
                return full[len(root.rstrip(os.sep)) + 1 :]
        return None

    def _is_installed(self, full: str, inner: str) -> bool:
        folders = inner.split(os.sep)[:-1]
        if not _OUTSIDE_FOLDERS.isdisjoint(folders):
            return True
        if full.startswith(STANDARD_LIBRARY):
            return not any(root.startswith(STANDARD_LIBRARY) for root in self._roots)
        start = full[: len(full) - len(inner)]
        for count in range(1, len(folders) + 1):
            if os.path.exists(os.path.join(start, *folders[:count], "pyvenv.cfg")):
                return True
        return False


@dataclass(slots=True, eq=False)
class SourceFile:
    """One file or notebook cell, read once: its text, its syntax, and the code that it compiles to.

    It changes only to fill in its caches.
    """

    path: str
    text: str
    tree: ast.Module
    stamp: tuple[int, int] | None
    changed_ns: int = 0
    lines: list[str] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)
    _functions: dict[int, dict[tuple[str, int], list[ast.AST]]] = field(default_factory=dict)
    _classes: dict[str, list[ast.ClassDef]] | None = None
    _codes: dict[str, list[CodeType]] | None = None
    memo: dict[Any, Any] = field(default_factory=dict)

    def functions_at(self, name: str, line: int) -> list[ast.AST]:
        """Functions and lambdas of this name (`<lambda>`) that start at this line, decorators included."""
        if not self._starts:
            self._starts = [first_line(statement) for statement in self.tree.body]
        position = bisect.bisect_right(self._starts, line) - 1
        if position < 0:
            return []
        statement = self.tree.body[position]
        if self._starts[position] == line and getattr(statement, "name", None) == name:
            return [statement]
        # several statements may share the line (`f = lambda: 1; g = lambda: 2`)
        found: list[ast.AST] = []
        while position >= 0 and (self.tree.body[position].end_lineno or 0) >= line:
            found = [*self._functions_in(position).get((name, line), ()), *found]
            position -= 1
        return found

    def _functions_in(self, position: int) -> dict[tuple[str, int], list[ast.AST]]:
        known = self._functions.get(position)
        if known is None:
            known = self._functions[position] = {}
            stack: list[ast.AST] = [self.tree.body[position]]
            while stack:
                node = stack.pop()
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    known.setdefault((node.name, first_line(node)), []).append(node)
                elif isinstance(node, ast.Lambda):
                    known.setdefault(("<lambda>", node.lineno), []).append(node)
                stack.extend(ast.iter_child_nodes(node))
        return known

    def classes_named(self, qualname: str) -> list[ast.ClassDef]:
        """Class definitions of this qualified name, in the order of the file."""
        if self._classes is None:
            self._classes = {}
            stack: list[tuple[ast.AST, str]] = [(statement, "") for statement in reversed(self.tree.body)]
            while stack:
                node, prefix = stack.pop()
                if isinstance(node, ast.expr):
                    continue
                if isinstance(node, ast.ClassDef):
                    self._classes.setdefault(prefix + node.name, []).append(node)
                    prefix = f"{prefix}{node.name}."
                elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    prefix = f"{prefix}{node.name}.<locals>."
                stack.extend((child, prefix) for child in reversed(list(ast.iter_child_nodes(node))))
        return self._classes.get(qualname, [])

    def codes_named(self, qualname: str) -> list[CodeType]:
        """The code objects of this qualified name that the file compiles to."""
        if self._codes is None:
            self._codes = {}
            stack = [self._cached_code() or compile(self.tree, self.path, "exec", dont_inherit=True)]
            while stack:
                code = stack.pop()
                self._codes.setdefault(code.co_qualname, []).append(code)
                stack.extend(constant for constant in code.co_consts if isinstance(constant, CodeType))
        return self._codes.get(qualname, [])

    def _cached_code(self) -> CodeType | None:
        """The compiled module from Python's cache, if it was surely made from this text; else None."""
        if self.stamp is None:
            return None
        try:
            with open(importlib.util.cache_from_source(self.path), "rb") as stream:
                if os.fstat(stream.fileno()).st_mtime_ns - self.changed_ns < _SAFE_AGE_NS:
                    return None
                data = stream.read()
        except (OSError, NotImplementedError):
            return None
        seconds, size = self.stamp[0] // 1_000_000_000, self.stamp[1]
        expected = importlib.util.MAGIC_NUMBER + bytes(4)
        expected += (seconds & 0xFFFFFFFF).to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")
        if data[:_PYC_HEADER_BYTES] != expected:
            return None
        with contextlib.suppress(ValueError, EOFError, TypeError):  # a damaged cache file: compile instead
            code = marshal.loads(memoryview(data)[_PYC_HEADER_BYTES:])
            if isinstance(code, CodeType):
                return code
        return None

    def segment(self, node: Any) -> str:
        """The text of a definition: whole lines with its decorators; for a lambda, only the lambda."""
        if isinstance(node, ast.Lambda):
            return ast.get_source_segment(self.text, node) or ast.unparse(node)
        if not self.lines:
            self.lines = self.text.splitlines()
        return _dedented(self.lines[first_line(node) - 1 : node.end_lineno])


def first_line(node: Any) -> int:
    """The line where a statement starts, its decorators included."""
    decorators = getattr(node, "decorator_list", None)
    return int(decorators[0].lineno if decorators else node.lineno)


def _dedented(lines: list[str]) -> str:
    margin = len(lines[0]) - len(lines[0].lstrip()) if lines else 0
    return "\n".join(line[margin:] if not line[:margin].strip() else line for line in lines)


_FILES: dict[str, SourceFile] = {}
_CELLS: dict[str, tuple[Any, SourceFile]] = {}


def source_file(path: str) -> SourceFile | None:
    """The file, read and parsed. None where there is no source. It is read again when it has changed."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return _cell(path)
    stamp = (stat.st_mtime_ns, stat.st_size)
    known = _FILES.get(path)
    if known is not None and known.stamp == stamp:
        return known
    try:
        with open(path, "rb") as stream:
            data = stream.read()
            after = os.fstat(stream.fileno())
        text = importlib.util.decode_source(data)
        tree = ast.parse(data, path)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # the caller then uses the code object, and warns
    known = _FILES[path] = SourceFile(path, text, tree, stamp, max(after.st_mtime_ns, after.st_ctime_ns))
    return known


def _cell(path: str) -> SourceFile | None:
    """The text of a notebook cell, a doctest or a line in a shell, as Python has it for tracebacks."""
    entry = linecache.cache.get(path)
    if entry is None or len(entry) < 4:
        return None
    known = _CELLS.get(path)
    if known is not None and known[0] is entry:
        return known[1]
    text = "".join(entry[2])
    try:
        tree = compile(text, path, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found = SourceFile(path, text, tree, None)
    _CELLS[path] = (entry, found)
    return found


@dataclass(frozen=True, slots=True)
class Origin:
    """The file and the syntax node of a definition."""

    file: SourceFile
    node: Any


def function_origin(function: FunctionType) -> Origin | None:
    """The syntax of a function as it was loaded; None where that is not certain."""
    code = function.__code__
    file = source_file(code.co_filename)
    if file is None:
        return None
    line = code.co_firstlineno
    if _is_checkable(function):
        try:
            same = [other for other in file.codes_named(code.co_qualname) if same_code(other, code)]
        except (SyntaxError, ValueError, RecursionError):  # a cell with top-level await, compiled in another way
            same = [code]
        if not same:
            return None
        if len(same) > 1:
            columns = _columns(code)
            same.sort(key=lambda other: (abs(other.co_firstlineno - line), _columns(other) != columns))
        code = same[0]
    nodes = file.functions_at(code.co_name, code.co_firstlineno)
    if len(nodes) > 1:
        positions = set(code.co_positions())
        nodes = [node for node in nodes if _body_position(node) in positions]
    return Origin(file, nodes[0]) if len(nodes) == 1 else None


def _is_checkable(function: FunctionType) -> bool:
    """Whether the module's loader compiles files as they are: a test runner's rewriting loader does not."""
    module = function.__globals__
    if module.get("__file__") != function.__code__.co_filename:
        return True
    loader = module.get("__loader__")
    return loader is None or type(loader) is SourceFileLoader or type(loader).__module__ == "zipimport"


def _columns(code: CodeType) -> tuple[int | None, ...]:
    return tuple(position[2] for position in code.co_positions())


def _body_position(node: Any) -> tuple[int, int | None, int, int | None] | None:
    body = node.body if isinstance(node, ast.Lambda) else node.body[0]
    return (body.lineno, body.end_lineno, body.col_offset, body.end_col_offset)


def same_code(one: CodeType, other: CodeType) -> bool:
    """Whether two code objects do the same, wherever they stand in their files."""
    if one is other:
        return True
    stack = [(one, other)]
    while stack:
        left, right = stack.pop()
        if (
            left.co_code != right.co_code
            or left.co_names != right.co_names
            or left.co_varnames != right.co_varnames
            or left.co_freevars != right.co_freevars
            or left.co_cellvars != right.co_cellvars
            or left.co_argcount != right.co_argcount
            or left.co_kwonlyargcount != right.co_kwonlyargcount
            or left.co_posonlyargcount != right.co_posonlyargcount
            or (left.co_flags ^ right.co_flags) & ~_FUTURE_FLAGS
            or left.co_exceptiontable != right.co_exceptiontable
            or len(left.co_consts) != len(right.co_consts)
        ):
            return False
        for first, second in zip(left.co_consts, right.co_consts, strict=True):
            if isinstance(first, CodeType) and isinstance(second, CodeType):
                stack.append((first, second))
            elif constant_text(first) != constant_text(second):
                return False
    return True


def constant_text(value: object) -> str:
    """A constant of a code object as text; sets in a fixed order."""
    if isinstance(value, frozenset):
        return "{" + ",".join(sorted(constant_text(part) for part in value)) + "}"
    if isinstance(value, tuple):
        return "(" + ",".join(constant_text(part) for part in value) + ")"
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value)
    return repr(value)


def class_origin(cls: type) -> Origin | None:
    """The syntax of a class as it was loaded; None where that is not certain."""
    methods = [
        value
        for value in (getattr(part, "__func__", part) for part in vars(cls).values())
        if isinstance(value, FunctionType) and value.__code__.co_qualname.startswith(cls.__qualname__ + ".")
    ]
    for path in _files_of(cls, methods):
        file = source_file(path)
        if file is None:
            continue
        fitting = [node for node in file.classes_named(cls.__qualname__) if _fits(cls, node, file, methods)]
        if fitting:
            line = vars(cls).get("__firstlineno__")  # from Python 3.13 on
            if line is None and methods:
                line = methods[0].__code__.co_firstlineno
            fitting.sort(key=lambda node: abs(first_line(node) - line) if line is not None else -node.lineno)
            return Origin(file, fitting[0])
    return None


def _files_of(cls: type, methods: list[FunctionType]) -> list[str]:
    module = sys.modules.get(cls.__module__)
    path = getattr(module, "__file__", None)
    if path:
        return [path]
    files = dict.fromkeys(method.__code__.co_filename for method in methods)
    if not files and cls.__module__ == "__main__":  # a notebook: the newest cell that defines it
        files = dict.fromkeys(name for name in reversed(list(linecache.cache)) if not os.path.exists(name))
    return list(files)


def _fits(cls: type, node: ast.ClassDef, file: SourceFile, methods: list[FunctionType]) -> bool:
    """Whether a class body in a file can be the source of the loaded class."""
    for method in methods:
        if method.__code__.co_filename != file.path or not _is_checkable(method):
            continue
        codes = file.codes_named(method.__code__.co_qualname)
        if not any(same_code(code, method.__code__) for code in codes):
            return False
    live = vars(cls)
    for statement in node.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            target = statement.targets[0]
            if isinstance(target, ast.Name) and target.id in live:
                value = live[target.id]
                value = getattr(value, "value", value) if not isinstance(value, _SCALARS) else value
                if isinstance(value, _SCALARS) and constant_text(value) != constant_text(statement.value.value):
                    return False
    return True


_SCALARS = tuple(SCALARS)
