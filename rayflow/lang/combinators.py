"""Forms as a user writes them: each is one line that makes a Form or an Operation.

In: terms. Out: expressions. Never: says what a form does (rayflow.evaluator.forms holds the rules).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar, overload

from rayflow.errors import BadArguments, BadOption
from rayflow.lang.expressions import Expression, Form, Operation, Quoted, TaskRef, Term
from rayflow.lang.options import class_names
from rayflow.values.nested import copy_containers, parts_of

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")
R = TypeVar("R")
E = TypeVar("E", bound=BaseException)

Tags: TypeAlias = "Mapping[str, Any] | Iterable[tuple[str, Any]] | None"


@overload
def cond(condition: Term, then: T, /) -> T | None: ...


@overload
def cond(condition: Term, then: T, otherwise: U, /) -> T | U: ...


@overload
def cond(condition: Term, then: T, second: Term, then_second: U, otherwise: V, /) -> T | U | V: ...


@overload
def cond(condition: Term, then: Term, /, *rest: Term) -> Any: ...


def cond(condition: Term, then: Term, *rest: Term) -> Any:
    """`cond(p, a, q, b, ..., otherwise)`: the term behind the first true condition, else the last one.

    Conditions are reduced in order, and only the chosen term is reduced at all. Without an `otherwise` it is None.
    """
    terms = (condition, then, *rest)
    if len(terms) % 2 == 0:
        terms = (*terms, None)
    # A value is asked here: in the evaluator one of an unknown class is a reference, and no reference is false.
    conditions = [Operation("truth", (term,)) if isinstance(term, Expression) else bool(term) for term in terms[:-1:2]]
    arms = terms[1:-1:2]
    pairs = [each for pair in zip(conditions, arms, strict=True) for each in pair]
    return Form("cond", (*pairs, terms[-1]))


@overload
def catch(expr: T, error: type[E] | tuple[type[E], ...], recover: Callable[[E], U], /) -> T | U: ...


@overload
def catch(expr: Term, /, *handlers: Any) -> Any: ...


def catch(expr: Term, *handlers: Any) -> Any:
    """`catch(expr, Error, recover, Other, recover2, ...)`: the value of `expr`, or of `recover(error)` where it failed.

    The first class (or tuple of classes) that the error belongs to wins. Errors from any depth are seen. A failure that
    was caught is tried again in every new execution.
    """
    if not handlers:
        raise BadArguments("catch(expr, Error, recover, ...): give pairs of an exception class and a task or function.")
    return Form("catch", (expr, *_handlers("catch(expr, Error, recover, ...)", handlers)))


def catch_all(terms: Term, *handlers: Any) -> Any:
    """`catch_all([f(1), f(2)], Error, recover)`: the values in their structure, once all have settled.

    Where some failed: `recover(structure)`, with the errors in their places. The first error by position says which
    recover that is, as with `catch`; an error that no class fits fails it. Without handlers the first error does.
    """
    return Form("catch_all", (_copied(terms), *_handlers("catch_all(terms, Error, recover, ...)", handlers)))


def _handlers(where: str, handlers: tuple[Any, ...]) -> list[Term]:
    """Class names and what recovers, by turns."""
    if len(handlers) % 2:
        raise BadArguments(f"{where}: give pairs of an exception class and a task or function.")
    args: list[Term] = []
    for classes, recover in zip(handlers[::2], handlers[1::2], strict=True):
        if not (callable(recover) or isinstance(recover, Expression)):
            raise BadArguments(f"{where}: {recover!r} cannot be called with the error.")
        if isinstance(classes, str):
            raise BadArguments(f"{where}: give the exception class itself, not its name {classes!r}.")
        try:
            args += [class_names(classes), _by_name(recover)]
        except BadOption as error:
            raise BadArguments(f"{where}: {error}") from None
    return args


def seq(terms: Iterable[T]) -> list[T]:
    """The list of the terms' values, reduced one after the other; an error stops it."""
    if isinstance(terms, Expression):
        raise BadArguments("seq needs a list whose length is known: seq([first(), second()]).")
    return _typed(Form("seq", tuple([_copied(term) for term in terms])))


def apply_tags(
    value: T,
    tags: Tags = None,
    *,
    job_tags: Tags = None,
    execution_tags: Tags = None,
) -> T:
    """The value, with tags recorded: for itself, for the job whose result this is a part of, for the execution.

    Tags are a dict, or pairs of name and value; they may be lazy.
    """
    return _typed(Form("apply_tags", (_copied(value), *[_tags(each) for each in (tags, job_tags, execution_tags)])))


def _tags(tags: Tags) -> Term:
    if isinstance(tags, Expression):
        return tags
    try:
        return _copied(dict(tags or {}))
    except (TypeError, ValueError):
        raise BadArguments(f"apply_tags: tags are a dict, or pairs of name and value, not {tags!r}.") from None


# --- over many items --------------------------------------------------------------------------------------------------


def map_(function: Callable[[T], R], values: Iterable[T]) -> list[R]:
    """The list of `function(value)` for each value: one call each, with its own place in the cache.

    function: a task, a partial of one, or a plain function (then each call is `apply_func(function, value)`).
    values: a list, tuple, range, array or other sequence; may be lazy. Many are mapped where they are.
    """
    return _typed(Form("map_", (_called("map_(function, values)", function), _sequence("map_", values))))


