"""What the evaluator remembers of changes of files and handles: which call made them.

In: nothing. Out: `Writer`, `Advance`. Never: logic.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Writer(NamedTuple):
    """The call that gave a file, and the state of the file at that time.

    call: the call as text. The text is made at once, because the arguments are forgotten later.
    """

    eval_hash: bytes | None
    call: str
    state: tuple[Any, ...]


class Advance(NamedTuple):
    """The call that changed a state of a handle, and the new state. call: the call as text."""

    eval_hash: bytes | None
    call: str
    state: bytes
