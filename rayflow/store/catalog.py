"""Which commits count: the one place that says what a reader sees.

In: the listing of `commits/` and the headers of those that are not known yet. Out: `Snapshot`. Never: reads a row.

Rules:
- A commit counts as soon as its file is there and matches its checksum; nothing else is looked at.
- A commit that replaces others (a compaction) hides them, provided that all its segments are there with the sizes that
  it states. If one is missing or cut short, what it replaced is shown again for as long as that is still kept.
- Compactions may race. Two that replace the same commits both count: their rows are the same rows, and every view keeps
  one row a key, so nothing is lost and nothing is seen twice; the next compaction merges them.
- A compaction's id is later than all it replaces, so reading newest first opens only what counts.
- What cannot be read is named in `Snapshot.problems` and left out.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass

from rayflow.errors import BlobDamaged
from rayflow.store import layout
from rayflow.store.folders import Folder
from rayflow.store.segments import Commit, Segment, decode_commit


class StoreWarning(UserWarning):
    """Something in the store is damaged or missing and was left out."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One file that is not as it should be. kind: damaged, missing or orphaned. size_bytes: on disk, where known."""

    path: str
    kind: str
    text: str
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a reader sees at one moment: the commits that count, oldest first."""

    commits: tuple[Commit, ...] = ()
    problems: tuple[Problem, ...] = ()

    def segments(self) -> tuple[Segment, ...]:
        """All segments of the commits that count."""
        return tuple(segment for commit in self.commits for segment in commit.segments)


class Catalog:
    """Keeps the headers of the commits that count, and brings them up to date on request."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._names: frozenset[str] = frozenset()
        self._known: dict[str, Commit] = {}
        self._whole: set[str] = set()
        self._warned: set[str] = set()
        self._broken: dict[str, Problem] = {}
        self.snapshot = Snapshot()

    @property
    def names(self) -> frozenset[str]:
        """Ids of all commits that are listed, also of those that are replaced."""
        return self._names

    def refresh(self) -> Snapshot:
        """List the commits and read the headers that are new. The same object comes back when nothing changed."""
        names = frozenset(name for name in self._folder.names(layout.COMMITS) if layout.is_id(name))
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

    def _publish(self, live: tuple[Commit, ...], problems: dict[str, Problem]) -> Snapshot:
        for problem in problems.values():
            self._warn(problem)
        found = tuple(problems[path] for path in sorted(problems))
        if live != self.snapshot.commits or found != self.snapshot.problems:
            self.snapshot = Snapshot(live, found)
        return self.snapshot

    def _read(self, name: str, problems: dict[str, Problem]) -> Commit | None:
        path = layout.commit_path(name)
        try:
            return decode_commit(name, self._folder.read(path))
        except FileNotFoundError:
            # Listed, then swept away after its time: what replaced it is in the listing too.
            return None
        except (BlobDamaged, ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
            self._folder.discard_copy(path)
            problems[path] = Problem(path, "damaged", str(error), self._folder.size(path))
            return None

    def _is_whole(self, commit: Commit, sizes: dict[str, int], problems: dict[str, Problem]) -> bool:
        whole = True
        for segment in commit.segments:
            size = sizes.get(segment.path)
            if size == segment.size:
                continue
            whole = False
            if size is None:
                problems[segment.path] = Problem(segment.path, "missing", f"commit {commit.id} names it")
            else:
                text = f"it has {size} bytes instead of {segment.size}"
                problems[segment.path] = Problem(segment.path, "damaged", text, size)
        return whole

    def add(self, commit: Commit) -> None:
        """A commit that this process has just written: seen without listing."""
        self._known[commit.id] = commit
        self._whole.add(commit.id)
        self._names |= {commit.id}
        hidden = set(commit.replaces)
        live = tuple(known for known in self.snapshot.commits if known.id not in hidden)
        self.snapshot = Snapshot((*live, commit), self.snapshot.problems)

    def forget(self, commit_ids: set[str]) -> None:
        """Replaced commits whose files this process has removed."""
        self._names -= commit_ids

    def report(self, problem: Problem) -> None:
        """A file turned out to be unreadable while its rows were read: name it from now on."""
        self._broken[problem.path] = problem
        self._warn(problem)
        known = {found.path: found for found in self.snapshot.problems}
        known[problem.path] = problem
        self.snapshot = Snapshot(self.snapshot.commits, tuple(known[path] for path in sorted(known)))

    def is_broken(self, path: str) -> bool:
        """Whether a file is known to be unreadable."""
        return path in self._broken or any(problem.path == path for problem in self.snapshot.problems)

    def _warn(self, problem: Problem) -> None:
        if problem.path in self._warned:
            return
        self._warned.add(problem.path)
        warnings.warn(
            f"{self._folder.url}/{problem.path} is {problem.kind} and is left out: {problem.text}. "
            "`rayflow store check` lists all such files.",
            StoreWarning,
            stacklevel=3,
        )
