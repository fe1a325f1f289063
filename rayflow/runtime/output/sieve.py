"""Masks secrets in output that does not pass through Python: that of C code and of child processes.

In: bytes that are written to the file descriptors 1 and 2 while they are covered. Out: the same bytes, with secrets
masked, where they were to go. Never: does anything in a process that knows no secret.

A process of its own does the masking. A thread of this process would wait for Python's lock while C code that holds the
lock waits for its output to be taken; and output on its way would be lost when this process is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading

from rayflow.installation import FOLDER
from rayflow.values.display import masking
from rayflow.values.forks import at_fork

STREAMS = (1, 2)


class Sieve:
    """Covers this process's file descriptors 1 and 2, when it knows secrets."""

    def __init__(self) -> None:
        self.stays = False
        """Whether the descriptors stay covered once they are: in a process of a Ray worker."""
        self._is_parents = False
        """Whether a parent of this process covers the descriptors: a child that a body has forked writes to its
        parent's pipes."""
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._pipes: list[int] = []
        self._originals: list[int] = []
        self._targets: list[tuple[int, int]] = []
        """Where the streams led when the process was started."""
        self._sent_masks: dict[str, str] = {}
        self._is_covering = False

    def forked(self) -> None:
        """This process is a forked child: drop what belongs to its parent, also locks, which no thread would release
        here."""
        self._is_parents = self._is_parents or self._is_covering
        for descriptor in self._pipes:
            with contextlib.suppress(OSError):  # closed by the user's code
                os.close(descriptor)
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.returncode = 0  # it is its parent's to wait for
        self._begin()

    def cover(self) -> None:
        """Mask what is written from now on; nothing happens where there is nothing to mask."""
        masks = dict(masking.known())
        if not masks or self._is_parents:
            return
        with self._lock:
            if self._control is not None and not self._is_covering and self._targets != _targets():
                self._end()  # the streams lead elsewhere now, and what is written has to go there
            if self._control is None:
                self._start()
            if masks != self._sent_masks:
                self._sent_masks = masks
                self._ask({_as_written(text): _as_written(shown) for text, shown in masks.items()})
            if not self._is_covering:
                self._is_covering = True
                self._originals = [_moved(stream, pipe) for stream, pipe in zip(STREAMS, self._pipes, strict=True)]

    def uncover(self) -> None:
        """Write directly again. All that was written before has arrived by then."""
        with self._lock:
            if not self._is_covering or self.stays:
                return
            for stream, original in zip(STREAMS, self._originals, strict=True):
                os.dup2(original, stream)
                os.close(original)
            self._is_covering = False
            self._ask(None)

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        pairs = [os.pipe() for _ in STREAMS]
        targets = [os.dup(stream) for stream in STREAMS]
        reading = [pair[0] for pair in pairs]
        theirs_fds = [theirs.fileno(), *reading, *targets]
        code = f"import sys; sys.path.insert(0, {FOLDER!r}); from {__name__} import main; main({theirs_fds})"
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-S", "-s", "-E", "-c", code], pass_fds=theirs_fds, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        finally:
            theirs.close()
            for each in (*reading, *targets):
                os.close(each)
        self._control, self._pipes = ours, [pair[1] for pair in pairs]
        self._targets, self._sent_masks = _targets(), {}

    def _end(self) -> None:
        """Let the process end: it does when nothing can write to its pipes any more."""
        assert self._process is not None and self._control is not None
        for descriptor in self._pipes:
            os.close(descriptor)
        self._control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # a child of a body still has the pipes
            self._process.wait(1)
        self._process = self._control = None
        self._pipes = []

    def _ask(self, masks: dict[str, str] | None) -> None:
        """Wait until all that was written has arrived. From then on use these masks, unless they are None."""
        assert self._control is not None
        with contextlib.suppress(ConnectionError):  # it was killed: then nothing is on its way either
            self._control.sendall(json.dumps(masks).encode() + b"\n")
            self._control.recv(1)


def _moved(stream: int, pipe: int) -> int:
    """Have a stream write to a pipe; gives a descriptor of its earlier target."""
    original = os.dup(stream)
    os.dup2(pipe, stream)
    return original


def _targets() -> list[tuple[int, int]]:
    """Where the streams lead: the files, by device and number."""
    return [(found.st_dev, found.st_ino) for found in map(os.fstat, STREAMS)]


def _as_written(text: str) -> str:
    """A text as its bytes, one character for each."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


# --- in the other process ---------------------------------------------------------------------------------------------


def main(fds: list[int]) -> None:
    """Pass on what comes through two pipes, until all their writing ends are closed. fds: control, pipes, targets."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the processes that write may not have ended
    control = socket.socket(fileno=fds[0])
    masks: dict[str, str] = {}
    passed = {pipe: (masking.MaskingStream(masks), target) for pipe, target in zip(fds[1:3], fds[3:5], strict=True)}
    for pipe in passed:
        os.set_blocking(pipe, False)
    asked = b""
    watched = {control.fileno(), *passed}
    while watched & passed.keys():
        ready, _, _ = select.select(watched, [], [])
        for pipe in watched & passed.keys():
            if not _drain(pipe, *passed[pipe]):
                watched.discard(pipe)
        if control.fileno() not in ready:
            continue
        data = control.recv(65536)
        if not data:
            watched.discard(control.fileno())
        asked += data
        while b"\n" in asked:
            line, _, asked = asked.partition(b"\n")
            for pipe in watched & passed.keys():
                _drain(pipe, *passed[pipe])
            new = json.loads(line)
            if new is None:
                for stream, target in passed.values():
                    _write(target, stream.finish())
            else:
                masks.clear()
                masks.update(new)
            with contextlib.suppress(OSError):  # the asking process has ended
                control.sendall(b".")


def _drain(pipe: int, stream: masking.MaskingStream, target: int) -> bool:
    """Pass on what there is; False at its end."""
    while True:
        try:
            data = os.read(pipe, 65536)
        except BlockingIOError:
            return True
        _write(target, stream.feed(data.decode("latin-1")) if data else stream.finish())
        if not data:
            return False


def _write(target: int, text: str) -> None:
    data = text.encode("latin-1")
    while data:
        try:
            data = data[os.write(target, data) :]
        except BlockingIOError:
            select.select([], [target], [])
        except OSError:  # nothing reads the target any more: drop the text, so that writers go on
            return


SIEVE = Sieve()
"""The sieve of this process."""


at_fork(in_child=SIEVE.forked)  # here, since another thread may fork at any moment
