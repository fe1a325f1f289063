"""What was left where files are written, by who was killed on the way, is taken away by whoever writes there next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rayflow.values import besides, remote_files
from rayflow.values.besides import beside_of, is_beside
from rayflow.values.files import Dir, File, FileSet

KILLED = """
import os, signal, sys
from rayflow.values import besides, local_files
from rayflow.values.files import File

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

local_files._move = die
os.mkdir(besides.beside_of(sys.argv[1] + "/folder"))
File(sys.argv[1] + "/folder/killed").write("half")
"""


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which a process was killed while it wrote."""
    monkeypatch.setattr(besides, "_swept", {})
    for name in ("", "/folder"):
        (tmp_path / f"made{name}").mkdir()
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "made")])
    assert killed.returncode == -signal.SIGKILL
    assert len(hidden(tmp_path / "made")) == 2
    return tmp_path / "made"


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if is_beside(str(path))]


def test_what_was_left_is_no_member_of_anything(left: Path) -> None:
    next(path for path in hidden(left) if path.is_dir()).joinpath("inside.txt").write_text("x")
    (left / "folder/whole.txt").write_text("x")
    assert [file.basename() for file in Dir(str(left))] == ["whole.txt"]
    assert [file.basename() for file in FileSet(f"{left}/**/*.txt")] == ["whole.txt"]


def test_it_is_taken_away_when_something_is_written_there(left: Path) -> None:
    File(str(left / "folder/other")).write("x")
    assert [path.is_dir() for path in hidden(left)] == [True]  # what lies in another directory
    File(str(left / "file")).write("x")
    assert hidden(left) == []


def test_a_directory_is_looked_through_once_in_a_while(left: Path) -> None:
    File(str(left / "one")).write("x")
    File(str(left / "folder/one")).write("x")
    again = left / Path(beside_of(str(left / "x"))).name.replace(f"-{os.getpid():x}-", "-3fffffff-")
    again.write_text("left")
    File(str(left / "one")).write("x")
    assert hidden(left) == [again]


def test_what_a_living_process_writes_stays_and_what_others_left_goes_after_a_day(tmp_path: Path) -> None:
    mine = Path(beside_of(str(tmp_path / "mine")))
    machine = mine.name.split(".")[2].split("-")[0]
    theirs = tmp_path / mine.name.replace(machine, "0" * 8)
    older = tmp_path / ".older.0123456789ab.rayflow-tmp"  # as it was called before it said who writes
    for path in (mine, theirs, older):
        path.write_text("x")
    besides.sweep(str(tmp_path))
    assert sorted(tmp_path.iterdir()) == sorted([mine, theirs, older])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(besides, "OTHERS_SECONDS", -1.0)
        besides.sweep(str(tmp_path))
    assert list(tmp_path.iterdir()) == [mine]


def test_a_long_name_of_any_letters_can_be_written(tmp_path: Path) -> None:
    name = "\N{SNOWMAN}" * 80
    File(str(tmp_path / name)).write("x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_parts_that_were_sent_and_never_became_a_file_are_taken_back(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import s3fs

    fs = s3fs.S3FileSystem()
    name = bucket.removeprefix("s3://")

    def leave() -> None:
        for key in ("a/file", "a/file-of-others"):
            fs.call_s3("create_multipart_upload", Bucket=name, Key=key)

    def uploads() -> list[str]:
        return [upload["Key"] for upload in fs.call_s3("list_multipart_uploads", Bucket=name).get("Uploads", [])]

    monkeypatch.setattr(remote_files, "IN_PARTS_FROM_BYTES", 5)
    (tmp_path / "here").write_text("enough")
    writes = (
        lambda file: file.write("enough"),
        lambda file: File(str(tmp_path / "here")).copy_to(file),
        streamed,
    )
    for write in writes:
        leave()
        File(f"{bucket}/a/file").write("few")
        assert "a/file" in uploads()
        write(File(f"{bucket}/a/file"))
        assert "a/file" not in uploads() and "a/file-of-others" in uploads()
    leave()
    monkeypatch.setattr(remote_files, "OTHERS_SECONDS", 1e10)  # it may still be on its way
    File(f"{bucket}/a/file").write("enough")
    assert "a/file" in uploads()


def streamed(file: File) -> None:
    with file.open("w") as stream:
        stream.write("enough")
