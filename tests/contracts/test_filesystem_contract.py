"""What every file system has to do: this machine's, one in memory, and buckets."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from rayflow.errors import StoreUnavailable
from rayflow.values.filesystems.filesystems import DirectoryEntry, FileSystem, located


@pytest.fixture(params=["local", "memory", "s3", "gcs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[FileSystem, str]:
    """A file system, and a folder on it that is not there yet."""
    if request.param == "local":
        return located(str(tmp_path / "folder"))
    if request.param == "memory":
        return located(f"memory://{uuid.uuid4().hex}/folder")
    bucket = request.getfixturevalue("bucket" if request.param == "s3" else "gcs_bucket")
    return located(f"{bucket}/folder")


NAMES = ["a.txt", "b c.txt", "quo'te\"$x.txt", "deep/er/d.txt", "deep/e.bin"]


@pytest.fixture
def filled(place: tuple[FileSystem, str]) -> tuple[FileSystem, str]:
    fs, folder = place
    for name in NAMES:
        fs.write_bytes(fs.join(folder, name), name.encode())
    return place


def names(fs: FileSystem, folder: str, entries: list[DirectoryEntry]) -> list[str]:
    return [entry.path[len(folder) + 1 :] for entry in entries]


def test_what_was_written_is_read_and_told_of(filled: tuple[FileSystem, str]) -> None:
    fs, folder = filled
    for name in NAMES:
        path = fs.join(folder, name)
        assert fs.read_bytes(path) == name.encode()
        assert fs.exists(path)
        assert (fs.stat(path).size, fs.stat(path).is_dir) == (len(name.encode()), False)
        with fs.open(path) as stream:
            assert stream.read() == name.encode()


def test_another_content_of_the_same_size_is_another_state(filled: tuple[FileSystem, str]) -> None:
    fs, folder = filled
    path = fs.join(folder, "a.txt")
    before = fs.stat(path)
    assert fs.stat(path) == before
    fs.write_bytes(path, b"b.txt")
    assert fs.stat(path) != before


def test_a_text_stream_writes_and_reads_and_makes_its_folder(place: tuple[FileSystem, str]) -> None:
    fs, folder = place
    path = fs.join(folder, "new", "text.txt")
    with fs.open_as(path, "w", encoding="utf-8") as stream:
        stream.write("täxt\n")
    with fs.open_as(path, "r", encoding="utf-8") as stream:
        assert stream.read() == "täxt\n"
    with fs.open_as(path, "rb") as stream:
        assert stream.read() == "täxt\n".encode()


def test_what_is_missing_is_missing(place: tuple[FileSystem, str]) -> None:
    fs, folder = place
    path = fs.join(folder, "never")
    assert not fs.exists(path)
    for action in (fs.stat, fs.read_bytes):
        with pytest.raises(FileNotFoundError):
            action(path)
    with pytest.raises(FileNotFoundError):
        fs.open_as(path, "rb").read()
    assert fs.find(path) is None
    assert fs.glob(fs.join(folder, "*")) == []
    fs.delete(path)
    fs.delete_tree(path)


def test_a_folder_is_found_with_all_that_is_in_it(filled: tuple[FileSystem, str]) -> None:
    fs, folder = filled
    found = fs.find(folder)
    assert found is not None
    assert names(fs, folder, found) == sorted(NAMES)
    assert [entry.size for entry in found] == [len(name.encode()) for name in sorted(NAMES)]
    assert names(fs, folder, fs.glob(fs.join(folder, "*.txt"))) == sorted(n for n in NAMES if "/" not in n)
    assert names(fs, folder, fs.glob(fs.join(folder, "**", "*.txt"))) == sorted(n for n in NAMES if n.endswith("txt"))
    assert fs.find(fs.join(folder, "a.txt")) is None  # a file is no directory
    fs.delete_tree(folder)
    assert not fs.exists(fs.join(folder, "deep/e.bin"))


@pytest.mark.parametrize(("odd", "like"), [("br[1]ack", "br1ack"), ("st*r", "star"), ("[!x] {a,b}", "y {a,b}")])
def test_a_folder_whose_name_looks_like_a_pattern_is_that_folder_alone(
    place: tuple[FileSystem, str], tmp_path: Path, odd: str, like: str
) -> None:
    fs, above = place
    folder, other = fs.join(above, odd), fs.join(above, like)
    for each in (folder, other):
        fs.write_bytes(fs.join(each, "x", "a.txt"), b"a")
    found = fs.find(folder)
    assert found is not None and names(fs, folder, found) == ["x/a.txt"]
    assert [entry.path for entry in fs.ls(folder)] == [fs.join(folder, "x")]
    path = fs.join(folder, "x", "a.txt")
    assert fs.exists(path) and fs.stat(path).size == 1 and fs.read_bytes(path) == b"a"
    fs.get_file(path, str(tmp_path / "here"))
    fs.put_file(str(tmp_path / "here"), fs.join(folder, "b.txt"))
    fs.delete(path)
    assert not fs.exists(path)
    fs.delete_tree(folder)
    assert fs.find(folder) is None
    assert fs.exists(fs.join(other, "x", "a.txt"))


def test_a_file_is_copied_from_and_to_this_machine(filled: tuple[FileSystem, str], tmp_path: Path) -> None:
    fs, folder = filled
    fs.get_file(fs.join(folder, "b c.txt"), str(tmp_path / "here"))
    assert (tmp_path / "here").read_text() == "b c.txt"
    fs.put_file(str(tmp_path / "here"), fs.join(folder, "more/back"))
    assert fs.read_bytes(fs.join(folder, "more/back")) == b"b c.txt"


@pytest.mark.slow
def test_many_are_asked_together_as_they_would_be_one_by_one(filled: tuple[FileSystem, str]) -> None:
    fs, folder = filled
    if fs.is_local:
        return
    for index in range(250):
        fs.write_bytes(fs.join(folder, "many", str(index)), b"x" * index)
    paths = [fs.join(folder, "many", str(index)) for index in range(250)]
    paths += [fs.join(folder, name) for name in NAMES] + [fs.join(folder, "never"), fs.join(folder, "many/never")]
    told = fs.stat_many(paths)
    assert told[:-2] == [fs.stat(path) for path in paths[:-2]]
    assert all(isinstance(each, FileNotFoundError) for each in told[-2:])


def test_a_bucket_that_is_not_there_or_denies_is_a_clear_error(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fs, path = located("s3://no-such-bucket-here/x")
    with pytest.raises(StoreUnavailable, match=r"Cannot write s3://no-such-bucket-here/x"):
        fs.write_bytes(path, b"x")
    assert not fs.exists(path)
