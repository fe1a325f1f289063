"""The code reader: what the language tells values about the user's code.

In: a `CodeReader`, from rayflow.lang.code.identity when that is imported. Out: the same reader, for the hash of
functions and of classes. Never: reads code itself.

This is the only place where the language gives something to values. Without a reader, a function is hashed by its
compiled code, and a class has no code.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import NamedTuple


class CodeReader(NamedTuple):
    """Two functions that read source code.

    function_identity: bytes that equal functions of the user have in common. class_code: the digest of the code of a
    class of the project, and of all that this code uses.
    """

    function_identity: Callable[[types.FunctionType], bytes]
    class_code: Callable[[type], bytes]


_reader: CodeReader | None = None


def set_code_reader(reader: CodeReader) -> None:
    """Use this reader in this process."""
    global _reader
    _reader = reader


def code_reader() -> CodeReader | None:
    """The reader of this process; None before the language is imported."""
    return _reader
