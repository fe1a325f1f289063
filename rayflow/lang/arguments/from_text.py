"""Text to values by type hint: texts on a command line become arguments of a task.

In: one or more texts and a type hint. Out: a value of that type, or BadArguments that says what was expected; and the
other way about, a hint as text for people. Never: looks at a signature, prints, or runs a task.

A text is read by the hint alone. Containers and classes with fields are read from JSON (or a Python literal, or `@file`
with JSON in it), and their parts by the hints inside. A `Value`, or the handler of a class, can say how it is read:
its `parse` wins over every rule here.
"""

from __future__ import annotations

import collections
import collections.abc
import difflib
import enum
import json
import os
import pathlib
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, Literal, Union

from rayflow.errors import BadArguments
from rayflow.lang.arguments.from_name import class_named, function_named, task_named
from rayflow.lang.arguments.scalars import READERS, enum_member, not_among, quoted, without_class
from rayflow.lang.parameters.hints import (
    ANYTHING,
    DICTS,
    LISTS,
    NONE,
    Field,
    describe,
    fields_of,
    is_empty_tuple,
    is_many,
    members,
    plain,
    unpacked,
)
from rayflow.lang.tasks import Task
from rayflow.values.custom import parser_of
from rayflow.values.encoding.previews import kind_of, preview
from rayflow.values.encoding.whole_numbers import literal_of, number_of, refuses_length, text_of

_MISSING = object()

NAMED: dict[Any, Callable[[str], Any]] = {
    collections.abc.Callable: function_named,
    Task: task_named,
    type: class_named,
}
"""The function that finds a thing by its name, for each hint of such things."""


# --- texts to values --------------------------------------------------------------------------------------------------


def parse(text: str, hint: Any = ANYTHING) -> Any:
    """The value that a text means. Raises BadArguments, which names the expected form and the text."""
    return _parse(text, plain(hint), strict=False)


def parse_many(texts: Sequence[str], hint: Any) -> Any:
    """The value of several texts: `--x 1 2` or `--x 1 --x 2` for a list, `--d a=1 --d b=2` for a dict.

    One text that is JSON (or a literal) of the whole is read as such. Raises BadArguments.
    """
    errors = []
    for each in members(hint):
        try:
            return _parse_many(texts, each)
        except BadArguments as error:
            errors.append(error)
    raise errors[0]


def _parse_many(texts: Sequence[str], hint: Any) -> Any:
    origin, inside = typing.get_origin(hint) or hint, typing.get_args(hint)
    if not is_many(hint):
        if len(texts) != 1:
            raise BadArguments(f"{len(texts)} values were given where one is taken ({describe(hint)})")
        return parse(texts[0], hint)
    if len(texts) == 1:
        whole = _whole(texts[0])
        if isinstance(whole, list | tuple | dict | set | frozenset):
            return convert(whole, hint)
    if origin in DICTS:
        return _convert_dict(dict(map(_pair, texts)), origin, inside)
    if origin is tuple:
        return tuple(parse(text, each) for text, each in zip(texts, tuple_hints(hint, len(texts)), strict=True))
    item = inside[0] if inside else ANYTHING
    return _made(LISTS[origin], [parse(text, item) for text in texts])


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise BadArguments(f"{quoted(text)} is not a JSON object; write it as JSON, or as key=value")
    return name, value


def tuple_hints(hint: Any, count: int) -> tuple[Any, ...]:
    """The hint of each of `count` items of a tuple. Raises BadArguments when it asks for another number of items."""
    inside = typing.get_args(hint)
    if is_empty_tuple(hint):
        inside = ()
    elif not inside:
        return (ANYTHING,) * count
    before, repeated, after = _repeating(inside)
    least = len(before) + len(after)
    if count < least or (count > least and repeated is _MISSING):
        more = "" if repeated is _MISSING else " or more"
        raise BadArguments(f"{least}{more} items are expected, not {count}")
    return (*before, *(repeated,) * (count - least), *after)


def _repeating(inside: tuple[Any, ...]) -> tuple[list[Any], Any, list[Any]]:
    """The hints in the brackets of a tuple, in three parts: the hints before the repeated one; the repeated hint, which
    is for any number of items (or _MISSING); the hints after it."""
    if len(inside) == 2 and inside[1] is ...:
        return [], inside[0], []
    before: list[Any] = []
    repeated: Any = _MISSING
    after: list[Any] = []
    for each in inside:
        inner = unpacked(each)
        if inner is None:
            (before if repeated is _MISSING else after).append(each)
            continue
        start, found, end = _repeating(inner)
        (before if repeated is _MISSING else after).extend(start)
        repeated = found if repeated is _MISSING else repeated
        (before if repeated is _MISSING else after).extend(end)
    return before, repeated, after


def _whole(text: str) -> Any:
    """A container from JSON or a Python literal, or from the file that `@file` names; _MISSING when it is none."""
    if text.startswith("@"):
        return _from_file(text[1:])
    if not text.lstrip().startswith(("[", "{", "(")):
        return _MISSING
    try:
        return json.loads(text, parse_int=number_of)
    except RecursionError:
        raise BadArguments("it is nested too deeply to be read; pass a file and read it in the task") from None
    except ValueError:
        return _literal(text)


