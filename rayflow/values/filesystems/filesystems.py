"""The file system for any path or URL; the only module that imports fsspec.

In: a path or URL. Out: a file system with a dozen operations, and the path on it. Never: knows what the files mean.

Relative paths are relative to the project's directory, which `use_base` sets; before that, and without a project, they
are relative to the current directory.

Local paths (plain, or `file://`) need only the operating system, and do not import fsspec. A written file is whole or
absent: a local one is written to a temporary path and moved, a remote one is written in one put.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import socket
from collections.abc import Iterator, Sequence
from glob import escape
from typing import IO, Any, BinaryIO, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from rayflow.errors import BadConfig, FileMissing
from rayflow.values.filesystems.directory_entry import DirectoryEntry
from rayflow.values.filesystems.local import LocalFileSystem
from rayflow.values.filesystems.remote import RemoteFileSystem
from rayflow.values.filesystems.remote_errors import waiting_for
from rayflow.values.filesystems.url_checks import near_scheme

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+(::|://)")


class FileSystem(Protocol):
    """A file system. A missing file raises FileNotFoundError; any other error is raised as StoreUnavailable."""

    is_local: bool

    def join(self, *names: str) -> str:
        """One path from several pieces."""
        ...

    def open(self, path: str) -> BinaryIO:
        """A binary stream for reading."""
        ...

    def read_bytes(self, path: str) -> bytes:
        """The whole file."""
        ...

    def write_bytes(self, path: str, data: Any) -> None:
        """Write a file, which is whole or absent. A missing directory is made."""
        ...

    def write_parts(self, path: str, parts: Sequence[Any]) -> None:
        """Write buffers one after the other as one file, which is whole or absent."""
        ...

    def exists(self, path: str) -> bool:
        """Whether a file or directory exists."""
        ...

    def stat(self, path: str) -> DirectoryEntry:
        """The entry of one file: its size and modification."""
        ...

    def ls(self, path: str) -> list[DirectoryEntry]:
        """The entries of a directory, without those of its subdirectories, sorted by path; none if it is missing."""
        ...

    def delete(self, path: str) -> None:
        """Remove a file; nothing happens when it is missing."""
        ...

    def makedirs(self, path: str) -> None:
        """Make a directory and those above it, if the file system has directories."""
        ...

    def open_as(
        self,
        path: str,
        mode: str,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """A stream in any mode of `open`; for writing, a missing directory is made."""
        ...

    def delete_tree(self, path: str) -> None:
        """Remove a directory with all its content; nothing happens when it is missing."""
        ...

    def delete_empty(self, path: str) -> bool:
        """Remove a directory if it is empty; returns whether it does not exist now."""
        ...

    def find(self, path: str) -> list[DirectoryEntry] | None:
        """The content of a directory at any depth, sorted by path; None when there is no such directory.

        It has entries for files, for empty directories, and (on this machine) for broken links.
        """
        ...

    def glob(self, pattern: str) -> list[DirectoryEntry]:
        """The files that match a pattern (`*`, `?`, `[...]`, and `**` for directories at any depth), sorted."""
        ...

    def get_file(self, path: str, local: str) -> None:
        """Copy a file to a path on this machine."""
        ...

    def put_file(self, local: str, path: str) -> None:
        """Copy a file of this machine to a path, where it is whole or absent."""
        ...

    def lacks(self, path: str) -> str | None:
        """The URL of the bucket of a path, if that bucket is known not to exist; else None."""
        ...


LOCAL = LocalFileSystem()


def is_url(text: str) -> bool:
    """Whether a text begins with a scheme (`s3://...`), and so is no local path."""
    return _SCHEME.match(text) is not None


_base: str | None = None
_is_here = True


def use_base(directory: str | None) -> None:
    """Set the directory for relative paths in this process; None: the current directory."""
    global _base, _is_here
    _base = directory
    _is_here = directory is None or os.path.isdir(directory)


def base_directory() -> str:
    """The directory for relative paths in this process."""
    return _base or os.getcwd()


@contextlib.contextmanager
def typed_in(directory: str) -> Iterator[None]:
    """While the block runs, `as_typed` takes paths as typed in this directory."""
    global _shell
    before, _shell = _shell, directory
    try:
        yield
    finally:
        _shell = before


_shell: str | None = None


def as_typed(path: str, *, is_pattern: bool = False) -> str:
    """A typed path as code of the project writes it: relative to the project, if it is in the project.

    is_pattern: the path is a pattern. The directory that it was typed in is not, even if its name has a `*`.
    """
    if _shell is None or path[:1] in ("/", "~") or is_url(path):
        return path
    shell, base = (escape(_shell), escape(base_directory())) if is_pattern else (_shell, base_directory())
    whole = os.path.normpath(os.path.join(shell, path))
    within = os.path.relpath(whole, base)
    return whole if within == ".." or within.startswith(f"..{os.sep}") else within


def local_path(path: str) -> str | None:
    """The absolute path of a file on this machine; None for a URL.

    Raises FileMissing for a relative path, if this machine does not have the project's directory.
    """
    if path[:1] == "/":
        return path
    if path.startswith("file://"):
        return unquote(urlsplit(path).path)
    if ":" in path and is_url(path):
        return None
    if path[:1] == "~":
        return os.path.expanduser(path)
    if not _is_here:
        raise FileMissing(
            f"The path {path} is relative to the project, and {socket.gethostname()} does not have its directory "
            f"{_base}: this machine of the cluster shares no disk with the one that runs the workflow. Keep the file "
            "in a folder that all machines reach (an absolute path), or at a URL such as s3://bucket/...; where a "
            'program needs a local one, stage it: file.stage("name").'
        )
    return os.path.join(base_directory(), path)


class LocalPattern(NamedTuple):
    """A pattern for files of this machine.

    root: the directory that the pattern is relative to; its name is not a pattern. is_relative: whether the user writes
    the paths of the files relative to this directory, too.
    """

    root: str
    pattern: str
    is_relative: bool


def local_pattern(pattern: str) -> LocalPattern | None:
    """A pattern for this machine; None for a URL. Raises the errors of `local_path`."""
    if pattern.startswith("file://"):
        return LocalPattern("/", _normal(unquote(pattern.removeprefix("file://").partition("/")[2])), False)
    if local_path(pattern) is None:
        return None
    if pattern[:1] == "~":
        home, _, within = pattern.partition("/")
        return LocalPattern(os.path.expanduser(home), _normal(within), False)
    is_relative = pattern[:1] != "/"
    return LocalPattern(base_directory() if is_relative else "/", _normal(pattern), is_relative)


def _normal(pattern: str) -> str:
    return os.path.normpath(pattern).lstrip("/")


def located(path: str) -> tuple[FileSystem, str]:
    """The file system of a path or URL, and the path on it. Relative paths are relative to the base directory."""
    return filesystem(local_path(path) or path)


def filesystem(url: str | os.PathLike[str]) -> tuple[FileSystem, str]:
    """The file system of a path or URL, and the path on it. Relative paths are relative to the current directory.

    Raises BadConfig for an unknown scheme.
    """
    text = os.fspath(url)
    if text.startswith("file://"):
        return LOCAL, unquote(urlsplit(text).path)
    if not is_url(text):
        return LOCAL, os.path.abspath(os.path.expanduser(text))
    import fsspec

    try:
        with waiting_for("find the credentials for", text):  # without a network, Google's library tries for a minute
            remote, path = fsspec.core.url_to_fs(text)
    except (ValueError, ImportError) as error:
        near = near_scheme(text.partition(":")[0], fsspec.available_protocols())
        raise BadConfig(f"No file system serves {text!r}: {error}.{near}") from error
    # These libraries log each error, which rayflow raises and prints anyway: do not print it twice.
    _silence_log(type(remote).__module__.partition(".")[0])
    return RemoteFileSystem(remote), path


@functools.cache
def _silence_log(library: str) -> None:
    import logging

    logging.getLogger(library).addHandler(logging.NullHandler())


__all__ = [
    "LOCAL", "DirectoryEntry", "FileSystem", "as_typed", "base_directory", "filesystem", "is_url", "local_path",
    "local_pattern", "located", "typed_in", "use_base",
]  # fmt: skip
