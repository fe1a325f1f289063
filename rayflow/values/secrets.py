"""Secrets: references to texts that must not be kept.

In: a reference ("env:NAME", "file:PATH", or that of a registered provider). Out: the text, in the process that asks for
it. Never: puts the text into a hash, a term, a record or a preview.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rayflow.errors import SecretUnavailable
from rayflow.values.custom import Value
from rayflow.values.masking import mask


class Secret(Value):
    """A password, a token, a key: by reference. `get()` gives the text, in the body of the task that needs it.

    `Secret("env:DB_PASSWORD")` is an environment variable of the worker, `Secret("file:/run/secrets/db")` a file there
    (without the newline at its end); `Secret.register("vault", read)` makes `Secret("vault:PATH")` call `read("PATH")`.

    Arguments, hashes, records, previews, logs and errors hold the reference. Text that was resolved is masked where it
    turns up in what a task prints, in the message of its error, or in the preview of a value, if it has at least four
    characters. It is not looked for in results: what a task returns is kept as it is. Another secret under the same
    reference runs nothing again.
    """

    __slots__ = ("reference",)

    _providers: dict[str, Callable[[str], str]] = {}

    def __init__(self, reference: str) -> None:
        kind, colon, name = reference.partition(":")
        if not (kind and colon and name):
            raise SecretUnavailable(
                f"A secret is named by where it is: Secret('env:NAME') or Secret('file:PATH'), not a text of "
                f"{len(reference)} characters."
            )
        self.reference = reference

    @classmethod
    def register(cls, kind: str, read: Callable[[str], str]) -> None:
        """Have secrets of this kind read by `read`, which gets what stands behind the colon.

        Call it at the top level of a module that your tasks' module imports, so that workers do it too.
        """
        if kind in ("env", "file"):
            raise SecretUnavailable(f"Secrets of the kind {kind!r} are rayflow's own.")
        cls._providers[kind] = read

    def get(self) -> str:
        """The text. Raises SecretUnavailable, which names the reference, where it cannot be read."""
        kind, _, name = self.reference.partition(":")
        if kind == "env":
            text = os.environ.get(name)
            if text is None:
                raise SecretUnavailable(
                    f"{self!r}: the environment variable {name} is not set in this process. It is read where the task "
                    "runs: set it before the workers start."
                )
        elif kind == "file":
            try:
                text = Path(name).expanduser().read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                raise SecretUnavailable(f"{self!r}: the file {name} cannot be read here: {reason}.") from None
        else:
            text = self._provided(kind, name)
        mask(text, repr(self))
        return text

    def _provided(self, kind: str, name: str) -> str:
        read = self._providers.get(kind)
        if read is None:
            known = ", ".join(["env", "file", *sorted(self._providers)])
            raise SecretUnavailable(
                f"{self!r}: nothing here reads secrets of the kind {kind!r} (known: {known}). Call Secret.register at "
                "the top level of a module that the task's module imports."
            )
        try:
            text = read(name)
        except Exception as error:
            # What a provider says may hold what it has read: its type has to do.
            raise SecretUnavailable(f"{self!r}: its provider raised {type(error).__qualname__}.") from None
        if not isinstance(text, str):
            raise SecretUnavailable(f"{self!r}: its provider gave a {type(text).__qualname__}, not a str.")
        return text

    def identity(self) -> Any:
        """The reference."""
        return self.reference

    @classmethod
    def parse(cls, text: str) -> Secret:
        """The secret of a reference."""
        return cls(text)

    def preview(self) -> str:
        """The reference."""
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.reference == other.reference

    def __hash__(self) -> int:
        return hash(self.reference)

    def __repr__(self) -> str:
        return f"Secret({self.reference!r})"
