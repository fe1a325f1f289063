"""Runs a script on the worker that runs its call.

In: the command or Script that the body of a script task returned. Out: the task's result. Never: leaves a process or a
scratch directory behind, however it ends; shows an output before all outputs are complete.

The script has a process group of its own, and a mark in its environment. By the mark, processes that leave the group
are found (see `strays`). A watcher, a small shell in a session of its own, holds the read end of a pipe; this process
holds the other end. When this process ends, even by SIGKILL, the watcher kills the group and the marked processes, and
removes the scratch directory.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import selectors
import shlex
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from rayflow.errors import BadArguments, ScriptFailed
from rayflow.lang.scripts import SHELL, STDOUT, Promise, Script
from rayflow.lang.terms.expressions import Expression
from rayflow.runtime.worker.costs import UNIT, group_of, note_process, staging_in, staging_out
from rayflow.runtime.worker.scripts.scratch import collect_outputs, gives_stdout, stage_inputs, unstaged_text
from rayflow.runtime.worker.scripts.strays import end_strays, left_text, marked, processes
from rayflow.values.display.masking import MaskingStream, masked
from rayflow.values.encoding.previews import preview
from rayflow.values.encoding.whole_numbers import text_of
from rayflow.values.filesystems.filesystems import base_directory, local_path
from rayflow.values.filesystems.local import AsStoreUnavailable
from rayflow.values.secrets import Secret

TAIL_CHARACTERS = 2000
"""How many characters from the end of a script's stderr go into its error."""

TURN_SECONDS = 0.2
"""How often a waiting worker returns to Python, which then notices a cancel or a timeout."""

GRACE_SECONDS = 1.0
"""The time between SIGTERM and SIGKILL, in which a script can tidy up."""

_UNKNOWN = -1
"""The exit code of a process that has ended in an unknown way."""

_WATCH = """
trap '' HUP INT TERM
while read -r line; do
    case "$line" in end) exit;; ended) group=;; *) group="$line";; esac
done
test -z "$group" || { kill -s KILL -- "-$group" 2>/dev/null; sleep 0.1; }
test ! -d /proc/self || for round in 1 2 3 4 5 6 7 8 9; do
    found=$(grep -lF -e "$2" /proc/[0-9]*/environ 2>/dev/null)
    test -n "$found" || break
    for file in $found; do pid=${file#/proc/}; kill -s KILL "${pid%%/*}" 2>/dev/null; done
    sleep 0.1
done
rm -rf -- "$1"
"""
"""The watcher's program. It reads the group, then that the group has ended, then that all has ended; or the end of the
pipe, when the worker has died. It ignores signals that go to all processes of a job."""


def run_script(returned: Any, *, as_bytes: bool, project_dir: str | None) -> Any:
    """The result of a script task whose body returned this command or Script. Raises ScriptFailed."""
    made = _script_of(returned)
    mark = os.urandom(8).hex()
    with (
        tempfile.TemporaryDirectory(prefix="rayflow-script-", ignore_cleanup_errors=True) as scratch,
        _watched(scratch, mark) as watch,
    ):
        work = _work_directory(made, scratch, project_dir)
        with staging_in():
            stage_inputs(made.inputs, work, is_own=made.tempdir)
        hint = unstaged_text(made.inputs, work) if made.tempdir else ""
        printed = _ScriptOutput(is_result=gives_stdout(made.outputs))
        try:
            code = _run(made, scratch, work, mark, watch, printed)
            if code:
                raise _failure(made.command, code, printed.stderr_tail())
            data = b"".join(printed.stdout)
            text: Any = data if as_bytes else _as_text(data)
            with staging_out():
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
        raise BadArguments(
            f"A script task returns its command as text, not {preview(wrong)} of type {type(wrong).__name__}."
        )
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
            f"What the script printed is not text in UTF-8 ({error}). Write it to a file that is an output, or have a "
            'script task give bytes: @task(script="bytes").'
        ) from None


# --- the process ------------------------------------------------------------------------------------------------------


def _run(script: Script, scratch: str, work: str, mark: str, watch: int, printed: _ScriptOutput) -> int:
    """Run the script to its end; its exit code, negative for a signal."""
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        raise ScriptFailed(
            "This process ignores the signal SIGCHLD, so the system would not tell whether the script failed. Have "
            "`signal.signal(signal.SIGCHLD, signal.SIG_DFL)` called before a script runs here."
        )
    argv = _argv(script, scratch)
    own = _environment(script.env)
    environment = marked({**os.environ, **own}, mark)
    before = processes()
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
    except OSError as error:
        if error.errno == errno.E2BIG:
            raise BadArguments(_too_big_text(argv, environment, own)) from None
        raise ScriptFailed(f"{argv[0]} cannot be run on {os.uname().nodename}: {error.strerror}.") from None
    has_finished = False
    try:
        os.write(watch, f"{process.pid}\n".encode())
        _listen(process, printed)
        code = _wait(process)
        has_finished = True
        return code
    finally:
        _end(process)
        left = end_strays(mark, before, grace=0.0 if has_finished else GRACE_SECONDS)
        os.write(watch, b"ended\n")
        if left and has_finished:
            sys.stderr.write(left_text(left))


def _environment(given: Any) -> dict[str, str]:
    """The environment variables for the script. Secrets are read here, and nowhere earlier."""
    made = {}
    for name, value in (given or {}).items():
        if not isinstance(name, str) or not isinstance(value, str | int | float | os.PathLike | Secret):
            raise BadArguments(
                f"script(env=...) takes texts and secrets under names, not {preview(name)}: {preview(value)} of type "
                f"{type(value).__name__}."
            )
        if not name or "=" in name or "\0" in name:
            raise BadArguments(f"script(env=...): {preview(name)} is no name of an environment variable.")
        plain = value.get() if isinstance(value, Secret) else value
        made[name] = text_of(os.fspath(plain) if isinstance(plain, os.PathLike) else plain)
        if "\0" in made[name]:
            raise BadArguments(
                f"script(env=...): the text of {name} holds a null character, which no environment variable can."
            )
    return made


