"""Commands in messages, written so that they work where a reader pastes them.

In: the words after `rayflow`, and the store to ask. Out: one line for a shell. Never: reads a configuration.

Without `--store` a command asks the store that the configuration of the current directory names. `rayflow.config` knows
that store and registers a function for it here. Until then, every command has `--store`.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable

_PLACEHOLDER = re.compile(r"[A-Z_]+|~\d+")
"""Words that a shell leaves alone, though `shlex` would quote one of them: ID, PATH, ~1."""

_typed_in: str | None = None
"""The current directory of the user's shell; None for that of this process."""

_default_store: Callable[[str], str | None] | None = None


def typed_in(directory: str | None) -> str | None:
    """Set the directory where the user types commands, when this process runs in another. Returns the old one."""
    global _typed_in
    before, _typed_in = _typed_in, directory
    return before


def ask_for_default(default_store: Callable[[str], str | None]) -> None:
    """Set the function from a directory to the store that a command without `--store` asks there."""
    global _default_store
    _default_store = default_store


def command(*words: str, store: str | None = None) -> str:
    """`rayflow WORDS`, quoted for a shell; with `--store` where a command typed here would ask another store.

    store: URL or path of the store that is meant; None where the command asks none.
    """
    said = " ".join(word if _PLACEHOLDER.fullmatch(word) else shlex.quote(word) for word in ("rayflow", *words))
    if store is None or store == ":memory:" or _same(store, _default()):
        return said
    return f"{said} --store {shlex.quote(_plain(store))}"


def _default() -> str | None:
    if _default_store is None:
        return None
    try:
        return _default_store(_typed_in or os.getcwd())
    except OSError:  # the directory is gone: no command can be typed there
        return None


def _plain(store: str) -> str:
    return store.removeprefix("file://").rstrip("/") or store


def _same(store: str, other: str | None) -> bool:
    if other is None:
        return False
    one, two = _plain(store), _plain(other)
    return one == two or ("://" not in one and "://" not in two and os.path.realpath(one) == os.path.realpath(two))
