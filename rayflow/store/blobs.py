"""Blobs: encoded values by their digests, written once and never changed.

In: a digest and an encoded value. Out: the encoded value, its buffers mapped from the file. Never: decodes a value, or
returns bytes that do not match their checksum.

A blob's file contains its own format, lengths and checksum, so that it can be checked without decoding. Each process
that reads a blob verifies its bytes once. A large blob is hashed in pieces, and stays mapped. A damaged blob is moved
aside and then counts as missing: its value is computed and written again.
"""

from __future__ import annotations

from collections.abc import Iterable

from rayflow.errors import BlobDamaged, BlobMissing
from rayflow.store import layout
from rayflow.store.folders.protocol import Folder
from rayflow.store.folders.verified_reads import read_intact, seems_intact
from rayflow.store.write.catalog import Problem
from rayflow.values.encoding.encoding import from_bytes, verify, write_parts
from rayflow.values.refs import Encoded

_VERIFIED_AHEAD_BYTES = 1024 * 1024 * 1024
"""Up to this many bytes, a process verifies a blob already when it asks whether the blob is there. Further blobs are
verified when they are read: a look-up of many large results, most of them never read, must not read them all."""

RENEWED_AFTER_SECONDS = 6 * 3600.0
"""The age from which a blob gets the current time when it is written again. (It is well below the grace period of
`garbage`.)"""


class Blobs:
    """The blobs of one store. read_only: whether damaged ones stay where they are."""

    def __init__(self, folder: Folder, *, read_only: bool) -> None:
        self._folder = folder
        self._read_only = read_only
        self._damaged: set[str] = set()
        """Paths of the blobs that were found damaged here."""
        self._verified_ahead = 0

    def put(self, digest: bytes, encoded: Encoded) -> None:
        """Write these bytes under this digest, durably. If the file exists already, nothing is written.

        A damaged file is replaced. (In a remote store, where reading is slow, only a file of the wrong size, such as an
        incomplete copy, or a file that this process has found damaged.) An old file gets the current time: perhaps no
        row names it, and it must not be removed as garbage before a row does.
        """
        path = layout.blob_path(digest)
        size = self._folder.size(path)
        if size is None:
            self._folder.write(path, write_parts(encoded))
            return
        parts = write_parts(encoded)
        is_same = size == sum(memoryview(part).nbytes for part in parts) and self._seems_intact(path)
        if not is_same or not self._keeps(path):
            self._folder.write(path, parts)
            self._damaged.discard(path)

    def _keeps(self, path: str) -> bool:
        """Whether a blob is young enough to stay until a row names it, or could be made so."""
        age = self._folder.age_seconds(path)
        return age is None or age < RENEWED_AFTER_SECONDS or self._folder.renew(path)

    def get(self, digest: bytes) -> Encoded:
        """The bytes under this digest; large ones are mapped. Raises BlobMissing or BlobDamaged."""
        path = layout.blob_path(digest)
        return from_bytes(self._read(path))

    def _read(self, path: str) -> memoryview:
        try:
            content = read_intact(self._folder, path, verify)
        except FileNotFoundError as error:
            raise BlobMissing(f"The store {self._folder.url} has no blob {path.rpartition('/')[2]}.") from error
        except BlobDamaged as error:
            self._damaged.add(path)  # another process may write it again
            if not self._read_only and self._folder.set_aside(path, verify):
                advice = f"It was moved to {layout.aside_path(path)}: run again, and what it held is computed again."
            elif self._is_whole_now(path):
                return self._read(path)
            else:
                advice = "Remove the file: what it held is then computed again when it is needed."
            raise BlobDamaged(f"The blob {self._folder.url}/{path} does not match its checksum. {advice}") from error
        self._damaged.discard(path)
        return content

    def _is_whole_now(self, path: str) -> bool:
        """Whether a blob that was damaged has been written anew since."""
        try:
            read_intact(self._folder, path, verify)
        except (FileNotFoundError, BlobDamaged):
            return False
        return True

    def has(self, digest: bytes) -> bool:
        """Whether there is a blob of this digest. Verifies blobs on this machine, up to a sum of bytes, and those that
        were damaged before: raises BlobDamaged when one is."""
        path = layout.blob_path(digest)
        size = self._folder.size(path)
        if size is None:
            return False
        stamp = self._folder.stamp(path)
        is_new_here = stamp is not None and self._folder.verified.get(path) != stamp
        is_cheap = is_new_here and self._verified_ahead + size <= _VERIFIED_AHEAD_BYTES
        if is_cheap or path in self._damaged:
            self._verified_ahead += size
            try:
                self._read(path)
            except BlobMissing:
                return False
        return True

    def _seems_intact(self, path: str) -> bool:
        """Whether a blob is not damaged, as far as can be found out without a network."""
        return path not in self._damaged and seems_intact(self._folder, path, verify)

    def problems(self, named: Iterable[bytes]) -> list[Problem]:
        """Blobs that do not match their checksum, and those of `named` that are missing. Reads all blobs."""
        found = []
        sizes = self._folder.sizes(layout.BLOBS)
        for path in sorted(map(layout.blob_path, named)):
            if path not in sizes:
                found.append(Problem(path, "missing", "a record names it"))
        for path, size in sorted(sizes.items()):
            try:
                read_intact(self._folder, path, verify)
            except FileNotFoundError:
                continue
            except BlobDamaged:
                found.append(Problem(path, "damaged", "it does not match its checksum", size))
        return found
