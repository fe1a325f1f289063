"""Expressions: lazy calls, operations and forms, which the evaluator reduces to values.

In: terms. Out: `TaskCall`, `Operation`, `Form`, `Quoted`: frozen, cheap to make. Never: makes a value or a job; runs
a user's function.

A *term* is anything that can be reduced: an expression, a container of terms, or a value. On the user's side values are
Python objects. In the evaluator the same classes hold *symbolic* terms: scalars and built-in containers as they are,
everything else as a `ValueRef`, a `TaggedTree` or a `TaskRef`. `rayflow.lang.packing.pack` turns one into the other.

The attributes below are underscored because every other attribute of an expression is lazy: `expr.args` means "the
attribute `args` of the value that `expr` will have".
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import chain, islice
from typing import Any, NoReturn, Self, TypeAlias

from rayflow.errors import LazyValueUsed
from rayflow.lang.gather import awaited
from rayflow.lang.terms.task_identity import task_identity
from rayflow.values.display.tracebacks import front_door
from rayflow.values.encoding.previews import preview
from rayflow.values.encoding.snapshots import as_now, checked
from rayflow.values.native import SCALARS
from rayflow.values.refs import ValueRef

Term: TypeAlias = Any
"""An expression, a container of terms, or a value. (Values are the user's, so there is no narrower type.)"""


class Expression:
    """A lazy value. Python's operators on it give further expressions."""

    __slots__ = ("_shared",)

    _shared: bool | bytes
    """Whether one term contains this expression more than once. It is then reduced once for all places. If it is known
    where the term stands, this is the path of the expression, whichever of its places is met first."""

    # The lazy surface. Each operator gives an Operation; the table of what an Operation does is in operations.py.

    def __add__(self, other: Term) -> Operation:
        return _applied("add", self, other)

    def __radd__(self, other: Term) -> Operation:
        return _applied("add", other, self)

    def __sub__(self, other: Term) -> Operation:
        return _applied("sub", self, other)

    def __rsub__(self, other: Term) -> Operation:
        return _applied("sub", other, self)

    def __mul__(self, other: Term) -> Operation:
        return _applied("mul", self, other)

    def __rmul__(self, other: Term) -> Operation:
        return _applied("mul", other, self)

    def __truediv__(self, other: Term) -> Operation:
        return _applied("truediv", self, other)

    def __rtruediv__(self, other: Term) -> Operation:
        return _applied("truediv", other, self)

    def __floordiv__(self, other: Term) -> Operation:
        return _applied("floordiv", self, other)

    def __rfloordiv__(self, other: Term) -> Operation:
        return _applied("floordiv", other, self)

    def __mod__(self, other: Term) -> Operation:
        return _applied("mod", self, other)

    def __rmod__(self, other: Term) -> Operation:
        return _applied("mod", other, self)

    def __divmod__(self, other: Term) -> Operation:
        return _applied("divmod", self, other)

    def __rdivmod__(self, other: Term) -> Operation:
        return _applied("divmod", other, self)

    def __pow__(self, other: Term) -> Operation:
        return _applied("pow", self, other)

    def __rpow__(self, other: Term) -> Operation:
        return _applied("pow", other, self)

    def __matmul__(self, other: Term) -> Operation:
        return _applied("matmul", self, other)

    def __rmatmul__(self, other: Term) -> Operation:
        return _applied("matmul", other, self)

    def __and__(self, other: Term) -> Operation:
        return _applied("and", self, other)

    def __rand__(self, other: Term) -> Operation:
        return _applied("and", other, self)

    def __or__(self, other: Term) -> Operation:
        return _applied("or", self, other)

    def __ror__(self, other: Term) -> Operation:
        return _applied("or", other, self)

    def __xor__(self, other: Term) -> Operation:
        return _applied("xor", self, other)

    def __rxor__(self, other: Term) -> Operation:
        return _applied("xor", other, self)

    def __lshift__(self, other: Term) -> Operation:
        return _applied("lshift", self, other)

    def __rlshift__(self, other: Term) -> Operation:
        return _applied("lshift", other, self)

    def __rshift__(self, other: Term) -> Operation:
        return _applied("rshift", self, other)

    def __rrshift__(self, other: Term) -> Operation:
        return _applied("rshift", other, self)

    def __neg__(self) -> Operation:
        return Operation("neg", (self,))

    def __pos__(self) -> Operation:
        return Operation("pos", (self,))

    def __invert__(self) -> Operation:
        return Operation("invert", (self,))

    def __abs__(self) -> Operation:
        return Operation("abs", (self,))

    def __eq__(self, other: object) -> Operation:  # type: ignore[override]  # lazy, as in every expression library
        return _applied("eq", self, other)

    def __ne__(self, other: object) -> Operation:  # type: ignore[override]  # likewise
        return _applied("ne", self, other)

    def __lt__(self, other: Term) -> Operation:
        return _applied("lt", self, other)

    def __le__(self, other: Term) -> Operation:
        return _applied("le", self, other)

    def __gt__(self, other: Term) -> Operation:
        return _applied("gt", self, other)

    def __ge__(self, other: Term) -> Operation:
        return _applied("ge", self, other)

    # Equality is lazy. So sets and dicts compare expressions by identity, not by their values.
    __hash__ = object.__hash__

    def __getitem__(self, key: Term) -> Operation:
        return _applied("getitem", self, _key(key))

    def __getattr__(self, name: str) -> Operation:
        if name.startswith("_"):
            # Python, copy, pickle and notebooks look for underscored names. A lazy answer would mislead them.
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r} (underscored names are not lazy)")
        return _applied("getattr", self, name)

    def __call__(self, *args: Term, **kwargs: Term) -> Operation:
        return _applied("call", self, args, kwargs)

    # An array on the left must leave `array + expr` to us, instead of adding to each of its elements.
    __array_ufunc__ = None

    # Operators that cannot be lazy raise an error that says what to write instead.

    @front_door
    def __bool__(self) -> NoReturn:
        raise LazyValueUsed(
            f"{self!r} has no value yet, so Python cannot branch on it (if, and, or, not, while, assert). "
            "Write cond(expr, then, else_), use & | for and/or, or pass it to a task that decides."
        )

    @front_door
    def __iter__(self) -> Iterator[Operation]:
        # Not a generator: the error comes where the iteration is asked for.
        raise LazyValueUsed(
            f"{self!r} has no value yet, so its length is not known and it cannot be iterated. "
            "Give the task @task(nout=N) or a tuple[...] return annotation to unpack it, or pass it to a task that "
            "loops."
        )

    @front_door
    def __len__(self) -> NoReturn:
        raise LazyValueUsed(f"{self!r} has no value yet, so len() is not known. Write len_(expr) for the lazy length.")

    @front_door
    def __contains__(self, item: object) -> NoReturn:
        raise LazyValueUsed(f"{self!r} has no value yet, so `in` cannot be answered. Ask inside a task.")

    @front_door
    def __index__(self) -> NoReturn:
        raise LazyValueUsed(f"{self!r} has no value yet and cannot be used as a number here. Pass it to a task.")

    __int__ = __float__ = __complex__ = __trunc__ = __floor__ = __ceil__ = __index__

    @front_door
    def __round__(self, digits: object = None) -> NoReturn:
        self.__index__()

    def __await__(self) -> Generator[Any, Any, Any]:
        return awaited(self)

    @front_door
    def __setitem__(self, key: object, value: object) -> NoReturn:
        raise LazyValueUsed(f"{self!r} has no value yet and cannot be changed. Make the changed value in a task.")

    @front_door
    def __delitem__(self, key: object) -> NoReturn:
        self[key] = None

    @front_door
    def __format__(self, spec: str) -> NoReturn:
        raise LazyValueUsed(
            f"{self!r} has no value yet, so it cannot be formatted into a string. Format it inside a task, "
            'or write "..." + expr for a lazy string.'
        )

    def __str__(self) -> str:
        return f"{self!r} (lazy: pass it to rayflow.run(...) for its value)"

    # An expression never changes, so it is its own copy: the same call, made once.

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    @front_door
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

    @front_door
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
            # One operation runs where the object is. A bound method would have to be sent with the whole object.
            return _applied("method", *self._args, args, kwargs)
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
        """The term inside, to be evaluated where it is used. Raises ArgumentChanged if it has been changed since."""
        return checked(self._term)

    def __repr__(self) -> str:
        return f"quote({render(self._term)})"

    def __rayflow_identity__(self) -> bytes:
        if not self._digest:
            return super().__rayflow_identity__()  # only a packed expression knows its content
        return b"\xff" + self._digest


