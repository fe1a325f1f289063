"""File systems: whole files or none, one set of operations, local and remote."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

import pytest

from rayflow.errors import BadConfig, StoreUnavailable
from rayflow.values.filesystems import filesystems
from rayflow.values.filesystems.filesystems import FileSystem, filesystem, is_url


@pytest.fixture(params=["local", "file url", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[FileSystem, str]:
    urls = {
        "local": str(tmp_path / "a b"),
        "file url": (tmp_path / "a b").as_uri(),
        "memory": f"memory://{uuid.uuid4().hex}",
    }
    return filesystem(urls[request.param])


def test_what_is_written_can_be_read_listed_and_deleted(place: tuple[FileSystem, str]) -> None:
    files, root = place
    path = files.join(root, "x", "y.bin")
    assert not files.exists(path) and files.ls(files.join(root, "x")) == []
    files.write_parts(path, [b"ab", memoryview(b"cd"), b""])
    assert files.read_bytes(path) == b"abcd"
    with files.open(path) as stream:
        stream.seek(2)
        assert stream.read() == b"cd"
    assert [(os.path.basename(entry.path), entry.size) for entry in files.ls(files.join(root, "x"))] == [("y.bin", 4)]
    assert files.stat(path).size == 4 and files.stat(path).modified_ns > 0
    assert [entry.is_dir for entry in files.ls(root)] == [True]
    files.write_bytes(path, b"z")
    assert files.read_bytes(path) == b"z"
    files.delete(path)
    files.delete(path)
    assert not files.exists(path)


def test_missing_files_raise_file_not_found(place: tuple[FileSystem, str]) -> None:
    files, root = place
    for action in (files.read_bytes, files.open, files.stat):
        with pytest.raises(FileNotFoundError):
            action(files.join(root, "none"))


def test_directories_can_be_made_twice(place: tuple[FileSystem, str]) -> None:
    files, root = place
    files.makedirs(files.join(root, "d", "e"))
    files.makedirs(files.join(root, "d", "e"))
    files.write_bytes(files.join(root, "d", "e", "f"), b"1")
    assert files.exists(files.join(root, "d", "e", "f"))


def test_listings_are_sorted(place: tuple[FileSystem, str]) -> None:
    files, root = place
    for name in "cab":
        files.write_bytes(files.join(root, name), name.encode())
    assert [os.path.basename(entry.path) for entry in files.ls(root)] == ["a", "b", "c"]


def test_a_write_that_fails_midway_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, root = filesystem(tmp_path)

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(filesystems.os, "writev", full)
    with pytest.raises(StoreUnavailable, match="No space left"):
        files.write_bytes(files.join(root, "x"), b"data")
    assert list(tmp_path.iterdir()) == []


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.writev

    def little(descriptor: int, buffers: list[Any]) -> int:
        return real(descriptor, [bytes(memoryview(buffers[0])[:3])])

    monkeypatch.setattr(filesystems.os, "writev", little)
    files, root = filesystem(tmp_path)
    parts = [bytes([number % 256]) * (number % 7) for number in range(1200)]
    files.write_parts(files.join(root, "x"), parts)
    assert (tmp_path / "x").read_bytes() == b"".join(parts)


def test_nothing_is_left_beside_a_written_file(tmp_path: Path) -> None:
    files, root = filesystem(tmp_path)
    for _ in range(2):
        files.write_bytes(files.join(root, "x"), b"1")
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_remote_trouble_is_an_error_of_the_world() -> None:
    class Broken:
        protocol = "memory"

        def unstrip_protocol(self, path: str) -> str:
            return f"memory://{path}"

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("connection reset")

    files = filesystems.RemoteFileSystem(Broken())
    for action in (files.read_bytes, files.exists, files.ls, files.delete, files.makedirs):
        with pytest.raises(StoreUnavailable, match=r"memory://b/x: .*connection reset"):
            action("b/x")


def test_urls_and_paths_are_told_apart() -> None:
    assert is_url("s3://bucket/x") and is_url("memory://x") and is_url("simplecache::s3://b/x")
    assert not is_url("/a/b") and not is_url("a:b") and not is_url("C:/x")
    with pytest.raises(BadConfig, match="nosuch"):
        filesystem("nosuch://x")
