"""Expressions: what is still to be reduced.

In: terms. Out: `TaskCall`, `Operation`, `Form`, `Quoted`: frozen, cheap to make. Never: a value, a job, a user's
function.

A *term* is anything that can be reduced: an expression, a container of terms, or a value. On the user's side values are
Python objects. In the evaluator the same classes hold *symbolic* terms: scalars and built-in containers as they are,
everything else as a `ValueRef`, a `TaggedTree` or a `TaskRef`. `rayflow.lang.packing` turns one into the other.

The attributes below are underscored because every other attribute of an expression is lazy: `expr.args` means "the
attribute `args` of the value that `expr` will have".
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import chain, islice
from typing import Any, NoReturn, Self, TypeAlias

from rayflow.errors import LazyValueUsed
from rayflow.lang.awaiting import awaited
from rayflow.values.digests import digest

Term: TypeAlias = Any
"""An expression, a container of terms, or a value. (Values are the user's, so there is no narrower type.)"""


class Expression:
    """Something still to be reduced. Python's operators on it give further expressions."""

    __slots__ = ("_shared",)

    _shared: bool
    """Whether one term names this expression more than once: it is then reduced once for all places."""

    # The lazy surface. Each operator gives an Operation; the table of what an Operation does is in operations.py.

    def __add__(self, other: Term) -> Operation:
        return Operation("add", (self, other))

    def __radd__(self, other: Term) -> Operation:
        return Operation("add", (other, self))

    def __sub__(self, other: Term) -> Operation:
        return Operation("sub", (self, other))

    def __rsub__(self, other: Term) -> Operation:
        return Operation("sub", (other, self))

    def __mul__(self, other: Term) -> Operation:
        return Operation("mul", (self, other))

    def __rmul__(self, other: Term) -> Operation:
        return Operation("mul", (other, self))

    def __truediv__(self, other: Term) -> Operation:
        return Operation("truediv", (self, other))

    def __rtruediv__(self, other: Term) -> Operation:
        return Operation("truediv", (other, self))

    def __floordiv__(self, other: Term) -> Operation:
        return Operation("floordiv", (self, other))

    def __rfloordiv__(self, other: Term) -> Operation:
        return Operation("floordiv", (other, self))

    def __mod__(self, other: Term) -> Operation:
        return Operation("mod", (self, other))

    def __rmod__(self, other: Term) -> Operation:
        return Operation("mod", (other, self))

    def __divmod__(self, other: Term) -> Operation:
        return Operation("divmod", (self, other))

    def __rdivmod__(self, other: Term) -> Operation:
        return Operation("divmod", (other, self))

    def __pow__(self, other: Term) -> Operation:
        return Operation("pow", (self, other))

    def __rpow__(self, other: Term) -> Operation:
        return Operation("pow", (other, self))

    def __matmul__(self, other: Term) -> Operation:
        return Operation("matmul", (self, other))

    def __rmatmul__(self, other: Term) -> Operation:
        return Operation("matmul", (other, self))

    def __and__(self, other: Term) -> Operation:
        return Operation("and", (self, other))

    def __rand__(self, other: Term) -> Operation:
        return Operation("and", (other, self))

    def __or__(self, other: Term) -> Operation:
        return Operation("or", (self, other))

    def __ror__(self, other: Term) -> Operation:
        return Operation("or", (other, self))

    def __xor__(self, other: Term) -> Operation:
        return Operation("xor", (self, other))

    def __rxor__(self, other: Term) -> Operation:
        return Operation("xor", (other, self))

    def __lshift__(self, other: Term) -> Operation:
        return Operation("lshift", (self, other))

    def __rlshift__(self, other: Term) -> Operation:
        return Operation("lshift", (other, self))

    def __rshift__(self, other: Term) -> Operation:
        return Operation("rshift", (self, other))

    def __rrshift__(self, other: Term) -> Operation:
        return Operation("rshift", (other, self))

    def __neg__(self) -> Operation:
        return Operation("neg", (self,))

    def __pos__(self) -> Operation:
        return Operation("pos", (self,))

    def __invert__(self) -> Operation:
        return Operation("invert", (self,))

    def __abs__(self) -> Operation:
        return Operation("abs", (self,))

    def __eq__(self, other: object) -> Operation:  # type: ignore[override]  # lazy, as in every expression library
        return Operation("eq", (self, other))

    def __ne__(self, other: object) -> Operation:  # type: ignore[override]  # likewise
        return Operation("ne", (self, other))

    def __lt__(self, other: Term) -> Operation:
        return Operation("lt", (self, other))

    def __le__(self, other: Term) -> Operation:
        return Operation("le", (self, other))

    def __gt__(self, other: Term) -> Operation:
        return Operation("gt", (self, other))

    def __ge__(self, other: Term) -> Operation:
        return Operation("ge", (self, other))

    # Equality is lazy, so an expression in a set or as a key is known by what it is, not by what it will be worth.
    __hash__ = object.__hash__

    def __getitem__(self, key: Term) -> Operation:
        return Operation("getitem", (self, _key(key)))

    def __getattr__(self, name: str) -> Operation:
        if name.startswith("_"):
            # Python, copy, pickle and notebooks probe for underscored names; they must not be told "yes, lazily".
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r} (underscored names are not lazy)")
        return Operation("getattr", (self, name))

    def __call__(self, *args: Term, **kwargs: Term) -> Operation:
        return Operation("call", (self, args, kwargs))

    # An array on the left must leave `array + expr` to us, in place of trying it for each of its elements.
    __array_ufunc__ = None

    # What cannot be lazy says what to write instead.

    def __bool__(self) -> NoReturn:
        raise LazyValueUsed(
            f"{self!r} has no value yet, so Python cannot branch on it (if, and, or, not, while, assert). "
            "Write cond(expr, then, else_), use & | for and/or, or pass it to a task that decides."
        )

    def __iter__(self) -> Iterator[Operation]:
        # Not a generator: the error comes where the iteration is asked for.
        raise LazyValueUsed(
            f"{self!r} has no value yet, so its length is not known and it cannot be iterated. "
            "Give the task @task(nout=N) or a tuple[...] return annotation to unpack it, or pass it to a task that "
            "loops."
        )

    def __len__(self) -> NoReturn:
        raise LazyValueUsed(f"{self!r} has no value yet, so len() is not known. Write len_(expr) for the lazy length.")

    def __contains__(self, item: object) -> NoReturn:
        raise LazyValueUsed(f"{self!r} has no value yet, so `in` cannot be answered. Ask inside a task.")

    def __index__(self) -> NoReturn:
        raise LazyValueUsed(f"{self!r} has no value yet and cannot be used as a number here. Pass it to a task.")

    __int__ = __float__ = __complex__ = __trunc__ = __floor__ = __ceil__ = __index__

    def __round__(self, digits: object = None) -> NoReturn:
        self.__index__()

    def __await__(self) -> Generator[Any, Any, Any]:
        return awaited(self)

    def __setitem__(self, key: object, value: object) -> NoReturn:
        raise LazyValueUsed(f"{self!r} has no value yet and cannot be changed. Make the changed value in a task.")

    def __delitem__(self, key: object) -> NoReturn:
        self[key] = None

    def __format__(self, spec: str) -> NoReturn:
        raise LazyValueUsed(
            f"{self!r} has no value yet, so it cannot be formatted into a string. Format it inside a task, "
            'or write "..." + expr for a lazy string.'
        )

    def __str__(self) -> str:
        return f"{self!r} (lazy: pass it to rayflow.run(...) for its value)"

    # An expression never changes, so a copy is itself: the same call, made once.

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise LazyValueUsed(
            f"{self!r} has no value yet, so it can be neither pickled nor kept inside an object that rayflow cannot "
            "look into. Pass it as an argument, or in a list, dict, dataclass or other container."
        )

    def __rayflow_identity__(self) -> bytes:
        raise LazyValueUsed(f"{self!r} has no value yet, and so no hash.")


