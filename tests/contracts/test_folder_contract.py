"""What every folder of a store promises about files that are created only where there is none."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from faulty_disk import FaultyDisk, FullDisk, use_disk

from rayflow.errors import BadArguments, StoreUnavailable
from rayflow.store.exchange.archive import ZipFolder
from rayflow.store.folders import local
from rayflow.store.folders.layered import LayeredFolder
from rayflow.store.folders.local import LocalFolder
from rayflow.store.folders.memory import MemoryFolder
from rayflow.store.folders.protocol import Folder, refuses_second_create
from rayflow.store.folders.remote import RemoteFolder

_NUMBERS = itertools.count()


@pytest.fixture(params=["local", "memory", "layered", "memory-url", "s3", "gcs", "zip"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    match request.param:
        case "local":
            return LocalFolder(str(tmp_path / "store"))
        case "memory":
            return MemoryFolder()
        case "layered":
            return LayeredFolder(LocalFolder(str(tmp_path / "store")))
        case "zip":
            return ZipFolder("made.zip", zipfile.ZipFile(tmp_path / "made.zip", "w"))
        case "memory-url":
            return RemoteFolder(f"memory://folder-{os.getpid()}-{next(_NUMBERS)}")
    bucket = request.getfixturevalue("bucket" if request.param == "s3" else "gcs_bucket")
    return RemoteFolder(f"{bucket}/store", str(tmp_path / "mirror"))


def test_a_file_is_created_once(folder: Folder) -> None:
    assert folder.create("claims/a", [b"on", b"e"])
    assert not folder.create("claims/a", [b"two"])
    assert not folder.create("claims/a", [b"one"])
    assert folder.create("claims/b", [b"other"])
    assert (bytes(folder.read("claims/a")), bytes(folder.read("claims/b"))) == (b"one", b"other")


def test_a_file_that_was_written_is_not_created(folder: Folder) -> None:
    folder.write("claims/a", [b"written"])
    assert not folder.create("claims/a", [b"created"])
    assert bytes(folder.read("claims/a")) == b"written"


def test_a_folder_says_whether_a_created_file_is_ones_own(folder: Folder) -> None:
    assert refuses_second_create(folder) is not isinstance(folder, ZipFolder)
    assert folder.names("tmp") == [] or isinstance(folder, ZipFolder)


@pytest.mark.parametrize("of", [lambda path: LocalFolder(str(path)), lambda _: MemoryFolder()], ids=["local", "memory"])
def test_of_several_that_create_a_file_at_once_one_is_told_that_it_did(of: Any, tmp_path: Path) -> None:
    folder = of(tmp_path / "store")
    folder.write("claims/first", [b""])
    with ThreadPoolExecutor(8) as pool:
        for number in range(30):
            told = list(pool.map(lambda each, n=number: folder.create(f"claims/{n}", [bytes([each]) * 9]), range(8)))
            assert told.count(True) == 1
            assert bytes(folder.read(f"claims/{number}")) == bytes([told.index(True)]) * 9
    assert folder.names("tmp") == []


def test_a_disk_without_hard_links_says_that_nothing_can_be_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    folder = LocalFolder(str(tmp_path / "store"))
    monkeypatch.setattr(local.os, "link", link)
    with pytest.raises(StoreUnavailable, match="no hard links"):
        folder.create("claims/a", [b"one"])
    assert not refuses_second_create(folder)
    assert folder.names("claims") == folder.names("tmp") == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_takes_nothing_is_no_disk_on_which_files_are_created_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    folder = LocalFolder(str(tmp_path / "store"))
    use_disk(monkeypatch, FullDisk(number))
    with pytest.raises(StoreUnavailable, match=os.strerror(number)):
        refuses_second_create(folder)


@pytest.mark.parametrize(
    ("device", "steps"),
    [(8, ["link", "fsync file", "unlink"]), (0, ["fsync file", "link", "unlink", "fsync directory"])],
    ids=["a disk with a journal", "a network"],
)
def test_a_created_file_and_its_name_are_on_the_disk_when_it_is_there(
    device: int, steps: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    class Watched:
        """Notes what brings a file and its name to the disk. device: the number of the disk's kind."""

        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def major(self, _: int) -> int:
            return device

        def fsync(self, descriptor: int) -> None:
            done.append("fsync directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "fsync file")

        def link(self, beside: str, target: str) -> None:
            done.append("link")
            os.link(beside, target)

        def unlink(self, path: str) -> None:
            done.append("unlink")
            os.unlink(path)

    folder = LocalFolder(str(tmp_path / "store"))
    use_disk(monkeypatch, Watched())
    folder.create("claims/first", [b"it makes the directories"])
    done.clear()
    assert folder.create("claims/a", [b"one"])
    assert done == steps


def test_a_created_file_that_cannot_be_brought_to_the_disk_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = LocalFolder(str(tmp_path / "store"))
    folder.create("claims/first", [b""])
    for step in range(1, 12):
        use_disk(monkeypatch, FaultyDisk(step, errno.EIO))
        try:
            is_ours = folder.create("claims/a", [b"one"])
        except StoreUnavailable:
            use_disk(monkeypatch, os)
            assert folder.size("claims/a") is None or step > 6  # it is there, and only its other name is left
            folder.remove("claims/a")
            continue
        assert is_ours
        break
    assert step > 4


def test_a_disk_that_lost_the_answer_to_a_link_is_asked_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def lost(beside: str, target: str) -> None:
        link(beside, target)
        raise FileExistsError(17, "File exists")

    folder = LocalFolder(str(tmp_path / "store"))
    monkeypatch.setattr(local.os, "link", lost)
    assert folder.create("claims/a", [b"one"])
    assert not folder.create("claims/a", [b"two"])
    assert bytes(folder.read("claims/a")) == b"one"


def test_a_file_that_is_written_again_and_again_has_the_last_content_for_every_reader(folder: Folder) -> None:
    if isinstance(folder, ZipFolder):
        with pytest.raises(BadArguments):
            folder.overwrite("live/a", [b"1"])
        return
    for number in range(3):
        folder.overwrite("live/a", [b"state ", str(number).encode()])
        assert bytes(folder.read("live/a")) == f"state {number}".encode()
    assert folder.names("live") == ["a"] and folder.names("tmp") == []
    folder.remove("live/a")
    assert folder.size("live/a") is None
