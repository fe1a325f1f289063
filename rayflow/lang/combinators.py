"""Forms as a user writes them: each is one line that makes a Form or an Operation.

In: terms. Out: expressions. Never: says what a form does (rayflow.evaluator.forms holds the rules).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, overload

from rayflow.errors import BadArguments, BadOption
from rayflow.lang.lazy import Lazy
from rayflow.lang.options.options import class_names
from rayflow.lang.options.tags import Tags, tag_pairs
from rayflow.lang.terms.expressions import Expression, Form, Operation, Quoted, TaskRef, Term
from rayflow.values.display.tracebacks import front_door
from rayflow.values.encoding.previews import preview
from rayflow.values.encoding.snapshots import as_now

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")
R = TypeVar("R")
E = TypeVar("E", bound=BaseException)



@overload
def cond(condition: Term, then: T, /) -> T | None: ...


@overload
def cond(condition: Term, then: T, otherwise: U, /) -> T | U: ...


@overload
def cond(condition: Term, then: T, second: Term, then_second: U, otherwise: V, /) -> T | U | V: ...


@overload
def cond(condition: Term, then: Term, /, *rest: Term) -> Any: ...


@front_door
def cond(condition: Term, then: Term, *rest: Term) -> Any:
    """A lazy `if`: `cond(p, a, q, b, ..., otherwise)` is the term after the first true condition, else `otherwise`.

        cond(size(x) > 100, split(x), plain(x))

    Conditions are evaluated in order, and only the chosen term is evaluated. `otherwise` is None when it is left out.
    """
    terms = (condition, then, *rest)
    if len(terms) % 2 == 0:
        terms = (*terms, None)
    # The truth of a value is taken here: in the evaluator, a value of an unknown class is a reference, which is true.
    conditions = [Operation("truth", (term,)) if isinstance(term, Expression) else bool(term) for term in terms[:-1:2]]
    arms = [as_now(term) for term in terms[1:-1:2]]
    pairs = [each for pair in zip(conditions, arms, strict=True) for each in pair]
    return Form("cond", (*pairs, as_now(terms[-1])))


@overload
def catch(expr: Lazy[T], error: type[E] | tuple[type[E], ...], recover: Callable[[E], U], /) -> T | U: ...


@overload
def catch(expr: T, error: type[E] | tuple[type[E], ...], recover: Callable[[E], U], /) -> T | U: ...


@overload
def catch(expr: Term, /, *handlers: Any) -> Any: ...


@front_door
def catch(expr: Term, *handlers: Any) -> Any:
    """A lazy `try`: `catch(expr, Error, recover, Other, recover2, ...)` is the value of `expr`, or of `recover(error)`
    where `expr` fails.

        catch(download(url), OSError, use_old_copy)

    The first class (or tuple of classes) that the error belongs to decides. Errors come from any depth below `expr`. A
    new execution tries a failed expression again, also when its failure was caught. Raises BadArguments for what is not
    a pair of a class and a task or function.
    """
    if not handlers:
        raise BadArguments("catch(expr, Error, recover, ...): give pairs of an exception class and a task or function.")
    return Form("catch", (as_now(expr), *_handlers("catch(expr, Error, recover, ...)", handlers)))


@front_door
def catch_all(terms: Term, *handlers: Any) -> Any:
    """`catch_all([f(1), f(2)], Error, recover)`: the values of all terms, or `recover(structure)` where some fail.

    terms: any nesting of containers. All are evaluated to the end. `recover` gets the same containers, with an error in
    the place of each term that has failed. The first error by position chooses the handler, as with `catch`. The form
    fails with an error that no class fits, and with the first error when there are no handlers. Raises BadArguments for
    handlers that are not pairs.
    """
    return Form("catch_all", (as_now(terms), *_handlers("catch_all(terms, Error, recover, ...)", handlers)))


def _handlers(where: str, handlers: tuple[Any, ...]) -> list[Term]:
    """The names of the exception classes and the recovery functions, alternately."""
    if len(handlers) % 2:
        raise BadArguments(f"{where}: give pairs of an exception class and a task or function.")
    args: list[Term] = []
    for classes, recover in zip(handlers[::2], handlers[1::2], strict=True):
        if not (callable(recover) or isinstance(recover, Expression)):
            raise BadArguments(f"{where}: {preview(recover)} cannot be called with the error.")
        if isinstance(classes, str):
            raise BadArguments(f"{where}: give the exception class itself, not its name {preview(classes)}.")
        try:
            args += [class_names(classes), _by_name(recover)]
        except BadOption as error:
            raise BadArguments(f"{where}: {error}") from None
    return args


@front_door
def seq(terms: Iterable[T]) -> list[T]:
    """The list of the terms' values, evaluated one after the other. The first failure stops it.

    terms: a list, not an expression: `seq([first(), second()])`. Raises BadArguments for an expression.
    """
    if isinstance(terms, Expression):
        raise BadArguments("seq needs a list whose length is known: seq([first(), second()]).")
    return _typed(Form("seq", tuple([as_now(term) for term in terms])))


@front_door
def apply_tags(
    value: T,
    tags: Tags | None = None,
    *,
    job_tags: Tags | None = None,
    execution_tags: Tags | None = None,
) -> T:
    """The value, with tags: `apply_tags(model, {"stage": "final"})`.

    tags: for the value. job_tags: for the job whose result has this value as a part. execution_tags: for the execution.
    Each is a dict, a list of pairs of name and value, or a list of texts such as "owner=ada"; they may be lazy. Raises
    BadArguments for anything else.
    """
    return _typed(Form("apply_tags", (as_now(value), *[_tags(each) for each in (tags, job_tags, execution_tags)])))


def _tags(tags: Tags | None) -> Term:
    if isinstance(tags, Expression):
        return tags
    if isinstance(tags, Mapping):
        return as_now(dict(tags))
    try:
        return as_now(list(tag_pairs(tags, "apply_tags")))
    except BadOption as error:
        raise BadArguments(str(error)) from None


# --- over many items --------------------------------------------------------------------------------------------------


@front_door
def map_(function: Callable[[T], R], values: Iterable[T]) -> list[R]:
    """The list of `function(value)` for each value. Each is a call of its own in the cache: `map_(f, load())`.

    function: a task, a partial of one, or a plain function (then each call is `apply_func(function, value)`).
    values: a list, tuple, range, array or other sequence; it may be lazy. Raises BadArguments for a set, which has no
    order, and for a function that cannot be called.
    """
    return _typed(Form("map_", (_called("map_(function, values)", function), _sequence("map_", values))))


@front_door
def starmap(function: Callable[..., R], values: Iterable[Any]) -> list[R]:
    """The list of `function(*value)` for each tuple or list in the values, and of `function(**value)` for each dict.

    Arguments and errors are those of `map_`.
    """
    return _typed(Form("starmap", (_called("starmap(function, values)", function), _sequence("starmap", values))))


@front_door
def flat_map(function: Callable[[T], Iterable[R]], values: Iterable[T]) -> list[R]:
    """One list of the items of all lists that `function(value)` returns: `flatten(map_(function, values))`."""
    return flatten(map_(function, values))


@front_door
def flatten(lists: Iterable[Iterable[T]]) -> list[T]:
    """One list of the items of all the lists: `flatten([[1, 2], f(3)])`."""
    return _typed(Operation("flatten", (_sequence("flatten", lists),)))


@overload
def zip_(first: Iterable[T], second: Iterable[U], /) -> list[tuple[T, U]]: ...


@overload
def zip_(first: Iterable[T], second: Iterable[U], third: Iterable[V], /) -> list[tuple[T, U, V]]: ...


@overload
def zip_(*lists: Iterable[Any]) -> list[Any]: ...


@front_door
def zip_(*lists: Term) -> Any:
    """A lazy `zip`: a list of tuples, one of the first items, one of the second, up to the shortest list's end."""
    return Operation("zip_", tuple([_sequence("zip_", each) for each in lists]))


