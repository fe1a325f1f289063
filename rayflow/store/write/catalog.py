"""The valid commits. Only this module decides which rows a reader sees.

In: the listing of `commits/`, the headers of commits that are new, the checksums of segments before they are read.
Out: `StoreSnapshot`. Never: reads a row.

Rules:
- A commit is valid as soon as its file exists and matches its checksum. Nothing else matters.
- A commit that replaces others (a compaction) hides them, if all its segments exist with the sizes that it states, and
  none is known to be damaged. Otherwise the replaced commits are shown again, as long as they exist.
- Segments are large, and most questions need few of them: each is compared with its checksum before it is first read.
- Compactions may race. Two compactions of the same commits are both valid: they have the same rows, and every view
  shows one row for each key. So nothing is lost or seen twice. The next compaction merges them.
- The id of a compaction is later than the ids of the commits that it replaces. So the headers are read newest first,
  and the headers of replaced commits are not read at all.
- A file that cannot be read is named in `StoreSnapshot.problems` and left out.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from rayflow.errors import BlobDamaged, RayflowWarning, StoreUnavailable
from rayflow.pasting import command
from rayflow.store import layout
from rayflow.store.folders.protocol import Folder
from rayflow.store.write.segments import Commit, Segment, path_of, read_commit
from rayflow.values.display.user_warnings import warn_user

UNREADABLE = (BlobDamaged, OSError, pa.ArrowException)
"""The errors of reading the rows of a file."""


class StoreWarning(RayflowWarning):
    """Something in the store is damaged or missing and was left out."""


class Replaced(Exception):
    """A file is gone, because its commit was replaced after the file was listed. The question has to be asked again."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One file that is not as it should be. kind: damaged, missing or orphaned. size_bytes: on disk, where known."""

    path: str
    kind: str
    text: str
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class StoreSnapshot:
    """The state of a store that a reader sees at one moment: the valid commits, oldest first."""

    commits: tuple[Commit, ...] = ()
    problems: tuple[Problem, ...] = ()

    def segments(self) -> tuple[Segment, ...]:
        """All segments of the valid commits."""
        return tuple(segment for commit in self.commits for segment in commit.segments)


