"""Large values of arguments and results, as clients send and fetch them.

In: a store, the hash of a value as text, bytes. Out: bytes. Never: decodes a value.
"""

from __future__ import annotations

from typing import Any

from rayflow.errors import BadArguments, BlobDamaged
from rayflow.lang.packing.pack import Keep
from rayflow.store.store import Store
from rayflow.values.digests import DIGEST_BYTES
from rayflow.values.encoding.encoding import from_bytes, to_bytes
from rayflow.values.refs import Encoded, ValueRef


def put_blob(store: Store, text: str, content: bytes) -> None:
    """Take in a large value of an argument. Raises BadArguments for what is none."""
    try:
        encoded = from_bytes(content)
    except BlobDamaged as error:
        raise BadArguments(f"This is not the encoded value {text}: {error}") from None
    store.put_blob(_digest_in(text), encoded)


def blob(store: Store, text: str) -> bytes:
    """The bytes of a large value. Raises BadArguments, BlobMissing."""
    return to_bytes(store.get_blob(_digest_in(text)))


def kept_in(store: Store) -> Keep:
    """What stores the large values of a term that is packed."""

    def keep(ref: ValueRef, encoded: Encoded, value: Any) -> None:
        store.put_blob(ref.digest, encoded)

    return keep


def _digest_in(text: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != DIGEST_BYTES:
        raise BadArguments(f"{text!r} is not the hash of a value.")
    return found
