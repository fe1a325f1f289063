"""Many rows of one table at once, as columns.

In: rows, or a sequence of values for each field. Out: `Columns`: joined, cut, and as rows again. Never: Parquet, SQL,
clocks, decisions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from rayflow.records import Row


class Same(NamedTuple):
    """A column that has this value in each row."""

    value: Any


class Columns(NamedTuple):
    """Rows of one table, as columns.

    row: their class. length: how many rows. columns: for each field of the class, in order, a sequence (list, tuple or
    range) with a value for each row, or `Same`. Nobody changes a sequence afterwards.
    """

    row: type
    length: int
    columns: tuple[Sequence[Any] | Same, ...]

    @classmethod
    def of(cls, row: Any, length: int, **columns: Sequence[Any] | Same) -> Columns:
        """Columns by name. A field with a default may be left out."""
        defaults = row._field_defaults
        whole = [columns.pop(name) if name in columns else Same(defaults[name]) for name in row._fields]
        if columns:
            raise TypeError(f"{row.__name__} has no field {', '.join(columns)}")
        return cls(row, length, tuple(whole))

    @classmethod
    def of_rows(cls, rows: Sequence[Row]) -> Columns:
        """Rows of one table, of which there is at least one."""
        return cls(type(rows[0]), len(rows), tuple(zip(*rows, strict=True)))

    @classmethod
    def joined(cls, parts: Sequence[Columns]) -> Columns:
        """The rows of these parts of one table, of which there is at least one, in this order."""
        if len(parts) == 1:
            return parts[0]
        length = sum(part.length for part in parts)
        whole: list[Sequence[Any] | Same] = []
        for place, first in enumerate(parts[0].columns):
            columns = [part.columns[place] for part in parts]
            if type(first) is Same and columns.count(first) == len(parts):
                whole.append(first)
            else:
                values: list[Any] = []
                for part, column in zip(parts, columns, strict=True):
                    values.extend(part._spread(column))
                whole.append(values)
        return cls(parts[0].row, length, tuple(whole))

    @classmethod
    def grouped(cls, parts: Iterable[Columns], most: int) -> Iterator[Columns]:
        """The rows of these parts of one table, in groups of at most so many rows. Small parts are joined."""
        waiting: list[Columns] = []
        count = 0
        for part in parts:
            start = 0
            while start < part.length:
                end = min(part.length, start + most - count)
                waiting.append(part._between(start, end))
                count += end - start
                start = end
                if count == most:
                    yield cls.joined(waiting)
                    waiting, count = [], 0
        if waiting:
            yield cls.joined(waiting)

    def _between(self, start: int, end: int) -> Columns:
        """The rows from one place to another."""
        if end - start == self.length:
            return self
        return Columns(
            self.row, end - start, tuple([each if type(each) is Same else each[start:end] for each in self.columns])
        )

    def column(self, name: str) -> Sequence[Any]:
        """The values of one field, one for each row."""
        return self._spread(self.given(name))

    def given(self, name: str) -> Sequence[Any] | Same:
        """One field as it was given: its values, or the one that all rows have."""
        fields: tuple[str, ...] = self.row._fields  # type: ignore[attr-defined]  # all rows are named tuples
        return self.columns[fields.index(name)]

    def rows(self) -> list[Row]:
        """The rows, one by one."""
        make: Any = self.row
        return list(map(make, *map(self._spread, self.columns)))

    def chosen(self, places: Sequence[int]) -> Columns:
        """The rows at these places."""
        chosen = (column if type(column) is Same else [column[place] for place in places] for column in self.columns)
        return Columns(self.row, len(places), tuple(chosen))

    def _spread(self, column: Sequence[Any] | Same) -> Sequence[Any]:
        return [column.value] * self.length if type(column) is Same else column
