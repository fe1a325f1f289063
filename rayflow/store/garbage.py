"""Removes what nothing refers to: files that were replaced or left half-written, and blobs that no row names.

In: a store, and perhaps a moment before which executions are to be forgotten. Out: what was removed. Never: a file that
a reader, a writer or a running execution may need.

Anybody may read and write meanwhile. What makes that safe is time:

- Replaced commits and their segments stay for an hour, as after any compaction, and until then their rows count here.
- A blob is there before the row that names it. So blobs that are younger than a grace of a day stay, as do those that
  were written since the oldest execution started that is still running. One that is put again counts as new.
- Rows are read after the blobs were listed, commits that came meanwhile are read before anything is removed, and a
  blob's age is asked once more.

Executions are forgotten by a compaction that leaves their rows out: it writes all that belongs to the others, in place
of everything that was there. What another execution has used, a cached result say, belongs to that one, too. A
compaction that goes on at the same time may bring rows back: they go the next time. What only the forgotten ones needed
is removed from an hour later on. Where a file is damaged nobody knows what it names: nothing is forgotten then, and
all blobs stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rayflow.errors import BlobDamaged
from rayflow.store import layout, schemas, selecting, views
from rayflow.store.base import Store
from rayflow.store.compaction import write_commit
from rayflow.store.history import History
from rayflow.store.references import named_in
from rayflow.store.segments import decode_commit
from rayflow.store.transfer import rows_in, term_reader

GRACE_SECONDS = 24 * 3600.0
"""How long a blob stays that no row names."""

SILENT_SECONDS = 30 * 24 * 3600.0
"""An execution of which nothing was recorded for so long runs no more, whatever its row says."""

_CLOCKS_DIFFER_SECONDS = 600.0

_BLOB = re.compile(rf"{layout.BLOBS}/[0-9a-f]{{2}}/([0-9a-f]{{40}})")

IsOver = Callable[[Mapping[str, Any]], bool]
"""Whether an execution that is recorded as running is known to have ended: gets its record."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What was removed, or would be.

    forgotten: executions. files: replaced and half-written ones. blobs, removed_bytes: removed blobs, and the size of
    all that was removed. young: blobs that no row names and that stay for their age. unread: why no blobs were removed;
    None when all rows could be read.
    """

    forgotten: int
    files: int
    blobs: int
    removed_bytes: int
    young: int
    unread: str | None = None


def collect(
    store: Store,
    *,
    older_than: datetime | None = None,
    is_over: IsOver = lambda row: False,
    dry_run: bool = False,
    grace_seconds: float = GRACE_SECONDS,
) -> Collected:
    """Remove what nothing refers to.

    older_than: executions of which nothing was recorded since are forgotten first. dry_run: count only. Raises
    BlobDamaged when executions are to be forgotten and the store has a damaged file.
    """
    problems = [each for each in store.record_problems() if each.kind != "orphaned"]
    unread = f"{problems[0].path} is {problems[0].kind}" if problems else None
    history = store.history()
    seen = {row["execution_id"]: row["last_sign"] for row in history.records(views.text_of("last_signs"))}
    running = _running(history, seen, is_over)
    forgotten: set[str] = set()
    if older_than is not None:
        if unread is not None:
            raise BlobDamaged(f"Nothing can be forgotten while the store is damaged: {unread} (`rayflow store check`).")
        forgotten = {each for each, sign in seen.items() if sign < older_than and each not in running}
        if forgotten and not dry_run:
            _keep_only(store, history, sorted(seen.keys() - forgotten))
    history.close()
    swept = store.sweep(dry_run=dry_run)
    blobs: dict[str, int] = {}
    young = 0
    if unread is None:
        needed_seconds = 0.0
        if running:
            needed_seconds = (datetime.now(UTC) - min(running.values())).total_seconds() + _CLOCKS_DIFFER_SECONDS
        blobs, young = _collect_blobs(store, max(grace_seconds, needed_seconds), dry_run)
    removed_bytes = sum(swept.values()) + sum(blobs.values())
    return Collected(len(forgotten), len(swept), len(blobs), removed_bytes, young, unread)


# --- executions -------------------------------------------------------------------------------------------------------


def _running(history: History, seen: Mapping[str, datetime], is_over: IsOver) -> dict[str, datetime]:
    """The executions that may still run, and when they started."""
    silent = datetime.now(UTC) - timedelta(seconds=SILENT_SECONDS)
    rows = [row for row in history.executions(limit=None) if row["status"] == "running"]
    return {
        row["execution_id"]: row["started_at"]
        for row in rows
        if seen[row["execution_id"]] > silent and not is_over(row)
    }


def _keep_only(store: Store, history: History, executions: Sequence[str]) -> None:
    """Write all that belongs to these executions in place of all that is there."""
    snapshot = store.snapshot()
    rows = selecting.rows_of(history, executions)
    for name in ("forgotten", "handles"):
        # They speak of results and handles that another execution may bring back.
        how = schemas.layouts()[name]
        rows[name] = schemas.fit(how, history.answer(f"SELECT * FROM raw.{name}").to_arrow_table().cast(how.schema))
    listed = set(store.folder.names(layout.COMMITS))
    replaces = {commit.id for commit in snapshot.commits}
    for commit in snapshot.commits:
        replaces.update(older for older in commit.replaces if older in listed)
    last = snapshot.commits[-1].id
    write_commit(store.folder, layout.IdMaker().make(after=last), rows, replaces=replaces, executions=executions)


# --- blobs ------------------------------------------------------------------------------------------------------------


def _collect_blobs(store: Store, grace_seconds: float, dry_run: bool) -> tuple[dict[str, int], int]:
    """Remove blobs that no row names and that are older than the grace: their sizes; and how many are younger."""
    folder = store.folder
    sizes = folder.sizes(layout.BLOBS)
    ages = folder.ages(layout.BLOBS)
    named = _Named(store)
    named.read()
    unnamed = [path for path in sorted(sizes) if (known := _BLOB.fullmatch(path)) and not named.has(known[1])]
    old = [path for path in unnamed if ages.get(path, -1.0) > grace_seconds]
    if dry_run or not old:
        return {path: sizes[path] for path in old}, len(unnamed) - len(old)
    removed: dict[str, int] = {}
    named.read()
    for path in old:
        age = folder.age_seconds(path)
        if age is not None and age > grace_seconds and not named.has(path.rpartition("/")[2]):
            folder.remove(path)
            removed[path] = sizes[path]
    return removed, len(unnamed) - len(removed)


class _Named:
    """The blobs that rows name, those of replaced commits included: readers may still be at them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: set[bytes] = set()
        self._read: set[str] = set()

    def has(self, digest: str) -> bool:
        """Whether a row names the blob of this digest, in hex."""
        return bytes.fromhex(digest) in self._found

    def read(self) -> None:
        """Read the commits that are new. Raises StoreUnavailable when one is damaged."""
        folder = self._store.folder
        for name in sorted(folder.names(layout.COMMITS)):
            if name in self._read or not layout.is_id(name):
                continue
            self._read.add(name)
            try:
                commit = decode_commit(name, folder.read(layout.commit_path(name)))
            except FileNotFoundError:
                # Swept since it was listed: it had been replaced an hour before.
                continue
            for table, rows in rows_in(folder, commit):
                self._found |= named_in({table: rows}, term_reader(self._store))