class Catalog:
    """Has the headers of the valid commits, and brings them up to date on request."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._names: set[str] = set()
        self._known: dict[str, Commit] = {}
        self._whole: set[str] = set()
        self._warned: set[str] = set()
        self._broken: dict[str, Problem] = {}
        self._latest = ""
        self.snapshot = StoreSnapshot()

    @property
    def names(self) -> Set[str]:
        """The ids of all commits that are listed, replaced ones included. Not to be changed."""
        return self._names

    @property
    def latest(self) -> str:
        """The latest id of a valid commit; empty when there is none."""
        return self._latest

    def refresh(self) -> StoreSnapshot:
        """List the commits and read the headers that are new. The same object comes back when nothing changed."""
        names = {name for name in self._folder.names(layout.COMMITS) if layout.is_id(name)}
        if names == self._names and not self.snapshot.problems:
            return self.snapshot
        problems: dict[str, Problem] = {}
        sizes: dict[str, int] | None = None
        hidden: set[str] = set()
        live: list[Commit] = []
        for name in sorted(names, reverse=True):
            if name in hidden:
                continue
            commit = self._known.get(name)
            if commit is None:
                commit = self._read(name, problems)
                if commit is None:
                    continue
                self._known[name] = commit
            live.append(commit)
            if commit.segments and name not in self._whole:
                if sizes is None:
                    sizes = self._folder.sizes(layout.SEGMENTS)
                if not self._is_whole(commit, sizes, problems):
                    continue
                self._whole.add(name)
            hidden.update(commit.replaces)
        live.reverse()
        self._names = names
        self._known = {commit.id: commit for commit in live}
        self._whole &= self._known.keys()
        problems.update({path: problem for path, problem in self._broken.items() if path not in problems})
        return self._publish(tuple(live), problems)

    def _publish(self, live: tuple[Commit, ...], problems: dict[str, Problem]) -> StoreSnapshot:
        for problem in problems.values():
            self.warn(problem)
        self._latest = live[-1].id if live else ""
        found = tuple(problems[path] for path in sorted(problems))
        if live != self.snapshot.commits or found != self.snapshot.problems:
            self.snapshot = StoreSnapshot(live, found)
        return self.snapshot

    def _read(self, name: str, problems: dict[str, Problem]) -> Commit | None:
        path = layout.commit_path(name)
        try:
            return read_commit(self._folder, name)
        except FileNotFoundError:
            # Listed, then swept away after its time: what replaced it is in the listing too.
            return None
        except (BlobDamaged, ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
            problems[path] = Problem(path, "damaged", _text_of(error), self._folder.size(path))
            return None

    def _is_whole(self, commit: Commit, sizes: dict[str, int], problems: dict[str, Problem]) -> bool:
        whole = True
        for segment in commit.segments:
            size = sizes.get(segment.path)
            if size == segment.size and segment.path not in self._broken:
                continue
            whole = False
            if segment.path in self._broken:
                continue
            if size is None:
                problems[segment.path] = Problem(segment.path, "missing", f"commit {commit.id} names it")
            else:
                text = f"it has {size} bytes instead of {segment.size}"
                problems[segment.path] = Problem(segment.path, "damaged", text, size)
        return whole

    def add(self, commit: Commit) -> None:
        """Show a commit that this process has just written, without listing."""
        self._known[commit.id] = commit
        self._whole.add(commit.id)
        self._names.add(commit.id)
        self._latest = max(self._latest, commit.id)
        live = self.snapshot.commits
        if commit.replaces:
            hidden = set(commit.replaces)
            live = tuple(known for known in live if known.id not in hidden)
        self.snapshot = StoreSnapshot((*live, commit), self.snapshot.problems)

    def forget(self, commit_ids: set[str]) -> None:
        """Drop replaced commits whose files this process has removed."""
        self._names -= commit_ids

    def verified(self, tables: Container[str]) -> StoreSnapshot:
        """The snapshot, after all its segments of these tables were compared with their checksums.

        Damaged segments are named and left out; the commits that theirs have replaced are shown in their place.
        """
        while True:
            found = [(commit, each) for commit in self.snapshot.commits for each in commit.segments]
            wanted = [(commit, each) for commit, each in found if any(name in tables for name in each.tables)]
            try:
                if all(self._is_intact(commit, each) for commit, each in wanted):
                    return self.snapshot
            except Replaced:
                continue
            self.refresh()

    def _is_intact(self, commit: Commit, segment: Segment) -> bool:
        """Whether a segment is as it was written, or known to be broken."""
        if self.is_broken(segment.path):
            return True
        with self.reading(commit, segment.path):
            path_of(self._folder, segment)
            return True
        return False

    @contextmanager
    def reading(self, commit: Commit, path: str) -> Iterator[None]:
        """A context in which to read a file of a commit. A file that cannot be read is reported and left out.

        Raises Replaced if the file is gone because its commit was replaced: nothing is lost, and the snapshot is
        the current one. Raises StoreUnavailable when the store does not answer, which says nothing about the file.
        """
        try:
            yield
        except StoreUnavailable:
            raise
        except UNREADABLE as error:
            if isinstance(error, FileNotFoundError) and self.was_replaced(commit):
                raise Replaced from error
            self.report_unreadable(path, error)

    def report_unreadable(self, path: str, error: Exception) -> None:
        """Reading a file ended in this error: name it among the problems from now on."""
        if isinstance(error, FileNotFoundError):
            self.report(Problem(path, "missing", "a commit names it"))
        else:
            self.report(Problem(path, "damaged", _text_of(error), self._folder.size(path)))

    def report(self, problem: Problem) -> None:
        """Name an unreadable file of records from now on. (Not a blob: that may be put again.)"""
        self._broken[problem.path] = problem
        self._whole -= {each.id for each in self.snapshot.segments() if each.path == problem.path}
        self.warn(problem)
        known = {found.path: found for found in self.snapshot.problems}
        known[problem.path] = problem
        self.snapshot = StoreSnapshot(self.snapshot.commits, tuple(known[path] for path in sorted(known)))

    def was_replaced(self, commit: Commit) -> bool:
        """Whether a commit with a missing file is not valid any more, because another one replaced it. This refreshes
        the snapshot."""
        return all(commit.id != each.id for each in self.refresh().commits)

    def is_broken(self, path: str) -> bool:
        """Whether a file is known to be unreadable."""
        return path in self._broken or any(problem.path == path for problem in self.snapshot.problems)

    def warn(self, problem: Problem) -> None:
        """Warn of a file, once."""
        if problem.path in self._warned:
            return
        self._warned.add(problem.path)
        warn_user(
            f"{self._folder.url}/{problem.path} is {problem.kind} and is left out: {problem.text}. "
            f"`{command('store', 'check', store=self._folder.url)}` lists all such files.",
            StoreWarning,
        )


def _text_of(error: Exception) -> str:
    """The fault of a file, as words to follow its path."""
    return "it does not match its checksum" if isinstance(error, BlobDamaged) else str(error)