class TaskRef:
    """A task as a value inside a symbolic term: its name, and the additions by `partial` and `options`.

    hash: the task_hash. The value is valid while the task has this hash. It is empty if a form calls the task by name.
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


EXPRESSIONS = (TaskCall, Operation, Form, Quoted)

FIXED = SCALARS | {TaskCall, Operation, Form}
"""Types of terms that nobody can change."""


def _applied(name: str, *args: Term) -> Operation:
    """An operation on terms as they are now."""
    return Operation(name, args if FIXED.issuperset(map(type, args)) else tuple(map(as_now, args)))

SYMBOLS = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**", "matmul": "@",
    "and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip


_WITHOUT_PARTS = frozenset({*SCALARS, ValueRef})
"""The types of most arguments, which have nothing to take apart."""

_MOST_OF_VALUE = 80
"""The most characters of a value inside a term."""


def render(term: Term, limit: int = 200) -> str:
    """A term as the user would write it, cut at about `limit` characters. Walks no further than it prints."""
    if type(term) in _WITHOUT_PARTS:
        text = preview(term, _MOST_OF_VALUE)
        return text if len(text) <= limit else text[:limit] + "..."
    pieces: list[str] = []
    size = 0
    # Each entry is text to print, or a term to take apart. The stack replaces recursion.
    stack: list[tuple[bool, Any]] = [(False, term)]
    while stack and size < limit:
        is_text, item = stack.pop()
        if is_text or type(item) in _WITHOUT_PARTS:
            piece = item if is_text else preview(item, _MOST_OF_VALUE)
            pieces.append(piece)
            size += len(piece)
        elif isinstance(item, TaskCall):
            # Here, not in `_render_parts`: a long chain of calls has a text of many levels for each of them.
            piece = item._task.rpartition(".")[2] + "("
            pieces.append(piece)
            size += len(piece)
            stack.append(_CLOSING)
            if len(item._args) == 1 and not item._kwargs:
                stack.append((False, item._args[0]))
            else:
                stack.extend(reversed(list(_arguments(item._args, item._kwargs))))
        else:
            stack.extend(reversed(list(_render_parts(item))))
    text = "".join(pieces)
    return text if not stack and len(text) <= limit else text[:limit] + "..."


_CLOSING = (True, ")")


def _render_parts(term: Term) -> Iterator[tuple[bool, Any]]:
    """The texts and terms that a term is made of, which is no call of a task."""
    if isinstance(term, Operation):
        yield from _operation_parts(term._name, term._args)
    elif isinstance(term, Form) and term._name == "own":
        yield from _own_parts(*term._args)
    elif isinstance(term, _Released):
        yield from _released_parts(term.term)
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
        yield True, preview(term, _MOST_OF_VALUE)


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
    elif name == "step":
        yield from _own_parts(args[0], args[1])
    elif name == "restore":
        yield True, args[1]
    elif name == "call" and len(args) == 3:
        yield _callee(args[0])
        yield True, "("
        yield from _arguments(*args[1:])
        yield True, ")"
    else:
        yield True, name + "("
        yield from _arguments(args, None)
        yield True, ")"


def _own_parts(rule: Term, args: tuple[Term, ...]) -> Iterator[tuple[bool, Any]]:
    """A form of the user's, with its arguments as they were given."""
    yield _callee(rule)
    yield True, "("
    yield from _arguments(tuple([_Released(arg) for arg in args]), None)
    yield True, ")"


