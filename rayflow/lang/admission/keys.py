"""Keys: the texts by which admission tells runs apart.

In: a template such as "tenant:{order.tenant}", or a function of the arguments; the arguments of a call. Out: a text.
Never: calls what a template names.
"""

from __future__ import annotations

import inspect
import string
from collections.abc import Callable, Mapping
from datetime import date
from enum import Enum
from typing import Any, TypeAlias
from uuid import UUID

from rayflow.errors import BadArguments, BadOption
from rayflow.lang.parameters.signatures import Parameters
from rayflow.lang.terms.expressions import Expression
from rayflow.values.encoding.previews import preview

Key: TypeAlias = str | Callable[..., Any]
"""How a key is found: a template, or a function of the flow's arguments."""

MOST_CHARACTERS = 1_000
"""The longest key."""

_PLAIN = (str, int, float, UUID, date)


def check_key(key: Any, parameters: Parameters, where: str) -> None:
    """Raise BadOption if this is no key for a function with these parameters. where: what errors name."""
    if callable(key) and not inspect.isclass(key):
        _check_function(key, parameters, where)
        return
    if not isinstance(key, str) or not key:
        raise BadOption(
            f'{where} takes a template such as "tenant:{{order.tenant}}", or a function of the arguments, not '
            f"{preview(key)}."
        )
    try:
        pieces = list(string.Formatter().parse(key))
    except ValueError as error:
        raise BadOption(f"{where}: {preview(key)} is no template: {error}.") from None
    for _, field, spec, conversion in pieces:
        if field is None:
            continue
        if spec or conversion:
            raise BadOption(f"{where}: a template says what, and not how: write {{{field}}} without ! and :.")
        name, steps = _split(field, where)
        if name not in parameters.names:
            raise BadOption(
                f"{where}: the template names {name or '{}'!r}, which is not a parameter of the flow; the parameters "
                f"are: {', '.join(parameters.names) or 'none'}."
            )
        for is_attribute, step in steps:
            if is_attribute and (not str(step).isidentifier() or str(step).startswith("_")):
                raise BadOption(
                    f"{where}: {{{field}}}: a template names arguments, their attributes and items: nothing is called."
                )


def _check_function(key: Callable[..., Any], parameters: Parameters, where: str) -> None:
    if inspect.iscoroutinefunction(key):
        raise BadOption(f"{where}: a key is found by a plain function, not by an async one.")
    try:
        names = _names_of(key)
    except ValueError:
        raise BadOption(f"{where}: {preview(key)} does not tell its parameters: write a lambda around it.") from None
    unknown = [name for name in names if name not in parameters.names]
    if unknown:
        raise BadOption(
            f"{where}: the function takes {unknown[0]!r}, which is not a parameter of the flow; the parameters are: "
            f"{', '.join(parameters.names) or 'none'}."
        )


def _names_of(key: Callable[..., Any]) -> tuple[str, ...]:
    """The parameters of a function that get arguments of the flow."""
    return tuple([each.name for each in inspect.signature(key).parameters.values() if each.default is each.empty])


def depends_on_arguments(key: Key) -> bool:
    """Whether a key is not the same for all runs."""
    return callable(key) or any(field is not None for _, field, _, _ in string.Formatter().parse(key))


def key_of(key: Key, arguments: Mapping[str, Any], where: str) -> str | None:
    """The key of a run. None: a function says that the setting does not concern this run.

    arguments: by the names of the parameters; a function gets those that it names. Raises BadArguments where the key
    cannot be found; and what the user's code raises.
    """
    if callable(key):
        names = _names_of(key)
        for name in names:
            _check_there(arguments[name], name, where)
        found = key(*[arguments[name] for name in names])
        if found is None:
            return None
        text = _text(found, f"{where}: the function", found)
    else:
        text = "".join(
            [
                literal if field is None else literal + _filled(field, arguments, where)
                for literal, field, _, _ in string.Formatter().parse(key)
            ]
        )
    if len(text) > MOST_CHARACTERS:
        raise BadArguments(f"{where}: the key has {len(text):,} characters; {MOST_CHARACTERS:,} are the most.")
    return text


def _split(field: str, where: str) -> tuple[str, list[tuple[bool, str | int]]]:
    """The name of a parameter, and the attributes (True) and items (False) below it."""
    try:
        name, rest = string._string.formatter_field_name_split(field)  # type: ignore[attr-defined]  # as Formatter does
        return str(name), list(rest)
    except ValueError as error:
        raise BadOption(f"{where}: {{{field}}} cannot be read: {error}.") from None


def _filled(field: str, arguments: Mapping[str, Any], where: str) -> str:
    name, steps = _split(field, where)
    value, so_far = arguments[name], name
    for is_attribute, step in steps:
        _check_there(value, so_far, where)
        try:
            is_field = is_attribute and not isinstance(value, Mapping)
            value = getattr(value, str(step)) if is_field else value[step]
        except (AttributeError, LookupError, TypeError) as error:
            raise BadArguments(
                f"{where}: {{{field}}} cannot be found: {so_far} is {preview(value)} ({type(error).__name__}: {error})."
            ) from None
        so_far = f"{so_far}.{step}" if is_attribute else f"{so_far}[{step}]"
    _check_there(value, so_far, where)
    return _text(value, f"{where}: {{{field}}}", value)


def _check_there(value: Any, name: str, where: str) -> None:
    if isinstance(value, Expression):
        raise BadArguments(
            f"{where}: {name} is not computed yet: it is {preview(value)}. Give it as a value, or leave it out of the "
            "key."
        )


def _text(value: Any, what: str, shown: Any) -> str:
    if isinstance(value, Enum):
        value = value.value
    if not isinstance(value, _PLAIN):
        raise BadArguments(
            f"{what} gives {preview(shown)} of type {type(shown).__name__}: a key is made of texts and numbers."
        )
    return str(value)
