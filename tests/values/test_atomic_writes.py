"""What was left where files are written, by who was killed on the way, is taken away by whoever writes there next."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rayflow.values.files.files import Dir, File, FileSet
from rayflow.values.filesystems import atomic_writes, remote
from rayflow.values.filesystems.atomic_writes import (
    beside_of,
    discard,
    is_beside,
    move_durably,
    put_in_place,
    write_new,
)


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which a process was killed while it wrote a directory, and a file in another one."""
    monkeypatch.setattr(atomic_writes, "_swept", {})
    made = tmp_path / "made"
    (made / "folder").mkdir(parents=True)
    of_the_dead(made / "folder").mkdir()
    of_the_dead(made / "folder/killed").write_text("half")
    monkeypatch.setattr(atomic_writes, "_swept", {})
    return made


def of_the_dead(target: Path) -> Path:
    """Where a process that is gone has written beside a target: there is no process of so high a number."""
    return Path(beside_of(str(target)).replace(f"-{os.getpid():x}-", "-3fffffff-"))


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
    again = of_the_dead(left / "x")
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
    atomic_writes.sweep(str(tmp_path))
    assert sorted(tmp_path.iterdir()) == sorted([mine, theirs, older])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic_writes, "OTHERS_SECONDS", -1.0)
        atomic_writes.sweep(str(tmp_path))
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

    monkeypatch.setattr(remote, "IN_PARTS_FROM_BYTES", 5)
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
    monkeypatch.setattr(remote, "OTHERS_SECONDS", 1e10)  # it may still be on its way
    File(f"{bucket}/a/file").write("enough")
    assert "a/file" in uploads()


def streamed(file: File) -> None:
    with file.open("w") as stream:
        stream.write("enough")


def test_a_directory_takes_the_place_of_another_with_the_modes_of_what_it_replaces(tmp_path: Path) -> None:
    old, new = tmp_path / "out", Path(beside_of(str(tmp_path / "out")))
    for folder in (old, new):
        (folder / "inner").mkdir(parents=True)
        (folder / "inner/both").write_text(folder.name)
    (old / "gone").write_text("old")
    (new / "added").write_text("new")
    (old / "inner").chmod(0o750)
    (old / "inner/both").chmod(0o640)
    put_in_place(str(new), str(old))
    assert (old / "inner/both").read_text() == new.name
    assert {path.name for path in old.iterdir()} == {"inner", "added"}
    assert [path.stat().st_mode & 0o777 for path in (old / "inner", old / "inner/both")] == [0o750, 0o640]
    assert list(tmp_path.iterdir()) == [old]


def test_a_new_file_is_written_whole_and_never_over_another(tmp_path: Path) -> None:
    beside, target = str(tmp_path / "beside"), tmp_path / "target"
    write_new(beside, [b"one", memoryview(b"two"), b""])
    with pytest.raises(FileExistsError):
        write_new(beside, [b"other"])
    move_durably(beside, str(target))
    assert (target.read_bytes(), os.path.exists(beside)) == (b"onetwo", False)


def test_a_temporary_path_is_discarded_whatever_is_there(tmp_path: Path) -> None:
    (tmp_path / "folder/inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "kept").mkdir()
    for name in ("folder", "link", "missing"):
        discard(str(tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
