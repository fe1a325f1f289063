"""Open a store.

In: a path or URL. Out: `Store`. Never: imports DuckDB, or reaches a network, before it has to.
"""

from __future__ import annotations

import errno
import os
import stat

from rayflow.errors import BadConfig, NotFound
from rayflow.store import layout
from rayflow.store.folders.local import LocalFolder
from rayflow.store.folders.memory import MemoryFolder
from rayflow.store.folders.protocol import Folder, unavailable
from rayflow.store.store import Store
from rayflow.store.write.catalog import Problem, StoreSnapshot, StoreWarning
from rayflow.store.write.compaction import CompactionResult
from rayflow.values.filesystems.filesystems import is_url
from rayflow.values.filesystems.url_checks import check_place

__all__ = ["CompactionResult", "Problem", "Store", "StoreSnapshot", "StoreWarning", "open_store"]


def open_store(url: str | os.PathLike[str], *, create: bool = True, read_only: bool = False) -> Store:
    """The store at a path or URL. It is made when there is none.

    url: a path, `file://…`, any URL that fsspec knows (`s3://…`, `gs://…`, `memory://…`), or `:memory:` for a store
    that ends with this object. create: whether to make a missing store (never when read_only). Raises NotFound when
    there is none, BadConfig when the folder is something else, VersionMismatch when it is newer than this rayflow,
    StoreUnavailable when it cannot be reached.
    """
    text = os.fspath(url)
    if text == ":memory:":
        folder: Folder = MemoryFolder()
        folder.write(layout.FORMAT, [layout.format_text()])
        return Store(folder)
    folder = folder_at(text)
    _prepare(folder, create=create and not read_only, read_only=read_only)
    return Store(folder, read_only=read_only)


def folder_at(url: str) -> Folder:
    """The folder of a store at a path or URL, whether or not there is one. Raises BadConfig for what is no place."""
    check_place(url, "The store", BadConfig)
    text = url.removeprefix("file://") if url.startswith("file://") else url
    if is_url(text):
        from rayflow.store.folders.remote import RemoteFolder

        return RemoteFolder(text)
    place = os.path.abspath(os.path.expanduser(text))
    _check_local(place)
    return LocalFolder(place)


def _check_local(place: str) -> None:
    """Raise BadConfig for a path of this machine that no folder can have."""
    try:
        place.encode("utf-8")
    except UnicodeEncodeError:  # DuckDB takes no other name
        raise BadConfig(
            f"The path of the store {place!a} is not UTF-8: rename the folder, or name another store."
        ) from None
    try:
        is_folder = stat.S_ISDIR(os.stat(place).st_mode)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        is_folder = False
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise BadConfig(f"There can be no store at {place}: {error.strerror}.") from None
        raise unavailable(place, error) from error
    while not is_folder and not os.path.exists(place):
        place = os.path.dirname(place)
    if not is_folder:
        raise BadConfig(f"{place} is a file: a store is a folder. Name another place, or move the file away.")


def _prepare(folder: Folder, *, create: bool, read_only: bool) -> None:
    """Check that the folder is a store that this version can read; make it one when it is empty.

    A store of an older layout that is opened to be written gets this version's number: from then on, older versions of
    rayflow say that they cannot read it.
    """
    try:
        version = layout.check_format(bytes(folder.read(layout.FORMAT)), folder.url)
        if version < layout.LAYOUT_VERSION and not read_only:
            folder.write(layout.FORMAT, [layout.format_text()])
        return
    except (FileNotFoundError, NotADirectoryError):
        pass
    except IsADirectoryError as error:
        raise BadConfig(f"{folder.url}/{layout.FORMAT} is a folder: {folder.url} is not a store.") from error
    strangers = sorted(name for name in folder.names("") if name not in layout.OWN_NAMES)
    if strangers:
        raise BadConfig(
            f"{folder.url} is not a rayflow store, and it is not empty (it holds {strangers[0]}). "
            "Name a store, or a folder that is empty or does not exist yet."
        )
    if not create:
        raise NotFound(f"There is no store at {folder.url}. A run makes one.")
    if not folder.remote:
        folder.write(layout.IGNORE, [b"*\n"])
    folder.write(layout.FORMAT, [layout.format_text()])
