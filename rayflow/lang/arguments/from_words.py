"""The words behind a task's name: which argument each belongs to.

In: a task and words. Out: the arguments of its call, or BadArguments on one line that offers the nearest names. Never:
runs anything.

    --name value, --name=value     an argument; dashes stand for underscores
    --flag, --no-flag              a bool; --flag true and --flag=false as well
    --names a b c                  a list, set, tuple or dict takes all words up to the next one with two dashes; it
                                   may be given several times, or once as JSON
    value                          the next argument that was not given by name, then those of *args
    --other value                  a key of **kwargs, where the task has them
    --                             only values from here on
A value that begins with two dashes is written --name=--value.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import GenericAlias
from typing import Any

from rayflow.errors import BadArguments
from rayflow.lang.arguments import from_text, scalars
from rayflow.lang.parameters.hints import ANYTHING, describe, hint_of, is_flag, takes_many
from rayflow.lang.parameters.job_info import JobInfo
from rayflow.lang.parameters.kept import KeptObject
from rayflow.lang.tasks import Task
from rayflow.values.filesystems.filesystems import typed_in

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class CommandParameter:
    """One parameter of a task, for the command line. many: whether it takes several words."""

    name: str
    kind: Any
    hint: Any
    default: Any
    many: bool

    @property
    def option(self) -> str:
        """The form in which people write it."""
        return "--" + self.name.replace("_", "-")

    @property
    def is_rest(self) -> bool:
        """Whether it is *args or **kwargs, and so may be left out."""
        return self.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

    @property
    def is_required(self) -> bool:
        """Whether a call needs an argument for it."""
        return self.default is inspect.Parameter.empty and not self.is_rest


def arguments_of(task: Task[..., Any]) -> list[CommandParameter]:
    """The parameters of a task, in the signature's order, except those that get the job's JobInfo or a kept
    object."""
    found = []
    for parameter in task.signature.parameters.values():
        if isinstance(parameter.default, JobInfo | KeptObject):
            continue
        hint: Any = hint_of(parameter, task.func.__globals__)
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            hint = GenericAlias(list, (hint,))
        many = takes_many(hint) and parameter.kind is not inspect.Parameter.VAR_KEYWORD
        found.append(CommandParameter(parameter.name, parameter.kind, hint, parameter.default, many))
    return found


def option_names(task: Task[..., Any]) -> frozenset[str]:
    """Every `--name` that the task's own arguments understand."""
    names = set()
    for argument in arguments_of(task):
        names.add(argument.option)
        if is_flag(argument.hint):
            names.add("--no-" + argument.option[2:])
    return frozenset(names)


# --- reading ----------------------------------------------------------------------------------------------------------


def call_of(
    task: Task[..., Any],
    words: Sequence[str],
    *,
    others: Iterable[str] = (),
    data: Mapping[str, Any] | None = None,
    meant: Mapping[str, str] | None = None,
    typed_at: str | None = None,
) -> Any:
    """The lazy call of a task with the arguments from the words, and with the arguments from `data` that lack a word.

    others: options of the verb, to offer for an unknown name. data: arguments in JSON form, by name. meant: the names
    to offer for names that people guess. typed_at: the directory that paths in the words are relative to; the current
    one by default. Raises BadArguments.
    """
    reader = _Reader(task, tuple(others), meant or {}, typed_at)
    reader.read(words)
    reader.take(data or {})
    args, kwargs = task.parameters.spread(reader.values())
    return task(*args, **kwargs)


def given_in(
    task: Task[..., Any],
    words: Sequence[str],
    *,
    others: Iterable[str] = (),
    data: Mapping[str, Any] | None = None,
    meant: Mapping[str, str] | None = None,
    typed_at: str | None = None,
) -> dict[str, Any]:
    """The arguments that the words give, by the names of the task's parameters, and no others. The arguments are those
    of `call_of`. Raises BadArguments."""
    reader = _Reader(task, tuple(others), meant or {}, typed_at)
    reader.read(words)
    reader.take(data or {})
    return reader.values(partial=True)


