"""The handler for pydantic models. Imported when the first model is met.

In: models. Out: their fields, and models built again without a second validation. Never: calls a model's constructor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pydantic

from rayflow.values.objects.handlers import class_path, load_class, register


class ModelHandler:
    """Models, with fields, extra fields, private attributes, and the set of fields that the user has set."""

    kind = "pydantic"

    def take_apart(self, value: Any) -> tuple[tuple[Any, ...], Sequence[Any]]:
        """Class path and names of the fields; their values, then names set, extra fields, private attributes."""
        of: Any = type(value)
        own = value.__dict__
        names = [name for name in of.model_fields if name in own]
        parts = [own[name] for name in names]
        parts.append(frozenset(value.__pydantic_fields_set__))
        parts.append(value.__pydantic_extra__)
        parts.append(value.__pydantic_private__)
        return (class_path(of), *names), parts

    def build(self, header: tuple[Any, ...], parts: Sequence[Any]) -> Any:
        """The same model, not validated."""
        of: Any = load_class(header[0])
        made = of.__new__(of)
        names_set, extra, private = parts[-3:]
        object.__setattr__(made, "__dict__", dict(zip(header[1:], parts[:-3], strict=True)))
        object.__setattr__(made, "__pydantic_fields_set__", set(names_set))
        object.__setattr__(made, "__pydantic_extra__", extra)
        object.__setattr__(made, "__pydantic_private__", private)
        return made


register(pydantic.BaseModel, ModelHandler())
