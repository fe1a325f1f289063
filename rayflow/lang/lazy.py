"""What type checkers see of a form that may also be awaited.

In: nothing. Out: `Lazy`. Never: an object of it: where a function says that it returns one, it returns an Expression.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Lazy(Any, Generic[T_co]):  # type: ignore[misc]  # only so it may stand wherever any value may
    """A lazy value. It may stand wherever its value may, and `await` gives the value.

    A type checker takes it for every type, since no type can say "a T, and awaitable" for each T.
    """

    def __await__(self) -> Generator[Any, Any, T_co]:
        """The value, in the body of an async task."""
        raise NotImplementedError
