"""Tags as users write them: a dict, pairs of name and value, or texts such as "owner=ada".

In: tags in any of these forms. Out: pairs of name and value, in their order; a name may have several values. Never:
records them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from rayflow.errors import BadOption
from rayflow.values.encoding.previews import preview
from rayflow.values.encoding.whole_numbers import number_of

Tags: TypeAlias = Mapping[str, Any] | Iterable[tuple[str, Any] | str]
"""How tags may be given."""


def json_or_text(text: str) -> Any:
    """The value of a text: the decoded value if the text is JSON, else the text itself."""
    try:
        return json.loads(text, parse_int=number_of)
    except (ValueError, RecursionError):
        return text


def tag_text(kept: str) -> str:
    """A recorded tag value as a user would type it. Text has no quotes, unless it would read as JSON without them."""
    value = json_or_text(kept)
    return value if isinstance(value, str) and not _is_json(value) else kept


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_int=str)  # however long it is
    except (ValueError, RecursionError):
        return False
    return True


def tag_of(text: str) -> tuple[str, Any]:
    """A tag as text: `key=value`, the value as JSON where it is JSON, else as text; `key` alone is set to true. Raises
    BadOption for one without a key."""
    key, equals, value = text.partition("=")
    if not key.strip():
        raise BadOption(f"{text!r} is not a tag: write key=value.")
    return key.strip(), json_or_text(value) if equals else True


def tag_pairs(tags: Any, where: str = "tags") -> tuple[tuple[str, Any], ...]:
    """Tags as pairs of name and value, each pair once. where: what an error names. Raises BadOption."""
    if tags is None:
        return ()
    if isinstance(tags, str | bytes) or not isinstance(tags, Iterable):
        wanted = "a dict, or a list of pairs or of texts such as 'owner=ada'"
        raise BadOption(f"{where}: tags are {wanted}, not {preview(tags)}.")
    found: list[tuple[str, Any]] = []
    for each in tags.items() if isinstance(tags, Mapping) else tags:
        if isinstance(each, str):
            pair = tag_of(each)
        elif isinstance(each, tuple | list) and len(each) == 2:
            pair = (each[0], each[1])
        else:
            raise BadOption(f"{where}: {preview(each)} is not a tag: write a pair of name and value, or 'name=value'.")
        if not isinstance(pair[0], str) or not pair[0].strip():
            raise BadOption(f"{where}: the name of a tag is a text that is not empty, not {preview(pair[0])}.")
        if not any(pair[0] == name and type(pair[1]) is type(value) and pair[1] == value for name, value in found):
            found.append(pair)
    return tuple(found)


def laid_over(lower: Any, higher: Any) -> Any:
    """Tags over others: the names of the higher ones have its values alone."""
    if isinstance(lower, Mapping) and isinstance(higher, Mapping):
        return {**lower, **higher}
    over = tag_pairs(higher)
    names = {name for name, _ in over}
    return (*(pair for pair in tag_pairs(lower) if pair[0] not in names), *over)
