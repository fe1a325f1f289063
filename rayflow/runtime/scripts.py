"""Runs a script on the worker that runs its call.

In: what the body of a script task returned. Out: the task's result. Never: leaves a process or a scratch directory
behind, however it ends; lets an output be seen before all of them are there.

The script has a process group of its own. A watcher beside it, a small shell in a session of its own, holds the read
end of a pipe whose other end this process has: when this process ends, even by SIGKILL, the watcher kills the group and
removes the scratch directory.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import selectors
import shlex
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from typing import Any, TextIO

from rayflow.errors import BadArguments, ScriptFailed
from rayflow.lang.expressions import Expression
from rayflow.lang.scripts import SHELL, STDOUT, Promise, Script
from rayflow.runtime.scratch import collect_outputs, gives_stdout, stage_inputs, unstaged_text
from rayflow.values.filesystems import base_directory, local_path
from rayflow.values.local_files import Told

TAIL_CHARACTERS = 2000
"""So much of the end of a script's stderr goes into its error."""

TURN_SECONDS = 0.2
"""How often a waiting worker comes back to Python, so that a cancel or a timeout is heard."""

GRACE_SECONDS = 1.0
"""How long a script that is ended may tidy up, between SIGTERM and SIGKILL."""

_WATCH = """
while read -r line; do
    case "$line" in end) exit;; ended) group=;; *) group="$line";; esac
done
test -z "$group" || { kill -s KILL -- "-$group" 2>/dev/null; sleep 0.1; }
rm -rf -- "$1"
"""
"""What the watcher does: it is told the group, that the group has ended, and that all is at its end; or nothing any
more, when the worker has died."""


def run_script(returned: Any, *, as_bytes: bool, project_dir: str | None) -> Any:
    """The result of a script task whose body returned this: a command, or a Script. Raises ScriptFailed."""
    made = _script_of(returned)
    with (
        tempfile.TemporaryDirectory(prefix="rayflow-script-", ignore_cleanup_errors=True) as scratch,
        _watched(scratch) as watch,
    ):
        work = _work_directory(made, scratch, project_dir)
        stage_inputs(made.inputs, work, is_own=made.tempdir)
        hint = unstaged_text(made.inputs, work) if made.tempdir else ""
        printed = _Printed(is_result=gives_stdout(made.outputs))
        try:
            code = _run(made, scratch, work, watch, printed)
            if code:
                raise _failure(made.command, code, printed.stderr_tail())
            data = b"".join(printed.stdout)
            text: Any = data if as_bytes else _as_text(data)
            given = collect_outputs(made.outputs, work, is_own=made.tempdir, stdout=text)
        except ScriptFailed as error:
            if hint:
                error.args = (f"{error}\n{hint}",)
            raise
        if hint:
            sys.stderr.write(f"rayflow: {hint}\n")
        return given


def _script_of(returned: Any) -> Script:
    made = returned
    if isinstance(returned, str):
        made = Script(returned, outputs=Promise(STDOUT), tempdir=False)
    if isinstance(returned, Expression):
        raise BadArguments(
            "A script task has to return its command as text, and this one returned a lazy expression. Pass lazy "
            "values to it as arguments."
        )
    if not isinstance(made, Script) or not isinstance(made.command, str):
        wrong = made.command if isinstance(made, Script) else returned
        raise BadArguments(f"A script task returns its command as text, not {wrong!r} of type {type(wrong).__name__}.")
    return made


def _work_directory(script: Script, scratch: str, project_dir: str | None) -> str:
    if script.tempdir:
        work = os.path.join(scratch, "work")
        os.mkdir(work)
        return work
    given = script.cwd or project_dir or base_directory()
    work = local_path(given) or given
    if not os.path.isdir(work):
        raise BadArguments(f"There is no directory {given} to run the script in.")
    return work


def _as_text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ScriptFailed(
            f"What the script printed is no text in UTF-8 ({error}). Write it to a file that is an output, or have a "
            'script task give bytes: @task(script="bytes").'
        ) from None


# --- the process ------------------------------------------------------------------------------------------------------


