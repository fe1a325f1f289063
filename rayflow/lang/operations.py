"""The operations that an Operation can name: a table from names to pure functions.

In: an operation's name and the values of its arguments. Out: a term, or the exception that Python raises. Never:
decides where it runs; `here` only says whether the operation is cheap and needs no bytes of a large value.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rayflow.lang.events.event_values import event_of, run_id_of
from rayflow.lang.events.moments import microseconds_of, moment_of, seconds_of
from rayflow.lang.rules import step
from rayflow.lang.terms.expressions import Quoted, TaskCall, TaskRef, Term
from rayflow.values.encoding.previews import preview
from rayflow.values.failures import restore
from rayflow.values.native import SCALARS
from rayflow.values.refs import INLINE_BYTES


def _call(function: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
    return function(*args, **(kwargs or {}))


def _method(value: Any, name: str, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
    return getattr(value, name)(*args, **(kwargs or {}))


def _partial(task: Any, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]) -> Any:
    made = task.partial(*args, **kwargs)
    return made.options(**options) if options else made


APPLY = "rayflow.apply_func"
"""The task that makes a call of a plain function."""


SCRIPT = "rayflow.script"
"""The task whose calls run a command."""

_SHOWN_OF_SCRIPTS = frozenset({"command", "inputs", "outputs"})
_LEFT_OUT = ("()", "[]", "File('-')")
"""Inputs and outputs that are not shown: none at all, and the printed text as the output."""


def is_shown(task: str, argument: str, text: str) -> bool:
    """Whether a call is shown with this argument. A script is shown with its command, inputs and outputs only.

    text: the argument's value, shortened.
    """
    return task != SCRIPT or (argument in _SHOWN_OF_SCRIPTS and text not in _LEFT_OUT)


SUBRUN = "rayflow.subrun"
"""The task whose body is a nested execution."""


def call_of(function: Any, args: tuple[Term, ...], kwargs: dict[str, Term]) -> Term:
    """The call of a task, or of a plain function by `apply_func`. It takes real and symbolic values."""
    if type(function) is TaskRef:
        return call_task(function, args, kwargs)
    if hasattr(type(function), "__rayflow_symbol__"):
        return function(*args, **kwargs)
    return TaskCall(APPLY, (function, *args), kwargs or None)


def _map(function: Any, values: Any) -> list[Term]:
    items = items_of(values)
    if type(function) is TaskRef:
        return _calls_in_order(function, zip(items))
    return [call_of(function, (item,), {}) for item in items]


def _starmap(function: Any, values: Any) -> list[Term]:
    items = items_of(values)
    if type(function) is TaskRef:
        kinds = set(map(type, items))
        if kinds <= _SEQUENCES:
            return _calls_in_order(function, items)
        if kinds == {dict}:
            return _calls_by_name(function, items)
    return [spread_call(function, item) for item in items]


def _calls_in_order(task: TaskRef, arguments: Iterable[Sequence[Term]]) -> list[Term]:
    """For each of these arguments in order a call of a task. The calls have one dict of arguments by name: nobody
    changes it."""
    name, bound, named, options = task.name, task.args, task.kwargs or None, task.options or None
    return [TaskCall(name, (*bound, *given), named, options) for given in arguments]


def _calls_by_name(task: TaskRef, arguments: Iterable[dict[str, Term]]) -> list[Term]:
    """For each of these arguments by name a call of a task."""
    name, bound, named, options = task.name, task.args, task.kwargs, task.options or None
    return [TaskCall(name, bound, {**named, **given} or None, options) for given in arguments]


def spread_call(function: Any, arguments: Any) -> Term:
    """The call with these arguments: a dict's items by name, a sequence's in order. Raises TypeError for others."""
    if isinstance(arguments, dict):
        return call_of(function, (), arguments)
    if isinstance(arguments, list | tuple):
        return call_of(function, tuple(arguments), {})
    raise TypeError(f"starmap takes the arguments of each call as a dict, tuple or list, not as {preview(arguments)}")


def items_of(values: Any) -> Sequence[Any]:
    """The items of a container, in order. Numbers and texts of an array become Python's own.

    Raises TypeError for a value without items, and for a set, whose order differs between processes.
    """
    if isinstance(values, list | tuple):
        return values
    if isinstance(values, set | frozenset):
        raise TypeError("a set has no order of its own: give sorted(values), or a list")
    kind = getattr(getattr(values, "dtype", None), "kind", "")
    if getattr(values, "ndim", None) == 1 and kind and kind in "biufUSO":
        items: list[Any] = values.tolist()
        return items
    return list(values)


def _flatten(lists: Iterable[Any]) -> list[Any]:
    return [item for each in items_of(lists) for item in items_of(each)]


def _zip(*lists: Any) -> list[tuple[Any, ...]]:
    return list(zip(*map(items_of, lists), strict=False))


def _force(thunk: Any) -> Term:
    if type(thunk) is Quoted:
        return thunk._term
    if type(thunk) is TaskRef or hasattr(type(thunk), "__rayflow_symbol__"):
        return call_of(thunk, (), {})
    raise TypeError(f"force(thunk) takes a task, or what delay, quote or fork_thread has made, not {preview(thunk)}")


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
    "map_": _map,
    "starmap": _starmap,
    "flatten": _flatten,
    "zip_": _zip,
    "all_": lambda values: all(items_of(values)),
    "any_": lambda values: any(items_of(values)),
    "force": _force,
    "step": step,
    "restore": restore,
    "seconds": seconds_of,
    "microseconds": microseconds_of,
    "moment": moment_of,
    "event": event_of,
    "run_id": run_id_of,
}
"""Every operation by name."""

_NUMBERS = frozenset({int, float, bool, complex})
_TEXTS = frozenset({str, bytes})
_SEQUENCES = frozenset({list, tuple})
_CHEAP_ON_NUMBERS = frozenset(
    {"add", "sub", "mul", "truediv", "floordiv", "mod", "divmod", "and", "or", "xor", "rshift", "neg", "pos", "invert",
     "abs"}
)  # fmt: skip
_CHEAP_ON_SCALARS = frozenset({"eq", "ne", "lt", "le", "gt", "ge", "truth", "not", "identity"})
_BIG = 1 << 4096
"""Integers past this are worked on by a worker: the scheduler must not be kept busy by one multiplication."""
_SHORT_TEXT = INLINE_BYTES // 2
_SHORT_SEQUENCE = 64
"""Longer results are made by a worker, which gives them back by reference: a loop of joins must not grow here."""


def here(name: str, args: tuple[Any, ...]) -> bool:
    """Whether the operation on these symbolic values is cheap and needs no bytes of a large value or a user's class."""
    first = args[0] if args else None
    kind = type(first)
    if name in _ON_ITEMS:
        return _is_at_hand(name, args)
    if name == "force" or (name == "method" and args[1] == "eval"):
        return kind is Quoted or (kind is TaskRef and name == "force")
    if kind in SCALARS:
        if all(type(arg) in SCALARS for arg in args):
            if name in _CHEAP_ON_NUMBERS:
                if all(type(arg) in _NUMBERS and (type(arg) is not int or -_BIG < arg < _BIG) for arg in args):
                    return True
                # Text and bytes: joining two short ones is cheap, anything that may multiply them is not.
                return name == "add" and sum([len(arg) for arg in args if type(arg) in _TEXTS]) <= _SHORT_TEXT
            return name in _CHEAP_ON_SCALARS or name in ("getitem", "len")
        return False
    if name in ("getitem", "len") and kind in _SEQUENCES:
        return len(args) == 1 or type(args[1]) in (int, bool)
    if name in ("getitem", "len") and kind is dict:
        return len(args) == 1 or type(args[1]) in SCALARS
    if name == "add" and kind in _SEQUENCES:
        return type(args[1]) is kind and len(args[0]) + len(args[1]) <= _SHORT_SEQUENCE
    if name in ("truth", "not") and kind in (list, tuple, dict, set, frozenset):
        return True
    return name in ("call", "partial") and kind is TaskRef


