"""The normalised form of a piece of Python syntax.

In: a node of Python's own syntax tree. Out: bytes that are equal when two pieces of code mean the same up to
formatting. Never: looks at live objects, files or positions.

The form is our own, with a fixed list of fields for each type of node: `ast.dump` writes different text in different
versions of Python, and one store serves them all. What does not count is left out here, in one place:

- comments, blank lines, parentheses and quotes (the parser has dropped them already) and positions;
- docstrings, and any other constant that stands alone as a statement; `pass`;
- annotations of functions and of local variables (an annotated assignment keeps its value; a class keeps its
  annotations, since dataclasses and models are made of them);
- type comments and type parameters.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from typing import Any

FIELDS: dict[str, tuple[str, ...]] = {
    "FunctionDef": ("name", "args", "body", "decorator_list"),
    "AsyncFunctionDef": ("name", "args", "body", "decorator_list"),
    "ClassDef": ("name", "bases", "keywords", "body", "decorator_list"),
    "Return": ("value",),
    "Delete": ("targets",),
    "Assign": ("targets", "value"),
    "AugAssign": ("target", "op", "value"),
    "AnnAssign": ("target", "annotation", "value"),
    "TypeAlias": ("name", "value"),
    "For": ("target", "iter", "body", "orelse"),
    "AsyncFor": ("target", "iter", "body", "orelse"),
    "While": ("test", "body", "orelse"),
    "If": ("test", "body", "orelse"),
    "With": ("items", "body"),
    "AsyncWith": ("items", "body"),
    "Match": ("subject", "cases"),
    "Raise": ("exc", "cause"),
    "Try": ("body", "handlers", "orelse", "finalbody"),
    "TryStar": ("body", "handlers", "orelse", "finalbody"),
    "Assert": ("test", "msg"),
    "Import": ("names",),
    "ImportFrom": ("module", "names", "level"),
    "Global": ("names",),
    "Nonlocal": ("names",),
    "Expr": ("value",),
    "Pass": (),
    "Break": (),
    "Continue": (),
    "BoolOp": ("op", "values"),
    "NamedExpr": ("target", "value"),
    "BinOp": ("left", "op", "right"),
    "UnaryOp": ("op", "operand"),
    "Lambda": ("args", "body"),
    "IfExp": ("test", "body", "orelse"),
    "Dict": ("keys", "values"),
    "Set": ("elts",),
    "ListComp": ("elt", "generators"),
    "SetComp": ("elt", "generators"),
    "DictComp": ("key", "value", "generators"),
    "GeneratorExp": ("elt", "generators"),
    "Await": ("value",),
    "Yield": ("value",),
    "YieldFrom": ("value",),
    "Compare": ("left", "ops", "comparators"),
    "Call": ("func", "args", "keywords"),
    "FormattedValue": ("value", "conversion", "format_spec"),
    "Interpolation": ("value", "str", "conversion", "format_spec"),
    "JoinedStr": ("values",),
    "TemplateStr": ("values",),
    "Constant": ("value",),
    "Attribute": ("value", "attr"),
    "Subscript": ("value", "slice"),
    "Starred": ("value",),
    "Name": ("id",),
    "List": ("elts",),
    "Tuple": ("elts",),
    "Slice": ("lower", "upper", "step"),
    "comprehension": ("target", "iter", "ifs", "is_async"),
    "ExceptHandler": ("type", "name", "body"),
    "arguments": ("posonlyargs", "args", "vararg", "kwonlyargs", "kw_defaults", "kwarg", "defaults"),
    "arg": ("arg",),
    "keyword": ("arg", "value"),
    "alias": ("name", "asname"),
    "withitem": ("context_expr", "optional_vars"),
    "match_case": ("pattern", "guard", "body"),
    "MatchValue": ("value",),
    "MatchSingleton": ("value",),
    "MatchSequence": ("patterns",),
    "MatchMapping": ("keys", "patterns", "rest"),
    "MatchClass": ("cls", "patterns", "kwd_attrs", "kwd_patterns"),
    "MatchStar": ("name",),
    "MatchAs": ("pattern", "name"),
    "MatchOr": ("patterns",),
}
"""The fields that count, in the order in which they are written. A node of a later Python that is not here counts with
all its own fields."""

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_BLOCKS = frozenset(("body", "orelse", "finalbody"))


def normalised(root: ast.AST, ignored_decorator: Callable[[ast.expr], bool] | None = None) -> bytes:
    """The bytes of a node and all below it; a decorator for which `ignored_decorator` is true is left out.

    Walks with a stack of its own, so that nesting is bounded by memory alone.
    """
    out: list[bytes] = []
    write = out.append
    stack: list[tuple[Any, bool]] = [(root, False)]
    while stack:
        item, in_class = stack.pop()
        if isinstance(item, list):
            write(b"[%d" % len(item))
            stack.extend((part, in_class) for part in reversed(item))
        elif not isinstance(item, ast.AST):
            write(constant_bytes(item))
        elif isinstance(item, ast.Name):
            write(b"(Name" + constant_bytes(item.id))
        elif isinstance(item, ast.Constant):
            write(b"(Constant" + constant_bytes(item.value))
        elif isinstance(item, ast.AnnAssign) and not in_class:
            write(b"(Assign[1")
            stack.append((item.value, False))
            stack.append((item.target, False))
        else:
            kind = type(item).__name__
            fields = FIELDS.get(kind)
            if fields is None:
                fields = item._fields
                write(b"(%s %d" % (kind.encode(), len(fields)))
            else:
                write(b"(" + kind.encode())
            if isinstance(item, ast.ClassDef):
                in_class = True
            elif isinstance(item, _FUNCTIONS):
                in_class = False
            for name in reversed(fields):
                value: Any = getattr(item, name, None)
                if name in _BLOCKS and isinstance(value, list):
                    value = [part for part in value if counts(part, in_class)]
                elif name == "decorator_list" and ignored_decorator is not None:
                    value = [part for part in value if not ignored_decorator(part)]
                elif name == "values" and kind == "JoinedStr":
                    value = _joined(value)
                stack.append((value, in_class))
    return b"".join(out)


def counts(statement: ast.stmt, in_class: bool) -> bool:
    """Whether a statement does anything: not `pass`, a docstring or a local annotation without a value."""
    if isinstance(statement, ast.Expr):
        return not isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.AnnAssign):
        return in_class or statement.value is not None
    return not isinstance(statement, ast.Pass)


def _joined(values: Iterable[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string, neighbouring texts made one: versions of Python split them in different places."""
    parts: list[ast.expr] = []
    text = ""
    for value in values:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            text += value.value
            continue
        if text:
            parts.append(ast.Constant(text))
            text = ""
        parts.append(value)
    if text:
        parts.append(ast.Constant(text))
    return parts


def constant_bytes(value: object) -> bytes:
    """A constant with its type, so that `1`, `True` and `1.0` differ, in a form that nothing else can share.

    Raises TypeError for anything but a constant of the language.
    """
    if value is None or value is True or value is False or value is Ellipsis:
        return b"=" + repr(value).encode() + b";"
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        return b"s%d:" % len(text) + text
    if isinstance(value, bytes):
        return b"b%d:" % len(value) + value
    if isinstance(value, int):
        return b"i%x;" % value
    if isinstance(value, float):
        return b"f" + value.hex().encode() + b";"
    if isinstance(value, complex):
        return b"c" + value.real.hex().encode() + b"," + value.imag.hex().encode() + b";"
    raise TypeError(f"not a constant of the language: {type(value).__name__}")
