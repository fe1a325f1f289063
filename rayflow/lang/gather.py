"""`await` on an expression, and `gather`.

In: an expression that the body of an async task awaits. Out: its value. Never: evaluates it; the worker that runs the
body says, by `answer_with`, how to get the value.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from rayflow.errors import LazyValueUsed

if TYPE_CHECKING:
    from rayflow.lang.lazy import Lazy

T = TypeVar("T")

Answer: TypeAlias = Callable[[Any], Coroutine[Any, Any, Any]]
"""Waits for the value of a term. Raises the error with which it failed."""

_answer: ContextVar[Answer | None] = ContextVar("rayflow_answer", default=None)


def answer_with(answer: Answer) -> None:
    """Let `answer` give the values of awaited terms, in this context and in those that are copied from it."""
    _answer.set(answer)


def awaited(term: Any) -> Generator[Any, Any, Any]:
    """The iterator for `__await__` of an expression. Raises LazyValueUsed outside the body of an async task."""
    answer = _answer.get()
    if answer is None:
        raise LazyValueUsed(
            f"{term!r} cannot be awaited here: only the body of an async task can await. Return it: rayflow reduces "
            "what a task returns; or pass it to rayflow.run(...) for its value."
        )
    return answer(term).__await__()


class _Terms:
    """Makes a term awaitable that is not an expression, such as a list of expressions."""

    __slots__ = ("_term",)

    def __init__(self, term: Any) -> None:
        self._term = term

    def __await__(self) -> Generator[Any, Any, Any]:
        return awaited(self._term)

    def __repr__(self) -> str:
        return "gather(...)"


@overload
async def gather(term: Lazy[T], /) -> T: ...


@overload
async def gather(term: T, /) -> T: ...


@overload
async def gather(*terms: Any) -> list[Any]: ...


async def gather(*terms: Any) -> Any:
    """`await gather(...)` in the body of an async task: the values of all these terms, evaluated at the same time.

    Several terms give a list, in their order: `a, b = await gather(f(1), g(2))`. A single term gives its value:
    `await gather({"a": f(1), "b": [g(2)]})` gives the same containers with values in place of the expressions. When all
    have ended, the first error by position is raised. Raises LazyValueUsed outside the body of an async task.
    """
    return await _Terms(terms[0] if len(terms) == 1 else list(terms))
