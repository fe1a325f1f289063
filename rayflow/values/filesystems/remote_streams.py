"""Python streams over fsspec's streams: with rayflow's errors, and without half-written files.

In: an open stream of fsspec. Out: a stream of Python's io module. Never: opens a file.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import IO, Any, cast

from rayflow.values.filesystems.local import AsStoreUnavailable

READ_AHEAD_BYTES = 64 * 1024
"""How much is read from fsspec's stream at a time; fsspec reads ahead by itself."""


def remote_stream(
    inner: Any,
    mode: str,
    guard: Callable[[], AsStoreUnavailable],
    written: Callable[[int], None],
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> IO[Any]:
    """The stream for a mode of `open`.

    guard: makes the context manager that turns the client library's errors into ours. written: called with the number
    of bytes when a written file has appeared.
    """
    binary: Any
    if mode[:1] == "r":
        binary = io.BufferedReader(_ReadStream(inner, guard), READ_AHEAD_BYTES)
    else:
        binary = _WriteStream(inner, guard, written)
    if "b" not in mode:
        binary = _TextStream(binary, encoding=encoding, errors=errors, newline=newline)
    return cast(IO[Any], binary)


class _ReadStream(io.RawIOBase):
    def __init__(self, inner: Any, guard: Callable[[], AsStoreUnavailable]) -> None:
        self._inner = inner
        self._guard = guard

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._inner.seekable())

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        with self._guard():
            data = self._inner.read(view.nbytes)
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        with self._guard():
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


class _WriteStream(io.BufferedIOBase):
    """A file that appears when the stream is closed. When an error leaves its `with` block, no file appears."""

    def __init__(self, inner: Any, guard: Callable[[], AsStoreUnavailable], written: Callable[[int], None]) -> None:
        self._inner = inner
        self._guard = guard
        self._written = written
        self._count = 0
        self.tells_place = False

    def seekable(self) -> bool:
        return self.tells_place

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._inner.tell())

    def write(self, data: Any) -> int:
        with self._guard():
            self._inner.write(data)
        size = memoryview(data).nbytes
        self._count += size
        return size

    def close(self) -> None:
        if self.closed:
            return
        try:
            with self._guard():
                self._inner.close()
        except BaseException:
            self._give_up()
            raise
        finally:
            super().close()
        self._written(self._count)

    def discard(self) -> None:
        """Close the stream without making the file."""
        if not self.closed:
            self._give_up()
            super().close()

    def _give_up(self) -> None:
        with contextlib.suppress(Exception):  # sent parts that cannot be removed do not make a file
            self._inner.discard()
        with contextlib.suppress(AttributeError):  # this stream has no such attribute, and sends nothing when closed
            self._inner.closed = True

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is not None:
            self.discard()
        self.close()


class _TextStream(io.TextIOWrapper):
    def __init__(self, buffer: Any, **words: Any) -> None:
        if isinstance(buffer, _WriteStream):
            buffer.tells_place = True  # else Python omits the byte order mark of UTF-16 and UTF-32
        super().__init__(buffer, **words)
        if isinstance(buffer, _WriteStream):
            buffer.tells_place = False

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is not None and isinstance(self.buffer, _WriteStream):
            self.buffer.discard()
        self.close()
