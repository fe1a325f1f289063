"""Where a file or directory is written before it is moved to its place, and what is left there by who was killed.

In: the path of what is written. Out: a hidden path beside it. Never: removes what a living process is writing.

The name says who writes: the machine, and the process. What a process of this machine has left that is gone is removed
when something is next written into the same directory; what another machine has left, after a day.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import secrets
import shutil
import socket
import time
from itertools import islice

from rayflow.values.digests import short_digest

SWEPT_EVERY_SECONDS = 60.0
"""A directory is looked through at most so often by one process."""

LOOKED_AT = 20_000
"""Of a larger directory only so many entries are looked at."""

OTHERS_SECONDS = 86_400.0
"""What a process has left that cannot be asked after is removed when nothing has happened to it for so long."""

_SUFFIX = ".rayflow-tmp"
_WRITER = re.compile(r"\.([0-9a-f]{8})-([0-9a-f]+)-[0-9a-f]{8}\.rayflow-tmp$")
_swept: dict[str, float] = {}


def beside_of(path: str) -> str:
    """Where something is written that is then moved to this path: hidden, so that no pattern matches it."""
    folder, name = os.path.split(path)
    moment = time.monotonic()
    if moment - _swept.get(folder, -SWEPT_EVERY_SECONDS) >= SWEPT_EVERY_SECONDS:
        if len(_swept) > 1000:
            _swept.clear()
        _swept[folder] = moment
        sweep(folder)
    shown = os.fsdecode(os.fsencode(name)[:150])  # a name has at most 255 bytes
    return os.path.join(folder, f".{shown}.{_machine()}-{os.getpid():x}-{secrets.token_hex(4)}{_SUFFIX}")


def is_beside(path: str) -> bool:
    """Whether this is what somebody is writing, or was killed while writing."""
    return path.endswith(_SUFFIX)


def sweep(folder: str) -> None:
    """Remove what was left in a directory by processes that are gone."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:  # what cannot be looked at stays
        for entry in islice(entries, LOOKED_AT):
            if is_beside(entry.name) and _is_left(entry):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)


def _is_left(entry: os.DirEntry[str]) -> bool:
    writer = _WRITER.search(entry.name)
    if writer is not None and writer[1] == _machine():
        return not is_alive(int(writer[2], 16))
    found = entry.stat(follow_symlinks=False)
    return time.time() - max(found.st_mtime, found.st_ctime) > OTHERS_SECONDS


@functools.cache
def _machine() -> str:
    """What tells the processes of this machine, since it was started, from others' of the same numbers."""
    known = [socket.gethostname()]
    for place, read in (("/proc/sys/kernel/random/boot_id", _text), ("/proc/self/ns/pid", os.readlink)):
        with contextlib.suppress(OSError):  # not on this system
            known.append(read(place))
    return short_digest("machine", *(part.encode() for part in known)).hex()[:8]


def _text(path: str) -> str:
    with open(path, encoding="ascii") as stream:
        return stream.read()


def is_alive(pid: int) -> bool:
    """Whether this machine has such a process, and it has not ended."""
    if os.name != "posix":  # elsewhere asking by signal 0 would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):  # no such file on this system
        return True
