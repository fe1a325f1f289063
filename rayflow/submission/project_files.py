"""Which files of a project are sent to a cluster.

In: a project's directory. Out: its files with their sizes, and which of them are large. Never: reads a file's content,
except for `.gitignore` and `.rayignore`.

Left out are: what `.gitignore` and `.rayignore` name (the latter counts more, and `!name` in it brings back a file that
git ignores), the repository itself, stores, virtual environments, and caches.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pathspec import GitIgnoreSpec

from rayflow.errors import BadProject
from rayflow.lang.modules import MARKS, project_of
from rayflow.runtime.wording import many, size
from rayflow.store import layout

WARNED_BYTES = 10 << 20
"""A file of more bytes is named: it is more likely data than code."""

MOST_BYTES = 512 << 20
"""A project of more bytes is refused. The cluster keeps it in the memory of its head, and takes no more."""

MOST_FILES = 200_000
"""A project of more files is refused. It is more likely a disk than a project, and to look through it takes long."""

MOST_NAMED = 5
"""How many large files and folders an error names."""

MAIN_SHARE = 0.8
"""An error names what is in a folder, and not the folder, when that folder has more than this share of the bytes."""

_LEFT_OUT = frozenset({
    ".git", ".hg", ".svn", ".rayflow", "__pycache__", ".venv", "node_modules", ".mypy_cache", ".ruff_cache",
    ".pytest_cache", ".hypothesis", ".tox", ".nox", ".ipynb_checkpoints", ".DS_Store",
})  # fmt: skip
"""The names that are never sent."""

GIT, RAY = ".gitignore", ".rayignore"


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """A file, or an empty directory, of a project.

    name: its path in the project, with slashes; a directory's ends with one. path: where it is. size: in bytes.
    is_program: whether it may be run. A mark has no path: it is an empty file that the project itself lacks.
    """

    name: str
    path: str | None
    size: int = 0
    is_program: bool = False


@dataclass(frozen=True, slots=True)
class _IgnoreRules:
    """The rules of one file with patterns. base: its directory."""

    base: str
    spec: GitIgnoreSpec

    def verdict(self, path: str, is_directory: bool) -> bool | None:
        """Whether the rules leave a path out; None when they do not speak of it."""
        return self.spec.check_file(os.path.relpath(path, self.base) + ("/" if is_directory else "")).include


def files_of(project_dir: str, excludes: Iterable[str] = ()) -> list[ProjectFile]:
    """The files of a project that are sent, sorted by name.

    excludes: further patterns, as in `.rayignore` of the project's directory. Raises BadProject for a file or directory
    that cannot be read, for a name that an archive cannot hold, and for more than MOST_FILES files.
    """
    root = os.path.realpath(project_dir)
    ours = GitIgnoreSpec.from_lines(excludes)
    found: list[ProjectFile] = []
    for file in _walk(root, "", _above(root), [_IgnoreRules(root, ours)], frozenset()):
        found.append(file)
        if len(found) > MOST_FILES:
            raise BadProject(
                f"The project {project_dir} has more than {MOST_FILES:,} files, and so is not sent. "
                f"{where_most_is(found, of_files=True)} {LEAVE_OUT}"
            )
    found.extend(_marks(root, found))
    for file in found:
        _check_name(file.name)
    return sorted(found, key=lambda file: file.name)


def check_sizes(files: Iterable[ProjectFile], project_dir: str) -> list[str]:
    """A warning for each large file. Raises BadProject when all together are too large; the error names where most of
    it is."""
    by_size = sorted(files, key=lambda file: -file.size)
    total = sum(file.size for file in by_size)
    if total > MOST_BYTES:
        raise BadProject(
            f"The project {project_dir} has {size(total)}, and a cluster takes at most {size(MOST_BYTES)}. "
            f"{where_most_is(by_size)} {LEAVE_OUT}"
        )
    return [
        f"{file.name} has {size(file.size)} and is sent with the project: if the tasks do not need it, name "
        f"it in {RAY}."
        for file in by_size
        if file.size > WARNED_BYTES
    ]


def where_most_is(files: Iterable[ProjectFile], of_files: bool = False) -> str:
    """A sentence that names the largest files and folders. of_files: those with the most files.

    It goes into a folder as long as that has nearly all, and then names what lies beside each other there.
    """
    below, within = list(files), ""
    while True:
        parts: dict[str, list[ProjectFile]] = defaultdict(list)
        for file in below:
            first, slash, _ = file.name[len(within) :].partition("/")
            parts[first + slash].append(file)
        weights = {name: len(held) if of_files else _bytes_of(held) for name, held in parts.items()}
        largest = sorted(parts, key=lambda name: -weights[name])
        name = largest[0] if largest else ""
        if len(parts.get(name, ())) < 2 or weights[name] <= MAIN_SHARE * sum(weights.values()):
            break
        within += name
        below = parts[name]
    named = []
    for name in largest[:MOST_NAMED]:
        held = parts[name]
        if len(held) == 1:
            named.append(f"{held[0].name} ({size(held[0].size)})")
        else:
            named.append(f"{within}{name} ({many(len(held), 'file')}, {size(_bytes_of(held))})")
    return f"The largest are {', '.join(named)}."


def _bytes_of(files: Iterable[ProjectFile]) -> int:
    return sum(file.size for file in files)


LEAVE_OUT = f"Name what the tasks do not need in {RAY}, or keep data at a URL such as s3://bucket/data."
"""What to do about a project that is too large."""


def _walk(
    directory: str, within: str, git: list[_IgnoreRules], ray: list[_IgnoreRules], above: frozenset[str]
) -> Iterator[ProjectFile]:
    """The files below a directory. within: its path in the project, which ends with a slash unless it is the project.
    above: the real paths of the directories that it lies in, since a link may lead back to one of them."""
    above |= {os.path.realpath(directory)}
    git, ray = [*git, *_rules(directory, GIT)], [*ray, *_rules(directory, RAY)]
    is_empty = True
    for entry in _entries(directory):
        is_empty = False
        if entry.name in _LEFT_OUT or entry.name.endswith((".pyc", ".pyo")):
            continue
        try:
            state = entry.stat()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP):  # a link that leads nowhere
                continue
            raise BadProject(_unreadable(entry.path, error)) from None
        name = f"{within}{entry.name}"
        if stat.S_ISDIR(state.st_mode):
            is_known = os.path.realpath(entry.path) in above
            if not is_known and not _is_environment(entry.path) and not _is_out(entry.path, True, git, ray):
                yield from _walk(entry.path, f"{name}/", git, ray, above)
        elif stat.S_ISREG(state.st_mode) and not _is_out(entry.path, False, git, ray):
            yield ProjectFile(name, entry.path, state.st_size, bool(state.st_mode & stat.S_IXUSR))
    if is_empty and within:
        yield ProjectFile(within, directory)


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as found:
            return list(found)
    except OSError as error:
        raise BadProject(_unreadable(directory, error)) from None


def _unreadable(path: str, error: OSError) -> str:
    return f"{path} cannot be read ({error.strerror}), and so the project cannot be sent: name it in {RAY}."


def _is_environment(directory: str) -> bool:
    """Whether a directory holds a virtual environment, a conda environment, or a store of rayflow."""
    names = ("pyvenv.cfg", "conda-meta")
    if any(os.path.exists(os.path.join(directory, name)) for name in names):
        return True
    return all(os.path.exists(os.path.join(directory, name)) for name in (layout.FORMAT, layout.COMMITS))


def _is_out(path: str, is_directory: bool, git: list[_IgnoreRules], ray: list[_IgnoreRules]) -> bool:
    """Whether the rules leave a path out: of those that speak of it the nearest counts, and ours before git's."""
    for rules in (*reversed(ray), *reversed(git)):
        verdict = rules.verdict(path, is_directory)
        if verdict is not None:
            return verdict
    return False


