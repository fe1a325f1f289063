"""Python processes that start at once: each is forked from a process that has imported rayflow and its libraries.

In: the words after `python`, a directory, an environment. Out: how the process ended and what it printed, as from a
process of its own: it has its own memory, streams, signals, `__main__` and exit code. Never: a process whose
interpreter has to start otherwise, such as with options (-W), a terminal, or other PYTHON variables (see
`can_be_warm`).

Read by tests, and run as a program: `python warm_python.py DESCRIPTOR` serves requests from a socket until it closes.
"""

from __future__ import annotations

import atexit
import builtins
import codecs
import contextlib
import gc
import importlib.machinery
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_")
"""How the names of variables begin that a process reads while it starts: a forked one cannot read them anew."""
_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
_ENCODING = "PYTHONIOENCODING"
_LATER = {_NO_BYTECODE, _ENCODING}
"""But these can take effect in a process that runs already."""
_LIBRARIES = ("duckdb", "pandas", "pyarrow.compute", "pyarrow.parquet", "pytz", "rich.console", "rich.markup")
_NUMBER = struct.Struct("!q")


def can_be_warm(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether a forked process gives the same as a new interpreter for these words and this environment."""
    return (
        bool(arguments)
        and (arguments[0] in ("-m", "-c") or not arguments[0].startswith("-"))
        and _at_start(environment) == _at_start(os.environ)
    )


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in environment.items() if name.startswith(_AT_START) and name not in _LATER}


@dataclass(frozen=True)
class _Request:
    """A process that is asked for. closed: which of its streams (0, 1, 2) are."""

    arguments: list[str]
    directory: str
    environment: dict[str, str]
    closed: list[int]


# --- the side of the tests --------------------------------------------------------------------------------------------


class WarmPython:
    """Asks the serving process for one process after the other; starts it anew where it has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: _Server | None = None

    def run(
        self,
        arguments: Sequence[str],
        *,
        directory: Path,
        environment: Mapping[str, str],
        timeout: float,
        redirected: Mapping[int, str | None],
        is_merged: bool,
        encoding: str,
    ) -> subprocess.CompletedProcess[str]:
        """What `subprocess.run` gives for `python ARGUMENTS`.

        redirected: the file that a stream (0, 1, 2) writes to or reads; None: it is closed. is_merged: stderr goes to
        stdout, in its order. encoding: of what is printed.
        """
        closed = [number for number, file in redirected.items() if file is None]
        request = _Request(list(arguments), str(directory), dict(environment), closed)
        with self._lock, contextlib.ExitStack() as stack:
            started = _at_start(environment)
            if self._server is None or not self._server.answers() or self._server.started != started:
                self._end()
                self._server = _Server(started)
            server = self._server
            outs = [_Pipe(stack) for _ in range(1 if is_merged else 2)]
            streams = [-1, outs[0].writing, outs[-1].writing]
            for number, file in {0: os.devnull, **redirected}.items():
                streams[number] = os.open(file or os.devnull, os.O_WRONLY if number else os.O_RDONLY)
                stack.callback(os.close, streams[number])
            pid = server.ask(request, streams)
            for each in outs:
                each.read()
            until = time.monotonic() + timeout
            is_over = all(each.is_read(until) for each in outs)  # false, too, if children of it still write
            if not is_over:
                os.kill(pid, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(server.status())
        words = [sys.executable, *arguments]
        out, err = outs[0].text(encoding), "" if is_merged else outs[1].text(encoding)
        if not is_over:
            raise subprocess.TimeoutExpired(words, timeout, out, err)
        return subprocess.CompletedProcess(words, code, out, err)

    def _end(self) -> None:
        if self._server is not None:
            self._server.end()
            self._server = None


WARM = WarmPython()


class _Server:
    """The serving process. started: the variables that it has read at its start."""

    def __init__(self, started: Mapping[str, str]) -> None:
        self.started = dict(started)
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                cwd="/",
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # a process with one thread can be forked
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

    def answers(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: _Request, descriptors: list[int]) -> int:
        """The id of the process that carries out a request."""
        text = json.dumps(vars(request)).encode()
        socket.send_fds(self._socket, [_NUMBER.pack(len(text))], descriptors)
        self._socket.sendall(text)
        return self.status()

    def status(self) -> int:
        return _number(self._socket)

    def end(self) -> None:
        self._socket.close()
        self._process.wait()


class _Pipe:
    """What a process writes to one of its streams."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._reading, self.writing = os.pipe()
        self._parts: list[bytes] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._is_open = True
        stack.callback(self._close)

    def read(self) -> None:
        """Read from here on. The process has its own descriptor for the end that is written to."""
        self._close()
        self._thread.start()

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            os.close(self.writing)

    def _read(self) -> None:
        with open(self._reading, "rb", buffering=0) as stream:
            while part := stream.read(1 << 16):
                self._parts.append(part)

    def is_read(self, until: float) -> bool:
        """Whether all writers have closed it, or close it until a moment (monotonic)."""
        self._thread.join(max(0.0, until - time.monotonic()))
        return not self._thread.is_alive()

    def text(self, encoding: str) -> str:
        return io.TextIOWrapper(io.BytesIO(b"".join(self._parts)), encoding=encoding).read()


def _number(connection: socket.socket) -> int:
    number: int = _NUMBER.unpack(_bytes(connection, _NUMBER.size))[0]
    return number


def _bytes(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = connection.recv(count - len(found))
        if not part:
            raise EOFError
        found += part
    return found


# --- the side of the serving process ----------------------------------------------------------------------------------


def serve(connection: socket.socket) -> None:
    """Fork a process for each request, and report its id and then its status, until the socket closes."""
    del sys.path[0]  # the folder of this file
    _import_all()
    gc.collect()
    gc.freeze()
    while True:
        header, descriptors, _, _ = socket.recv_fds(connection, _NUMBER.size, 3)
        if not header:
            return
        request = _Request(**json.loads(_bytes(connection, _NUMBER.unpack(header)[0])))
        pid = os.fork()
        if pid == 0:
            connection.close()
            _carry_out(request, descriptors)
        for each in descriptors:
            os.close(each)
        connection.sendall(_NUMBER.pack(pid))
        connection.sendall(_NUMBER.pack(os.waitpid(pid, 0)[1]))


def _import_all() -> None:
    """Import what commands import, but for what Ray, cloud stores and single tests need."""
    import pkgutil

    import rayflow

    for name in _LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for room in pkgutil.walk_packages(rayflow.__path__, "rayflow."):
        parts = room.name.split(".")
        if not {"on_ray", "testing", "types", "__main__"} & set(parts):
            importlib.import_module(room.name)


def _carry_out(request: _Request, descriptors: list[int]) -> NoReturn:
    """Be the process of a request, from its first statement to its end."""
    for number, each in enumerate(descriptors):
        os.dup2(each, number)
        os.close(each)
    os.chdir(request.directory)
    os.environ.clear()
    os.environ.update(request.environment)
    time.tzset()
    sys.dont_write_bytecode = bool(request.environment.get(_NO_BYTECODE))
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = None
        if number in request.closed:
            os.close(number)
        else:
            stream = _stream(number, getattr(sys, name), request.environment.get(_ENCODING))
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    code = _code_of(request.arguments)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            code = 120
    os._exit(code & 0xFF)


def _stream(number: int, of_server: io.TextIOWrapper, encoding: str | None) -> io.TextIOWrapper:
    """A standard stream, made as an interpreter makes it. encoding: by a variable of the environment."""
    is_read = number == 0
    is_unbuffered = not is_read and bool(os.environ.get("PYTHONUNBUFFERED"))
    buffer: Any = open(number, "rb" if is_read else "wb", buffering=0 if is_unbuffered else -1, closefd=False)  # noqa: SIM115
    (buffer if is_unbuffered else buffer.raw).name = of_server.name
    errors = "backslashreplace" if number == 2 else "strict" if encoding else of_server.errors
    stream: Any = io.TextIOWrapper(
        buffer,
        codecs.lookup(encoding or of_server.encoding).name,
        errors,
        "\n",
        line_buffering=number == 2 and not is_unbuffered,
        write_through=is_unbuffered,
    )
    stream.mode = of_server.mode
    return stream  # type: ignore[no-any-return]


def _code_of(arguments: list[str]) -> int:
    """The exit code of `python ARGUMENTS`."""
    main: Any = types.ModuleType("__main__")
    main.__annotations__ = {}
    main.__builtins__ = builtins
    main.__loader__ = importlib.machinery.BuiltinImporter
    sys.modules["__main__"] = main
    try:
        _run(arguments, main)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    except BaseException as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename in (__file__, "<frozen runpy>"):
            trace = trace.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        return 1
    return 0


def _run(arguments: list[str], main: Any) -> None:
    first, *rest = arguments
    if first == "-m":
        import runpy

        sys.argv[:] = ["-m", *rest[1:]]
        sys.path.insert(0, os.getcwd())
        runpy._run_module_as_main(rest[0])  # type: ignore[attr-defined]
    elif first == "-c":
        sys.argv[:] = ["-c", *rest[1:]]
        sys.path.insert(0, "")
        exec(compile(rest[0], "<string>", "exec"), vars(main))
    else:
        sys.argv[:] = arguments
        sys.path.insert(0, os.path.dirname(os.path.realpath(first)))
        path = os.path.abspath(first)
        main.__file__, main.__cached__ = path, None
        main.__loader__ = importlib.machinery.SourceFileLoader("__main__", path)
        exec(compile(Path(path).read_bytes(), path, "exec"), vars(main))


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as _connection, contextlib.suppress(KeyboardInterrupt):
        serve(_connection)
