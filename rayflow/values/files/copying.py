"""Copies files and directories between any two paths or URLs.

In: paths and URLs. Out: copies, which are whole or absent. Never: values, scratch directories.
"""

from __future__ import annotations

import shutil
import tempfile
from functools import partial

from rayflow.errors import FileMissing
from rayflow.values.display.user_warnings import warn_user
from rayflow.values.filesystems.atomic_writes import replacing
from rayflow.values.filesystems.directory_entry import DirectoryEntry
from rayflow.values.filesystems.filesystems import LOCAL, located
from rayflow.values.filesystems.local import AsStoreUnavailable
from rayflow.values.process.parallel import at_once


def copy_file(source: str, target: str) -> None:
    """Copy a file; the copy is whole or absent. Raises FileNotFoundError."""
    (from_fs, from_path), (to_fs, to_path) = located(source), located(target)
    if from_fs.is_local:
        to_fs.put_file(from_path, to_path)
    elif to_fs.is_local:
        fetch(source, to_path)
    else:
        with tempfile.NamedTemporaryFile(prefix="rayflow-copy-") as between:
            from_fs.get_file(from_path, between.name)
            to_fs.put_file(between.name, to_path)


def fetch(source: str, path: str) -> None:
    """Copy a file to a path on this machine; the copy is whole or absent."""
    fs, remote = located(source)
    if fs.is_local:
        LOCAL.put_file(remote, path)
        return
    with AsStoreUnavailable("write", path), replacing(path) as beside:
        fs.get_file(remote, beside)


def copy_tree(source: str, target: str) -> int:
    """Copy the content of a directory; each copied file is whole or absent. Returns the number of files.

    A link is replaced by a copy of its target. A broken link is left out, with a warning. Raises FileMissing if there
    is no such directory.
    """
    found = entries_in(source)
    to_fs, to_path = located(target)
    to_fs.makedirs(to_path)
    for name, entry in found:
        if entry.is_dir:
            to_fs.makedirs(to_fs.join(to_path, name))
        elif entry.leads_nowhere:
            warn_user(f"{entry.path} is a link to {entry.version}, where nothing is: it is not copied.")
    files = [name for name, entry in found if entry.is_file]
    at_once([partial(copy_file, f"{source.rstrip('/')}/{name}", f"{target.rstrip('/')}/{name}") for name in files])
    return len(files)


def entries_in(directory: str) -> list[tuple[str, DirectoryEntry]]:
    """The content of a directory at any depth: the name of each file, relative to the directory, and its entry.

    Raises FileMissing if there is no such directory.
    """
    fs, path = located(directory)
    found = fs.find(path)
    if found is None:
        raise FileMissing(f"There is no directory {directory}.")
    start = len(path.rstrip("/")) + 1
    return [(entry.path[start:], entry) for entry in found]


class _CopyFailed(Exception):
    """Copying a file failed. It is not an OSError, because copytree would go on with all other files."""


def copy_as_it_is(source: str, target: str) -> None:
    """Copy a directory of this machine, with links as links. Raises the OSError of the first file that fails."""

    def copy(one: str, other: str) -> None:
        try:
            shutil.copy2(one, other)
        except OSError as error:
            raise _CopyFailed(error) from error

    try:
        shutil.copytree(source, target, symlinks=True, copy_function=copy)
    except _CopyFailed as broken:
        raise broken.args[0] from None