class _Released:
    """An argument of a user's form: the expressions in it are printed as they were before they were quoted."""

    def __init__(self, term: Term) -> None:
        self.term = term


def _released_parts(term: Term) -> Iterator[tuple[bool, Any]]:
    if type(term) is Quoted:
        yield False, term._term
    elif type(term) in (list, tuple) and term:
        opening, closing = _BRACKETS[type(term)]
        yield True, opening
        yield from _comma_separated((("", _Released(item)) for item in term), len(term))
        yield True, ",)" if type(term) is tuple and len(term) == 1 else closing
    elif type(term) is dict:
        yield True, "{"
        items = ((f"{_short(key)}: ", _Released(value)) for key, value in term.items())
        yield from _comma_separated(items, len(term))
        yield True, "}"
    else:
        yield False, term


def _callee(function: Term) -> tuple[bool, Any]:
    """A called function in text: of a plain function its name, without `<function ...>` around it."""
    if isinstance(function, Expression | TaskRef):
        return False, function
    text = preview(function, 80)
    name = text.removeprefix("<function ").removesuffix(">")
    return True, name if text == f"<function {name}>" else text


_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}

_MOST_RENDERED = 50


def _short(key: Term) -> str:
    return render(key, 60) if isinstance(key, Expression) else preview(key, 60)


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
