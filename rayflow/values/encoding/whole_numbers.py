"""Whole numbers of any length as text, and back: Python itself refuses to write or read more than 4,300 digits.

In: a number, a text, plain data. Out: a text, a number, JSON. Never: changes Python's limit, since all code in the
process shares it.
"""

from __future__ import annotations

import ast
import decimal
import fractions
import json
import re
from collections.abc import Callable
from typing import Any

from rayflow.values.encoding.previews import preview

LONGEST_BITS = 2000
"""Python always writes numbers of at most this many bits: its limit can be set to 640 digits, but not to fewer."""


def is_long(value: int) -> bool:
    """Whether Python might refuse to write this number."""
    return int.bit_length(value) > LONGEST_BITS


def digits(value: int) -> str:
    """The decimal digits of a number of any length."""
    # A Decimal is exact at any length, has no limit, and is quick to write.
    return format(decimal.Decimal(int.__index__(value)), "f") if is_long(value) else int.__repr__(value)


def text_of(value: Any) -> str:
    """The str() of any number, also of a Fraction with long parts."""
    if isinstance(value, fractions.Fraction):
        below = "" if value.denominator == 1 else f"/{digits(value.denominator)}"
        return digits(value.numerator) + below
    return digits(value) if isinstance(value, int) and is_long(value) else str(value)


def number_of(text: str) -> int:
    """The int of a text with any number of digits. Raises ValueError for texts that int() refuses."""
    try:
        return int(text)
    except ValueError:
        if _WHOLE.fullmatch(text) is None:
            raise
        return int(decimal.Decimal(text.strip().replace("_", "")))


_WHOLE = re.compile(r"\s*[+-]?\d+(_\d+)*\s*")


def literal_of(text: str) -> Any:
    """The value of a Python literal. Raises the errors of ast.literal_eval."""
    return number_of(text) if _LONG_LITERAL.fullmatch(text) else ast.literal_eval(text)


_LONG_LITERAL = re.compile(r"[+-]?[1-9][0-9]{600,}")


def refuses_length(error: BaseException) -> bool:
    """Whether this is Python's error for a number with too many digits."""
    return isinstance(error, ValueError | SyntaxError) and "for integer string conversion" in str(error)


def json_text(value: Any, default: Callable[[Any], Any]) -> str:
    """Plain data as JSON, with long numbers as texts. default: converts other objects to plain data.

    Never fails: data without JSON (it contains itself, or a key is not a name) is written as its preview.
    """
    try:
        return json.dumps(value, default=default)
    except (ValueError, TypeError, RecursionError):
        pass
    try:
        return json.dumps(_without_long(value), default=lambda other: _default(other, default))
    except (ValueError, TypeError, RecursionError):
        return json.dumps(preview(value))


def _default(value: Any, default: Callable[[Any], Any]) -> Any:
    try:
        return default(value)
    except Exception:  # the str() of a user's class
        return preview(value)


def _without_long(value: Any) -> Any:
    if isinstance(value, int):
        return digits(value) if is_long(value) else value
    if isinstance(value, list | tuple):
        return [_without_long(each) for each in value]
    if isinstance(value, dict):
        return {_without_long(key): _without_long(each) for key, each in value.items()}
    return value