def _key(key: Term) -> Term:
    """A key for an index: a slice between lazy bounds is itself lazy."""
    if type(key) is slice:
        bounds = (key.start, key.stop, key.step)
        return Operation("slice", bounds) if any(isinstance(bound, Expression) for bound in bounds) else key
    if type(key) is tuple and any(type(part) is slice for part in key):
        return tuple([_key(part) for part in key])
    return key


class TaskCall(Expression):
    """This task on these terms: the only expression that makes a job.

    _task: the task's full name.
    _args, _kwargs: the terms, as the call gave them (a tuple, and a dict that nobody changes).
    _options: options given at the call, or None.
    """

    __slots__ = ("_args", "_kwargs", "_length", "_options", "_task")

    def __init__(
        self,
        task: str,
        args: tuple[Term, ...] = (),
        kwargs: dict[str, Term] | None = None,
        options: dict[str, Any] | None = None,
        length: int | None = None,
    ) -> None:
        self._task = task
        self._args = args
        self._kwargs = kwargs
        self._options = options
        self._length = length
        self._shared = False

    def __iter__(self) -> Iterator[Operation]:
        if self._length is None:
            return super().__iter__()
        return iter([self[index] for index in range(self._length)])

    def __repr__(self) -> str:
        return render(self)


class Operation(Expression):
    """A named pure function applied to terms; operations.py holds the table of names."""

    __slots__ = ("_args", "_name")

    def __init__(self, name: str, args: tuple[Term, ...]) -> None:
        self._name = name
        self._args = args
        self._shared = False

    def __call__(self, *args: Term, **kwargs: Term) -> Operation:
        if self._name == "getattr":
            # One operation where the object is: a bound method would carry the whole object away with it.
            return Operation("method", (*self._args, args, kwargs))
        return super().__call__(*args, **kwargs)

    def __repr__(self) -> str:
        return render(self)