def _rules(directory: str, file: str) -> list[_IgnoreRules]:
    if not os.path.isfile(os.path.join(directory, file)):  # also a pipe, which would keep us waiting
        return []
    try:
        with open(os.path.join(directory, file), encoding="utf-8", errors="surrogateescape") as stream:
            return [_IgnoreRules(directory, GitIgnoreSpec.from_lines(stream))]
    except OSError as error:
        raise BadProject(f"{os.path.join(directory, file)} cannot be read: {error.strerror}.") from None


def _above(root: str) -> list[_IgnoreRules]:
    """The rules of the repository's directories above the project, the outermost first."""
    found: list[_IgnoreRules] = []
    directory = root
    while not os.path.exists(os.path.join(directory, ".git")):
        parent = os.path.dirname(directory)
        if parent == directory:
            return []  # no repository
        directory = parent
        found[:0] = _rules(directory, GIT)
    return found


def _marks(root: str, files: list[ProjectFile]) -> Iterator[ProjectFile]:
    """Marks for the copy, so that each of its directories belongs to the same project as here: the names of tasks
    depend on that, and some marks are left out."""
    names = {file.name for file in files}
    directories = {""} | {name[: place + 1] for name in names for place, sign in enumerate(name) if sign == "/"}
    for directory in directories:
        here = os.path.realpath(os.path.join(root, directory))
        # Below no mark, each directory is a project of its own.
        if project_of(here) == here and not any(f"{directory}{mark}" in names for mark in MARKS):
            yield ProjectFile(f"{directory}{_MARK}", None)


_MARK = "rayflow.toml"
"""The mark that is added. Empty, it changes no setting."""


def _check_name(name: str) -> None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise BadProject(f"The name of {name!a} is not UTF-8, and cannot be sent: rename or exclude it.") from None
    if "\\" in name:
        raise BadProject(f"The name of {name} has a backslash, which Ray does not unpack: rename it, or leave it out.")
