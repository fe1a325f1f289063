"""Files and directories as values, wherever they are: here, in an object store, on a web server.

In: a path or URL. Out: `File`, `ContentFile`, `Dir`, `FileSet`: small values with a path and a state. Never: stores the
content of a file.

A File is identified by its state at the time when it was passed to a task or returned from one: rayflow looks at the
file then, and not when the object is made, so a File may be made before the file is written. The *state* is part of the
hash, and it is the witness: a cached result is valid only while all files in it still have their recorded states.

    how           identified by                                      for
    stat          path, size, modification time (or etag ...)         File
    content       path, size, digest of the content                   ContentFile
    exists        path                                                File(path, immutable=True)
    tree, glob    path, number of files, digest of names and states   Dir, FileSet
    content ...   path, number of files, digest of names and contents ContentDir, ContentFileSet
    ... names     path, number of files, digest of the paths          immutable ones of these

A script sees a staged file only under its local name, and not its path. So a call of a script is identified by the
local names and the contents of such files, if they are identified by content (`known_when_staged`).
"""

from __future__ import annotations

import io
import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, ClassVar, Self, TypeAlias

from rayflow.errors import BadArguments, DirectoryNotEmpty, FileMissing
from rayflow.values.custom import Value
from rayflow.values.digests import digest
from rayflow.values.display.tracebacks import front_door
from rayflow.values.encoding.identity import identity
from rayflow.values.encoding.previews import kind_of, preview
from rayflow.values.files import file_states
from rayflow.values.files.copying import copy_file, copy_tree
from rayflow.values.files.file_states import State
from rayflow.values.filesystems.filesystems import as_typed, local_path, located
from rayflow.values.filesystems.url_checks import check_place
from rayflow.values.objects.pickling import pickles_quickly
from rayflow.values.process.recorded_names import recorded_name
from rayflow.values.witnesses import OF_FILE, Witness

Path: TypeAlias = "str | os.PathLike[str]"


_remote = [0]


def count_remote() -> None:
    """Count a File at a URL that was made in this process."""
    _remote[0] += 1


def many_remote() -> bool:
    """Whether this process has made so many Files at URLs that it is quicker to ask for their states together."""
    return _remote[0] >= _TOGETHER_FROM


_TOGETHER_FROM = 8


class _PathValue(Value):
    """Base of File, Dir and FileSet.

    path: as the user wrote it; a relative path is relative to the project. immutable: it is unchanged as long as it
    exists.
    """

    __slots__ = ("_state", "immutable", "path")

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__ != __name__:  # for a user's class, the kind names our base class, too
            ours = next(each for each in cls.__mro__ if each.__module__ == __name__)
            kind = f"{recorded_name(__name__)}.{ours.__qualname__}"
            cls.__rayflow_kind__ = f"{kind}:{cls.__module__}.{cls.__qualname__}"

    __rayflow_kind__: ClassVar[str]

    @front_door
    def __init__(self, path: Path, *, immutable: bool = False) -> None:
        if not isinstance(path, str | os.PathLike):
            raise BadArguments(
                f"{type(self).__name__}(path) takes a path or URL as text, not {preview(path)} of type "
                f"{type(path).__name__}. A lazy one is passed to a task, which makes the file's value in its body."
            )
        text = os.fspath(path)
        if not isinstance(text, str) or not text:
            raise BadArguments(f"{type(self).__name__}(path) needs a path or URL, not {text!r}.")
        check_place(text, f"{type(self).__name__}(path)", BadArguments)
        self.path = text
        if "://" in text:
            count_remote()
        self.immutable = immutable
        self._state: State | None = None

    def _how(self) -> str:
        raise NotImplementedError

    # --- as a value -------------------------------------------------------------------------------------------------

    def __rayflow_witness__(self) -> Witness:
        self._state = file_states.current(self._how(), self.path)
        return OF_FILE, self._state

    def identity(self) -> Any:
        """The state when it was last passed to a task or returned; in a user's class, also its attributes."""
        attributes = getattr(self, "__dict__", None)
        return (self._looked_at(), attributes) if attributes else self._looked_at()

    def _looked_at(self) -> State:
        if self._state is None:
            self._state = file_states.current(self._how(), self.path)
        return self._state

    def is_valid(self) -> bool:
        """Whether its state is the same as when it was last passed to a task or returned, or first asked about."""
        return file_states.current(self._how(), self.path) == self._looked_at()

    @classmethod
    def parse(cls, text: str) -> Self:
        """A path or URL from a command line; a relative path is relative to the shell's directory."""
        return cls(as_typed(text))

    def preview(self) -> str:
        """The Python expression for it."""
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

    @front_door
    def exists(self) -> bool:
        """Whether it exists now."""
        fs, path = located(self.path)
        return fs.exists(path)

    def basename(self) -> str:
        """The last part of the path."""
        return posixpath.basename(self.path.rstrip("/"))

    def dirname(self) -> str:
        """The path without its last part."""
        return posixpath.dirname(self.path.rstrip("/"))


