"""Removes files that nothing refers to: replaced and half-written ones, and blobs that no row names.

In: a store, and perhaps a moment: older executions are forgotten. Out: the numbers of what was removed. Never: removes
a file that a reader, a writer or a running execution may need.

Other processes may read and write at the same time. Waiting makes that safe:

- Replaced commits and their segments stay for an hour, as after any compaction. Until then, blobs that they name stay.
- A blob is written before the row that names it. So blobs younger than a day stay, and those that were written since
  the start of the oldest running execution. A blob that is written again gets the current time.
- The blobs are listed first, then the rows are read. Before a blob is removed, new commits are read, and its age is
  checked again.

A compaction forgets executions by leaving out their rows: it replaces everything by the rows of the other executions.
Rows that another execution has used, such as a cached result, belong to that one, too. Another compaction at the same
time may bring rows back; the next time, they are removed. An hour later, files that only the forgotten executions
needed can be removed. If there is a damaged file, it is not known which blobs it names. Then nothing is forgotten, and
all blobs stay.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rayflow.errors import BlobDamaged, StoreUnavailable
from rayflow.pasting import command
from rayflow.store import layout
from rayflow.store.exchange import selecting
from rayflow.store.exchange.references import named_in
from rayflow.store.exchange.transfer import rows_in, term_reader
from rayflow.store.history import views
from rayflow.store.history.history import History
from rayflow.store.lease import left_files
from rayflow.store.store import Store
from rayflow.store.write import schemas
from rayflow.store.write.catalog import StoreSnapshot
from rayflow.store.write.compaction import write_commit
from rayflow.store.write.segments import read_commit

GRACE_SECONDS = 24 * 3600.0
"""How long a blob without a row stays."""

SILENT_SECONDS = 30 * 24 * 3600.0
"""An execution that has recorded nothing for this long counts as ended, even if its row says that it runs."""

LIVE_SECONDS = 3600.0
"""So long the live file of an execution stays that has ended, and an execution of another machine may be silent."""

_CLOCKS_DIFFER_SECONDS = 600.0

_BLOB = re.compile(rf"{layout.BLOBS}/[0-9a-f]{{2}}/([0-9a-f]{{40}})")

IsOver = Callable[[Mapping[str, Any]], bool]
"""Gets the record of an execution with status running; says whether the execution is known to have ended."""


@dataclass(frozen=True, slots=True)
class Collected:
    """The numbers of things that were removed, or would be.

    forgotten: of executions. files: of replaced and half-written files. blobs: of blobs. removed_bytes: the
    size of all removed files and blobs. young: the number of blobs that no row names and that are too young to be
    removed. unread: the reason why no blobs were removed; None when all rows could be read.
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
    confirm: Callable[[int], None] = lambda count: None,
) -> Collected:
    """Remove files and blobs that nothing refers to.

    older_than: first forget the executions that have recorded nothing since. dry_run: count only. confirm: if all
    executions would be forgotten, it is called with their number; if it raises, nothing is removed. Raises BlobDamaged
    if executions have to be forgotten, and the store has a damaged file.
    """
    problems = [each for each in store.record_problems() if each.kind != "orphaned"]
    unread = f"{problems[0].path} is {problems[0].kind}" if problems else None
    history = store.history()
    snapshot = history.hold()  # later records are not part of the snapshot
    seen = {row["execution_id"]: row["last_sign"] for row in history.records(views.text_of("last_signs"))}
    running = _running(history, seen, is_over)
    open_runs = {row["run_id"] for row in history.records(views.text_of("open_run_ids"))}
    forgotten: set[str] = set()
    if older_than is not None:
        if unread is not None:
            check = command("store", "check", store=store.url)
            raise BlobDamaged(f"Nothing can be forgotten while the store is damaged: {unread} (`{check}`).")
        forgotten = {each for each, sign in seen.items() if sign < older_than and each not in running}
        forgotten -= open_runs  # however long they wait
        if forgotten and not dry_run:
            if len(forgotten) == len(seen):
                confirm(len(forgotten))
            _keep_only(store, history, snapshot, sorted(seen.keys() - forgotten))
    history.close()
    swept = {**store.sweep(dry_run=dry_run), **_sweep_live(store, running, dry_run)}
    swept.update(_sweep_leases(store, forgotten, dry_run))
    blobs: dict[str, int] = {}
    young = 0
    if unread is None:
        needed_seconds = 0.0
        if running:
            needed_seconds = (datetime.now(UTC) - min(running.values())).total_seconds() + _CLOCKS_DIFFER_SECONDS
        blobs, young = _collect_blobs(store, max(grace_seconds, needed_seconds), dry_run)
    removed_bytes = sum(swept.values()) + sum(blobs.values())
    return Collected(
        forgotten=len(forgotten),
        files=len(swept),
        blobs=len(blobs),
        removed_bytes=removed_bytes,
        young=young,
        unread=unread,
    )


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