def _called(where: str, function: Any) -> Any:
    if not (callable(function) or isinstance(function, Expression)):
        raise BadArguments(f"{where}: {preview(function)} cannot be called.")
    return _by_name(function)


def _by_name(function: Any) -> Any:
    return _Callee(function) if hasattr(type(function), "__rayflow_symbol__") else function


class _Callee:
    """A task that a form calls. Its symbol has the name without the code, as a call has, so that a recorded term with
    the form stays valid when the task's code changes."""

    __slots__ = ("_task",)

    def __init__(self, task: Any) -> None:
        self._task = task

    def __rayflow_symbol__(self) -> TaskRef:
        task: TaskRef = self._task.__rayflow_symbol__()
        return TaskRef(task.name, b"", task.args, task.kwargs, task.options)

    def __repr__(self) -> str:
        return repr(self._task)


def _sequence(where: str, values: Term) -> Term:
    """The values as a term: a list of an iterator's items. Raises BadArguments for a set."""
    if isinstance(values, Expression) or hasattr(values, "__len__"):
        if isinstance(values, set | frozenset):
            raise BadArguments(f"{where}: a set has no order of its own; give sorted(values), or a list.")
        return as_now(values)
    try:
        return [as_now(value) for value in values]
    except TypeError:
        raise BadArguments(f"{where}: {preview(values)} has no items.") from None


