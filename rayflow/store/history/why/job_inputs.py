"""The recorded arguments of a job, and the states of the files in them.

In: the row of a job. Out: `JobInputs`. Never: compares, looks at a file.

The arguments of a job that ended well are recorded with its call. Those of a job that failed are recorded in its own
row, if they are small.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from rayflow.lang.terms.codec import loads
from rayflow.lang.terms.expressions import Term, render
from rayflow.store.history import views
from rayflow.store.history.answer_types import Record, RecordedArgument
from rayflow.store.history.database import RecordDatabase, as_bytes, as_microseconds
from rayflow.values.encoding.identity import value_hash
from rayflow.values.encoding.nested import iter_leaves
from rayflow.values.files.changes import OF_MANY, FileChange, ObservedFile, seen_of
from rayflow.values.files.listings import Listing, differences, packed, unpacked
from rayflow.values.refs import ValueRef
from rayflow.values.witnesses import OF_FILE


@dataclass(frozen=True, slots=True)
class FileSeen:
    """A file among the arguments of a call.

    known_by: None in records of an older rayflow. came: whether the argument is the result of another call.
    """

    path: str
    seen: ObservedFile
    known_by: str | None
    is_many: bool
    came: bool = False


@dataclass(frozen=True, slots=True)
class JobInputs:
    """A job's arguments; None if they are not recorded. files: the files in them, by the argument's name and path."""

    args_hash: str | None = None
    arguments: tuple[RecordedArgument, ...] | None = None
    files: Mapping[str, Mapping[str, FileSeen]] = field(default_factory=dict)


def inputs_of(database: RecordDatabase, job: Record | None) -> JobInputs:
    """The recorded arguments of a job."""
    if job is None:
        return JobInputs()
    call = job["call_hash"]
    if call is not None:
        row = database.one("SELECT args_hash FROM raw.calls WHERE call_hash = $call LIMIT 1", {"call": as_bytes(call)})
        if row is not None:
            files = files_of(database, [call]).get(call, {})
            return JobInputs(str(row["args_hash"]), database.arguments_of([call]).get(call, ()), files)
    if job["packed_arguments"] is None:
        return JobInputs(job["args_hash"])
    bound: dict[str, Term] = loads(job["packed_arguments"])
    arguments = tuple(
        RecordedArgument(name, value_hash(term).hex(), None, render(term)) for name, term in bound.items()
    )
    return JobInputs(job["args_hash"], arguments, {name: _files_in(term) for name, term in bound.items()})


def _files_in(term: Term) -> dict[str, FileSeen]:
    found = {}
    for leaf in iter_leaves(term):
        for kind, payload in leaf.witnesses if type(leaf) is ValueRef else ():
            if kind == OF_FILE:
                how, path, size, version = payload
                found[path] = FileSeen(path, seen_of(how, size, version), how, how in OF_MANY)
    return found


def files_of(database: RecordDatabase, calls: list[str]) -> dict[str, dict[str, dict[str, FileSeen]]]:
    """The files among the arguments of calls, by the call, by the argument's name and by path."""
    rows = database.records(views.text_of("argument_files"), {"calls": [bytes.fromhex(call) for call in calls]})
    found: dict[str, dict[str, dict[str, FileSeen]]] = {}
    for row in rows:
        named = found.setdefault(row["call_hash"], {}).setdefault(row["name"], {})
        named[row["path"]] = _recorded(row)
    return found


def with_members(database: RecordDatabase, changes: Iterable[FileChange]) -> tuple[FileChange, ...]:
    """The changes with details. A changed directory or pattern gets its changed files, if listings are recorded."""
    found = []
    for change in changes:
        was, now = (_listing(database, seen) for seen in (change.was, change.now))
        members = differences(was, now) if was is not None and now is not None else ()
        found.append(replace(change, members=members) if members else change)
    return tuple(found)


def may_hold(database: RecordDatabase, place: str, digest: str | None, path: str) -> bool:
    """Whether a directory, or the matches of a pattern, had a file in the state with this digest.

    It is also True if no listing of that state is recorded.
    """
    listing = _listing(database, ObservedFile(None, digest=digest))
    return listing is None or path in listing or path.removeprefix(f"{place.rstrip('/')}/") in listing


def _listing(database: RecordDatabase, seen: ObservedFile | None) -> Listing | None:
    """The listing of a directory in this state: one that this process has made, else the recorded one."""
    if seen is None or seen.digest is None or len(seen.digest) != 2 * HASH_BYTES:
        return None
    listing = packed(seen.digest)
    if listing is None:
        row = database.one(
            "SELECT members FROM raw.listings WHERE listing = $listing LIMIT 1", {"listing": as_bytes(seen.digest)}
        )
        listing = row["members"] if row else None
    return None if listing is None else unpacked(listing)


HASH_BYTES = 20


def _recorded(row: Record) -> FileSeen:
    """The file that a row describes."""
    how, size, modified = row["known_by"], row["size_bytes"], _microseconds(row["modified_at"])
    is_many = how in OF_MANY or (how is None and size is None and row["version"] is not None)
    if size is None and how not in ("stat", "content"):
        size = row["members"]
    if how is None and is_many:
        how = "tree"
    seen = ObservedFile(size, modified) if modified is not None else seen_of(how or "stat", size, row["version"])
    return FileSeen(row["path"], seen, row["known_by"], is_many, row["came"])


def _microseconds(moment: Any) -> int | None:
    return as_microseconds(moment.astimezone(UTC).replace(tzinfo=None)) if isinstance(moment, datetime) else None
