"""Values that are made afresh in other processes, to compare their hashes there."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import pathlib
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Plain:
    names: set[str]


class Opaque:
    def __init__(self) -> None:
        self.names = {"a", "b", "c", "d", "e"}
        self.by_name = {name: name * 2 for name in sorted(self.names)}
        self.shared = [self.by_name]


def helper(x: object, names: frozenset[str] = frozenset({"p", "q", "r"})) -> bool:
    return x in {"u", "v", "w"} or x in names


NAMES = [f"name {number}" for number in range(50)]

VALUES: dict[str, Any] = {
    "set": set(NAMES),
    "mixed set": {1, "a", None, (1, "b"), frozenset({"x", "y", "z"})},
    "dict": dict.fromkeys(NAMES, 1),
    "dataclass": Plain(set(NAMES)),
    "opaque": Opaque(),
    "function": helper,
    "lambda": lambda x: x in {"u", "v", "w"},
    "enum": Colour.RED,
    "counter": collections.Counter(NAMES),
    "default": collections.defaultdict(set, {"k": set(NAMES)}),
    "times": [datetime.datetime(2024, 1, 1), datetime.date(2024, 1, 1), datetime.timedelta(1)],
    "numbers": [decimal.Decimal("1.5"), uuid.UUID(int=1), 1.5, 2**80, float("nan")],
    "path": pathlib.Path("a") / "b",
    "array": np.arange(10),
    "objects": np.array([{"a", "b"}, "c"], dtype=object),
    "frame": pd.DataFrame({"a": NAMES, "b": range(50)}),
    "table": pa.table({"a": NAMES}),
    "error": ValueError("a", {"b", "c"}),
    "class": Opaque,
}
