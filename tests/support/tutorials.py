"""Carries out a tutorial of the documentation as it stands: it types what stands behind `$`, and reads what is shown.

In: the text of a page, and what takes the place of its ports and folders. Out: the first difference between what is
shown and what is printed. Never: knows what a command does.

A block `console` has commands behind `$ ` (a line that ends with a backslash goes on in the next), and below each one
what it prints. Any other block that begins with `# NAME` is a file of this name, in the directory of that moment.

The rule for what is shown, which the page tells its readers: `...` is any text in a line, and alone in a line any
lines; `ID` is the id of the first execution; `^C` is typed once all that is shown above it has been printed. Beyond
that, the number of spaces and empty lines do not count.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waiting import until

BLOCK = re.compile(r"^```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
INTERRUPT = "^C"
ELIDED = "..."
EXECUTION = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}"
"""The id of an execution, as rayflow shows it."""

PATIENCE_SECONDS = 240.0
"""How long one command may take, on a machine with much else to do."""

DONE = "--- done, exit code"
LOOP = f'while read -r script; do . "$script" < /dev/null; printf "\\n{DONE} $?\\n"; done'
"""A shell that carries out one script after the other, without a terminal."""


@dataclass(frozen=True)
class TypedCommand:
    """A command. shown: the lines below it."""

    text: str
    shown: tuple[str, ...]


@dataclass(frozen=True)
class WrittenFile:
    """A file that the page shows."""

    name: str
    text: str


def steps(page: str) -> list[TypedCommand | WrittenFile]:
    """What the reader of a page does, in order."""
    found: list[TypedCommand | WrittenFile] = []
    for block in BLOCK.finditer(page):
        if block["language"] == "console":
            found.extend(_commands(block["text"]))
        elif name := re.match(r"# (\S+\.\w+)\n", block["text"]):
            found.append(WrittenFile(name[1], block["text"]))
    return found


def _commands(text: str) -> Iterator[TypedCommand]:
    for typed in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        whole = re.match(r"(?:.*\\\n)*.*\n", typed)
        assert whole is not None
        yield TypedCommand(whole[0].rstrip("\n"), tuple(typed[whole.end() :].splitlines()))


def replaced(page: str, places: Mapping[str, str]) -> str:
    """A page with other ports and folders, all at once."""
    for place in places:
        assert place in page, f"the page has no {place}"
    return re.sub("|".join(map(re.escape, places)), lambda found: places[found[0]], page)


def pattern(shown: Sequence[str], execution: str | None) -> re.Pattern[str]:
    """What the printed lines have to match. execution: the id of the first execution; None for a group of this name."""
    lines = "".join(r"(?:.*\n)*?" if line == ELIDED else _line(line) + "\n" for line in map(_plain, shown) if line)
    first = iter([f"(?P<execution>{EXECUTION})"])
    return re.compile(
        re.sub(r"\bID\b", lambda _: re.escape(execution) if execution else next(first, "(?P=execution)"), lines)
    )


def _line(line: str) -> str:
    return ".*".join(map(re.escape, re.split(r" ?\.\.\. ?", line)))


def _plain(line: str) -> str:
    return re.sub(r"\s+", " ", line).strip()


def plain(text: str) -> str:
    """A text without what does not count: empty lines, and more than one space."""
    return "".join(f"{line}\n" for line in map(_plain, text.splitlines()) if line)


class Reader:
    """A reader with a terminal, who does what a page says. folder: for what they type, and for the shell's output."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.execution: str | None = None
        self._log = folder / "output"
        self._script = folder / "typed"
        self._printed = 0
        with self._log.open("wb") as output:
            self._shell = subprocess.Popen(
                ["bash", "-c", LOOP], cwd=environment["HOME"], env={**environment},
                stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def close(self) -> None:
        """End the shell, but nothing that it has started."""
        self._shell.kill()
        self._shell.communicate()

    def write(self, file: WrittenFile) -> None:
        """Write a file where the shell is."""
        (Path(f"/proc/{self._shell.pid}/cwd") / file.name).write_text(file.text)

    def type(self, command: TypedCommand) -> None:
        """Type a command, wait for its end, and compare what it prints with what is shown."""
        assert self._shell.stdin is not None
        text = re.sub(r"\bID\b", self.execution or "ID", command.text)
        self._script.write_text(f"{text}\n")
        self._shell.stdin.write(f"{self._script}\n".encode())
        self._shell.stdin.flush()
        if INTERRUPT in command.shown:
            first = pattern(command.shown[: command.shown.index(INTERRUPT)], self.execution)
            self._until(lambda: first.match(plain(self._output())), command)
            self._interrupt()
        self._until(lambda: re.search(f"^{DONE} \\d+\n", self._output(), re.MULTILINE), command)
        printed, _, code = self._output().rpartition(f"\n{DONE} ")
        self._printed = self._log.stat().st_size
        shown = [line for line in command.shown if line != INTERRUPT]
        found = pattern(shown, self.execution).fullmatch(plain(printed))
        assert found, _difference(command, printed)
        expected = 130 if INTERRUPT in command.shown else 0
        assert int(code) == expected, _difference(command, f"{printed}[exit code {code.strip()}]")
        self.execution = found.groupdict().get("execution") or self.execution

    def _output(self) -> str:
        """What has been printed since the command was typed."""
        with self._log.open("rb") as stream:
            stream.seek(self._printed)
            return stream.read().decode(errors="replace")

    def _until(self, is_so: Callable[[], Any], command: TypedCommand) -> None:
        try:
            until(is_so, PATIENCE_SECONDS)
        except AssertionError:
            raise AssertionError(_difference(command, f"{self._output()}[and does not end]")) from None

    def _interrupt(self) -> None:
        """Do what a terminal does at Ctrl-C: a signal to what runs in the foreground, which was started last."""
        children = [entry.parent for entry in Path("/proc").glob("[0-9]*/stat") if _parent(entry) == self._shell.pid]
        os.kill(int(max(children, key=lambda entry: _fields(entry / "stat")[19]).name), signal.SIGINT)


def _fields(stat: Path) -> list[int]:
    """The numbers in /proc/PID/stat behind the name and the state of a process, as proc(5) has them, from ppid on."""
    try:
        return [0, *map(int, stat.read_text().rpartition(")")[2].split()[1:])]
    except OSError:  # it has ended
        return [0, 0]


def _parent(stat: Path) -> int:
    return _fields(stat)[1]


def _difference(command: TypedCommand, printed: str) -> str:
    shown = "\n".join(command.shown)
    return f"the page has\n\n$ {command.text}\n{shown}\n\nand this prints\n\n{printed}"
