"""A store in one file: a zip with the layout of a store, for people who cannot share a store.

In: a path on this machine. Out: stores to copy to or from. Never: takes anything from a file whose names, versions or
checksums are not those of a store.
"""

from __future__ import annotations

import os
import re
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rayflow.errors import BadArguments, BlobDamaged, NotFound, RayflowError
from rayflow.store import layout
from rayflow.store.folders.pathless import PathlessFolder
from rayflow.store.folders.protocol import unavailable
from rayflow.store.store import Store
from rayflow.values.encoding.encoding import verify
from rayflow.values.filesystems.atomic_writes import beside_of, discard, move_durably
from rayflow.values.filesystems.filesystems import is_url
from rayflow.values.filesystems.fsync import sync
from rayflow.values.filesystems.url_checks import check_place

_OURS = re.compile(
    rf"{layout.FORMAT}|{layout.COMMITS}/[0-9a-f]{{16}}-[0-9a-f]{{10}}"
    rf"|{layout.SEGMENTS}/[a-z_]+/[0-9a-f]{{16}}-[0-9a-f]{{10}}\.parquet"
    rf"|{layout.BLOBS}/([0-9a-f]{{2}})/\1[0-9a-f]{{38}}"
)
"""Names that a file of ours has; none of them leads out of a folder."""


class ZipFolder(PathlessFolder):
    """The files of a store in a zip file: open for writing, or for reading."""

    creates_atomically = False

    def __init__(self, path: str, archive: zipfile.ZipFile) -> None:
        self.url = path
        self.verified: dict[str, int] = {}
        self._archive = archive
        self._lock = threading.Lock()

    def names(self, directory: str) -> list[str]:
        """Names of the files directly in a directory."""
        prefix = f"{directory}/" if directory else ""
        inner = (name[len(prefix) :] for name in self._archive.namelist() if name.startswith(prefix))
        return [name for name in inner if "/" not in name]

    def sizes(self, directory: str) -> dict[str, int]:
        """Path and size of every file below a directory."""
        entries = self._archive.infolist()
        return {entry.filename: entry.file_size for entry in entries if entry.filename.startswith(f"{directory}/")}

    def read(self, path: str) -> memoryview:
        """The content of a file. Raises BlobDamaged when the zip is damaged there."""
        try:
            with self._lock:
                return memoryview(self._archive.read(path))
        except KeyError:
            raise FileNotFoundError(f"{self.url}/{path}") from None
        except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
            raise BlobDamaged(f"{path} in {self.url} cannot be read: {error}") from error

    def write(self, path: str, parts: Sequence[Any]) -> None:
        """Add a file. All of them are there when the zip file is closed."""
        try:
            with self._lock, self._archive.open(zipfile.ZipInfo(path), "w", force_zip64=True) as file:
                for part in parts:
                    file.write(part)
        except OSError as error:
            raise unavailable(self.url, error) from error

    def overwrite(self, path: str, parts: Sequence[Any]) -> None:
        """Raises BadArguments: nothing is written twice in an archive."""
        raise BadArguments(f"{self.url} is an archive: no execution lives in it.")

    def create(self, path: str, parts: Sequence[Any]) -> bool:
        """Add a file, unless there is one."""
        if self.size(path) is not None:
            return False
        self.write(path, parts)
        return True

    def size(self, path: str) -> int | None:
        """A file's size in bytes."""
        try:
            return self._archive.getinfo(path).file_size
        except KeyError:
            return None

    def remove(self, path: str) -> None:
        """Raises BadArguments: nothing is removed from an archive."""
        raise BadArguments(f"{self.url} is an archive: nothing can be removed from it.")


@contextmanager
def writing(path: str) -> Iterator[Store]:
    """An empty store that becomes a file when the block ends, and leaves nothing behind when it fails.

    Raises BadArguments when there is such a file already, StoreUnavailable when it cannot be written.
    """
    if os.path.lexists(path):
        raise BadArguments(f"There is a file {path} already: name another one, or remove it.")
    check_place(path, "The file to write", BadArguments)
    if is_url(path):
        raise BadArguments(f"{path} is a URL, and an export is a file of this machine. `rayflow push` copies to a URL.")
    beside = beside_of(os.path.abspath(path))
    try:
        with open(beside, "xb") as file, zipfile.ZipFile(file, "w") as archive:
            folder = ZipFolder(path, archive)
            folder.write(layout.FORMAT, [layout.format_text()])
            yield Store(folder)
        sync(beside)
        move_durably(beside, path)
    except BaseException as error:
        with suppress(OSError):  # it was never made: its folder is missing
            discard(beside)
        if isinstance(error, OSError) and not isinstance(error, RayflowError):
            raise unavailable(path, error) from error
        raise


@contextmanager
def reading(path: str) -> Iterator[Store]:
    """The store in a file. All of it is checked before anything is read from it.

    Raises NotFound when there is no file, BadArguments when the file is not a store, VersionMismatch when it is newer
    than this rayflow, BlobDamaged when something in it is missing or does not match its checksum.
    """
    if not os.path.isfile(path):
        raise NotFound(f"There is no file {path}.")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise BadArguments(f"{path} is not what `rayflow export` writes, or was cut short: {error}.") from error
    with archive:
        names = archive.namelist()
        strange = [name for name in names if not _OURS.fullmatch(name)]
        if strange or len(names) != len(set(names)) or layout.FORMAT not in names:
            what = repr(strange[0]) if strange else "a file twice" if layout.FORMAT in names else "no format"
            raise BadArguments(f"{path} is not what `rayflow export` writes: it holds {what}. Nothing was imported.")
        folder = ZipFolder(path, archive)
        layout.check_format(bytes(folder.read(layout.FORMAT)), path)
        store = Store(folder, read_only=True)
        for what, text in _damage(store):
            raise BlobDamaged(f"{path} is damaged: {what}: {text}. Nothing was imported.")
        yield store


def _damage(store: Store) -> Iterator[tuple[str, str]]:
    """The damaged and missing files. (Blobs that were missing at the export are missing here, too: their values are
    computed again.)"""
    folder = store.folder
    for problem in store.record_problems():
        if problem.kind != "orphaned":
            yield problem.path, problem.text
    for path in folder.sizes(layout.BLOBS):
        if not verify(folder.read(path)):
            yield path, "it does not match its checksum"
