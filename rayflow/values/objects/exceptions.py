"""Exceptions as pieces (class, arguments, attributes), and exceptions rebuilt from these.

In: an exception, or its pieces. Out: its pieces, or the exception. Never: calls the constructor of the class, which
often takes other arguments than `args` holds; pickles.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from typing import Any, TypeAlias

from rayflow.values.display.masking import masked

Pieces: TypeAlias = "tuple[type[BaseException], tuple[Any, ...], dict[str, Any]]"
"""Class, arguments, attributes by name, without the notes."""

_WITHOUT_MEMBERS: tuple[type, ...] = (BaseException, BaseExceptionGroup)
"""Classes whose members are left out: they repeat the arguments, or hold the traceback."""

_LEFT_OUT = ("obj",)
"""Members that hold an object of the user's at random (AttributeError.obj). Python's own pickles leave it out, too."""

_MOST_LETTERS = 200


def attributes_of(error: BaseException) -> dict[str, Any]:
    """All attributes but the arguments, also those that built-in classes keep outside `__dict__` (OSError.filename)."""
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
    """The pieces from which `from_pieces` makes an equal exception."""
    return type(error), error.args, attributes_of(error)


def from_pieces(of: type[BaseException], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    """The exception that has these pieces."""
    built_in = next(base for base in of.__mro__ if base.__module__ == "builtins")
    made: BaseException = built_in.__new__(of, *arguments)
    made.args = arguments
    give_attributes(made, attributes)
    return made


def give_attributes(made: BaseException, attributes: dict[str, Any]) -> None:
    """Set the attributes of a rebuilt exception."""
    members = _members(type(made))
    for name, part in attributes.items():
        if name in members:
            members[name].__set__(made, part)
        else:
            vars(made)[name] = part


def reduces_itself(of: type[BaseException]) -> bool:
    """Whether a class defines how its instances are pickled, or creates them in C (pydantic.ValidationError).

    Then rayflow does not take them apart.
    """
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
        if base not in _WITHOUT_MEMBERS
        for name, member in vars(base).items()
        if isinstance(member, types.MemberDescriptorType) and name not in _LEFT_OUT
    }


# --- parts that cannot be pickled -------------------------------------------------------------------------------------


class StandIn:
    """A part of an exception that could not be pickled, such as an open connection: only its text was kept."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text

    def __getattr__(self, name: str) -> Any:
        text = vars(self).get("_text", "")
        raise AttributeError(f"{text} could not be pickled, so it stayed where the exception was raised: no {name!r}")


Unkept = StandIn
"""Its name in the pickles of older stores."""


def picklable_pieces_of(error: BaseException, can_be_pickled: Callable[[Any], bool]) -> Pieces:
    """The pieces of an exception, with a StandIn for each that cannot be pickled."""

    def kept(part: Any) -> Any:
        # With an address in its text, each such error would have another hash.
        if can_be_pickled(part):
            return part
        return StandIn(re.sub(r" at 0x[0-9a-f]+", "", masked(repr(part)))[:_MOST_LETTERS])

    of, arguments, attributes = pieces_of(error)
    return of, tuple(map(kept, arguments)), {name: kept(part) for name, part in attributes.items()}
