"""Copies between places: whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rayflow.errors import StoreUnavailable
from rayflow.values.files.copying import fetch
from rayflow.values.filesystems.filesystems import filesystem
from rayflow.values.filesystems.remote import RemoteFileSystem

URL = "memory://staging/far.txt"


@pytest.fixture
def far() -> str:
    """A file somewhere else."""
    fs, path = filesystem(URL)
    fs.write_bytes(path, b"from afar")
    return URL


def test_a_file_is_fetched_under_its_name(far: str, tmp_path: Path) -> None:
    target = tmp_path / "new folder" / "near.txt"
    fetch(far, str(target))
    assert target.read_bytes() == b"from afar"
    assert list(target.parent.iterdir()) == [target]


def test_a_fetch_that_breaks_off_leaves_what_was_there_and_nothing_else(
    far: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(self: Any, path: str, local: str) -> None:
        Path(local).write_bytes(b"from")
        raise ConnectionResetError(path)

    monkeypatch.setattr(RemoteFileSystem, "get_file", half)
    target = tmp_path / "near.txt"
    target.write_bytes(b"before")
    with pytest.raises(StoreUnavailable):
        fetch(far, str(target))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"near.txt": b"before"}


def test_nothing_to_fetch_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fetch("memory://staging/never.txt", str(tmp_path / "near.txt"))
    assert list(tmp_path.iterdir()) == []
