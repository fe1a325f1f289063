"""The blobs that rows name: as values, as terms, and inside terms.

In: rows, as Arrow tables. Out: digests. Never: decodes a value, or asks whether a blob is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from rayflow.lang.terms.codec import blobs_of
from rayflow.store.write import schemas


def _packed_columns(table: str) -> tuple[str, ...]:
    """The columns of a table of durable runs that hold packed terms and outcomes: all bytes that are no hashes."""
    columns = schemas.layouts()[table].columns
    return tuple(column.name for column in columns if column.type == pa.binary() and not column.is_hash)


_NAMING: dict[str, tuple[str, ...]] = {
    "reductions": ("term_blob",),
    "calls": ("term_blob",),
    "values": ("blob",),
    "executions": ("root_blob", "task_table"),
    "logs": ("blob",),
    "places": ("outcome_blob",),
}
"""Columns that hold the digest of a blob."""

_TERMS: dict[str, tuple[str, ...]] = {
    "reductions": ("term",),
    "calls": ("term",),
    "executions": ("root",),
    "jobs": ("packed_arguments",),
    **{table: _packed_columns(table) for table in ("run_changes", "places", "wait_changes", "events")},
}
"""Columns that hold packed terms, which may refer to blobs."""

_TERM_BLOBS: dict[str, tuple[str, ...]] = {
    "reductions": ("term_blob",),
    "calls": ("term_blob",),
    "values": ("blob",),
    "executions": ("root_blob",),
    "places": ("outcome_blob",),
}
"""Columns that hold the digest of a packed term."""


def named_in(tables: Mapping[str, Any], fetch_term: Callable[[bytes], bytes | None]) -> set[bytes]:
    """The digests of all blobs that these rows need.

    tables: Arrow tables by name. fetch_term: the packed term of a blob, None when it is missing or damaged.
    """
    found: set[bytes] = set()
    for name, rows in tables.items():
        for column in _NAMING.get(name, ()):
            found.update(_distinct(rows.column(column)))
        for column in _TERMS.get(name, ()):
            for term in rows.column(column).to_pylist():
                if term:
                    found.update(blobs_of(term))
        for column in _TERM_BLOBS.get(name, ()):
            for digest in _distinct(rows.column(column)):
                found.update(blobs_of(fetch_term(digest) or b""))
        if name == "values":
            _of_values(rows, found)
    return found


def _of_values(rows: Any, found: set[bytes]) -> None:
    """Add what values need: their own bytes, or what their packed term refers to."""
    columns = (rows.column(name).to_pylist() for name in ("value_hash", "format", "inline"))
    for digest, form, inline in zip(*columns, strict=True):
        if form == "term":
            found.update(blobs_of(inline or b""))
        elif inline is None:
            found.add(digest)


def _distinct(column: Any) -> list[bytes]:
    return [digest for digest in column.unique().to_pylist() if digest is not None]
