"""Rows of one table from many commits, brought together and put in order with little memory.

In: Arrow tables of the rows. Out: the rows in key order, one row a key, a slice at a time. Never: reads or writes a
file, or has all rows in order at once.

A merge is the most that a scheduler does at one time, so its rows take as little memory as they can: what repeats in a
column is held as codes, and a column without values as its length. A row is copied to its place in the file only when
the slice of the file that it belongs to is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from rayflow.store.write import schemas
from rayflow.store.write.arrow_columns import to_array
from rayflow.store.write.folding import HOST_KEY, Fold

_FULLEST_BY: dict[str, tuple[str, ...]] = {"calls": ("at",)}
"""Of rows with one key that differ all the same, the one that has the largest value here is kept."""


class GatheredRows:
    """Collects rows of one table. It copies them, so that the file that they were read from can be let go."""

    def __init__(self, how: schemas.TableLayout) -> None:
        self._how = how
        self._coded = _coded_columns(how)
        self._columns: dict[str, list[Any]] = {column.name: [] for column in how.columns}

    def add(self, rows: Any) -> None:
        """Take in rows, which have the schema of their table."""
        for name, chunks in self._columns.items():
            column = rows.column(name)
            if column.null_count == len(column):
                chunks.append(pa.nulls(len(column)))
            elif name in self._coded:
                chunks.extend(column.dictionary_encode().chunks)
            else:
                chunks.extend(pa.concat_arrays([chunk]) for chunk in column.chunks)

    def taken(self) -> Any:
        """The rows as a table, in the order in which they came; this object has none afterwards."""
        columns = {}
        for column in self._how.columns:
            chunks = self._columns.pop(column.name)
            types = {chunk.type for chunk in chunks}
            if len(types) > 1:
                [present] = types - {pa.null()}
                chunks = [pa.nulls(len(chunk), present) if chunk.type == pa.null() else chunk for chunk in chunks]
            # (A table may leave a column in several pieces, if there is more of it than one piece can have.)
            joined = pa.table({column.name: pa.chunked_array(chunks)}) if chunks else _empty(column)
            columns[column.name] = joined.combine_chunks().column(0)
        return pa.table(columns)


def _empty(column: schemas.Column) -> Any:
    return pa.table({column.name: pa.nulls(0, column.type)})


def _coded_columns(how: schemas.TableLayout) -> frozenset[str]:
    """The columns that are held as codes: texts and hashes that repeat."""
    texts = {column.name for column in how.columns if column.type in (pa.string(), pa.binary())}
    return frozenset(texts.intersection(how.dictionary_columns))


def _comparable(column: Any) -> Any:
    """A column whose values compare as those of this one do: codes are replaced by ranks."""
    if not pa.types.is_dictionary(column.type):
        return column
    import pyarrow.compute

    pc: Any = pyarrow.compute
    column = column.unify_dictionaries()
    dictionary = column.chunk(0).dictionary
    ranks = pc.sort_indices(pc.sort_indices(dictionary))
    return pa.chunked_array([ranks.take(chunk.indices) for chunk in column.chunks], ranks.type)


def plain(how: schemas.TableLayout, name: str, values: Any) -> Any:
    """Values of a column that may be held as codes or as a length, as the type that its table has."""
    of_table = how.schema.field(name).type
    return values if values.type == of_table else values.cast(of_table)


class OrderedRows:
    """The rows of a table in key order, one row a key. Of several with one key, it has the last one.

    rows: the table; its columns may be as `GatheredRows` holds them. places: where in it the rows are, in key order.
    """

    def __init__(self, how: schemas.TableLayout, rows: Any) -> None:
        self.how = how
        self.rows = rows
        self.places = _places_of(how, rows)
        self._folded: list[tuple[Fold, Any, Any]] = []
        """Folded rows: how, their table, and for each row here the place of its folded one there, or null."""

    def __len__(self) -> int:
        return len(self.places)

    @property
    def folded(self) -> tuple[tuple[str, int], ...]:
        """The tables with rows that are folded into these, and how many."""
        return tuple([(fold.table, len(places) - places.null_count) for fold, _, places in self._folded])

    def column(self, name: str) -> Any:
        """The values of one column, in key order."""
        return plain(self.how, name, self.rows.column(name).take(self.places))

    def fold(self, fold: Fold, others: OrderedRows) -> None:
        """Take in the first row of another table for each row here: `others` does not have them any more."""
        import pyarrow.compute as pc

        keys = others.column(fold.key).combine_chunks()
        taken = pc.index_in(self.column(HOST_KEY), value_set=keys).combine_chunks()
        del keys
        self._folded.append((fold, others.rows, others.places.take(taken)))
        numbers = to_array(range(len(others)), pa.int64())
        stays = pc.invert(pc.is_in(numbers, value_set=taken.drop_null().cast(pa.int64())))
        others.places = others.places.filter(stays)

    def table(self) -> Any:
        """All rows as one table, in key order."""
        return self._slice(self.places, [places for _, _, places in self._folded])

    def slices(self, size: int) -> Iterator[Any]:
        """The rows as tables of so many rows each, in the order that a file of this table has."""
        places, folded = self.places, [places for _, _, places in self._folded]
        if self.how.sorted_by != self.how.table.key:
            order = _order_of(self.rows.select(self.how.sorted_by).take(places), self.how.sorted_by, "at_end")
            places, folded = places.take(order), [each.take(order) for each in folded]
        for start in range(0, len(places), size):
            yield self._slice(places.slice(start, size), [each.slice(start, size) for each in folded])

    def _slice(self, places: Any, folded: list[Any]) -> Any:
        names = self.how.schema.names
        columns = {name: plain(self.how, name, self.rows.column(name).take(places)) for name in names}
        for (fold, table, _), at in zip(self._folded, folded, strict=True):
            other = schemas.layouts()[fold.table]
            for column in fold.columns:
                values = plain(other, column.name, table.column(column.name).take(at))
                columns[fold.folded(column.name)] = values
        return pa.table(columns)


def _places_of(how: schemas.TableLayout, rows: Any) -> Any:
    """The places of these rows in key order, without those that have the key of a later or an equal row."""
    if rows.num_rows < 2:
        return to_array(range(rows.num_rows), pa.int64())
    import pyarrow.compute

    pc: Any = pyarrow.compute
    keys = how.table.key
    places = _order_of(rows, (*keys, *how.table.order, *_FULLEST_BY.get(how.name, ())), "at_start")
    same: Any = None
    for name in keys:
        column = rows.column(name)
        column = (_comparable(column) if column.type != pa.null() else plain(how, name, column)).take(places)
        here, following = column.slice(0, rows.num_rows - 1), column.slice(1)
        equal = pc.equal(here, following)
        if column.null_count:
            equal = pc.coalesce(equal, pc.and_(pc.is_null(here), pc.is_null(following)))
        same = equal if same is None else pc.and_(same, equal)
    if not pc.any(same).as_py():
        return places
    last = pa.chunked_array([*pc.invert(same).chunks, to_array([True], pa.bool_())])
    return places.filter(last.combine_chunks())


def _order_of(rows: Any, names: tuple[str, ...], nulls: str) -> Any:
    """The places of rows in the order of these columns. Rows that are equal there stay as they are.

    nulls: at_start or at_end.
    """
    import pyarrow.compute

    pc: Any = pyarrow.compute
    compared = pa.table({name: _comparable(rows.column(name)) for name in names})
    return pc.sort_indices(compared, sort_keys=[(name, "ascending", nulls) for name in names])


def one_row_a_key(how: schemas.TableLayout, rows: Any) -> Any:
    """The rows without those that have the key of a later or an equal row, in key order."""
    return OrderedRows(how, rows).table() if rows.num_rows > 1 else rows
