"""Patterns: what matches them, and that the folders they are joined to are no part of them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rayflow import Dir, File, FileSet
from rayflow.values.encoding.encoding import make_ref
from rayflow.values.filesystems import filesystems
from rayflow.values.filesystems.directory_walk import matching
from rayflow.values.filesystems.filesystems import typed_in, use_base

ODD = {
    "br[1]ack": "br1ack", "st*r": "star", "q?m": "qxm", "[!x]": "y", "[a-z]": "b", "**": "any", "b{a,b}": "ba",
    "p%20c": "p c", "#h": "h", "sp ace": "space", "quo'te": "quote", "back\\slash": "backslash", "ümläut": "umlaut",
    "run=5": "run", "[": "x", "]": "x", "[]": "x",
}  # fmt: skip
"""Names of folders that look like patterns, and like other things, each with a name that the pattern would match."""


@pytest.fixture(params=ODD)
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A project whose folder is called so, beside one that its name would match."""
    for name in (request.param, ODD[request.param]):
        (tmp_path / name / "data" / "deep").mkdir(parents=True)
    for name in ("data/a.txt", "data/b.txt", "data/deep/c.txt", "data/d.csv"):
        (tmp_path / request.param / name).write_text(request.param)
        (tmp_path / ODD[request.param] / name).write_text("another's")
    before = filesystems._base
    use_base(str(tmp_path / request.param))
    yield tmp_path / request.param
    use_base(before)


def paths(many: FileSet | Dir) -> list[str]:
    return [file.path for file in many]


def test_a_folder_that_a_pattern_is_joined_to_is_no_part_of_it(
    odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert paths(FileSet("data/*.txt")) == ["data/a.txt", "data/b.txt"]
    assert paths(FileSet("**/*.txt")) == ["data/a.txt", "data/b.txt", "data/deep/c.txt"]
    assert paths(FileSet("./data/[ab].*")) == ["data/a.txt", "data/b.txt"]
    assert paths(FileSet("data/a.txt")) == ["data/a.txt"]
    assert paths(FileSet(f"../{glob.escape(odd.name)}/data/*.csv")) == [f"../{odd.name}/data/d.csv"]
    assert paths(FileSet(f"{glob.escape(str(odd))}/data/*.csv")) == [f"{odd}/data/d.csv"]
    assert paths(Dir("data")) == ["data/a.txt", "data/b.txt", "data/d.csv", "data/deep/c.txt"]
    assert all(file.read() == odd.name for file in (*FileSet("data/*.txt"), *Dir("data")))
    monkeypatch.setenv("HOME", str(odd))
    assert paths(FileSet("~/data/*.csv")) == [f"{odd}/data/d.csv"]
    use_base(None)
    monkeypatch.chdir(odd)
    assert paths(FileSet("data/*.txt")) == ["data/a.txt", "data/b.txt"]
    found = make_ref(FileSet("data/*.txt"))[0].witnesses
    (odd / "data" / "new.txt").write_text("x")
    assert make_ref(FileSet("data/*.txt"))[0].witnesses != found


@pytest.mark.parametrize("inside", [True, False], ids=["in the project", "outside of the project"])
def test_a_folder_that_a_pattern_is_typed_in_is_no_part_of_it(odd: Path, tmp_path: Path, inside: bool) -> None:
    """Also not once more: what is typed in one folder means the same when it is read again from its text."""
    use_base(str(tmp_path if inside else tmp_path / ODD[odd.name]))
    with typed_in(str(odd)):
        typed = FileSet.parse("data/*.txt")
        upward = FileSet.parse(f"../{glob.escape(odd.name)}/data/*.txt")
        single = File.parse("data/a.txt")
    start = odd.name if inside else str(odd)
    assert paths(typed) == paths(upward) == [f"{start}/data/a.txt", f"{start}/data/b.txt"]
    assert single.path == f"{start}/data/a.txt" and single.read() == odd.name


NAMES = [
    "a.txt", "b.txt", "[x].txt", "x.txt", "*.txt", ".hidden", ".h/in.txt", "d/a.txt", "d/.h.txt", "d/e/a.txt",
    "d/e/f/g.csv", "deep/d/e/b.txt", "d e/a b.txt",
]  # fmt: skip
PATTERNS = [
    "*", "*.txt", "[ab].txt", "[!a].txt", "[[]x].txt", "?.txt", "**", "**/*", "**/*.txt", "d/**", "d/**/a.txt",
    "**/e/*", "*/*", "**/**/*.txt", "**/d/**/*.txt", ".*", "**/.h*", "d/../a.txt", "d/*", "nothing/*", "d/e", "*/e/*",
    "d*/**/a*", "a.txt", "a.txt/*", "**/f/**",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_matches_as_pythons_own(tmp_path: Path, pattern: str) -> None:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "linked").symlink_to("d")
    found = {path for path in glob.iglob(pattern, root_dir=tmp_path, recursive=True) if (tmp_path / path).is_file()}
    assert matching(str(tmp_path), pattern) == sorted(f"{tmp_path}/{path}" for path in found)


def test_a_pattern_goes_through_links_and_never_round(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "far").mkdir()
    for name in ("d/a.txt", "d/e/b.txt", "far/c.txt"):
        (tmp_path / name).touch()
    for link, target in (("up", ".."), ("here", "."), ("again", "../d"), ("e/top", str(tmp_path)), ("far", "../far")):
        (tmp_path / "d" / link).symlink_to(target)
    (tmp_path / "far" / "back").symlink_to("../d")
    with pytest.warns(UserWarning, match="a folder that it lies in"):
        found = matching(str(tmp_path / "d"), "**/*.txt")
    assert [os.path.relpath(path, tmp_path / "d") for path in found] == ["a.txt", "e/b.txt", "far/c.txt"]