def _from_file(name: str) -> Any:
    try:
        return json.loads(pathlib.Path(name).read_text(encoding="utf-8"), parse_int=number_of)
    except OSError as error:
        raise BadArguments(f"the file {name} cannot be read: {error.strerror or error}") from None
    except RecursionError:
        raise BadArguments(f"the file {name} is nested too deeply to be read") from None
    except ValueError as error:
        raise BadArguments(f"the file {name} is not JSON: {error}") from None


def _literal(text: str) -> Any:
    try:
        return literal_of(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        if refuses_length(error):
            raise BadArguments("a number in it has more digits than Python reads there; write JSON, or 0x...") from None
        return _MISSING


def _anything(text: str) -> Any:
    """A Python literal or a JSON container where the text is one, else the text."""
    value = _whole(text) if text.lstrip().startswith(("[", "{")) else _literal(text.strip())
    return text if value is _MISSING else value


def _parse(text: str, hint: Any, *, strict: bool) -> Any:
    """strict: inside a Union, where a bool has to be a word, so that 1 stays a number."""
    own = parser_of(hint)
    if own is not None:
        return _call(own, text, hint)
    if hint is ANYTHING:
        return _anything(text)
    reader = READERS.get(hint)
    if reader is not None:
        if hint is bool and strict and text in ("0", "1"):
            raise BadArguments(f"{quoted(text)} is not a bool")
        return _call(reader, text, hint)
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        return _parse_union(text, hint)
    if origin is Literal:
        return _parse_literal(text, typing.get_args(hint))
    if is_many(hint):
        return _parse_many([text], hint)
    if (named := NAMED.get(origin or hint)) is not None:
        return named(text)
    if isinstance(hint, type):
        return _parse_class(text, hint)
    return _checked(_anything(text), origin if isinstance(origin, type) else None, hint)


def _call(reader: Callable[[Any], Any], text: Any, hint: Any) -> Any:
    try:
        return reader(text)
    except BadArguments:
        raise
    except Exception as error:  # a reader of the user's own may raise anything; all of it means: not such a text
        known = hint in READERS
        name = describe(hint)
        said = "" if known else f": {error}"
        raise BadArguments(f"{quoted(str(text))} is not {'an' if name[0] in 'aeiou' else 'a'} {name}{said}") from None


def _parse_class(text: str, hint: type) -> Any:
    if issubclass(hint, enum.Enum):
        return enum_member(text, hint)
    if fields_of(hint) is not None:
        whole = _whole(text)
        if whole is _MISSING:
            raise BadArguments(f"{quoted(text)} is not JSON; {hint.__name__} is written as {_example(hint)}")
        return convert(whole, hint)
    for known, reader in READERS.items():
        if isinstance(known, type) and known is not int and issubclass(hint, known):
            return _call(hint, _call(reader, text, known), hint)
    if issubclass(hint, os.PathLike):
        return _call(hint, text, hint)
    return _checked(_anything(text), hint, hint)


def _checked(value: Any, of: type | None, hint: Any) -> Any:
    if of is not None and isinstance(value, of):
        return value
    raise BadArguments(
        f"a {describe(hint)} cannot be written on a command line; call this task from another one that makes it, or "
        "make the class a rayflow.Value with a class method parse(text)"
    )


def _parse_union(text: str, hint: Any) -> Any:
    """The first alternative that fits; a str fits everything, so it comes last wherever it stands."""
    alternatives = sorted(members(hint), key=_rank)
    for each in alternatives:
        try:
            return _parse(text, each, strict=True)
        except BadArguments as error:
            last = error
    if len([each for each in alternatives if each is not NONE]) == 1:
        raise last
    raise BadArguments(f"{quoted(text)} is not {describe(hint)}")


def _rank(hint: Any) -> int:
    if hint is NONE:
        return 0
    if hint is ANYTHING:
        return 9
    if hint in (str, bytes):
        return 8
    if isinstance(hint, type) and issubclass(hint, os.PathLike):
        return 7
    return {bool: 1, int: 2, float: 3, complex: 4}.get(hint, 1)


def _parse_literal(text: str, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if choice == text or (isinstance(choice, enum.Enum) and choice.name == without_class(text, type(choice))):
            return choice
    for choice in choices:
        if not isinstance(choice, str | enum.Enum):
            try:
                value = parse(text, type(choice))
            except BadArguments:
                continue
            if value == choice:
                return choice
    raise BadArguments(not_among(text, [c.name if isinstance(c, enum.Enum) else text_of(c) for c in choices]))


# --- JSON to values ---------------------------------------------------------------------------------------------------


def convert(data: Any, hint: Any) -> Any:
    """A value of the hint's type from what JSON (or a Python literal) gave. Raises BadArguments.

    Text inside is read as if it had been written for the inner hint, so dates, paths and enums work at any depth.
    """
    hint = plain(hint)
    if hint is ANYTHING:
        return data
    origin, inside = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(data, hint)
    if origin is Literal:
        if any(data == choice and type(data) is type(choice) for choice in inside):
            return data
        return _parse_literal(str(data), inside)
    if isinstance(data, str) and not is_many(hint):
        return data if hint is str else _parse(data, hint, strict=False)
    if origin in LISTS and isinstance(data, list | tuple | set | frozenset):
        item = inside[0] if inside else ANYTHING
        return _made(LISTS[origin], [_at(index, each, item) for index, each in enumerate(data)])
    if origin is tuple and isinstance(data, list | tuple):
        hints = tuple_hints(hint, len(data))
        return tuple(_at(index, each, wanted) for index, (each, wanted) in enumerate(zip(data, hints, strict=True)))
    if origin in DICTS and isinstance(data, dict):
        return _convert_dict(data, origin, inside)
    fields = fields_of(hint)
    if fields is not None and isinstance(data, dict):
        return _build(hint, fields, data)
    if fields is not None and isinstance(data, list | tuple) and issubclass(origin, tuple):
        return _build(hint, fields, dict(zip(fields, data, strict=False)))
    return _convert_scalar(data, hint)


def _convert_scalar(data: Any, hint: Any) -> Any:
    if hint is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if hint is complex and isinstance(data, int | float) and not isinstance(data, bool):
        return complex(data)
    if isinstance(hint, type):
        if isinstance(data, hint) and not (isinstance(data, bool) and hint is int):
            return data
        readable = isinstance(data, int | float) and not isinstance(data, bool) and hint not in (str, bytes, bool, int)
        if readable and (hint in READERS or issubclass(hint, enum.Enum)):
            return _parse(str(data), hint, strict=False)
    raise BadArguments(f"{preview(data, 60)} of type {kind_of(data)} is not {describe(hint)}")


def _convert_union(data: Any, hint: Any) -> Any:
    if isinstance(data, str):
        return data if str in members(hint) else _parse_union(data, hint)
    errors = []
    exact = [each for each in members(hint) if each is type(data)]
    for each in (*exact, *members(hint)):
        try:
            return convert(data, each)
        except BadArguments as error:
            errors.append(error)
    others = [each for each in members(hint) if each is not NONE]
    if len(others) == 1:
        raise errors[-1] if others[0] is members(hint)[-1] else errors[0]
    raise BadArguments(f"{preview(data, 60)} is not {describe(hint)}")


def _convert_dict(data: dict[Any, Any], origin: Any, inside: tuple[Any, ...]) -> Any:
    key_hint, value_hint = inside if len(inside) == 2 else (ANYTHING, ANYTHING)
    if not inside:
        built = dict(data)
    else:
        built = {_key(key, key_hint): _at(key, value, value_hint) for key, value in data.items()}
    if origin is collections.OrderedDict:
        return collections.OrderedDict(built)
    return collections.defaultdict(None, built) if origin is collections.defaultdict else built


def _key(key: Any, hint: Any) -> Any:
    return convert(key, hint) if not isinstance(key, str) else parse(key, hint) if plain(hint) is not ANYTHING else key


def _at(place: Any, data: Any, hint: Any) -> Any:
    """Convert a part; an error says which part it was."""
    try:
        return convert(data, hint)
    except BadArguments as error:
        inner = str(error)
        raise BadArguments(f"[{place!r}]{inner}" if inner.startswith("[") else f"[{place!r}]: {inner}") from None


def _made(of: type, items: list[Any]) -> Any:
    try:
        return items if of is list else of(items)
    except TypeError as error:
        raise BadArguments(f"the items do not fit in a {of.__name__}: {error}") from None


# --- classes with fields ---------------------------------------------------------------------------------------------


def _build(of: Any, fields: dict[str, Field], data: dict[Any, Any]) -> Any:
    name = getattr(of, "__name__", str(of))
    if hasattr(of, "model_validate"):
        return _validated(of, data)
    unknown = [key for key in data if key not in fields]
    if unknown:
        near = difflib.get_close_matches(str(unknown[0]), list(fields), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(fields)}"
        raise BadArguments(f"{name} has no field {unknown[0]!r}; {hint}")
    missing = [field for field, known in fields.items() if known.required and field not in data]
    if missing:
        raise BadArguments(f"{name} needs {' and '.join(map(repr, missing))}; it is written as {_example(of)}")
    values = {}
    for field, value in data.items():
        try:
            values[field] = convert(value, fields[field].hint)
        except BadArguments as error:
            raise BadArguments(f"{name}.{field}: {error}") from None
    try:
        return of(**values)
    except Exception as error:  # the user's own checks in its constructor
        raise BadArguments(f"{name} does not take this: {type(error).__name__}: {error}") from None


def _validated(of: Any, data: dict[Any, Any]) -> Any:
    try:
        return of.model_validate(data)
    except ValueError as error:
        raise BadArguments(f"{of.__name__} does not take this: {'; '.join(str(error).splitlines()[1:3])}") from None


def _example(of: Any) -> str:
    fields = fields_of(of) or {}
    return "{" + ", ".join(f'"{name}": {describe(field.hint)}' for name, field in fields.items()) + "}"
