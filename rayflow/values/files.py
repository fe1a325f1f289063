"""Files and directories as values, wherever they are: here, in an object store, on a web server.

In: a path or URL. Out: `File`, `ContentFile`, `Dir`, `FileSet`: small values that say how the file was. Never: keeps a
file's content.

A File is known by what it was like when it was passed to a task or returned from one: that is when it is looked at
(not when the object is made), so a File may be made before what it stands for is written. This *state* is part of its
hash, and its witness: a cached result counts only while all the files in it are as they were recorded.

    how         known by                                             for
    stat        path, size, modification time (or etag ...)           File
    content     path, size, digest of the content                     ContentFile
    exists      path                                                  File(path, immutable=True)
    dir, glob   path, number of members, digest of their states       Dir, FileSet
    names       path, number of members, digest of their paths        immutable ones of these
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, ClassVar, Self, TypeAlias

from rayflow.errors import BadArguments, FileMissing
from rayflow.values import states
from rayflow.values.custom import Value
from rayflow.values.filesystems import as_typed, local_path, located
from rayflow.values.pickling import pickles_quickly
from rayflow.values.staging import copy_file, copy_tree
from rayflow.values.states import State
from rayflow.values.witnesses import OF_FILE, Witness

Path: TypeAlias = "str | os.PathLike[str]"


_remote = [0]


def count_remote() -> None:
    """A File at a URL was made."""
    _remote[0] += 1


def many_remote() -> bool:
    """Whether this process has made so many Files at URLs that those in a term are better asked together."""
    return _remote[0] >= _TOGETHER_FROM


_TOGETHER_FROM = 8


class _Place(Value):
    """What all of them have in common.

    path: as it was given; a relative one is relative to the project. immutable: it counts as unchanged while it exists.
    """

    __slots__ = ("_state", "immutable", "path")

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__ != __name__:  # a class of the user's: told of as what it is a kind of
            ours = next(each for each in cls.__mro__ if each.__module__ == __name__)
            cls.__rayflow_kind__ = f"{__name__}.{ours.__qualname__}:{cls.__module__}.{cls.__qualname__}"

    __rayflow_kind__: ClassVar[str]

    def __init__(self, path: Path, *, immutable: bool = False) -> None:
        if not isinstance(path, str | os.PathLike):
            raise BadArguments(
                f"{type(self).__name__}(path) takes a path or URL as text, not {path!r} of type {type(path).__name__}. "
                "A lazy one is passed to a task, which makes the file's value in its body."
            )
        text = os.fspath(path)
        if not isinstance(text, str) or not text:
            raise BadArguments(f"{type(self).__name__}(path) needs a path or URL, not {text!r}.")
        self.path = text
        if "://" in text:
            count_remote()
        self.immutable = immutable
        self._state: State | None = None

    def _how(self) -> str:
        raise NotImplementedError

    # --- as a value -------------------------------------------------------------------------------------------------

    def __rayflow_witness__(self) -> Witness:
        self._state = states.current(self._how(), self.path)
        return OF_FILE, self._state

    def identity(self) -> Any:
        """How it was when it was last passed to a task or returned; of a class of the user's, with its attributes."""
        attributes = getattr(self, "__dict__", None)
        return (self._looked_at(), attributes) if attributes else self._looked_at()

    def _looked_at(self) -> State:
        if self._state is None:
            self._state = states.current(self._how(), self.path)
        return self._state

    def is_valid(self) -> bool:
        """Whether it is as it was when it was last passed to a task or returned (or at the first such question)."""
        return states.current(self._how(), self.path) == self._looked_at()

    @classmethod
    def parse(cls, text: str) -> Self:
        """A path or URL as it is written on a command line: relative to the directory that this is typed in."""
        return cls(as_typed(text))

    def preview(self) -> str:
        """As it is written in Python."""
        return repr(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.path, self.immutable, self._state), getattr(self, "__dict__", None) or None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r}{', immutable=True' if self.immutable else ''})"

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return False
        return self.path == other.path and self.immutable == other.immutable

    def __hash__(self) -> int:
        return hash((type(self), self.path))

    def __str__(self) -> str:
        return self.path

    def __fspath__(self) -> str:
        fs, path = located(self.path)
        if not fs.is_local:
            raise BadArguments(f"{self!r} is not on this machine: open it with .open(), or stage it.")
        return path

    # --- as a file --------------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether it is there now."""
        fs, path = located(self.path)
        return fs.exists(path)

    def basename(self) -> str:
        """The last part of the path."""
        return posixpath.basename(self.path.rstrip("/"))

    def dirname(self) -> str:
        """The path without its last part."""
        return posixpath.dirname(self.path.rstrip("/"))

    def stage(self, local: Path | None = None) -> Staged:
        """This, under a name in the scratch directory of a script: its own last part by default."""
        return Staged(os.fspath(local) if local is not None else self.basename(), self)


def made_of(of: type[Any], path: str, immutable: bool) -> Any:
    """A File, Dir or FileSet of this class without its constructor: that of a subclass may want more than a path."""
    return _again(of, path, immutable, None)


def _again(of: type[_Place], path: str, immutable: bool, state: State | None) -> _Place:
    made = of.__new__(of)
    made.path, made.immutable, made._state = path, immutable, state
    if "://" in path:
        count_remote()
    return made


