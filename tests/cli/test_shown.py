"""What a terminal would obey is shown, whichever verb says it."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from typing import Any

import pytest

from rayflow.__main__ import main
from rayflow.cli.main import VERBS
from rayflow.cli.output import output, style

EVIL = "\x1b]0;owned\x07\x1b[31;8m\x9b2J\u202egpj\u2066\r\x08\x00\x7f\udcff"

FLOW = r'''
import os, sys
from rayflow import File, Secret, apply_tags, task

EVIL = "\x1b]0;owned\x07\x1b[31;8m\x9b2J\u202egpj\u2066\r\x08\x00\x7f"

class Odd:
    def __repr__(self):
        return f"<odd {EVIL}>"

@task
def write(path: str) -> File:
    """Writes. \x1b[2J"""
    made = File(path)
    made.write("text")
    return made

@task(name="named")
def odd(text: str):
    print("out", EVIL)
    print("err", EVIL, file=sys.stderr)
    return Odd()

@task
def fail(text: str):
    raise ValueError(f"bad {EVIL}")

@task
def main(text: str = EVIL, path: str = "file\x1b[2J.txt"):
    return apply_tags([odd(text), write(path)], {f"key{EVIL}": EVIL}, execution_tags={f"key{EVIL}": EVIL})
'''

OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

LINES: dict[str, list[list[str]]] = {
    "run": [
        ["FLOW", "--dry-run"], ["FLOW"], ["FLOW", "fail", "--text", EVIL], ["FLOW", "--help"], [EVIL], ["FLOW", EVIL],
    ],
    "submit": [["FLOW", "--help"], [EVIL], ["FLOW", EVIL], ["FLOW", "--address", EVIL], ["FLOW", "--store", EVIL]],
    "attach": [[EVIL], ["-", "--address", EVIL]],
    "serve": [[EVIL], ["FLOW", "--address", EVIL]],
    "start": [[EVIL], ["main", "--at", EVIL], ["main", "--service", f"http://127.0.0.1:1/{EVIL}"]],
    "runs": [["--service", EVIL], ["show", EVIL]],
    "retry": [[EVIL], ["--text", EVIL]],
    "fork": [[EVIL], ["run", "--at", EVIL], [EVIL, "--service", f"http://127.0.0.1:1/{EVIL}"]],
    "stats": [["--service", EVIL]],
    "emit": [[EVIL, EVIL], [EVIL]],
    "events": [[EVIL]],
    "queues": [["--service", EVIL], ["set", EVIL, EVIL]],
    "answer": [[EVIL, EVIL], [EVIL]],
    "schedules": [
        ["--service", EVIL], ["show", EVIL], ["put", EVIL, EVIL, "--cron", EVIL], ["trigger", "s", "--at", EVIL],
    ],
    "repl": [[f"no{EVIL}.py"]],
    "init": [[f"new{EVIL}"], [f"new{EVIL}"]],
    "completion": [["bash"], [EVIL]],
    "help": [[], ["testing"], ["run"], [EVIL]],
    "log": [
        [], ["--running"], ["-"], ["-", "--follow"], ["~1"], ["JOB"], ["FAILED"], ["named"], ["FILE"],
        ["VALUE"], [EVIL], ["--tag", EVIL], ["--jobs"],
    ],
    "why": [["JOB"], ["--code", "FLOW", "main"], [EVIL]],
    "timeline": [["-", "-o", "-"], ["-", "-o", f"trace{EVIL}"], [EVIL]],
    "diff": [["-", "~1"], ["-", "~1", "--all"], ["-", "~1", "--json"], [EVIL]],
    "critical": [["-"], ["-", "--all"], ["-", "--json"], [EVIL]],
    "cancel": [["-", "--reason", EVIL], [EVIL], ["-", "--address", EVIL]],
    "viz": [["-"], ["-", "--format", "dot"], ["-", "--format", "html"], [EVIL]],
    "tag": [["list", "-"], ["add", "-", f"more{EVIL}={EVIL}"], ["list", "-", "--history"], ["list", EVIL]],
    "sql": [
        ["select task_name, call from jobs"],
        ["select * from logs"],
        ['select * from "values"'],
        ["--schema"],
        [f"select '{EVIL}' as \"{EVIL}\""],
        [f"select {EVIL}"],
    ],
    "resume": [[EVIL]],
    "forget": [[EVIL], ["JOB"]],
    "push": [[EVIL, EVIL], ["other"]],
    "pull": [[EVIL], ["other"]],
    "export": [["file\x1b[2J.out"]],
    "import": [["file\x1b[2J.out"], [EVIL]],
    "fs": [["ls", "."], ["ls", EVIL], ["cp", EVIL, "x"]],
    "store": [["check"], ["gc", "--dry-run"], ["compact"]],
    "config": [["show"]],
    "up": [[EVIL]],
    "down": [[EVIL]],
    "doctor": [["--address", EVIL], [EVIL]],
}
"""Verb -> command lines that say what somebody has chosen."""


class Terminal(io.StringIO):
    """A stream that somebody looks at."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def told(rayflow: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A project whose names, values, errors, tags and files tell a terminal what to do; says a command line's texts."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    rayflow.path.write_text(FLOW)
    rayflow.project.write("rayflow.toml", 'context = { odd = "\\u001b[2J" }\n')
    rayflow.run("fail", "--text", "x")
    assert rayflow.run("main").code == 0
    ids = {
        "FLOW": rayflow.file,
        "FILE": "file\x1b[2J.txt",
        "JOB": rayflow.ids("select job_id from jobs where task_name like '%main' order by finished_at desc")[0],
        "FAILED": rayflow.ids("select job_id from jobs where status = 'failed'")[0],
        "VALUE": rayflow.ids('select value_hash from "values" limit 1')[0],
    }

    def tell(verb: str, words: list[str], stream: type[io.StringIO]) -> str:
        out, err = stream(), stream()
        words = [ids.get(word, word) for word in words]
        if verb == "run":
            words = ["--inline", "--no-cache", *words]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            main([verb, *words])
        return out.getvalue() + err.getvalue()

    return tell


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_no_verb_passes_on_what_a_terminal_obeys(told: Any, stream: type[io.StringIO]) -> None:
    passed = []
    for verb, words in [(each, line) for each in VERBS for line in LINES[each]]:
        text = told(verb, words, stream)
        assert text.strip(), f"{verb} {words} says nothing"
        # What is ours: colours on a terminal. In a pipe the result itself arrives as it is.
        text = re.sub(r"\x1b\[[0-9;]{1,11}m", "", text) if stream is Terminal else text.replace(REPR, "")
        if OBEYED.search(text):
            passed.append(f"{verb} {words}: {text!r}")
    assert passed == []


REPR = "[<odd " + EVIL.removesuffix("\udcff") + ">"


def test_in_a_pipe_data_for_programs_arrives_as_it_is(rayflow: Any, told: Any) -> None:
    assert REPR in rayflow.run("main").out
    text = EVIL.removesuffix("\udcff")
    query = "select " + "||".join(f"chr({ord(letter)})" for letter in text if letter != "\0") + " as t"
    shown = text.replace("\0", "")
    assert list(csv.reader(io.StringIO(rayflow("sql", query, "--csv").out, newline=""))) == [["t"], [shown]]
    assert json.loads(rayflow("sql", query, "--json").out) == [{"t": shown}]


def test_a_style_cannot_be_forged_and_what_an_encoding_lacks_is_written_all_the_same() -> None:
    raw = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    stream = output.showing(raw)
    assert output.showing(stream) is stream
    stream.write("\ufdd0 31m ä \udcff \x1b[1m\tx\n")
    stream.flush()
    assert raw.buffer.getvalue() == rb"\ufdd0 31m \xe4 \udcff \x1b[1m" + b"\tx\n"  # type: ignore[attr-defined]
    assert style.on_terminal(style.styled("\x1b[2J", "red", Terminal())) == "\x1b[31m\\x1b[2J\x1b[0m"


AS_TEXT_STREAMS = '''
import os, sys
from rayflow import task

for stream in (sys.stdout, sys.stderr):
    stream.reconfigure(line_buffering=True)
    stream.buffer.write(f"{stream.name} {stream.mode} {stream.line_buffering}\\n".encode())

@task
def main():
    print("said")
    return "the answer"
'''


def test_a_module_finds_streams_of_python_where_it_is_loaded(rayflow: Any, tmp_path: Any) -> None:
    rayflow.path.write_text(AS_TEXT_STREAMS)
    with (tmp_path / "out").open("w+") as out, (tmp_path / "err").open("w+") as err, pytest.MonkeyPatch.context() as to:
        to.setattr(sys, "stdout", out)
        to.setattr(sys, "stderr", err)
        assert main(["run", "--inline", rayflow.file, "main"]) == 0
        for stream in (out, err):
            stream.seek(0)
        assert out.read() == "'the answer'\n" and f"{tmp_path / 'err'} w+ True\n" in err.read()


@pytest.mark.parametrize("closed", [["stdout"], ["stderr"], ["stdout", "stderr"]])
def test_a_stream_that_is_closed_from_the_beginning_is_no_mistake(
    rayflow: Any, closed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rayflow.run("main").code == 0
    for name in closed:
        monkeypatch.setattr(sys, name, None)  # as Python does at `>&-`
    verbs = [["log"], ["log", "-"], ["config", "show"], ["sql", "select 1"], ["run", "--inline", rayflow.file, "main"]]
    assert [main(words) for words in verbs] == [0] * len(verbs)
    assert main(["log", "nothing-like-it"]) == 1
    assert all(getattr(sys, name) is None for name in closed)
