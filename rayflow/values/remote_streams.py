"""A stream over a file of a remote: refusals on the way are told as all others, and what broke off does not appear.

In: a stream of fsspec's. Out: a stream of Python's, with rayflow's errors. Never: opens one.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import IO, Any, cast

from rayflow.values.local_files import Told

READ_AHEAD_BYTES = 64 * 1024
"""So much is taken from fsspec's stream at a time, which reads ahead by itself."""


def remote_stream(
    inner: Any,
    mode: str,
    told: Callable[[], Told],
    written: Callable[[int], None],
    encoding: str | None = None,
    newline: str | None = None,
) -> IO[Any]:
    """The stream for a mode of `open`. told: makes what turns the client library's errors into ours. written: called
    with the number of bytes when these have appeared."""
    is_read = mode[:1] == "r"
    binary: Any = (
        io.BufferedReader(_Reading(inner, told), READ_AHEAD_BYTES) if is_read else _Writing(inner, told, written)
    )
    return cast(IO[Any], binary if "b" in mode else _Text(binary, encoding=encoding, newline=newline))


class _Reading(io.RawIOBase):
    def __init__(self, inner: Any, told: Callable[[], Told]) -> None:
        self._inner = inner
        self._told = told

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._inner.seekable())

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        with self._told():
            data = self._inner.read(view.nbytes)
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        with self._told():
            return bytes(self._inner.read())

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        self._inner.seek(position, whence)
        return int(self._inner.tell())

    def tell(self) -> int:
        return int(self._inner.tell())

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
        super().close()


class _Writing(io.BufferedIOBase):
    """What is written appears when it is closed; where its `with` block is left by an error, nothing appears."""

    def __init__(self, inner: Any, told: Callable[[], Told], written: Callable[[int], None]) -> None:
        self._inner = inner
        self._told = told
        self._written = written
        self._count = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._inner.tell())

    def write(self, data: Any) -> int:
        with self._told():
            self._inner.write(data)
        size = memoryview(data).nbytes
        self._count += size
        return size

    def close(self) -> None:
        if self.closed:
            return
        try:
            with self._told():
                self._inner.close()
        except BaseException:
            self._give_up()
            raise
        finally:
            super().close()
        self._written(self._count)

    def discard(self) -> None:
        """Close it, and let nothing of what was written appear."""
        if not self.closed:
            self._give_up()
            super().close()

    def _give_up(self) -> None:
        with contextlib.suppress(Exception):  # parts that cannot be taken back make no file, either
            self._inner.discard()
        with contextlib.suppress(AttributeError):  # a stream that has nothing to send at its end
            self._inner.closed = True

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is not None:
            self.discard()
        self.close()


class _Text(io.TextIOWrapper):
    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is not None and isinstance(self.buffer, _Writing):
            self.buffer.discard()
        self.close()