# --- conditions -------------------------------------------------------------------------------------------------------


@front_door
def all_(values: Iterable[Any]) -> bool:
    """Whether all values are true: a lazy `all`. Every value is evaluated; `and_` stops at the first false one."""
    return _typed(Operation("all_", (_sequence("all_", values),)))


@front_door
def any_(values: Iterable[Any]) -> bool:
    """Whether any value is true: a lazy `any`. Every value is evaluated; `or_` stops at the first true one."""
    return _typed(Operation("any_", (_sequence("any_", values),)))


@front_door
def and_(*terms: Term) -> bool:
    """A lazy `and`, which gives True or False. Terms are evaluated in order up to the first that is false."""
    return _typed(cond(*[each for term in terms for each in (not_(term), False)], True)) if terms else True


@front_door
def or_(*terms: Term) -> bool:
    """A lazy `or`, which gives True or False. Terms are evaluated in order up to the first that is true."""
    return _typed(cond(*[each for term in terms for each in (term, True)], False)) if terms else False


# --- expressions as data ----------------------------------------------------------------------------------------------


@front_door
def get_context(path: str, default: Term = None) -> Any:
    """The lazy value at a path such as "a.b" in the context of the call that uses it; else the default.

        @task
        def connect(url=get_context("database.url", "sqlite://")):
            ...

    The context comes from the configuration, `run(context=)`, and `task.update_context(...)` of the calls above. Only
    calls that read a value depend on it. As an argument or a parameter's default, its value is part of the cache key.
    Raises BadArguments for a path that is not names with dots between them.
    """
    if not isinstance(path, str) or not all(path.split(".")):
        raise BadArguments(f'get_context("a.b", default): a path is names with dots between them, not {preview(path)}.')
    return Form("get_context", (path, as_now(default)))


@front_door
def quote(term: Term) -> Any:
    """The term as data: it is passed on unevaluated until `.eval()` releases it."""
    return Quoted(as_now(term))


@front_door
def delay(term: Term) -> Any:
    """The term as a thunk: it is passed on unevaluated until `force` releases it. The same as `quote`."""
    return Quoted(as_now(term))


@front_door
def force(thunk: Term) -> Any:
    """The value of the expression in a thunk: `force(delay(f(1)))`. The thunk may be lazy itself.

    A task is a thunk, too, if it needs no further arguments: `force(task.partial(1))` is its call. Raises BadArguments
    for anything else.
    """
    if isinstance(thunk, Quoted):
        return thunk.eval()
    if hasattr(type(thunk), "__rayflow_symbol__"):
        return thunk()
    if not isinstance(thunk, Expression):
        raise BadArguments(f"force(thunk) takes a task, or what delay or quote has made, not {preview(thunk)}.")
    return Operation("force", (thunk,))


@front_door
def len_(term: Term) -> int:
    """The lazy length of a lazy value. Of any other value, its length now."""
    return _typed(Operation("len", (term,))) if isinstance(term, Expression) else len(term)


@front_door
def not_(term: Term) -> bool:
    """A lazy `not` for a lazy value. For any other value, it is computed at once."""
    return _typed(Operation("not", (term,))) if isinstance(term, Expression) else not term


def _typed(lazy: Expression) -> T:  # type: ignore[type-var]  # whichever is promised where this is called
    """An expression where a value is promised: its type is the value's, since it may be used wherever the value may."""
    return lazy  # type: ignore[return-value]  # lazy