class Form(Expression):
    """An expression whose rule decides which of its arguments get reduced, and when (cond, catch, seq)."""

    __slots__ = ("_args", "_name")

    def __init__(self, name: str, args: tuple[Term, ...]) -> None:
        self._name = name
        self._args = args
        self._shared = False

    def __repr__(self) -> str:
        return render(self)


class Quoted(Expression):
    """An expression passed as data: it reduces to itself until `.eval()` releases it."""

    __slots__ = ("_digest", "_term")

    def __init__(self, term: Term, content: bytes = b"") -> None:
        self._term = term
        self._digest = content
        self._shared = False

    def eval(self) -> Term:
        """The term inside, to be reduced where it is used."""
        return self._term

    def __repr__(self) -> str:
        return f"quote({render(self._term)})"

    def __rayflow_identity__(self) -> bytes:
        if not self._digest:
            return super().__rayflow_identity__()  # only a packed one knows what it is made of
        return b"\xff" + self._digest


class TaskRef:
    """A task as a value inside a symbolic term: by name, with what `partial` and `options` have added.

    hash: the task_hash; the value is valid while that is the task's code. Empty where a form is to call it by name.
    """

    __slots__ = ("args", "hash", "kwargs", "name", "options")

    def __init__(
        self,
        name: str,
        hash: bytes,
        args: tuple[Term, ...] = (),
        kwargs: dict[str, Term] | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.hash = hash
        self.args = args
        self.kwargs = kwargs or {}
        self.options = options or {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskRef) and self.__rayflow_identity__() == other.__rayflow_identity__()

    def __hash__(self) -> int:
        return hash((self.name, self.hash))

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    def __rayflow_identity__(self) -> bytes:
        return task_identity(self.name, self.hash, self.args, self.kwargs, self.options)


def task_identity(
    name: str, hash: bytes, args: tuple[Term, ...], kwargs: dict[str, Term], options: dict[str, Any]
) -> bytes:
    """Identity of a task as a value: its name and code, and what a partial has bound."""
    from rayflow.values.identity import identity  # identity knows terms through __rayflow_identity__, not by import

    parts = [name.encode(), hash]
    if args or kwargs or options:
        parts += [identity(args), identity(kwargs), identity(options)]
    return b"\xff" + digest("task", *parts)


EXPRESSIONS = (TaskCall, Operation, Form, Quoted)

SYMBOLS = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**", "matmul": "@",
    "and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip


def render(term: Term, limit: int = 200) -> str:
    """A term as the user would write it, cut at about `limit` characters. Walks no further than it prints."""
    pieces: list[str] = []
    size = 0
    # Each entry is text to print or a term to take apart; the stack stands in for recursion.
    stack: list[tuple[bool, Any]] = [(False, term)]
    while stack and size < limit:
        is_text, item = stack.pop()
        if is_text:
            pieces.append(item)
            size += len(item)
        else:
            stack.extend(reversed(list(_render_parts(item))))
    text = "".join(pieces)
    return text if not stack and len(text) <= limit else text[:limit] + "..."


def _render_parts(term: Term) -> Iterator[tuple[bool, Any]]:
    if isinstance(term, TaskCall):
        yield True, term._task.rpartition(".")[2] + "("
        yield from _arguments(term._args, term._kwargs)
        yield True, ")"
    elif isinstance(term, Operation):
        yield from _operation_parts(term._name, term._args)
    elif isinstance(term, Form):
        yield True, term._name + "("
        yield from _arguments(term._args, None)
        yield True, ")"
    elif isinstance(term, Quoted):
        yield True, "quote("
        yield False, term._term
        yield True, ")"
    elif type(term) in _BRACKETS and (term or type(term) not in (set, frozenset)):
        opening, closing = _BRACKETS[type(term)]
        yield True, opening
        yield from _comma_separated((("", item) for item in term), len(term))
        yield True, ",)" if type(term) is tuple and len(term) == 1 else closing
    elif type(term) is dict:
        yield True, "{"
        yield from _comma_separated(((f"{_short(key)}: ", value) for key, value in term.items()), len(term))
        yield True, "}"
    elif type(term) is slice:
        for position, bound in enumerate((term.start, term.stop, term.step)):
            if position and (position == 1 or bound is not None):
                yield True, ":"
            if bound is not None:
                yield False, bound
    else:
        from rayflow.values.previews import preview  # values never import terms, so this is the only direction

        yield True, preview(term, 80)


def _operation_parts(name: str, args: tuple[Term, ...]) -> Iterator[tuple[bool, Any]]:
    if name in SYMBOLS:
        yield True, "("
        yield False, args[0]
        yield True, f" {SYMBOLS[name]} "
        yield False, args[1]
        yield True, ")"
    elif name == "getitem":
        yield False, args[0]
        yield True, "["
        yield False, args[1]
        yield True, "]"
    elif name == "slice":
        yield False, slice(*args)
    elif name == "getattr":
        yield False, args[0]
        yield True, f".{args[1]}"
    elif name == "method":
        yield False, args[0]
        yield True, f".{args[1]}("
        yield from _arguments(*args[2:])
        yield True, ")"
    elif name == "call" and len(args) == 3:
        yield False, args[0]
        yield True, "("
        yield from _arguments(*args[1:])
        yield True, ")"
    else:
        yield True, name + "("
        yield from _arguments(args, None)
        yield True, ")"


_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}

_MOST_RENDERED = 50


def _short(key: Term) -> str:
    return render(key, 60) if isinstance(key, Expression) else repr(key)


def _arguments(args: tuple[Term, ...], kwargs: dict[str, Term] | None) -> Iterator[tuple[bool, Any]]:
    named = chain((("", arg) for arg in args), ((f"{key}=", value) for key, value in (kwargs or {}).items()))
    yield from _comma_separated(named, len(args) + len(kwargs or ()))


def _comma_separated(items: Iterable[tuple[str, Any]], count: int) -> Iterator[tuple[bool, Any]]:
    for position, (prefix, item) in enumerate(islice(items, _MOST_RENDERED)):
        if position:
            yield True, ", "
        if prefix:
            yield True, prefix
        yield False, item
    if count > _MOST_RENDERED:
        yield True, ", ..."
