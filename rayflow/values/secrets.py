"""Secrets: references to texts that must not be stored or shown.

In: a reference ("env:NAME", "file:PATH", or one for a registered provider). Out: the text, in the process that calls
`get`. Never: puts the text into a hash, a term, a record or a preview.
"""

from __future__ import annotations

import ast
import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rayflow.errors import SecretUnavailable
from rayflow.values.custom import Value
from rayflow.values.display.masking import known, mask, secrets_in
from rayflow.values.display.tracebacks import front_door
from rayflow.values.witnesses import OF_SECRET, Witness


class Secret(Value):
    """A password, token or key, by reference. In the body of a task, `get()` gives the text.

    `Secret("env:DB_PASSWORD")` reads an environment variable of the worker. `Secret("file:/run/secrets/db")` reads a
    file there (without the newline at its end). `Secret.register("vault", read)` makes `Secret("vault:PATH")` call
    `read("PATH")`.

    Arguments, hashes, records, previews, logs and errors hold only the reference. Once any process of the execution has
    read the text, rayflow masks it in the output of tasks and their programs, in errors and their attributes, in
    previews and in tags. It also finds the text in quotes, in a URL, as hex and in Base64, but not in other codings
    (gzip, UTF-16). A text of less than four characters is not masked.

    The result of a task is stored unchanged, with any secret text in it. The job's log then says so, and a later
    execution that takes the result from the cache masks the text too, if it can read the secret. With `inline=True`,
    the terminal output of programs is masked while bodies run.

    `script(env={"TOKEN": secret})` passes the text to a program. When the text behind a reference changes, no task runs
    again.
    """

    __slots__ = ("reference",)

    _providers: dict[str, Callable[[str], str]] = {}

    @front_door
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
        """Read secrets of this kind by `read`, which gets the part of the reference after the colon.

        Call it at the top level of a module that your tasks' module imports, so that workers do it too.
        """
        if kind in ("env", "file"):
            raise SecretUnavailable(f"Secrets of the kind {kind!r} are rayflow's own.")
        cls._providers[kind] = read

    @front_door
    def get(self) -> str:
        """The text. Raises SecretUnavailable, which names the reference, if the text cannot be read."""
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
            # The provider's message may contain the secret: only its type is shown.
            raise SecretUnavailable(f"{self!r}: its provider raised {type(error).__qualname__}.") from None
        if not isinstance(text, str):
            raise SecretUnavailable(f"{self!r}: its provider gave a {type(text).__qualname__}, not a str.")
        return text

    def identity(self) -> Any:
        """The reference."""
        return self.reference

    @classmethod
    def parse(cls, text: str) -> Secret:
        """The secret that this text refers to."""
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


def witnesses_of_secrets(data: bytes) -> list[Witness]:
    """A witness for each secret whose text is in these bytes, so that a later process can mask it too."""
    return [(OF_SECRET, (ast.literal_eval(shown[len("<Secret(") : -len(")>")]),)) for shown in secrets_in(data)]


def mask_again(payloads: Sequence[tuple[str]], store: object) -> list[bool]:
    """Read these secrets if possible, so that their texts are masked. The validator of OF_SECRET: all are valid."""
    masked = {shown for _, shown in known()}  # a provider may be slow: each is read once
    for secret in {Secret(reference) for (reference,) in payloads}:
        if f"<{secret!r}>" not in masked:
            with contextlib.suppress(SecretUnavailable):  # a secret that cannot be read here cannot be masked here
                secret.get()
    return [True] * len(payloads)
