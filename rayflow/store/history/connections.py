"""DuckDB's database of a store's records, and a connection to it for each thread that asks.

In: the store's folder and catalog. Out: connections to the current snapshot. Never: asks a question.

A DuckDB connection serves one thread at a time. So each thread has a connection of its own to the one database. A
thread that brings the database up to date does so in one transaction: the others see all of it, or nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Container
from typing import NamedTuple

import duckdb

from rayflow.store.folders.protocol import Folder
from rayflow.store.history import views
from rayflow.store.write.catalog import Catalog, Replaced, StoreSnapshot


class ReadyConnection(NamedTuple):
    """A connection of the thread that has asked for it, the snapshot that it shows, and whether it has the views."""

    connection: duckdb.DuckDBPyConnection
    snapshot: StoreSnapshot
    has_views: bool


class Connections:
    """One database. allow_files: whether its queries may read files outside the store, too.

    The caller has to hold the lock of the catalog.
    """

    def __init__(self, folder: Folder, catalog: Catalog, *, allow_files: bool = False) -> None:
        self._folder = folder
        self._catalog = catalog
        self._main = views.connect(folder.local_root(), allow_files=allow_files)
        self._shown: StoreSnapshot | None = None
        self._has_views = False
        self._of_thread = threading.local()

    def ready(self, tables: Container[str], *, with_views: bool) -> ReadyConnection:
        """The calling thread's connection, for questions to these tables, all that it may read of them verified."""
        while (snapshot := self._catalog.verified(tables)) is not self._shown:
            try:
                views.fill(self._main, self._folder, self._catalog, snapshot)
            except Replaced:
                continue
            self._shown = self._catalog.snapshot
        if with_views and not self._has_views:
            views.show(self._main)
            self._has_views = True
        own = getattr(self._of_thread, "connection", None)
        if own is None:
            own = self._of_thread.connection = self._main.cursor()
        return ReadyConnection(own, snapshot, self._has_views)

    def close(self) -> None:
        """Let go of the database. Answers that were given stay; another thread's connection ends with the thread."""
        own = getattr(self._of_thread, "connection", None)
        if own is not None:
            own.close()
        self._main.close()
