"""Open a store.

In: a path or URL. Out: `Store`. Never: imports DuckDB, or reaches a network, before it has to.
"""

from __future__ import annotations

import os

from rayflow.errors import BadConfig, NotFound
from rayflow.store import layout
from rayflow.store.base import Store
from rayflow.store.catalog import Problem, Snapshot, StoreWarning
from rayflow.store.compaction import CompactionResult
from rayflow.store.folders import Folder, LocalFolder
from rayflow.store.memory import MemoryStore

__all__ = ["CompactionResult", "Problem", "Snapshot", "Store", "StoreWarning", "open_store"]


def open_store(url: str | os.PathLike[str], *, create: bool = True, read_only: bool = False) -> Store:
    """The store at a path or URL; it is made when it is not there.

    url: a path, `file://…`, any URL that fsspec knows (`s3://…`, `gs://…`, `memory://…`), or `:memory:` for a store
    that ends with this object. create: whether to make a store that is not there (never when read_only). Raises
    NotFound when there is none, BadConfig when the folder is something else, VersionMismatch when it is newer than
    this rayflow, StoreUnavailable when it cannot be reached.
    """
    text = os.fspath(url)
    if text == ":memory:":
        return MemoryStore()
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    if "://" in text:
        from rayflow.store.remote import RemoteFolder

        folder: Folder = RemoteFolder(text)
    else:
        folder = LocalFolder(os.path.abspath(os.path.expanduser(text)))
    _prepare(folder, create=create and not read_only)
    return Store(folder, read_only=read_only)


def _prepare(folder: Folder, *, create: bool) -> None:
    """Check that the folder is a store that this version can read; make it one when it is empty."""
    try:
        layout.check_format(bytes(folder.read(layout.FORMAT)), folder.url)
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
