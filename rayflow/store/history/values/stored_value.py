"""Recorded values that are read on request.

In: rows of values, and packed terms. Out: `Stored`, and the values themselves. Never: SQL; decodes a value before it is
asked for.

The error for a value that cannot be read says why: its bytes are gone or damaged, its class or task is not in this
process, or its decoding raises.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from typing import Any

from rayflow.errors import BadModule, BlobDamaged, BlobMissing, NoSuchTask, NotFound, VersionMismatch
from rayflow.lang.packing.realize import realized
from rayflow.lang.terms.codec import blobs_of, dumps, loads
from rayflow.lang.terms.expressions import render
from rayflow.records import TERM_FORMAT
from rayflow.store.blobs import Blobs
from rayflow.store.history.answer_types import Record
from rayflow.store.history.values.packed_terms import packed_term
from rayflow.values.encoding.encoding import decode, from_bytes
from rayflow.values.encoding.identity import value_hash
from rayflow.values.encoding.nested import iter_leaves
from rayflow.values.refs import Encoded, ValueRef

LARGE_BYTES = 1 << 20
"""A table of calls has values up to this size; larger ones are in it as `Stored`. In bytes."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Stored:
    """A recorded value; `.get()` reads it.

    value_hash, type, size_bytes and preview need no reading. what: the words for the value in an error.
    """

    value_hash: str
    type: str
    size_bytes: int
    preview: str
    what: str
    _row: Record = field(default_factory=dict)
    _blobs: Blobs | None = None

    def get(self) -> Any:
        """The value. Raises NotFound, BlobMissing, BlobDamaged or BadModule, which say what to do."""
        row = self._row
        if not row:
            raise NotFound(f"{self.what} is not recorded: the store has no value {self.value_hash}.")
        with _NamingValue(self):
            if row["format"] == TERM_FORMAT:
                return realized(loads(self._packed()), self._of_ref)
            return decode(from_bytes(row["inline"]) if row["inline"] is not None else self._fetch(self.value_hash))

    def is_within(self, most_bytes: int) -> bool:
        """Whether it has at most this many bytes, the large values inside included. Raises as `get` does."""
        if self.size_bytes > most_bytes or self._row.get("format") != TERM_FORMAT:
            return self.size_bytes <= most_bytes
        packed = self._packed()
        if not blobs_of(packed):
            return True
        inside = sum(leaf.size for leaf in iter_leaves(loads(packed)) if type(leaf) is ValueRef)
        return self.size_bytes + inside <= most_bytes

    def _packed(self) -> bytes:
        """The packed term of the value."""
        packed = packed_term(self._row, self._get_blob)
        if packed is None:
            raise NotFound(f"{self.what} was recorded without its bytes, by an earlier version. Run the call again.")
        return packed

    def _of_ref(self, ref: ValueRef) -> Any:
        return decode(from_bytes(ref.inline) if ref.inline is not None else self._fetch(ref.digest.hex()))

    def _fetch(self, digest: str) -> Encoded:
        return self._get_blob(bytes.fromhex(digest))

    def _get_blob(self, digest: bytes) -> Encoded:
        assert self._blobs is not None
        return self._blobs.get(digest)

    def __repr__(self) -> str:
        return f"<Stored {self.type} of {self.size_bytes:,} bytes, {self.value_hash[:12]}: {self.preview}>"


class _NamingValue:
    """Raises each error while a value is read as one that names the value, and says what to do."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, NotFound):
            return
        stored = self._stored
        named = f"{stored.what} ({stored.type}, value {stored.value_hash[:12]})"
        if isinstance(error, BlobMissing):
            raise BlobMissing(
                f"The bytes of {named} are gone from the store: {error} Run the call again, and they are made again."
            ) from error
        if isinstance(error, BlobDamaged):
            raise BlobDamaged(f"The bytes of {named} are damaged: {error}") from error
        if isinstance(error, VersionMismatch):
            raise VersionMismatch(f"{named} cannot be read: {error}") from error
        if isinstance(error, BadModule | NoSuchTask | ImportError | AttributeError | pickle.UnpicklingError):
            raise BadModule(
                f"{named} cannot be read here: {error} It takes the module of its class or task, as it was: import "
                "it first, or start Python in the project's directory. What was recorded of it as text: "
                f"{stored.preview}"
            ) from error
        raise BadModule(
            f"{named} cannot be read here: {type(error).__name__}: {error}. What was recorded of it as text: "
            f"{stored.preview}"
        ) from error


def of_row(row: Record, what: str, blobs: Blobs) -> Stored:
    """The value of a row of `values`. what: the words for it in an error."""
    return Stored(row["value_hash"], row["type"], row["size_bytes"], row["preview"], what, row, blobs)


def of_packed(packed: bytes, what: str, blobs: Blobs) -> dict[str, Stored]:
    """The arguments of a job that failed, recorded as one packed term. what: the words for the job in an error."""
    found = {}
    for name, term in loads(packed).items():
        is_ref = type(term) is ValueRef
        kind, preview = (term.kind, term.preview) if is_ref else (type(term).__name__, render(term))
        alone = dumps(term)
        row = {"format": TERM_FORMAT, "inline": alone}
        size = term.size if is_ref else len(alone)
        found[name] = Stored(value_hash(term).hex(), kind, size, preview, f"the argument {name} of {what}", row, blobs)
    return found


def shown(stored: Stored | None, most_bytes: int) -> Any:
    """The value itself when it is small and can be read; else its `Stored`."""
    if stored is None:
        return None
    try:
        return stored.get() if stored.is_within(most_bytes) else stored
    except (NotFound, BlobMissing, BlobDamaged, BadModule, VersionMismatch):
        return stored  # its get() says why