def made_of(of: type[Any], path: str, immutable: bool) -> Any:
    """A File, Dir or FileSet without a call of its constructor, which may need more arguments in a subclass."""
    return _again(of, path, immutable, None)


def _again(of: type[_PathValue], path: str, immutable: bool, state: State | None) -> _PathValue:
    made = of.__new__(of)
    made.path, made.immutable, made._state = path, immutable, state
    if "://" in path:
        count_remote()
    return made


class File(_PathValue):
    """A file at a path or URL, identified by its size and modification time (at a URL, by its version).

    immutable: it is unchanged as long as it exists.
    """

    __slots__ = ()

    def _how(self) -> str:
        return "exists" if self.immutable else file_states.usual()

    def is_remote(self) -> bool:
        """Whether it is at a URL, and identified by size and version."""
        return self._how() == "stat" and local_path(self.path) is None

    @front_door
    def open(
        self, mode: str = "r", *, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> IO[Any]:
        """A text stream (UTF-8 by default) or a binary one. encoding, errors, newline: as for Python's own `open`.

        For writing, a missing directory is made. For reading, raises FileMissing if the file does not exist.
        """
        fs, path = located(self.path)
        if "b" not in mode:
            encoding = encoding or "utf-8"
        else:
            _refuse_text_words(f"{self!r}.open({mode!r})", encoding, errors, newline)
        try:
            return fs.open_as(path, mode, encoding=encoding, errors=errors, newline=newline)
        except FileNotFoundError:
            raise self.missing() from None

    def missing(self) -> FileMissing:
        """The error that says that it does not exist."""
        was_there = self._state is not None and file_states.is_there(self._state)
        return FileMissing(file_states.missing_text(self.path, was_there))

    @front_door
    def read(
        self, mode: str = "r", *, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> Any:
        """The whole content: text, or bytes with mode "rb"."""
        with self.open(mode, encoding=encoding, errors=errors, newline=newline) as stream:
            return stream.read()

    @front_door
    def readlines(
        self, mode: str = "r", *, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> list[Any]:
        """The lines, with their line ends: texts, or bytes with mode "rb"."""
        with self.open(mode, encoding=encoding, errors=errors, newline=newline) as stream:
            return list(stream)

    @front_door
    def write(
        self,
        content: str | bytes | bytearray | memoryview,
        mode: str = "w",
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> None:
        """Write a text (UTF-8 by default) or bytes as the whole content; the file is whole or absent.

        mode: with "a", append to the file (on this machine in place).
        """
        asked = f"{self!r}.write(mode={mode!r})"
        if mode not in _WRITE_MODES:
            raise BadArguments(f"{asked}: the mode is one of {', '.join(_WRITE_MODES)}. open() knows all others.")
        if not isinstance(content, str | bytes | bytearray | memoryview):
            said = f"a {kind_of(content)}: {preview(content, 60)}"
            raise BadArguments(f"{self!r}.write() takes a text or bytes, not {said}.")
        fs, path = located(self.path)
        is_text = isinstance(content, str)
        if is_text and "b" in mode:
            raise BadArguments(f"{asked} takes bytes, and this is a text. Leave out the b, or encode the text.")
        if not is_text:
            _refuse_text_words(f"{self!r}.write() of bytes", encoding, errors, newline)
            if "t" in mode:
                raise BadArguments(f"{asked} takes a text, and these are bytes. Leave out the t, or decode the bytes.")
        if mode[0] == "a" and fs.is_local:
            with self.open("a" if is_text else "ab", encoding=encoding, errors=errors, newline=newline) as stream:
                stream.write(content)
            return
        before = fs.read_bytes(path) if mode[0] == "a" and fs.exists(path) else b""
        if isinstance(content, str):
            fs.write_bytes(path, _encoded(content, before, encoding or "utf-8", errors, newline))
        else:
            fs.write_bytes(path, b"".join((before, content)) if before else content)

    @front_door
    def touch(self) -> None:
        """Make an empty file if it is missing; else set its modification time to now."""
        fs, path = located(self.path)
        if fs.is_local and fs.exists(path):
            os.utime(path)
        elif fs.is_local:
            fs.write_bytes(path, b"")
        else:
            fs.write_bytes(path, fs.read_bytes(path) if fs.exists(path) else b"")

    @front_door
    def remove(self) -> None:
        """Delete the file; nothing happens if it is missing."""
        fs, path = located(self.path)
        fs.delete(path)

    @front_door
    def isfile(self) -> bool:
        """Whether it exists now, and is not a directory."""
        fs, path = located(self.path)
        try:
            return not fs.stat(path).is_dir
        except FileNotFoundError:
            return False

    @front_door
    def size(self) -> int:
        """Its size now, in bytes. Raises FileMissing."""
        fs, path = located(self.path)
        try:
            return fs.stat(path).size
        except FileNotFoundError:
            raise self.missing() from None

    @front_door
    def copy_to(self, target: Path | File) -> File:
        """Copy the content to another path or URL; returns the copy, which is whole or absent."""
        copy = target if isinstance(target, File) else File(target)
        try:
            copy_file(self.path, copy.path)
        except FileNotFoundError:
            raise self.missing() from None
        return copy

    @front_door
    def stage(self, local: Path | None = None) -> Staged:
        """This file under a local name in the scratch directory of a script, by default the last part of its path.

        A local name that ends in a slash is a directory, in which the file has the last part of its path as its name.
        """
        name = self.basename() if local is None else os.fspath(local)
        return Staged(name + self.basename() if name.endswith("/") else name, self)


_WRITE_MODES = ("w", "wt", "wb", "a", "at", "ab")


def _refuse_text_words(asked: str, encoding: str | None, errors: str | None, newline: str | None) -> None:
    given = {"encoding": encoding, "errors": errors, "newline": newline}
    words = [name for name, value in given.items() if value is not None]
    if words:
        raise BadArguments(f"{asked} takes no {' and no '.join(words)}: bytes are taken as they are.")


def _encoded(text: str, before: bytes, encoding: str, errors: str | None, newline: str | None) -> bytes:
    """The content of a file with these bytes after Python's own `open` has appended the text."""
    kept = io.BytesIO()
    kept.write(before)
    with io.TextIOWrapper(kept, encoding=encoding, errors=errors, newline=newline) as stream:
        stream.write(text)
        stream.flush()
        return kept.getvalue()


class ContentFile(File):
    """A file identified by its path and content: it is unchanged when touched, or written again with equal content.

    The content is read again only if size or modification time have changed.
    """

    __slots__ = ()

    def _how(self) -> str:
        return "exists" if self.immutable else "content"


class _ManyFiles(_PathValue):
    """Base of Dir and FileSet. Their files are immutable, or identified by content, if they themselves are."""

    __slots__ = ()
    _member: ClassVar[type[File]] = File

    def _file(self, path: str) -> File:
        return self._member(path, immutable=self.immutable)

    @front_door
    def files(self) -> list[File]:
        """The files, sorted by path."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[File]:
        return iter(self.files())


class Dir(_ManyFiles):
    """A directory with its content at any depth: files, empty directories, and the targets of links.

    Only a link to a directory that contains the link is left out, with a warning: following it would never end.
    """

    __slots__ = ()

    def _how(self) -> str:
        return "tree names" if self.immutable else file_states.usual_of_many("tree")

    @front_door
    def files(self) -> list[File]:
        """The files, sorted by path."""
        return [self._file(path) for path in file_states.members(self.path)]

    @front_door
    def file(self, name: Path) -> File:
        """A file in it, by its path relative to it."""
        return self._file(posixpath.join(self.path, os.fspath(name)))

    @front_door
    def rel_path(self, path: Path | File | Dir) -> str:
        """The path of a file in this directory, relative to it: `dir.file(dir.rel_path(file))` is the same file."""
        text = path.path if isinstance(path, _PathValue) else os.fspath(path)
        folder, whole = _whole(self.path), _whole(text)
        if whole == folder:
            return "."
        start = folder if folder.endswith("/") else f"{folder}/"
        if not whole.startswith(start):
            raise BadArguments(f"{self!r}.rel_path({text!r}): that is not in it.")
        return whole.removeprefix(start)

    @front_door
    def stage(self, local: Path | None = None) -> Staged:
        """This directory under a local name in a script's scratch directory, by default the last part of its path."""
        name = self.basename() if local is None else os.fspath(local)
        return Staged(name.rstrip("/") or name, self)

    @front_door
    def makedirs(self) -> None:
        """Make this directory, and those above it."""
        fs, path = located(self.path)
        fs.makedirs(path)

    @front_door
    def remove(self) -> None:
        """Delete the directory with all its content; nothing happens if it is missing."""
        fs, path = located(self.path)
        fs.delete_tree(path)

    @front_door
    def rmdir(self) -> None:
        """Delete the directory if it is empty; nothing happens if it is missing. Raises DirectoryNotEmpty."""
        fs, path = located(self.path)
        if not fs.delete_empty(path):
            raise DirectoryNotEmpty(
                f"{self!r} is not empty, so rmdir() leaves it. remove() deletes it with all that is in it."
            )

    @front_door
    def copy_to(self, target: Path | Dir) -> Dir:
        """Copy the content to another path or URL; returns the copy."""
        copy = target if isinstance(target, Dir) else Dir(target)
        copy_tree(self.path, copy.path)
        return copy


def _whole(path: str) -> str:
    """The path to compare two files: on this machine, absolute and without `..`."""
    local = local_path(path)
    return path.rstrip("/") if local is None else os.path.normpath(local)


class ContentDir(Dir):
    """A directory identified by its path, and by the names and contents of its files, which are ContentFiles.

    It is unchanged when its files are touched, or written again with equal content.
    """

    __slots__ = ()
    _member = ContentFile

    def _how(self) -> str:
        return "tree names" if self.immutable else "content tree"


class FileSet(_ManyFiles):
    """The files whose paths match a pattern: `FileSet("data/*.csv")`, `**` for directories at any depth."""

    __slots__ = ()

    def _how(self) -> str:
        return "glob names" if self.immutable else file_states.usual_of_many("glob")

    @classmethod
    def parse(cls, text: str) -> Self:
        """A pattern from a command line; a relative one is relative to the shell's directory."""
        return cls(as_typed(text, is_pattern=True))

    @front_door
    def files(self) -> list[File]:
        """The files, sorted by path."""
        return [self._file(path) for path, _ in file_states.matches(self.path)]

    @front_door
    def exists(self) -> bool:
        """Whether any file matches now."""
        return bool(file_states.matches(self.path))

    @front_door
    def stage(self, local: Path | None = None) -> Staged:
        """A set of files cannot be staged under one name: stage its files."""
        raise BadArguments(f"{self!r}.stage(): stage each file: [file.stage() for file in {self!r}].")


class ContentFileSet(FileSet):
    """The files whose paths match a pattern, identified by their paths and contents. They are ContentFiles."""

    __slots__ = ()
    _member = ContentFile

    def _how(self) -> str:
        return "glob names" if self.immutable else "content glob"


pickles_quickly(File, ContentFile, Dir, ContentDir, FileSet, ContentFileSet)


@dataclass(frozen=True, slots=True)
class Staged:
    """A File or Dir with a local name in the scratch directory of a script; made by `file.stage("name")`.

    local: the local name, a relative path. remote: the File or Dir.

    A body can also stage a file without a script: `stage()` copies the remote to the local name, and `unstage()` copies
    it back.
    """

    local: str
    remote: File | Dir

    def __repr__(self) -> str:
        return f"{self.remote!r}.stage({self.local!r})"

    @front_door
    def stage(self) -> File | Dir:
        """Copy the remote to the local name, relative to the project; returns the copy."""
        near = self._near()
        if _whole(near.path) != _whole(self.remote.path):
            self.remote.copy_to(near)
        return near

    @front_door
    def unstage(self) -> File | Dir:
        """Copy the file at the local name, relative to the project, to the remote; returns the remote."""
        near = self._near()
        if _whole(near.path) != _whole(self.remote.path):
            near.copy_to(self.remote)
        return self.remote

    def _near(self) -> File | Dir:
        near: File | Dir = made_of(type(self.remote), self.local, self.remote.immutable)
        vars_of = getattr(self.remote, "__dict__", None)
        if vars_of:
            vars(near).update(vars_of)
        return near


def known_when_staged(local: Any, witnesses: Sequence[Witness]) -> bytes | None:
    """The identity of a staged file or directory for a script; None if it is not identified by content.

    local: the local name. witnesses: those of the File or Dir, its own state first.
    """
    state = next((state for kind, state in witnesses if kind == OF_FILE), None)
    if state is None or state[0] not in file_states.BY_CONTENT or not file_states.is_there(state):
        return None
    how, _, size, version = state
    return b"\xff" + digest("staged", identity((local, how, size, version)))
