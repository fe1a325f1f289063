"""Files at any URL; the only place that imports fsspec.

In: a path or URL. Out: a file system with a dozen operations, and the path on it. Never: knows what the files mean.

Relative paths are relative to the project, which whoever knows it names with `use_base`; before that, and where there
is no project, to the current directory.

Local paths (plain, or `file://`) are served by the operating system alone, and fsspec is not imported for them. Writing
is whole or not at all: locally beside the target and then moved, remotely in one put.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
from collections.abc import Iterator, Sequence
from typing import IO, Any, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from rayflow.errors import BadConfig, FileMissing
from rayflow.values.local_files import Entry, LocalFileSystem
from rayflow.values.remote_files import RemoteFileSystem

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+(::|://)")


class FileSystem(Protocol):
    """What the store needs of a file system. Missing files raise FileNotFoundError, other trouble StoreUnavailable."""

    is_local: bool

    def join(self, *names: str) -> str:
        """One path of several pieces."""
        ...

    def open(self, path: str) -> BinaryIO:
        """A binary stream for reading."""
        ...

    def read_bytes(self, path: str) -> bytes:
        """The whole file."""
        ...

    def write_bytes(self, path: str, data: Any, *, fsync: bool = False, only_if_absent: bool = False) -> bool:
        """Write a file whole; see `write_parts`."""
        ...

    def write_parts(
        self, path: str, parts: Sequence[Any], *, fsync: bool = False, only_if_absent: bool = False
    ) -> bool:
        """Write buffers one after the other as one file, which appears whole or not at all.

        only_if_absent: leave a file that is there alone. fsync: do not return before it is on the disk.
        True if it was written.
        """
        ...

    def exists(self, path: str) -> bool:
        """Whether a file or directory is there."""
        ...

    def stat(self, path: str) -> Entry:
        """Size and modification of one file."""
        ...

    def ls(self, path: str) -> list[Entry]:
        """What is directly in a directory, sorted by path; nothing when the directory is missing."""
        ...

    def delete(self, path: str) -> None:
        """Remove a file; nothing happens when it is missing."""
        ...

    def makedirs(self, path: str) -> None:
        """Make a directory and those above it, where directories exist."""
        ...

    def open_as(self, path: str, mode: str, *, encoding: str | None = None, newline: str | None = None) -> IO[Any]:
        """A stream in any mode of `open`; to write, the directory is made when it is missing."""
        ...

    def delete_tree(self, path: str) -> None:
        """Remove a directory with all that is in it; nothing happens when it is missing."""
        ...

    def find(self, path: str) -> list[Entry] | None:
        """All files in a directory, at any depth, sorted by path; None when there is no such directory."""
        ...

    def glob(self, pattern: str) -> list[Entry]:
        """The files that match a pattern (`*`, `?`, `[...]`, and `**` for directories at any depth), sorted."""
        ...

    def get_file(self, path: str, local: str) -> None:
        """Copy a file to a path on this machine."""
        ...

    def put_file(self, local: str, path: str) -> None:
        """Copy a file of this machine to a path, where it appears whole or not at all."""
        ...

    def lacks(self, path: str) -> str | None:
        """What would have to be there first, and is known not to be: the URL of the bucket; else None."""
        ...


LOCAL = LocalFileSystem()


def is_url(text: str) -> bool:
    """Whether a text names a scheme (`s3://...`), and is not just a local path."""
    return _SCHEME.match(text) is not None


_base: str | None = None
_is_here = True


def use_base(directory: str | None) -> None:
    """Let relative paths of this process be relative to this directory; None: to the current one."""
    global _base, _is_here
    _base = directory
    _is_here = directory is None or os.path.isdir(directory)


def base_directory() -> str:
    """What relative paths of this process are relative to."""
    return _base or os.getcwd()


@contextlib.contextmanager
def typed_in(directory: str) -> Iterator[None]:
    """While this lasts, the paths that `as_typed` is given were typed in this directory."""
    global _shell
    before, _shell = _shell, directory
    try:
        yield
    finally:
        _shell = before


_shell: str | None = None


def as_typed(path: str) -> str:
    """A path that was typed, as code of the project would write it: relative to the project where it lies in it."""
    if _shell is None or path[:1] in ("/", "~") or is_url(path):
        return path
    whole = os.path.normpath(os.path.join(_shell, path))
    within = os.path.relpath(whole, base_directory())
    return whole if within == ".." or within.startswith(f"..{os.sep}") else within


def local_path(path: str) -> str | None:
    """The absolute path of a file on this machine; None for a URL of somewhere else.

    Raises FileMissing for a relative path where this machine does not have the project's directory.
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


def located(path: str) -> tuple[FileSystem, str]:
    """The file system of a path or URL, and the path there; a relative path is relative to the base."""
    return filesystem(local_path(path) or path)


def filesystem(url: str | os.PathLike[str]) -> tuple[FileSystem, str]:
    """The file system that a path or URL is on, and the path there.

    Raises BadConfig for a scheme that nothing serves.
    """
    text = os.fspath(url)
    if text.startswith("file://"):
        return LOCAL, unquote(urlsplit(text).path)
    if not is_url(text):
        return LOCAL, os.path.abspath(os.path.expanduser(text))
    import fsspec

    try:
        remote, path = fsspec.core.url_to_fs(text)
    except (ValueError, ImportError) as error:
        raise BadConfig(f"No file system serves {text!r}: {error}") from error
    # What these libraries log of a refusal is told by the error that follows, and need not stand there twice.
    logging.getLogger(type(remote).__module__.partition(".")[0]).addHandler(_quiet)
    return RemoteFileSystem(remote), path


_quiet = logging.NullHandler()


__all__ = [
    "LOCAL", "Entry", "FileSystem", "as_typed", "base_directory", "filesystem", "is_url", "local_path", "located",
    "typed_in", "use_base",
]  # fmt: skip
