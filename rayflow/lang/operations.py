"""What an Operation may do: a table from name to pure function.

In: an operation's name and the values of its arguments. Out: a term, or the exception that Python raises. Never:
decides where it runs; `here` only says whether a few symbolic values can be worked on without the bytes of any large
one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from rayflow.lang.expressions import TaskCall, TaskRef, Term
from rayflow.values.failures import restore
from rayflow.values.refs import INLINE_BYTES


def _call(function: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
    return function(*args, **(kwargs or {}))


def _method(value: Any, name: str, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
    return getattr(value, name)(*args, **(kwargs or {}))


def _partial(task: Any, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]) -> Any:
    made = task.partial(*args, **kwargs)
    return made.options(**options) if options else made


TABLE: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "truediv": operator.truediv,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "divmod": divmod,
    "pow": operator.pow,
    "matmul": operator.matmul,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "lshift": operator.lshift,
    "rshift": operator.rshift,
    "neg": operator.neg,
    "pos": operator.pos,
    "invert": operator.invert,
    "abs": abs,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "getitem": operator.getitem,
    "getattr": getattr,
    "call": _call,
    "method": _method,
    "partial": _partial,
    "len": len,
    "truth": bool,
    "not": operator.not_,
    "slice": slice,
    "identity": lambda value: value,
    "restore": restore,
}
"""Every operation by name."""

_NUMBERS = frozenset({int, float, bool, complex})
_PLAIN = _NUMBERS | {str, bytes, type(None)}
_TEXTS = frozenset({str, bytes})
_SEQUENCES = frozenset({list, tuple})
_CHEAP_ON_NUMBERS = frozenset(
    {"add", "sub", "mul", "truediv", "floordiv", "mod", "divmod", "and", "or", "xor", "rshift", "neg", "pos", "invert",
     "abs"}
)  # fmt: skip
_CHEAP_ON_PLAIN = frozenset({"eq", "ne", "lt", "le", "gt", "ge", "truth", "not", "identity"})
_BIG = 1 << 4096
"""Integers past this are worked on by a worker: the scheduler must not be kept busy by one multiplication."""
_SHORT_TEXT = INLINE_BYTES // 2
_SHORT_SEQUENCE = 64
"""Longer results are made by a worker, which gives them back by reference: a loop of joins must not grow here."""


def here(name: str, args: tuple[Any, ...]) -> bool:
    """Whether the operation on these symbolic values is cheap and needs no bytes of a large value or a user's class."""
    first = args[0] if args else None
    kind = type(first)
    if kind in _PLAIN:
        if all(type(arg) in _PLAIN for arg in args):
            if name in _CHEAP_ON_NUMBERS:
                if all(type(arg) in _NUMBERS and (type(arg) is not int or -_BIG < arg < _BIG) for arg in args):
                    return True
                # Text and bytes: joining two short ones is cheap, anything that may multiply them is not.
                return name == "add" and sum([len(arg) for arg in args if type(arg) in _TEXTS]) <= _SHORT_TEXT
            return name in _CHEAP_ON_PLAIN or name in ("getitem", "len")
        return False
    if name in ("getitem", "len") and kind in _SEQUENCES:
        return len(args) == 1 or type(args[1]) in (int, bool)
    if name in ("getitem", "len") and kind is dict:
        return len(args) == 1 or type(args[1]) in _PLAIN
    if name == "add" and kind in _SEQUENCES:
        return type(args[1]) is kind and len(args[0]) + len(args[1]) <= _SHORT_SEQUENCE
    if name in ("truth", "not") and kind in (list, tuple, dict, set, frozenset):
        return True
    return name in ("call", "partial") and kind is TaskRef


def operate(name: str, args: tuple[Any, ...]) -> Term:
    """The term that the operation gives, on symbolic values for which `here` is true. Raises what Python raises."""
    if name == "call" and type(args[0]) is TaskRef:
        return call_task(*args)
    if name == "partial" and type(args[0]) is TaskRef:
        return bind_task(*args)
    return TABLE[name](*args)


def call_task(task: TaskRef, args: tuple[Term, ...] = (), kwargs: dict[str, Term] | None = None) -> TaskCall:
    """The call of a task that came as a value, with what its partial has bound."""
    return TaskCall(task.name, (*task.args, *args), {**task.kwargs, **(kwargs or {})} or None, task.options or None)


def bind_task(task: TaskRef, args: tuple[Term, ...], kwargs: dict[str, Term], options: dict[str, Term]) -> TaskRef:
    """A task as a value with more arguments and options, now that these are known."""
    return TaskRef(task.name, task.hash, (*task.args, *args), {**task.kwargs, **kwargs}, {**task.options, **options})