def _keep_only(store: Store, history: History, snapshot: StoreSnapshot, executions: Sequence[str]) -> None:
    """Write all rows that belong to these executions, in place of the whole snapshot. history: shows that snapshot."""
    rows = selecting.rows_of(history, executions)
    for name in (
        "forgotten", "handles", "events", "delivery_changes", "schedule_changes", "firing_changes", "queue_changes",
        "charges",
    ):  # fmt: skip
        # They speak of results and handles that another execution may bring back, or that a run may still get; and of
        # moments that have had their runs.
        how = schemas.layouts()[name]
        still = f"WHERE epoch_us(until_at) > {int(time.time() * 1_000_000)}" if name == "charges" else ""
        found = history.answer(f"SELECT * FROM raw.{name} {still}").to_arrow_table()
        rows[name] = schemas.fit(how, found.cast(how.schema))
    listed = set(store.folder.names(layout.COMMITS))
    replaces = {commit.id for commit in snapshot.commits}
    for commit in snapshot.commits:
        replaces.update(older for older in commit.replaces if older in listed)
    last = snapshot.commits[-1].id
    write_commit(store.folder, layout.IdMaker().make(after=last), [rows], replaces=replaces, executions=executions)


def _sweep_live(store: Store, running: Mapping[str, datetime], dry_run: bool) -> dict[str, int]:
    """Remove the live files of executions that have ended, or that nobody knows any more. Returns their sizes."""
    folder = store.folder
    sizes = folder.sizes(layout.LIVE)
    gone: dict[str, int] = {}
    for path, age in folder.ages(layout.LIVE).items():
        if age > LIVE_SECONDS and path.rpartition("/")[2].partition(".")[0] not in running:
            gone[path] = sizes.get(path, 0)
            if not dry_run:
                folder.remove(path)
    return gone


def _sweep_leases(store: Store, forgotten: Collection[str], dry_run: bool) -> dict[str, int]:
    """Remove the files of leases that nobody needs any more. Returns their sizes."""
    gone = {path: store.folder.size(path) or 0 for path in left_files(store.folder, forgotten)}
    for path in () if dry_run else gone:
        store.folder.remove(path)
    return gone


# --- blobs ------------------------------------------------------------------------------------------------------------


def _collect_blobs(store: Store, grace_seconds: float, dry_run: bool) -> tuple[dict[str, int], int]:
    """Remove the blobs that no row names and that are older than the grace. Returns their sizes, and how many are
    younger."""
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
    """The blobs that rows name, also rows of replaced commits, which readers may still use."""

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
                commit = read_commit(folder, name)
                for table, rows in rows_in(folder, commit):
                    self._found |= named_in({table: rows}, term_reader(self._store))
            except FileNotFoundError:
                # Swept since it was listed: it had been replaced an hour before.
                continue
            except StoreUnavailable as error:
                # Likewise; segments are swept before their commits.
                if not isinstance(error.__cause__, FileNotFoundError) or self._is_valid(name):
                    raise

    def _is_valid(self, name: str) -> bool:
        return any(commit.id == name for commit in self._store.snapshot().commits)
