"""Texts to scalars: how a number, a date or the member of an enum is written.

In: one text. Out: a value of one type, or an error that says what was expected. Never: a container, a hint of several
types.
"""

from __future__ import annotations

import datetime
import decimal
import difflib
import enum
import fractions
import pathlib
import uuid
from collections.abc import Callable
from typing import Any

from rayflow.errors import BadArguments, BadOption
from rayflow.lang.options.option_values import parse_seconds
from rayflow.lang.parameters.hints import NONE
from rayflow.values.encoding.whole_numbers import number_of, text_of

TRUE, FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})
"""The texts for a bool, in upper or lower case."""

NOTHING = frozenset({"None", "null"})
"""The texts for None."""


def enum_member(text: str, of: type[enum.Enum]) -> enum.Enum:
    """The member of this name (in any case, with dashes for underscores; `Color.red` for `red`) or value. Raises
    BadArguments."""
    found = of.__members__.get(text) or of.__members__.get(text.replace("-", "_"))
    if found is None:
        folded = text.replace("-", "_").lower()
        named = [member for name, member in of.__members__.items() if name.lower() == folded]
        found = named[0] if len(named) == 1 else None
    if found is None:
        found = next((member for member in of if text_of(member.value) == text), None)
    if found is None and without_class(text, of) != text:
        return enum_member(without_class(text, of), of)
    if found is None:
        raise BadArguments(not_among(text, list(of.__members__)))
    return found


def without_class(text: str, of: type[enum.Enum]) -> str:
    """`red` for `Color.red`, `Paint.Color.red` and `flow.Paint.Color.red`: as code and error texts write a member."""
    for name in (f"{of.__module__}.{of.__qualname__}", of.__qualname__, of.__name__):
        if text.startswith(f"{name}."):
            return text[len(name) + 1 :]
    return text


def not_among(text: str, choices: list[str]) -> str:
    """The error for a text that is none of the choices, with the nearest of them."""
    folded = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(text.lower(), folded, n=1)
    hint = f"; did you mean {folded[near[0]]}?" if near else ""
    return f"{quoted(text)} is not one of: {', '.join(choices[:20])}{hint}"


def _bool(text: str) -> bool:
    word = text.lower()
    if word not in TRUE and word not in FALSE:
        raise BadArguments(f"{quoted(text)} is not a bool; write true or false")
    return word in TRUE


def _none(text: str) -> None:
    if text not in NOTHING:
        raise BadArguments(f"{quoted(text)} is not None")


def _duration(text: str) -> datetime.timedelta:
    parts = text.split(":")
    if len(parts) == 3:
        hours, minutes, seconds = parts
        return datetime.timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds))
    try:
        return datetime.timedelta(seconds=parse_seconds(text))
    except BadOption:
        raise BadArguments(f"{quoted(text)} is not a duration; write seconds, 90m, 12h, 1d or h:mm:ss") from None


def _fraction(text: str) -> fractions.Fraction:
    above, slash, below = text.partition("/")
    try:
        return fractions.Fraction(number_of(above), number_of(below) if slash else 1)
    except ValueError:  # "0.25", say
        return fractions.Fraction(text)


READERS: dict[Any, Callable[[str], Any]] = {
    bool: _bool,
    int: number_of,
    float: float,
    complex: complex,
    str: str,
    bytes: lambda text: text.encode(),
    bytearray: lambda text: bytearray(text.encode()),
    NONE: _none,
    pathlib.Path: pathlib.Path,
    pathlib.PurePath: pathlib.PurePath,
    decimal.Decimal: decimal.Decimal,
    fractions.Fraction: _fraction,
    uuid.UUID: uuid.UUID,
    datetime.datetime: datetime.datetime.fromisoformat,
    datetime.date: datetime.date.fromisoformat,
    datetime.time: datetime.time.fromisoformat,
    datetime.timedelta: _duration,
}
"""Type -> how a text becomes one. Anything that a reader raises means that the text is none."""


def quoted(text: str) -> str:
    """A text as it is shown in an error, shortened."""
    return repr(text if len(text) <= 80 else f"{text[:60]}...{text[-10:]}")