def starmap(function: Callable[..., R], values: Iterable[Any]) -> list[R]:
    """The list of `function(*value)` for each tuple or list among the values, `function(**value)` for each dict."""
    return _typed(Form("starmap", (_called("starmap(function, values)", function), _sequence("starmap", values))))


def flat_map(function: Callable[[T], Iterable[R]], values: Iterable[T]) -> list[R]:
    """The items of all lists that `function(value)` gives for the values, as one list."""
    return flatten(map_(function, values))


def flatten(lists: Iterable[Iterable[T]]) -> list[T]:
    """The items of all the lists, as one list."""
    return _typed(Operation("flatten", (_sequence("flatten", lists),)))


@overload
def zip_(first: Iterable[T], second: Iterable[U], /) -> list[tuple[T, U]]: ...


@overload
def zip_(first: Iterable[T], second: Iterable[U], third: Iterable[V], /) -> list[tuple[T, U, V]]: ...


@overload
def zip_(*lists: Iterable[Any]) -> list[Any]: ...


def zip_(*lists: Term) -> Any:
    """The list of tuples of first items, of second items, and so on, up to the end of the shortest list."""
    return Operation("zip_", tuple([_sequence("zip_", each) for each in lists]))


def _called(where: str, function: Any) -> Any:
    if not (callable(function) or isinstance(function, Expression)):
        raise BadArguments(f"{where}: {function!r} cannot be called.")
    return _by_name(function)


def _by_name(function: Any) -> Any:
    return _Callee(function) if hasattr(type(function), "__rayflow_symbol__") else function


class _Callee:
    """A task that a form is to call: known by its name, as in any other call, and not by its code, as a task that is
    passed on as a value. So the term that holds the form stays true when the code changes."""

    __slots__ = ("_task",)

    def __init__(self, task: Any) -> None:
        self._task = task

    def __rayflow_symbol__(self) -> TaskRef:
        task: TaskRef = self._task.__rayflow_symbol__()
        return TaskRef(task.name, b"", task.args, task.kwargs, task.options)

    def __repr__(self) -> str:
        return repr(self._task)


def _sequence(where: str, values: Term) -> Term:
    """The values as they can be kept: an iterator is run through, a set refused."""
    if isinstance(values, Expression) or hasattr(values, "__len__"):
        if isinstance(values, set | frozenset):
            raise BadArguments(f"{where}: a set has no order of its own; give sorted(values), or a list.")
        return _copied(values)
    try:
        return [_copied(value) for value in values]
    except TypeError:
        raise BadArguments(f"{where}: {values!r} has no items.") from None


# --- conditions -------------------------------------------------------------------------------------------------------


def all_(values: Iterable[Any]) -> bool:
    """Whether all values are true; every one of them is reduced."""
    return _typed(Operation("all_", (_sequence("all_", values),)))


def any_(values: Iterable[Any]) -> bool:
    """Whether any value is true; every one of them is reduced."""
    return _typed(Operation("any_", (_sequence("any_", values),)))


def and_(*terms: Term) -> bool:
    """Whether all terms are true: True or False, reduced in order up to the first that is false."""
    return _typed(cond(*[each for term in terms for each in (not_(term), False)], True)) if terms else True


def or_(*terms: Term) -> bool:
    """Whether any term is true: True or False, reduced in order up to the first that is true."""
    return _typed(cond(*[each for term in terms for each in (term, True)], False)) if terms else False


# --- expressions as data ----------------------------------------------------------------------------------------------


def get_context(path: str, default: Term = None) -> Any:
    """The lazy value behind a path such as "a.b" in the context of the call that it is used in; else the default.

    The context comes from the configuration, `run(context=)` and `task.update_context(...)` of the calls above. Only
    calls that read a value depend on it. In an argument, and as a parameter's default, it counts with its value.
    """
    if not isinstance(path, str) or not all(path.split(".")):
        raise BadArguments(f'get_context("a.b", default): a path is names with dots between them, not {path!r}.')
    return Form("get_context", (path, default))


def quote(term: Term) -> Any:
    """The term as data: it is passed on unreduced until `.eval()` releases it."""
    return Quoted(term)


def delay(term: Term) -> Any:
    """The term as a thunk: passed on unreduced until `force` releases it. The same as `quote`."""
    return Quoted(term)


def force(thunk: Term) -> Any:
    """What a thunk holds, reduced where this stands. The thunk may be lazy itself."""
    if isinstance(thunk, Quoted):
        return thunk._term
    if not isinstance(thunk, Expression):
        raise BadArguments(f"force(thunk) takes what delay or quote has made, not {thunk!r}.")
    return Operation("force", (thunk,))


def len_(term: Term) -> int:
    """The lazy length of a lazy value."""
    return _typed(Operation("len", (term,))) if isinstance(term, Expression) else len(term)


def not_(term: Term) -> bool:
    """The lazy `not` of a lazy value."""
    return _typed(Operation("not", (term,))) if isinstance(term, Expression) else not term


def _typed(lazy: Expression) -> T:  # type: ignore[type-var]  # whichever is promised where this is called
    """An expression where a value is promised: its type is the value's, since it may be used wherever the value may."""
    return lazy  # type: ignore[return-value]  # lazy


def _copied(term: Term) -> Term:
    """A container as it is now: a later change of it is not seen."""
    return term if parts_of(term) is None else copy_containers(term)
