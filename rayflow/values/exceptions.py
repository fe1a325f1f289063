"""What an exception is made of: its class, its arguments and its attributes, and the same exception from these.

In: an exception, or its pieces. Out: its pieces, or the exception. Never: calls the class's own constructor, which
seldom takes what `args` holds; pickles.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from typing import Any, TypeAlias

Pieces: TypeAlias = "tuple[type[BaseException], tuple[Any, ...], dict[str, Any]]"
"""Class, arguments, attributes by name; notes are none of them."""

_APART: tuple[type, ...] = (BaseException, BaseExceptionGroup)
"""Classes whose members say nothing: they are the arguments again, or the place where it was raised."""

_NOT_KEPT = ("obj",)
"""Members that are whatever object stood near (AttributeError.obj); Python's own pickles leave it out, too."""

_MOST_LETTERS = 200


def attributes_of(error: BaseException) -> dict[str, Any]:
    """What it carries besides its arguments: also what built-in classes keep outside `__dict__` (OSError.filename)."""
    found: dict[str, Any] = {}
    for name, member in _members(type(error)).items():
        try:
            part = member.__get__(error)
        except AttributeError:  # a slot that was never set
            continue
        if part is not None:
            found[name] = part
    found.update((name, part) for name, part in vars(error).items() if name != "__notes__")
    return found


def pieces_of(error: BaseException) -> Pieces:
    """Its pieces, from which `from_pieces` makes an equal one."""
    return type(error), error.args, attributes_of(error)


def from_pieces(of: type[BaseException], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    """The exception again."""
    built_in = next(base for base in of.__mro__ if base.__module__ == "builtins")
    made: BaseException = built_in.__new__(of, *arguments)
    made.args = arguments
    members = _members(of)
    for name, part in attributes.items():
        if name in members:
            members[name].__set__(made, part)
        else:
            vars(made)[name] = part
    return made


def reduces_itself(of: type[BaseException]) -> bool:
    """Whether the author says how instances are pickled, in Python or in C (pydantic.ValidationError), or makes them in
    C: then they are not ours to take apart."""
    for base in of.__mro__:
        if base.__module__ == "builtins":
            continue
        own = vars(base)
        if "__reduce__" in own or "__reduce_ex__" in own or isinstance(own.get("__new__"), types.BuiltinFunctionType):
            return True
    return False


def _members(of: type[BaseException]) -> dict[str, Any]:
    return {
        name: member
        for base in reversed(of.__mro__)
        if base not in _APART
        for name, member in vars(base).items()
        if isinstance(member, types.MemberDescriptorType) and name not in _NOT_KEPT
    }


# --- where not all of it can go along ---------------------------------------------------------------------------------


class Unkept:
    """Stands in an exception for a part that could not be pickled, an open connection say: only its text came along."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text

    def __getattr__(self, name: str) -> Any:
        text = vars(self).get("_text", "")
        raise AttributeError(f"{text} could not be pickled, so it stayed where the exception was raised: no {name!r}")


def kept_pieces_of(error: BaseException, can_be_kept: Callable[[Any], bool]) -> Pieces:
    """Its pieces, with stand-ins for those that cannot be kept."""

    def kept(part: Any) -> Any:
        # Addresses would make each such error another one.
        return part if can_be_kept(part) else Unkept(re.sub(r" at 0x[0-9a-f]+", "", repr(part))[:_MOST_LETTERS])

    of, arguments, attributes = pieces_of(error)
    return of, tuple(map(kept, arguments)), {name: kept(part) for name, part in attributes.items()}
