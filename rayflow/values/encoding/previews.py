"""Previews: values on one line, for people.

In: any value. Out: a shortened repr, or the name of its type. Never: raises; takes long, however large the value is.
"""

from __future__ import annotations

import enum
import fractions
import re
import reprlib
import types
from collections.abc import Sequence
from itertools import islice
from typing import Any

from rayflow.values.display.masking import masked, masked_bytes
from rayflow.values.encoding.snapshots import ValueSnapshot
from rayflow.values.objects.handlers import container_handler_for, handler_for
from rayflow.values.process.base_exceptions import contained
from rayflow.values.process.recorded_names import recorded_name
from rayflow.values.refs import TaggedTree, ValueRef

LIMIT = 200
"""The default length of a preview, in characters."""

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_MOST_ITEMS = 6
_MOST_LEVELS = 4


def kind_of(value: Any) -> str:
    """The name of a value's type for people: "int", "numpy.ndarray", "mymodule.Point"."""
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
    return f"{recorded_name(module)}.{of.__qualname__}"


def preview(value: Any, limit: int = LIMIT) -> str:
    """A repr of at most `limit` characters, with `...` for what is left out."""
    try:
        with contained:
            text = _show(value, _MOST_LEVELS, limit)
    except Exception:  # a __repr__ of the user's may raise any error; a preview must not fail for it
        text = f"<{kind_of(value)}>"
    return shorten(masked(text), limit)


def one_line(text: str, limit: int) -> str:
    """The text on one line, without its end when it is too long: the beginning of an error says most."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def either(names: Sequence[str]) -> str:
    """Names as a list in words: a, b or c."""
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def few(texts: Sequence[str]) -> str:
    """Texts on one line: the first three, and how many more there are."""
    return ", ".join(texts[:3]) + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")


def shorten(text: str, limit: int = LIMIT) -> str:
    """The text on one line, without its middle when it has more characters than the limit."""
    if "\n" in text or "\r" in text:
        text = " ".join(text.split())
    if len(text) <= limit:
        return text
    head = (limit - 3) * 2 // 3
    return f"{text[:head]}...{text[len(text) - (limit - 3 - head) :]}"


def _show(value: Any, levels: int, limit: int) -> str:
    if type(value) is ValueSnapshot:
        value = value.value
    of = type(value)
    if value is None or of is bool or of is float or of is complex:
        return repr(value)
    if of is int:
        bits = value.bit_length()
        return repr(value) if bits < 4096 else f"<int of {bits} bits>"
    if of is str or of is bytes:
        return _show_text(value, limit)
    if of is bytearray:
        return f"bytearray({_show_text(bytes(value), limit)})"
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
    # Before the text is cut: a part of a secret would not be found.
    value = masked(value) if type(value) is str else masked_bytes(value)
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


def _has_own_repr(of: Any) -> bool:
    """Whether a dataclass has a handwritten `__repr__`: the generated one is wrapped."""
    return isinstance(of.__repr__, types.FunctionType) and not hasattr(of.__repr__, "__wrapped__")


def _show_object(value: Any, levels: int, limit: int) -> str:
    of = type(value)
    container = container_handler_for(of)
    generated = container is not None and container.kind in ("dataclass", "attrs", "namedtuple", "pydantic")
    if container is not None and levels <= 0:
        return f"{of.__qualname__}(...)"
    if container is not None and generated and not (container.kind == "dataclass" and _has_own_repr(of)):
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
    shower = _Repr()
    shower.maxother = limit
    shower.maxlong = limit
    return shower.repr(value)


class _Repr(reprlib.Repr):
    """Masks texts before it cuts them."""

    def repr_str(self, x: str, level: int) -> str:
        """A text."""
        return super().repr_str(masked(x), level)

    def repr_instance(self, x: Any, level: int) -> str:
        """Any other object: its own repr, without its middle."""
        try:
            with contained:
                text = masked(repr(x))
        except Exception:  # a repr of the user's may raise any error; reprlib catches it, too
            if isinstance(x, enum.Enum) and isinstance(x._name_, str):
                return f"{type(x).__qualname__}.{x._name_}"
            if isinstance(x, range | slice):
                return f"{type(x).__name__}{_show((x.start, x.stop, x.step), 1, self.maxother)}"
            if isinstance(x, BaseException):
                return f"{type(x).__qualname__}({', '.join(_show(arg, 1, self.maxother) for arg in x.args)})"
            if isinstance(x, int | fractions.Fraction):
                return f"<{type(x).__qualname__} of {x.numerator.bit_length()} bits>"
            return f"<{type(x).__name__} instance>"
        if " at 0x" in text:  # an address says nothing, and differs in each process
            text = _ADDRESS.sub("", text)
        return text if len(text) <= self.maxother else shorten(text, self.maxother)
