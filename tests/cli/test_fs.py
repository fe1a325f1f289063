"""`rayflow fs`: files are listed and copied between any two places."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

import pytest

from rayflow.values.files.files import Dir, File


@pytest.fixture
def far() -> str:
    """A place of its own that is not on this machine's disks."""
    return f"memory://{uuid.uuid4().hex}"


def test_a_file_is_copied_there_and_back(rayflow: Any, far: str) -> None:
    Path("a.txt").write_text("abc")
    done = rayflow("fs", "cp", "a.txt", f"{far}/b.txt")
    assert (done.code, done.out, done.err) == (0, "", "copied 1 file\n")
    assert rayflow("fs", "cp", f"{far}/b.txt", "c.txt").code == 0
    assert Path("c.txt").read_text() == "abc"


def test_a_file_is_copied_into_a_directory_that_is_there_or_is_said_to_be_one(rayflow: Any, far: str) -> None:
    Path("a.txt").write_text("a")
    Path("b.txt").write_text("b")
    Path("there").mkdir()
    assert rayflow("fs", "cp", "a.txt", "there").code == 0
    assert rayflow("fs", "cp", "a.txt", "b.txt", f"{far}/new/").err == "copied 2 files\n"
    assert Path("there/a.txt").read_text() == "a"
    assert [File(f"{far}/new/{name}.txt").read() for name in "ab"] == ["a", "b"]


def test_a_tree_is_copied_whole(rayflow: Any, far: str) -> None:
    for name in ("t/1", "t/deep/er/2", "t/deep/3"):
        File(os.path.abspath(name)).write(name)
    assert rayflow("fs", "cp", "-r", "t", f"{far}/u").err == "copied 3 files\n"
    assert sorted(file.read() for file in Dir(f"{far}/u")) == ["t/1", "t/deep/3", "t/deep/er/2"]
    assert rayflow("fs", "cp", "-r", f"{far}/u", ".").code == 0, "into the directory that is there, under its name"
    assert Path("u/deep/er/2").read_text() == "t/deep/er/2"


def test_a_path_is_relative_to_where_the_user_is(rayflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rayflow.run("get_planet")
    Path("below").mkdir()
    monkeypatch.chdir("below")
    Path("a.txt").write_text("a")
    assert rayflow("fs", "cp", "a.txt", "b.txt").code == 0
    assert Path("b.txt").exists()


def test_a_directory_is_listed(rayflow: Any, far: str) -> None:
    File(f"{far}/d/1.txt").write("x" * 2048)
    File(f"{far}/d/deep/2.txt").write("")
    lines = rayflow("fs", "ls", f"{far}/d").out.splitlines()
    assert lines[0].split() == ["size", "modified", "name"]
    assert [line.split()[-1] for line in lines[1:]] == ["1.txt", "deep/"] and "2.0 KiB" in lines[1]
    found = json.loads(rayflow("fs", "ls", "-r", f"{far}/d", "--json").out)
    assert [(each["path"], each["size"], each["is_dir"]) for each in found] == [
        ("1.txt", 2048, False),
        ("deep/2.txt", 0, False),
    ]
    [one] = json.loads(rayflow("fs", "ls", f"{far}/d/1.txt", "--json").out)
    assert one["path"] == "1.txt"


def test_the_directory_where_the_user_is_is_listed_by_itself(rayflow: Any) -> None:
    assert rayflow.file in rayflow("fs", "ls").out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["cp", "none", "x"], 1, "There is nothing at"),
        (["ls", "memory://none/at-all"], 1, "There is nothing at memory://none/at-all."),
        (["cp", "d", "x"], 1, "is a directory: add -r"),
        (["cp", "a", "a"], 1, "are the same file"),
        (["cp", "a", "d/b", "none"], 1, "none is not a directory"),
        (["cp", "a", "nosuch://b/c"], 1, "No file system serves 'nosuch://b/c'"),
        (["cp", "a", "a/b"], 2, "Not a directory"),
        (["cp", "a"], 1, "Missing argument"),
    ],
)
def test_what_cannot_be_copied_is_said(rayflow: Any, words: list[str], code: int, message: str) -> None:
    Path("a").write_text("a")
    Path("d").mkdir()
    Path("d/b").write_text("b")
    done = rayflow("fs", *words)
    assert (done.code, done.out) == (code, "") and message in done.err
    assert not Path("x").exists() and not Path("none").exists() and Path("a").read_text() == "a"
