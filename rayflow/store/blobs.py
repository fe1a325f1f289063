"""Bytes by content: put once, never changed, read where they lie.

In: a digest and an encoded value. Out: the encoded value, its buffers mapped from the file. Never: decodes a value.

A blob's file says what it is by itself (format, lengths, checksum), so that it can be checked without decoding it.
"""

from __future__ import annotations

from collections.abc import Iterable

from rayflow.errors import BlobDamaged, BlobMissing
from rayflow.store import layout
from rayflow.store.catalog import Problem
from rayflow.store.folders import Folder
from rayflow.values.encoding import from_bytes, verify, write_parts
from rayflow.values.refs import Encoded

VERIFIED_BYTES = 8 * 1024 * 1024
"""Blobs up to this size are compared with their checksum whenever they are read; larger ones by `check` only."""


RENEWED_AFTER_SECONDS = 6 * 3600.0
"""A blob that was written longer ago counts as written now when it is put again; well below the grace of `garbage`."""


class Blobs:
    """The blobs of one store."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def put(self, digest: bytes, encoded: Encoded) -> None:
        """Keep these bytes under this digest, durably; nothing happens when they are there already.

        A file of the wrong size (cut short by a copy, say) is replaced. One that was written long ago counts as new
        from now on: perhaps no row has named it for long, and it must not be taken for garbage before one does.
        """
        path = layout.blob_path(digest)
        size = self._folder.size(path)
        if size is None:
            self._folder.write(path, write_parts(encoded))
            return
        parts = write_parts(encoded)
        if size != sum(memoryview(part).nbytes for part in parts) or not self._keeps(path):
            self._folder.write(path, parts)

    def _keeps(self, path: str) -> bool:
        """Whether a blob that is there is, or can be made, young enough to stay until a row names it."""
        age = self._folder.age_seconds(path)
        return age is None or age < RENEWED_AFTER_SECONDS or self._folder.renew(path)

    def get(self, digest: bytes) -> Encoded:
        """The bytes kept under this digest; large ones are mapped. Raises BlobMissing or BlobDamaged."""
        path = layout.blob_path(digest)
        try:
            content = self._folder.read(path)
        except FileNotFoundError as error:
            raise BlobMissing(f"The store {self._folder.url} has no blob {digest.hex()}.") from error
        if content.nbytes <= VERIFIED_BYTES and not verify(content):
            raise BlobDamaged(
                f"The blob {self._folder.url}/{path} does not match its checksum. "
                "Remove the file: what it held is then computed again when it is needed."
            )
        return from_bytes(content)

    def has(self, digest: bytes) -> bool:
        """Whether there is a blob of this digest."""
        return self._folder.size(layout.blob_path(digest)) is not None

    def problems(self, named: Iterable[bytes]) -> list[Problem]:
        """Blobs that do not match their checksum, and those of `named` that are not there. Reads all of them."""
        found = []
        sizes = self._folder.sizes(layout.BLOBS)
        for path in sorted(map(layout.blob_path, named)):
            if path not in sizes:
                found.append(Problem(path, "missing", "a record names it"))
        for path, size in sorted(sizes.items()):
            try:
                intact = verify(self._folder.read(path))
            except FileNotFoundError:
                continue
            if not intact:
                found.append(Problem(path, "damaged", "it does not match its checksum", size))
        return found
