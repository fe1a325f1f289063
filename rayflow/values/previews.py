"""Values on one line, for people.

In: any value. Out: a shortened repr, or the name of its type. Never: raises, never slow however large the value is.
"""

from __future__ import annotations

import reprlib
import types
from itertools import islice
from typing import Any

from rayflow.values.handlers import container_handler_for, handler_for
from rayflow.values.masking import masked
from rayflow.values.refs import TaggedTree, ValueRef

LIMIT = 200
"""Length of a preview, in characters, if nothing else is asked for."""

_MOST_ITEMS = 6
_MOST_LEVELS = 4


def kind_of(value: Any) -> str:
    """Name of a value's type for people: "int", "numpy.ndarray", "mymodule.Point"."""
    of = type(value)
    if of is ValueRef:
        return str(value.kind)
    module = of.__module__
    if module == "builtins":
        return of.__qualname__
    if (own := getattr(of, "__rayflow_kind__", None)) is not None:
        return str(own)
    top, _, _ = module.partition(".")
    if top in ("numpy", "pandas", "pyarrow", "polars"):
        module = top
    return f"{module}.{of.__qualname__}"


def preview(value: Any, limit: int = LIMIT) -> str:
    """A repr of at most `limit` characters; what is left out shows as `...`."""
    try:
        text = _show(value, _MOST_LEVELS, limit)
    except Exception:  # a user's __repr__ may do anything; a preview is not worth a failure
        text = f"<{kind_of(value)}>"
    return shorten(masked(text), limit)


def shorten(text: str, limit: int = LIMIT) -> str:
    """The text on one line, with its middle left out when it is longer than the limit, in characters."""
    if "\n" in text or "\r" in text:
        text = " ".join(text.split())
    if len(text) <= limit:
        return text
    head = (limit - 3) * 2 // 3
    return f"{text[:head]}...{text[len(text) - (limit - 3 - head) :]}"


def _show(value: Any, levels: int, limit: int) -> str:
    of = type(value)
    if value is None or of is bool or of is float or of is complex:
        return repr(value)
    if of is int:
        bits = value.bit_length()
        return repr(value) if bits < 4096 else f"<int of {bits} bits>"
    if of is str or of is bytes:
        return _show_text(value, limit)
    if of is bytearray:
        return f"bytearray({_show_text(bytes(value[: limit + 1]), limit)})"
    brackets = _BRACKETS.get(of)
    if brackets is not None:
        return _show_items(value, brackets, levels, limit)
    if of is dict:
        return _show_dict(value, levels, limit)
    if of is ValueRef:
        return value.preview or f"<{value.kind}>"
    if of is TaggedTree:
        name = str(value.header[0]).rpartition(":")[2] if value.header else value.kind
        return _show_items(value.parts, (f"{name}(", ")"), levels, limit)
    handler = handler_for(of)
    if hasattr(handler, "preview"):  # quicker than the protocol
        shown: str = handler.preview(value)  # type: ignore[union-attr]
        return shown
    return _show_object(value, levels, limit)


_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}


def _show_text(value: Any, limit: int) -> str:
    if type(value) is str:
        value = masked(value)  # as a whole: what is left of a text that was cut would not be found
    if len(value) <= limit:
        return repr(value)
    half = limit // 2
    return f"{value[:half]!r}...{value[-8:]!r}"


def _show_items(items: Any, brackets: tuple[str, str], levels: int, limit: int) -> str:
    opening, closing = brackets
    if not items:
        return "set()" if opening == "{" else opening.removesuffix("{") + closing.removeprefix("}")
    if levels <= 0:
        return f"{opening}...{closing}"
    most = _MOST_ITEMS * (4 if levels == _MOST_LEVELS else 1)
    shown = [_show(item, levels - 1, limit) for item in islice(items, most)]
    if len(items) > most:
        shown.append(f"... {len(items):,} items")
    elif len(items) == 1 and opening == "(":
        return f"({shown[0]},)"
    return f"{opening}{', '.join(shown)}{closing}"


def _show_dict(value: dict[Any, Any], levels: int, limit: int) -> str:
    if not value:
        return "{}"
    if levels <= 0:
        return "{...}"
    shown = [
        f"{_show(key, levels - 1, limit)}: {_show(item, levels - 1, limit)}"
        for key, item in islice(value.items(), _MOST_ITEMS)
    ]
    if len(value) > _MOST_ITEMS:
        shown.append(f"... {len(value):,} items")
    return f"{{{', '.join(shown)}}}"


def _says_its_own(of: Any) -> bool:
    """Whether a dataclass has a `__repr__` that somebody wrote: the one that is made for it is wrapped."""
    return isinstance(of.__repr__, types.FunctionType) and not hasattr(of.__repr__, "__wrapped__")


def _show_object(value: Any, levels: int, limit: int) -> str:
    of = type(value)
    container = container_handler_for(of)
    generated = container is not None and container.kind in ("dataclass", "attrs", "namedtuple", "pydantic")
    if container is not None and levels <= 0:
        return f"{of.__qualname__}(...)"
    if container is not None and generated and not (container.kind == "dataclass" and _says_its_own(of)):
        header, parts = container.take_apart(value)
        named = [
            f"{name}={_show(part, levels - 1, limit)}"
            for name, part in islice(zip(header[1:], parts, strict=False), _MOST_ITEMS)
        ]
        if len(parts) > _MOST_ITEMS:
            named.append("...")
        return f"{of.__qualname__}({', '.join(named)})"
    if container is not None and not generated and hasattr(value, "__len__"):
        if isinstance(value, dict):
            return f"{of.__qualname__}({_show_dict(value, levels, limit)})"
        return f"{of.__qualname__}({_show_items(value, ('[', ']'), levels, limit)})"
    shower = reprlib.Repr()
    shower.maxother = limit
    shower.maxlong = limit
    return shower.repr(value)