_TAKE_THUNKS = frozenset({"force", "identity", "partial"})


def refuse_thunks(name: str, args: tuple[Any, ...]) -> None:
    """Raise TypeError for an operation on a thunk that is meant for its value. (It would evaluate to itself for ever.)
    """
    if Quoted in map(type, args) and name not in _TAKE_THUNKS and not (name == "method" and args[1] == "eval"):
        raise TypeError(f"{name} was given a thunk, an expression as data: force(thunk) gives the value of it")


_ON_ITEMS = frozenset({"map_", "starmap", "flatten", "zip_", "all_", "any_"})


def _is_at_hand(name: str, args: tuple[Any, ...]) -> bool:
    """Whether one of these operations has its items in memory, and its result stays small."""
    if name == "zip_":
        return all(type(arg) in _SEQUENCES for arg in args) and sum(map(len, args)) <= _SHORT_SEQUENCE
    values = args[-1]
    if type(values) not in _SEQUENCES:
        return False
    if name == "starmap":
        return all(type(value) in _SEQUENCES or type(value) is dict for value in values)
    if name == "flatten":
        return all(type(value) in _SEQUENCES for value in values) and sum(map(len, values)) <= _SHORT_SEQUENCE
    return name == "map_" or all(type(value) in SCALARS for value in values)


def operate(name: str, args: tuple[Any, ...]) -> Term:
    """The term that the operation gives, on symbolic values for which `here` is true. Raises what Python raises."""
    if name == "call" and type(args[0]) is TaskRef:
        return call_task(*args)
    if name == "partial" and type(args[0]) is TaskRef:
        return bind_task(*args)
    return TABLE[name](*args)


def call_task(task: TaskRef, args: tuple[Term, ...] = (), kwargs: dict[str, Term] | None = None) -> TaskCall:
    """The call of a task that is a value, with the arguments that its partial has bound."""
    return TaskCall(task.name, (*task.args, *args), {**task.kwargs, **(kwargs or {})} or None, task.options or None)


def bind_task(task: TaskRef, args: tuple[Term, ...], kwargs: dict[str, Term], options: dict[str, Term]) -> TaskRef:
    """A task as a value, with more arguments and options."""
    return TaskRef(task.name, task.hash, (*task.args, *args), {**task.kwargs, **kwargs}, {**task.options, **options})
