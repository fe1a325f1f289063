"""The packed term of a recorded value: in its row, or in a blob when it is large.

In: a row of `values`, a function that reads blobs. Out: bytes. Never: unpacks.
"""

from __future__ import annotations

from collections.abc import Callable

from rayflow.store.history.answer_types import Record
from rayflow.values.refs import Encoded


def packed_term(row: Record, get_blob: Callable[[bytes], Encoded]) -> bytes | None:
    """The packed term; None for one that an earlier version recorded without its bytes. Raises what `get_blob` does."""
    if row["inline"] is not None:
        return bytes(row["inline"])
    return None if row["blob"] is None else whole_bytes(get_blob(bytes.fromhex(row["blob"])))


def whole_bytes(encoded: Encoded) -> bytes:
    """The bytes of a blob of plain bytes."""
    return b"".join((encoded.header, *encoded.buffers))