def _run(script: Script, scratch: str, work: str, watch: int, printed: _Printed) -> int:
    """Run the script to its end; its exit code, negative for a signal."""
    argv = _argv(script, scratch)
    environment = {**os.environ, **_environment(script.env)}
    try:
        process = subprocess.Popen(
            argv,
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            process_group=0,
        )
    except (FileNotFoundError, PermissionError) as error:
        raise ScriptFailed(f"{argv[0]} cannot be run on {os.uname().nodename}: {error.strerror}.") from None
    try:
        os.write(watch, f"{process.pid}\n".encode())
        _listen(process, printed)
        return process.wait()
    finally:
        _end(process)
        os.write(watch, b"ended\n")


def _environment(given: Any) -> dict[str, str]:
    for name, value in (given or {}).items():
        if not isinstance(name, str) or not isinstance(value, str | int | float | os.PathLike):
            raise BadArguments(f"script(env=...) takes texts under names, not {name!r}: {value!r}.")
    return {name: os.fspath(v) if isinstance(v, os.PathLike) else str(v) for name, v in (given or {}).items()}


def _argv(script: Script, scratch: str) -> list[str]:
    command = textwrap.dedent(script.command).strip("\n") + "\n"
    file = os.path.join(scratch, "script")
    with Told("write", file), open(file, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(command)
    first = command.partition("\n")[0]
    try:
        words = shlex.split(first[2:] if first.startswith("#!") else script.shell)
    except ValueError as error:
        raise BadArguments(f"The script's first line, or its shell, cannot be read: {error}: {first}") from None
    return [*(words or shlex.split(SHELL)), file]


class _Printed:
    """What the script has printed: shown and logged at once as if the body had printed it, and kept for the result."""

    def __init__(self, *, is_result: bool) -> None:
        self.stdout: list[bytes] = []
        self._is_result = is_result
        self._tail = ""
        self._decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")}

    def take(self, name: str, data: bytes) -> None:
        """More of a stream; nothing at its end."""
        text = self._decoders[name].decode(data, final=not data)
        if name == "stdout":
            if self._is_result:
                self.stdout.append(data)
        else:
            self._tail = (self._tail + text)[-TAIL_CHARACTERS:]
        shown: TextIO = getattr(sys, name)
        shown.write(text)

    def stderr_tail(self) -> str:
        """The end of what it said on stderr."""
        return self._tail


def _listen(process: subprocess.Popen[bytes], printed: _Printed) -> None:
    """Take what the process prints until it has ended; its background children may keep the pipes open longer."""
    with selectors.DefaultSelector() as selector:
        for name in ("stdout", "stderr"):
            selector.register(getattr(process, name), selectors.EVENT_READ, name)
        while selector.get_map():
            has_ended = process.poll() is not None
            ready = selector.select(0.0 if has_ended else TURN_SECONDS)
            for key, _ in ready:
                data = os.read(key.fd, 65536)
                printed.take(key.data, data)
                if not data:
                    selector.unregister(key.fileobj)
            if has_ended and not ready:
                break


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing of its group alive."""
    if process.poll() is None:
        _signal(process.pid, signal.SIGTERM)
        end = time.monotonic() + GRACE_SECONDS
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
    _signal(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


@contextlib.contextmanager
def _watched(scratch: str) -> Iterator[int]:
    """A watcher as long as this lasts; gives the pipe that tells it the group."""
    reading, writing = os.pipe()
    try:
        watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, "rayflow-watch", scratch],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    try:
        yield writing
    finally:
        with contextlib.suppress(BrokenPipeError):
            os.write(writing, b"end\n")
        os.close(writing)
        watcher.wait()


def _failure(command: str, code: int, tail: str) -> ScriptFailed:
    how = f"exit code {code}" if code > 0 else f"signal {_signal_name(-code)}"
    shown = textwrap.indent(_shortened(textwrap.dedent(command).strip("\n")), "  ")
    said = f"\nIts stderr ended with:\n{textwrap.indent(tail.rstrip(), '  ')}" if tail.strip() else ""
    error = ScriptFailed(f"The script ended with {how}:\n{shown}{said}")
    error.code, error.command, error.stderr = code, command, tail
    return error


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _shortened(command: str) -> str:
    lines = command.splitlines()
    shown = lines if len(lines) <= 12 else [*lines[:8], f"... {len(lines) - 10} lines ...", *lines[-2:]]
    return "\n".join(line if len(line) <= 300 else f"{line[:300]} ..." for line in shown)
