"""Atomic writes: write to a temporary path, then move to the target, so that the target is whole or absent.

In: the path of the target. Out: a hidden temporary path beside it; later, what was written there, at the target. Never:
changes the type of the target (a link stays a link), or the mode and owner of a file; removes what a living process is
writing.

The temporary name holds the machine and the process that writes. When a process has died, the next write into the
directory from its machine removes what it left. What another machine has left is removed after a day.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from rayflow.values.digests import short_digest
from rayflow.values.filesystems.fsync import make_directories, note_written, sync

SWEPT_EVERY_SECONDS = 60.0
"""A process looks through a directory for such remains at most once in this time."""

LOOKED_AT = 20_000
"""The most entries of a directory that are looked at."""

OTHERS_SECONDS = 86_400.0
"""Age at which the remains of a process of another machine are removed: whether it is alive cannot be asked."""

BEGIN_SECONDS = 2.0
"""The greatest error of the time at which a process is said to have begun, in seconds."""

_START = 19
"""The place of the begin of a process, in clock ticks since the machine has started, among what Linux says of it."""

_SUFFIX = ".rayflow-tmp"
_WRITER = re.compile(r"\.([0-9a-f]{8})-([0-9a-f]+)-[0-9a-f]{8}\.rayflow-tmp$")
_swept: dict[str, float] = {}


def beside_of(path: str) -> str:
    """A new temporary path in the directory of this one. Its name is hidden, so that no pattern matches it."""
    folder, name = os.path.split(path)
    moment = time.monotonic()
    if moment - _swept.get(folder, -SWEPT_EVERY_SECONDS) >= SWEPT_EVERY_SECONDS:
        if len(_swept) > 1000:
            _swept.clear()
        _swept[folder] = moment
        sweep(folder)
    shown = os.fsdecode(os.fsencode(name)[:150])  # a name has at most 255 bytes
    return os.path.join(folder, f".{shown}.{this_machine()}-{os.getpid():x}-{os.urandom(4).hex()}{_SUFFIX}")


@contextlib.contextmanager
def replacing(path: str) -> Iterator[str]:
    """Yield the path of an empty temporary file to write to.

    When the block ends, the temporary file takes the place of the file at `path` (see `put_in_place`). When the block
    fails, the temporary file is removed. A missing directory is made.
    """
    if _takes_a_stream(path):
        with tempfile.TemporaryDirectory(prefix="rayflow-write-") as folder:
            content = os.path.join(folder, "content")
            _create(content, 0o600)
            yield content
            _pour(content, path)
        return
    target = landing_of(path)
    # Those who may not read the target may not read the temporary file either.
    mode = 0o600 if os.path.lexists(target) else 0o666
    beside = beside_of(target)
    try:
        _create(beside, mode)
    except FileNotFoundError:
        make_directories(os.path.dirname(target))
        _create(beside, mode)
    try:
        yield beside
        put_in_place(beside, target)
    except BaseException:
        discard(beside)
        raise


def write_new(path: str, parts: Iterable[Any]) -> None:
    """Write buffers to a new file, one after the other. When this returns, they are on the disk."""
    with _new(path) as descriptor:
        _write_all(descriptor, parts)
        os.fsync(descriptor)


def write_new_unsynced(path: str, parts: Iterable[Any]) -> None:
    """Write buffers to a new file, one after the other. They are lost if the machine fails in the next seconds."""
    with _new(path) as descriptor:
        _write_all(descriptor, parts)


@contextlib.contextmanager
def _new(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, parts: Iterable[Any]) -> None:
    for part in parts:
        view = memoryview(part).cast("B")
        while view.nbytes:
            view = view[os.write(descriptor, view) :]


def move_durably(beside: str, target: str) -> None:
    """Move a file that is on the disk to its target. When this returns, its new name is on the disk, too."""
    os.rename(beside, target)
    sync(os.path.dirname(os.path.abspath(target)))


def discard(beside: str) -> None:
    """Remove a temporary file or directory; nothing happens when it is missing."""
    if os.path.isdir(beside) and not os.path.islink(beside):
        shutil.rmtree(beside, ignore_errors=True)
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside)


def landing_of(path: str) -> str:
    """The path that a write to `path` reaches by following links. Raises OSError for links that form a loop."""
    if not os.path.islink(path):
        return path
    target = os.path.realpath(path)
    if os.path.islink(target):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    return target


def put_in_place(beside: str, target: str, *, runs_as_made: bool = False) -> None:
    """Move a temporary file or directory to its target, with the mode and owner of what it replaces (see `take_over`).

    A directory replaces another one by two moves; between these, the target does not exist.
    """
    if os.path.isdir(beside):
        _put_directory_in_place(beside, target, runs_as_made)
        return
    if _takes_a_stream(target):
        _pour(beside, target)
        os.unlink(beside)
    else:
        take_over(beside, target, runs_as_made=runs_as_made)
        os.replace(beside, target)
    note_written(target)


def _put_directory_in_place(beside: str, target: str, runs_as_made: bool) -> None:
    old = beside_of(target)
    if os.path.isdir(target):
        for folder, _, names in os.walk(beside, topdown=False):
            within = os.path.join(target, os.path.relpath(folder, beside))
            for name in names:
                take_over(os.path.join(folder, name), os.path.join(within, name), runs_as_made=runs_as_made)
            take_over(folder, within)
        os.rename(target, old)
    os.rename(beside, target)
    note_written(target)
    shutil.rmtree(old, ignore_errors=True)


def take_over(new: str, old: str, *, runs_as_made: bool = False) -> None:
    """Give a new file or directory the mode of an old one, and its owner and group where that is allowed.

    Nothing happens when there is no old one. runs_as_made: the new file stays executable, or not, as it was made, for
    those who may read it.
    """
    try:
        known = os.stat(old, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return
    made = os.stat(new, follow_symlinks=False)
    if stat.S_IFMT(known.st_mode) != stat.S_IFMT(made.st_mode) or stat.S_ISLNK(made.st_mode):
        return
    mode = stat.S_IMODE(known.st_mode)
    if runs_as_made and stat.S_ISREG(made.st_mode):
        mode = mode & ~0o111 | ((mode & 0o444) >> 2 if made.st_mode & stat.S_IXUSR else 0)
    if (made.st_uid, made.st_gid) != (known.st_uid, known.st_gid) and not _gave(new, known.st_uid, known.st_gid):
        _gave(new, -1, known.st_gid)
        mode &= ~(stat.S_ISUID | stat.S_ISGID)  # it may have another owner or group than these bits are meant for
    if stat.S_IMODE(os.stat(new).st_mode) != mode:
        os.chmod(new, mode)


def _gave(path: str, user: int, group: int) -> bool:
    try:
        os.chown(path, user, group)
    except PermissionError:
        return False
    return True


def _takes_a_stream(path: str) -> bool:
    """Whether this is a device or a pipe: it is written to, and never replaced."""
    try:
        mode = os.stat(path).st_mode
    except OSError:  # writing to it raises the error
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _pour(source: str, target: str) -> None:
    with open(source, "rb") as read, open(target, "wb", buffering=0) as written:
        shutil.copyfileobj(read, written)


def _create(path: str, mode: int) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), mode))


def is_beside(path: str) -> bool:
    """Whether this is the temporary path of a write that is going on or was killed."""
    return path.endswith(_SUFFIX)


def sweep(folder: str) -> None:
    """Remove the temporary files and directories that dead processes have left in a directory."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:  # what cannot be read or removed stays
        for entry in islice(entries, LOOKED_AT):
            if is_beside(entry.name) and _is_left(entry):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)


