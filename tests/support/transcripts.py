"""Transcripts: files of shell commands with the output that people read, which tests run again and compare.

A line that begins with `$ ` is a command for the shell, in the project's directory; the lines that follow are what it
prints, both streams in their order, and `[exit N]` where it does not end with 0. The text of a `<<'EOF'` stands below
its command. Times, dates, identifiers, versions, the user and the project's directory are written in one form.
"""

from __future__ import annotations

import re
import shlex
import subprocess

from projects import Project

_IDENTIFIER = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){2,3}(?:-[0-9a-f]{4,12})?\b")
_DIGEST = re.compile(r"\b(?:[0-9a-f]{12}|[0-9a-f]{40})\b")
_DATE = re.compile(r"\b20\d\d-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:\+\d\d:?\d\d|Z)?)?")
_CLOCK = re.compile(r"\b\d\d:\d\d:\d\d\b")
_TIME = re.compile(r"\b\d+(?:\.\d+)? (?:µs|ms|s|min|h|d)(?: \d+ (?:s|min|h))?\b")
_VERSION = re.compile(r"(?<=rayflow )\d+\.\d+\.\d+\S*(?=,|$)|(?<=Python )3\.\d+\.\d+\S*(?=,|$)|(?<=[Rr]ay )2\.\d+\.\d+")
_USER = re.compile(r"(?<= by )\S+ on \S+|(?<=user=)[^\s,]+")
_START = re.compile(r", after \S+ \S+ to start up")
_PLAIN_COMMAND = re.compile(r"rayflow (?:[^'\"|&;<>$*?~`(){}!\\#\n]|\"[^\"$`!\\\n]*\"|'[^'\n]*')*")
"""A command that means the same without a shell."""
_GAP = re.compile(r"(?<=\S) {2,}")

_FORMS = (
    (_START, ""),
    (_IDENTIFIER, "ID"),
    (_DATE, "DATE"),
    (_CLOCK, "CLOCK"),
    (_TIME, "TIME"),
    (_DIGEST, "HASH"),
    (_VERSION, "VERSION"),
    (_USER, "USER"),
)


def commands_of(text: str) -> list[str]:
    """The commands of a transcript, each with the text that it reads, without what they have printed."""
    found: list[str] = []
    is_in_text = False
    for line in text.splitlines():
        if is_in_text:
            found[-1] += f"\n{line}"
            is_in_text = line != "EOF"
        elif line.startswith("$ "):
            found.append(line.removeprefix("$ "))
            is_in_text = line.endswith("<<'EOF'")
    return found


def played(text: str, project: Project) -> str:
    """The transcript again, with what its commands print now."""
    parts = ["\n".join([f"$ {command}", *_output(command, project)]) for command in commands_of(text)]
    return "\n\n".join(parts) + "\n"


def _output(command: str, project: Project) -> list[str]:
    environment = {"COLUMNS": "120", "PYTHONDONTWRITEBYTECODE": "1"}
    if _PLAIN_COMMAND.fullmatch(command):
        done = project.rayflow(*shlex.split(command)[1:], is_merged=True, timeout=300, **environment)
    else:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=project.path,
            env=project.full_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
    # How long rayflow takes to start is told only where it is worth it, which depends on the machine.
    told = [line for line in done.stdout.splitlines() if not line.startswith("start-up ")]
    lines = [_plain(line, project) for line in told]
    return [*lines, *([f"[exit {done.returncode}]"] if done.returncode else [])]


def _plain(line: str, project: Project) -> str:
    """A line without what differs from run to run."""
    line = line.replace(str(project.path.resolve()), "PROJECT").replace(str(project.path), "PROJECT")
    known = line
    for pattern, word in _FORMS:
        line = pattern.sub(word, line)
    return (_GAP.sub("  ", line) if line != known else line).rstrip()
