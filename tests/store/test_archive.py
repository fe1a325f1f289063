"""A store in one file: what goes in comes out, and nothing is taken from a file that is not as it should be."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rayflow.errors import BadArguments, BlobDamaged, NotFound, RayflowError, VersionMismatch
from rayflow.records import ValueRow
from rayflow.store import layout
from rayflow.store.exchange.archive import reading, writing
from rayflow.store.exchange.transfer import transfer
from rayflow.store.open import Store, open_store
from rayflow.values.refs import Encoded


def key(number: int) -> bytes:
    return number.to_bytes(20, "big")


def filled(path: Path) -> Store:
    store = open_store(path)
    for number in range(3):
        store.put_blob(key(number), Encoded("bytes", b"", (b"x" * number,)))
        store.append([ValueRow(key(number), "bytes", "bytes", number, None, f"value {number}")])
        store.commit()
    store.append(ValueRow(key(number), "int", "term", 3, b"v", str(number)) for number in range(10, 3_000))
    store.commit()
    return store


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    with writing(str(tmp_path / "all.zip")) as archive:
        transfer(filled(tmp_path / "s"), archive)
    return tmp_path / "all.zip"


def test_what_was_exported_is_imported_whole(exported: Path, tmp_path: Path) -> None:
    other = open_store(tmp_path / "other")
    with reading(str(exported)) as archive:
        assert transfer(archive, other).rows == {"values": 2_993}
        assert transfer(archive, other).rows == {}
    assert bytes(other.get_blob(key(2)).buffers[0]) == b"xx"
    assert other.check() == []


def test_a_failed_export_leaves_no_file_and_an_export_replaces_none(tmp_path: Path) -> None:
    target = tmp_path / "all.zip"
    with pytest.raises(KeyboardInterrupt), writing(str(target)):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    target.write_text("mine")
    with pytest.raises(BadArguments, match="already"), writing(str(target)):
        pass
    assert target.read_text() == "mine"


def rewritten(path: Path, change: Callable[[str, bytes], list[tuple[str, bytes]]]) -> None:
    with zipfile.ZipFile(path) as archive:
        files = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files:
            for new, data in change(name, content):
                archive.writestr(new, data)


def damaged_in(part: str) -> Callable[[str, bytes], list[tuple[str, bytes]]]:
    return lambda name, content: [(name, content[:-1] + b"?" if name.startswith(part) else content)]


def without(part: str) -> Callable[[str, bytes], list[tuple[str, bytes]]]:
    return lambda name, content: [] if name.startswith(part) else [(name, content)]


def named(part: str, other: str) -> Callable[[str, bytes], list[tuple[str, bytes]]]:
    return lambda name, content: [(other if name.startswith(part) else name, content)]


@pytest.mark.filterwarnings("ignore::rayflow.store.write.catalog.StoreWarning")
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (damaged_in("blobs/"), BlobDamaged),
        (damaged_in("segments/"), BlobDamaged),
        (damaged_in("commits/"), BlobDamaged),
        (without("segments/"), BlobDamaged),
        (without("format"), BadArguments),
        (named("commits/", "../../evil"), BadArguments),
        (named("commits/", "/etc/evil"), BadArguments),
        (named("commits/", "commits/../evil"), BadArguments),
        (named("format", "notes.txt"), BadArguments),
        (lambda name, data: [(name, b'{"version": 99}' if name == "format" else data)], VersionMismatch),
    ],
)
def test_a_file_that_is_not_as_it_was_written_is_refused_whole(
    exported: Path, change: Callable[[str, bytes], list[tuple[str, bytes]]], error: type[RayflowError]
) -> None:
    rewritten(exported, change)
    with pytest.raises(error, match=r"all\.zip"), reading(str(exported)):
        pytest.fail("it was taken")


def test_a_file_that_is_cut_short_missing_or_something_else_is_refused(exported: Path, tmp_path: Path) -> None:
    exported.write_bytes(exported.read_bytes()[:-40])
    with pytest.raises(BadArguments, match="cut short"), reading(str(exported)):
        pass
    (tmp_path / "notes").write_text("hello")
    with pytest.raises(BadArguments), reading(str(tmp_path / "notes")):
        pass
    with pytest.raises(NotFound), reading(str(tmp_path / "nothing")):
        pass


def test_only_names_of_a_store_are_read(exported: Path) -> None:
    with zipfile.ZipFile(exported) as archive:
        assert {name.partition("/")[0] for name in archive.namelist()} == {
            layout.FORMAT, layout.COMMITS, layout.SEGMENTS, layout.BLOBS
        }  # fmt: skip