def _is_left(entry: os.DirEntry[str]) -> bool:
    writer = _WRITER.search(entry.name)
    if writer is not None and writer[1] == this_machine():
        return not is_alive(int(writer[2], 16))
    found = entry.stat(follow_symlinks=False)
    return time.time() - max(found.st_mtime, found.st_ctime) > OTHERS_SECONDS


@functools.cache
def this_machine() -> str:
    """A name for this machine since its last start: process numbers are unique only within that."""
    known = [socket.gethostname()]
    for place, read in (("/proc/sys/kernel/random/boot_id", _text), ("/proc/self/ns/pid", os.readlink)):
        with contextlib.suppress(OSError):  # not on this system
            known.append(read(place))
    return short_digest("machine", *(part.encode() for part in known)).hex()[:8]


def _text(path: str) -> str:
    with open(path, encoding="ascii") as stream:
        return stream.read()


def is_alive(pid: int) -> bool:
    """Whether a process of this number is running on this machine."""
    if os.name != "posix":  # on Windows, signal 0 would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # a process of another user
        return True
    try:
        return _stat_fields(pid)[0] != "Z"
    except (OSError, IndexError):  # no such file on this system
        return True


def is_alive_since(pid: int, at: float) -> bool:
    """Whether a process of this number is running on this machine that ran already at this time (seconds since the
    epoch). Numbers are given again: in a container that starts anew, the first processes have those of the last time.

    Where the system does not tell when a process has begun, the number alone decides.
    """
    if not is_alive(pid):
        return False
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    if clock is None:
        return True
    try:
        age = time.clock_gettime(clock) - int(_stat_fields(pid)[_START]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return True
    # A negative age: the two clocks do not fit together in this container.
    return age < -BEGIN_SECONDS or time.time() - age <= at + BEGIN_SECONDS


def _stat_fields(pid: int) -> list[str]:
    """What Linux says of a process, from its state on. Raises OSError where it says nothing."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
        return stat.read().rpartition(")")[2].split()