class _Reader:
    """Sorts words to parameters."""

    def __init__(
        self, task: Task[..., Any], others: tuple[str, ...], meant: Mapping[str, str], typed_at: str | None = None
    ) -> None:
        self._typed_at = typed_at or os.getcwd()
        self.task = task
        self.meant = meant
        self.others = others
        self.arguments = {argument.name: argument for argument in arguments_of(task)}
        self.texts: dict[str, list[str]] = {}
        self.extra: dict[str, str | None] = {}
        self.positional: list[str] = []
        self.data: dict[str, Any] = {}
        self.rest = self._of_kind(inspect.Parameter.VAR_POSITIONAL)
        self.keyword_rest = self._of_kind(inspect.Parameter.VAR_KEYWORD)

    def _of_kind(self, kind: Any) -> CommandParameter | None:
        return next((argument for argument in self.arguments.values() if argument.kind is kind), None)

    def read(self, words: Sequence[str]) -> None:
        """Go through all words once."""
        position = 0
        while position < len(words):
            word = words[position]
            position += 1
            if word == "--":
                self.positional.extend(words[position:])
                break
            if not word.startswith("--"):
                self.positional.append(word)
                continue
            position = self._named(word, words, position)
        self._place_positional()

    def _named(self, word: str, words: Sequence[str], position: int) -> int:
        """Read `--name` and its value; returns the position behind it."""
        written, equals, value = word[2:].partition("=")
        name = written.replace("-", "_")
        following = words[position] if position < len(words) else None
        has_value = following is not None and not following.startswith("--")
        argument = self.arguments.get(name)
        if argument is None or argument is self.keyword_rest:
            negated = self.arguments.get(name.removeprefix("no_")) if name.startswith("no_") else None
            if negated is not None and is_flag(negated.hint) and not equals:
                self._give(negated, ["false"])
                return position
            if self.keyword_rest is None:
                raise BadArguments(self._unknown(written))
            self.extra[name] = value if equals else following if has_value else None
            return position + (has_value and not equals)
        if equals:
            self._give(argument, [value])
            return position
        if is_flag(argument.hint):
            is_said = has_value and following is not None and following.lower() in scalars.TRUE | scalars.FALSE
            self._give(argument, [following if is_said and following is not None else "true"])
            return position + is_said
        if argument.many:
            end = position
            while end < len(words) and not words[end].startswith("--"):
                end += 1
            self._give(argument, list(words[position:end]))
            return end
        if not has_value or following is None:
            raise BadArguments(f"{argument.option} needs a value ({describe(argument.hint)}).")
        self._give(argument, [following])
        return position + 1

    def take(self, data: Mapping[str, Any]) -> None:
        """Take arguments that were read from a file. A word for the same parameter overrides them."""
        for written, value in data.items():
            name = written.replace("-", "_")
            argument = self.arguments.get(name, self.keyword_rest)
            if argument is None:
                raise BadArguments(self._unknown(name.replace("_", "-")))
            if name not in self.texts and name not in self.extra:
                convert = functools.partial(from_text.convert, value, argument.hint)
                self.data[name] = _parsed("--" + name.replace("_", "-"), convert)

    def _give(self, argument: CommandParameter, texts: list[str]) -> None:
        if argument.name in self.texts and not argument.many:
            raise BadArguments(f"{argument.option} was given twice.")
        self.texts.setdefault(argument.name, []).extend(texts)

    def _unknown(self, written: str) -> str:
        known = [argument.option for argument in self.arguments.values() if not argument.is_rest]
        name = "--" + written.replace("_", "-")
        near = difflib.get_close_matches(name, [*known, *self.others], n=1)
        if name in self.meant and not (near and near[0] in known):
            near = [self.meant[name]]  # nearer than what only looks alike
        hint = f"Did you mean {near[0]}?" if near else f"It takes {', '.join(known)}." if known else "It takes none."
        return f"{self.task.name} has no argument --{written}. {hint}"

    def _place_positional(self) -> None:
        open_ones = [a for a in self.arguments.values() if a.kind in _POSITIONAL and a.name not in self.texts]
        words = self.positional
        for argument in open_ones:
            if not words:
                return
            takes_rest = argument.many and argument is open_ones[-1] and self.rest is None
            taken, words = (words, []) if takes_rest else (words[:1], words[1:])
            self._give(argument, list(taken))
        if words and self.rest is not None:
            self.texts.setdefault(self.rest.name, []).extend(words)
        elif words:
            most = sum(argument.kind in _POSITIONAL for argument in self.arguments.values())
            raise BadArguments(
                f"{self.task.name} takes {'no' if not most else f'at most {most}'} values without a name; "
                f"{words[0]!r} is one too many."
            )

    def values(self, *, partial: bool = False) -> dict[str, Any]:
        """The arguments by parameter, in the signature's order. partial: required ones may be missing."""
        given = {**self.texts, **self.data}
        missing = [a for a in self.arguments.values() if a.is_required and a.name not in given]
        if missing and not partial:
            names = " and ".join(f"{a.option} ({describe(a.hint)})" for a in missing)
            raise BadArguments(f"{self.task.name} needs {names}.")
        found: dict[str, Any] = {}
        for argument in self.arguments.values():
            if argument is self.keyword_rest:
                more = {name: value for name, value in self.data.items() if name not in self.arguments}
                more |= {name: self._extra(argument, name) for name in self.extra}
                if more:
                    found[argument.name] = more
            elif argument.name in self.texts:
                found[argument.name] = _value(argument, self.texts[argument.name], self._typed_at)
            elif argument.name in self.data:
                found[argument.name] = self.data[argument.name]
            elif partial:
                continue
            elif self.rest is not None and self.rest.name in given and argument.kind in _POSITIONAL:
                # *args can only be reached through all that stands before it.
                found[argument.name] = argument.default
        return found

    def _extra(self, argument: CommandParameter, name: str) -> Any:
        text = self.extra[name]
        if text is None:
            if argument.hint is ANYTHING or is_flag(argument.hint):
                return True
            raise BadArguments(f"--{name.replace('_', '-')} needs a value ({describe(argument.hint)}).")
        with _typed([text], self._typed_at):
            return _parsed(f"--{name.replace('_', '-')}", lambda: from_text.parse(text, argument.hint))


def _value(argument: CommandParameter, texts: list[str], at: str) -> Any:
    def parse() -> Any:
        return from_text.parse_many(texts, argument.hint) if argument.many else from_text.parse(texts[0], argument.hint)

    with _typed(texts, at):
        return _parsed(argument.option, parse)


def _typed(texts: Sequence[str], at: str) -> AbstractContextManager[None]:
    """Paths in these texts are relative to where they are typed; those in a file of arguments mean the same wherever
    it is read from: as in code they are relative to the project."""
    return nullcontext() if any(text.startswith("@") for text in texts) else typed_in(at)


def _parsed(option: str, parse: Any) -> Any:
    try:
        return parse()
    except BadArguments as error:
        raise BadArguments(f"{option}: {error}.") from None