class File(_Place):
    """A file at a path or URL, known by its size and modification time (or the version that a remote gives it).

    immutable: it counts as unchanged while it exists.
    """

    __slots__ = ()

    def _how(self) -> str:
        return "exists" if self.immutable else states.usual()

    def is_remote(self) -> bool:
        """Whether it is at a URL and known by what is told of it there."""
        return self._how() == "stat" and local_path(self.path) is None

    def open(self, mode: str = "r", *, encoding: str | None = None, newline: str | None = None) -> IO[Any]:
        """A stream, text (UTF-8 by default) or binary. To write, the directory is made when it is missing.

        Raises FileMissing when there is nothing to read.
        """
        fs, path = located(self.path)
        if "b" not in mode:
            encoding = encoding or "utf-8"
        try:
            return fs.open_as(path, mode, encoding=encoding, newline=newline)
        except FileNotFoundError:
            raise self.missing() from None

    def missing(self) -> FileMissing:
        """The error that says that it is not there."""
        was_there = self._state is not None and states.is_there(self._state)
        return FileMissing(states.missing_text(self.path, was_there))

    def read(self, mode: str = "r") -> Any:
        """The whole content: text, or bytes with mode "rb"."""
        with self.open(mode) as stream:
            return stream.read()

    def readlines(self) -> list[str]:
        """The lines, with their ends."""
        with self.open() as stream:
            return list(stream)

    def write(self, content: str | bytes) -> None:
        """Write the whole content; the file appears whole or not at all. Text as UTF-8."""
        fs, path = located(self.path)
        fs.write_bytes(path, content.encode() if isinstance(content, str) else content)

    def touch(self) -> None:
        """Make it, empty, if it is missing; else set its modification time to now."""
        fs, path = located(self.path)
        if fs.is_local and fs.exists(path):
            os.utime(path)
        elif fs.is_local:
            fs.write_bytes(path, b"")
        else:
            fs.write_bytes(path, fs.read_bytes(path) if fs.exists(path) else b"")

    def remove(self) -> None:
        """Delete it; nothing happens when it is missing."""
        fs, path = located(self.path)
        fs.delete(path)

    def isfile(self) -> bool:
        """Whether it is there now, and no directory."""
        fs, path = located(self.path)
        try:
            return not fs.stat(path).is_dir
        except FileNotFoundError:
            return False

    def size(self) -> int:
        """Its size now, in bytes. Raises FileMissing."""
        fs, path = located(self.path)
        try:
            return fs.stat(path).size
        except FileNotFoundError:
            raise self.missing() from None

    def copy_to(self, target: Path | File) -> File:
        """Copy the content to another path or URL, which appears whole or not at all; gives the copy."""
        copy = target if isinstance(target, File) else File(target)
        try:
            copy_file(self.path, copy.path)
        except FileNotFoundError:
            raise self.missing() from None
        return copy


class ContentFile(File):
    """A file known by its path and its content: touching or copying it changes nothing.

    The content is read again only when size or modification time have changed.
    """

    __slots__ = ()

    def _how(self) -> str:
        return "exists" if self.immutable else "content"


class _Many(_Place):
    """Something with files in it."""

    __slots__ = ()

    def files(self) -> list[File]:
        """The files, sorted by path."""
        return [File(path) for path, _ in states.members(self._how(), self.path)]

    def __iter__(self) -> Iterator[File]:
        return iter(self.files())


class Dir(_Many):
    """A directory with all that is in it, at any depth."""

    __slots__ = ()

    def _how(self) -> str:
        return "names" if self.immutable else "dir"

    def file(self, name: str) -> File:
        """A file in it."""
        return File(posixpath.join(self.path, name))

    def makedirs(self) -> None:
        """Make it, and those above it."""
        fs, path = located(self.path)
        fs.makedirs(path)

    def remove(self) -> None:
        """Delete it with all that is in it; nothing happens when it is missing."""
        fs, path = located(self.path)
        fs.delete_tree(path)

    def copy_to(self, target: Path | Dir) -> Dir:
        """Copy all that is in it to another path or URL; gives the copy."""
        copy = target if isinstance(target, Dir) else Dir(target)
        copy_tree(self.path, copy.path)
        return copy


class FileSet(_Many):
    """The files whose paths match a pattern: `FileSet("data/*.csv")`, `**` for directories at any depth."""

    __slots__ = ()

    def _how(self) -> str:
        return "glob names" if self.immutable else "glob"

    def exists(self) -> bool:
        """Whether any file matches now."""
        return bool(states.members(self._how(), self.path))

    def stage(self, local: Path | None = None) -> Staged:
        """A set of files cannot be staged under one name: stage its files."""
        raise BadArguments(f"{self!r}.stage(): stage each file: [file.stage() for file in {self!r}].")


pickles_quickly(File, ContentFile, Dir, FileSet)


@dataclass(frozen=True, slots=True)
class Staged:
    """A File or Dir under a name in the scratch directory of a script; made by `file.stage("name")`.

    local: the name there, a relative path. remote: the File or Dir.
    """

    local: str
    remote: _Place

    def __repr__(self) -> str:
        return f"{self.remote!r}.stage({self.local!r})"