_INSTEAD = 'Write a long text to a file and pass that: inputs=file.stage("name").'


def _too_big_text(argv: Sequence[str], environment: Mapping[str, str], own: Mapping[str, str]) -> str:
    """Message for a script that the system does not start because its environment or its command line is too long."""
    sizes = {name: len(os.fsencode(f"{name}={value}")) + 1 for name, value in environment.items()}
    words = sum(len(os.fsencode(word)) + 1 for word in argv)
    most_of_one = 32 * os.sysconf("SC_PAGE_SIZE")
    longest = sorted(sizes, key=lambda name: -sizes[name])[:3]
    if sizes[longest[0]] > most_of_one and sys.platform == "linux":
        whose = "script(env=...)" if longest[0] in own else "the environment of this process"
        return (
            f"The environment variable {longest[0]} of {whose} is {sizes[longest[0]]:,} bytes long, and the system "
            f"takes at most {most_of_one:,} of one. {_INSTEAD}"
        )
    shown = ", ".join(f"{name} ({sizes[name]:,}{', of script(env=...)' if name in own else ''})" for name in longest)
    return (
        f"The script's environment variables are {sum(sizes.values()):,} bytes long and its command line is {words:,}, "
        f"together more than the system takes. The longest variables are {shown}. {_INSTEAD}"
    )


def _argv(script: Script, scratch: str) -> list[str]:
    command = textwrap.dedent(script.command).strip("\n") + "\n"
    file = os.path.join(scratch, "script")
    with AsStoreUnavailable("write", file), open(file, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(command)
    first = command.partition("\n")[0]
    try:
        words = shlex.split(first[2:] if first.startswith("#!") else script.shell)
    except ValueError as error:
        raise BadArguments(f"The script's first line, or its shell, cannot be read: {error}: {first}") from None
    return [*(words or shlex.split(SHELL)), file]


class _ScriptOutput:
    """Takes the output of a script: shows and logs it at once as if the body had printed it; keeps it for the
    result."""

    def __init__(self, *, is_result: bool) -> None:
        self.stdout: list[bytes] = []
        self._is_result = is_result
        self._tail = ""
        self._masking = MaskingStream()
        self._decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")}

    def take(self, name: str, data: bytes) -> None:
        """Take more of a stream; empty data at its end."""
        text = self._decoders[name].decode(data, final=not data)
        if name == "stdout":
            if self._is_result:
                self.stdout.append(data)
        else:
            # Masked before it is cut, since a part of a secret would not be masked.
            said = self._masking.feed(text) + ("" if data else self._masking.finish())
            self._tail = (self._tail + said)[-TAIL_CHARACTERS:]
        shown: TextIO = getattr(sys, name)
        shown.write(text)

    def stderr_tail(self) -> str:
        """The end of its stderr."""
        return self._tail


def _listen(process: subprocess.Popen[bytes], printed: _ScriptOutput) -> None:
    """Take the output of the process until it has ended; its background children may keep the pipes open longer."""
    with selectors.DefaultSelector() as selector:
        for name in ("stdout", "stderr"):
            selector.register(getattr(process, name), selectors.EVENT_READ, name)
        while selector.get_map():
            has_ended = _has_ended(process)
            ready = selector.select(0.0 if has_ended else TURN_SECONDS)
            for key, _ in ready:
                data = os.read(key.fd, 65536)
                printed.take(key.data, data)
                if not data:
                    selector.unregister(key.fileobj)
            if has_ended and not ready:
                break


def _end(process: subprocess.Popen[bytes]) -> None:
    """End all processes of its group."""
    if not _has_ended(process):
        _signal(process.pid, signal.SIGTERM)
        end = time.monotonic() + GRACE_SECONDS
        while not _has_ended(process) and time.monotonic() < end:
            time.sleep(0.01)
    _note_left(process.pid)
    _signal(process.pid, signal.SIGKILL)
    _wait(process)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    return process.returncode is not None or _reap(process, os.WNOHANG)


def _wait(process: subprocess.Popen[bytes]) -> int:
    while not _has_ended(process):
        _reap(process, 0)
    return process.returncode


def _reap(process: subprocess.Popen[bytes], how: int) -> bool:
    """Wait for the process; whether it has ended. Notes the memory that it and the processes it has waited for have
    used."""
    try:
        pid, status, usage = os.wait4(process.pid, how)
    except ChildProcessError:
        process.returncode = _UNKNOWN
        raise ScriptFailed(
            "How the script ended is not known: other code in this process has waited for it (os.wait(), "
            "os.waitpid(-1, ...)), or has set SIGCHLD to be ignored. Have that code wait for its own processes only."
        ) from None
    if pid:
        process.returncode = os.waitstatus_to_exitcode(status)
        note_process(0.0, usage.ru_maxrss * UNIT)
    return bool(pid)


def _note_left(group: int) -> None:
    """Note the costs of the group's other processes, which their parent has left and so will not wait for."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, 0)
        for each in group_of(group):
            if each.pid != group:
                note_process(each.seconds, each.peak)


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


@contextlib.contextmanager
def _watched(scratch: str, mark: str) -> Iterator[int]:
    """Have a watcher while this lasts; gives the pipe to it."""
    reading, writing = os.pipe()
    try:
        watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, "rayflow-watch", scratch, mark],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={"PATH": f"{os.environ.get('PATH', '')[:10_000]}:{os.defpath}"},  # no marks, and never too long
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
    command = masked(command)
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
