"""What is written over keeps what it was: a file its mode and its owner, a link its place; and it changes at once."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rayflow import Dir, File
from rayflow.__main__ import main
from rayflow.errors import StoreUnavailable
from rayflow.lang.scripts import promised
from rayflow.runtime.worker.scripts.scratch import collect_outputs
from rayflow.values.filesystems import atomic_writes, filesystems
from rayflow.values.filesystems.filesystems import use_base


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    before, mask = filesystems._base, os.umask(0o022)
    use_base(str(tmp_path))
    (tmp_path / "source").write_text("new")
    os.chmod(tmp_path / "source", 0o751)
    yield tmp_path
    use_base(before)
    os.umask(mask)
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".rayflow-tmp")]


def scripted(path: str, *, is_own: bool = True) -> None:
    """As a script that writes `out`, which is staged to this path."""
    work = Path(filesystems.base_directory(), "work")
    work.mkdir()
    (work / "out").write_text("new")
    collect_outputs(promised(File(path).stage("out")), str(work), is_own=is_own, stdout="")


def opened(mode: str) -> Callable[[str], None]:
    def write(path: str) -> None:
        with File(path).open(mode) as stream:
            stream.truncate(0)
            stream.write("new")

    return write


def copied_from_afar(path: str) -> None:
    far = File("memory://replacing/source")
    far.write("new")
    far.copy_to(path)
    far.remove()


WAYS: dict[str, Callable[[str], object]] = {
    "write": lambda path: File(path).write("new"),
    "open w": opened("w"),
    "open w+": opened("w+"),
    "open a": opened("a"),
    "copy_to": lambda path: File("source").copy_to(path),
    "copy_to from afar": copied_from_afar,
    "a script": scripted,
    "a script in the project": lambda path: scripted(path, is_own=False),
    "fs cp": lambda path: main(["fs", "cp", *(f"{filesystems.base_directory()}/{name}" for name in ("source", path))]),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Callable[[str], object]:
    return WAYS[request.param]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755, 0o444, 0o4711])
def test_a_file_that_is_written_over_keeps_its_mode(
    folder: Path, way: Callable[[str], object], mode: int, request: pytest.FixtureRequest
) -> None:
    target = folder / "target"
    target.write_text("a longer text than it was before")
    os.chmod(target, mode)
    way("target")
    assert target.read_text() == "new"
    if request.node.callspec.params["way"].startswith("a script"):
        mode &= ~0o111  # what can be executed is as the script made it
    assert mode_of(target) & 0o777 == mode & 0o777
    if not request.node.callspec.params["way"].startswith("open"):  # the system takes set-uid from what is written to
        assert mode_of(target) == mode


@pytest.mark.parametrize("is_dir", [False, True], ids=["a file", "a directory"])
@pytest.mark.parametrize("is_own", [True, False], ids=["its own directory", "the project"])
@pytest.mark.parametrize(
    ("made", "there", "mode"),
    [
        (0o755, 0o644, 0o755), (0o755, 0o600, 0o700), (0o755, 0o640, 0o750), (0o700, 0o664, 0o775),
        (0o755, 0o755, 0o755), (0o644, 0o755, 0o644), (0o600, 0o710, 0o600), (0o755, None, 0o755),
    ],
)  # fmt: skip
def test_a_script_says_whether_its_output_can_be_executed(
    folder: Path, made: int, there: int | None, mode: int, is_own: bool, is_dir: bool
) -> None:
    target = folder / "target" / "x" if is_dir else folder / "target"
    if there is not None:
        target.parent.mkdir(exist_ok=True)
        target.write_text("old")
        os.chmod(target, there)
    written = folder / "work" / "out" / "x" if is_dir else folder / "work" / "out"
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text("new")
    os.chmod(written, made)
    kind = Dir if is_dir else File
    collect_outputs(promised(kind("target").stage("out")), str(folder / "work"), is_own=is_own, stdout="")
    assert target.read_text() == "new" and mode_of(target) == mode


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_file_that_is_written_over_keeps_its_owner_and_its_group(folder: Path, way: Callable[[str], object]) -> None:
    target = folder / "target"
    target.write_text("old")
    os.chown(target, 12345, 23456)
    way("target")
    assert (target.read_text(), target.stat().st_uid, target.stat().st_gid) == ("new", 12345, 23456)


def test_an_owner_that_cannot_be_kept_is_no_reason_to_fail(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = folder / "target"
    target.write_text("old")
    monkeypatch.setattr(atomic_writes, "_gave", lambda path, user, group: False)
    os.chown(target, 12345, 23456) if os.getuid() == 0 else None
    os.chmod(target, 0o4640)
    File("target").write("new")
    assert target.read_text() == "new" and mode_of(target) & 0o777 == 0o640
    assert os.getuid() != 0 or mode_of(target) == 0o640  # what speaks of another owner is not kept


def test_a_new_file_has_the_mode_that_new_files_have(folder: Path, way: Callable[[str], object]) -> None:
    way("new/target")
    target = folder / "new" / "target"
    assert target.read_text() == "new" and mode_of(target) in (0o644, 0o751)


@pytest.mark.parametrize("links", [["../far/target"], ["chain", "../far/target"], ["{folder}/far/target"]])
@pytest.mark.parametrize("is_there", [True, False], ids=["there", "to be made"])
def test_a_link_stays_and_what_it_leads_to_is_written(
    folder: Path, way: Callable[[str], object], links: list[str], is_there: bool
) -> None:
    (folder / "far").mkdir()
    (folder / "d").mkdir()
    far = folder / "far" / "target"
    if is_there:
        far.write_text("old")
        os.chmod(far, 0o600)
    for name, link in zip(["target", *links], [each.format(folder=folder) for each in links], strict=False):
        (folder / "d" / name).symlink_to(link)
    way("d/target")
    assert os.readlink(folder / "d" / "target") == links[0].format(folder=folder)
    assert far.read_text() == "new" and not far.is_symlink()
    assert mode_of(far) == 0o600 or not is_there
    assert os.listdir(folder / "far") == ["target"]


def test_links_that_lead_to_each_other_are_refused_and_stay(folder: Path, way: Callable[[str], object], capfd) -> None:
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    try:
        code = way("one")
    except (StoreUnavailable, OSError) as error:
        said = str(error)
    else:
        assert code == 2
        said = capfd.readouterr().err
    assert "Too many levels of symbolic links" in said and str(folder / "one") in said
    assert (folder / "one").is_symlink() and (folder / "two").is_symlink()


@pytest.mark.parametrize("name", [name for name in WAYS if not name.startswith("open")])
def test_a_file_is_replaced_at_once(folder: Path, name: str) -> None:
    """Who has it open reads on what it was."""
    target = folder / "far"
    target.write_text("old")
    (folder / "target").symlink_to("far")
    with target.open() as reader:
        WAYS[name]("target")
        assert reader.read() == "old"
    assert target.read_text() == "new"


@pytest.mark.parametrize("name", ["write", "copy_to", "copy_to from afar", "a script in the project"])
def test_a_write_that_fails_leaves_all_as_it_was(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = folder / "target"
    target.write_text("old")
    os.chmod(target, 0o600)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic_writes.os, "replace", full)
    with pytest.raises(StoreUnavailable, match="No space left"):
        WAYS[name]("target")
    assert target.read_text() == "old" and mode_of(target) == 0o600


@pytest.mark.parametrize("name", ["write", "copy_to", "a script"])
def test_what_others_may_not_read_they_may_not_read_while_it_is_written(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = folder / "target"
    target.write_text("old")
    os.chmod(target, 0o600)
    real, seen = os.replace, []
    monkeypatch.setattr(atomic_writes.os, "replace", lambda old, new: (seen.append(mode_of(Path(old))), real(old, new)))
    WAYS[name]("target")
    assert seen == [0o600]


@pytest.mark.parametrize("name", [name for name in WAYS if name not in ("open w+", "open a", "open w")])
def test_a_pipe_and_a_device_take_what_is_written_and_stay(folder: Path, name: str) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "null").symlink_to("/dev/null")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((folder / "pipe").read_text()), daemon=True)
    reader.start()
    WAYS[name]("pipe")
    reader.join(10)
    assert read == ["new"] and stat.S_ISFIFO((folder / "pipe").stat().st_mode)
    work = folder / "work"
    if work.exists():
        work.rmdir() if not os.listdir(work) else os.rename(work, folder / "before")
    WAYS[name]("null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_touch_keeps_mode_and_link(folder: Path) -> None:
    (folder / "far").write_text("content")
    os.chmod(folder / "far", 0o600)
    os.utime(folder / "far", (1, 1))
    (folder / "target").symlink_to("far")
    (folder / "missing").symlink_to("made")
    File("target").touch()
    File("missing").touch()
    assert (folder / "far").stat().st_mtime > 1 and mode_of(folder / "far") == 0o600
    assert (folder / "made").read_bytes() == b"" and (folder / "missing").is_symlink()


class TestDirectories:
    def staged(self, folder: Path) -> None:
        work = folder / "work"
        (work / "out" / "deep").mkdir(parents=True)
        (work / "out" / "deep" / "x").write_text("new")
        (work / "out" / "y").write_text("new")
        collect_outputs(promised(Dir("target").stage("out")), str(work), is_own=True, stdout="")

    def filled(self, place: Path) -> None:
        (place / "deep").mkdir(parents=True)
        for name in ("deep/x", "stale"):
            (place / name).write_text("old")
        os.chmod(place, 0o700)
        os.chmod(place / "deep", 0o750)
        os.chmod(place / "deep" / "x", 0o600)

    @pytest.mark.parametrize("link", [None, "far/place", "{folder}/far/place", "chain"])
    def test_an_output_replaces_a_directory_and_a_link_to_it_stays(self, folder: Path, link: str | None) -> None:
        place = folder / ("far/place" if link else "target")
        self.filled(place)
        if link is not None:
            (folder / "chain").symlink_to("far/place")
            (folder / "target").symlink_to(link.format(folder=folder))
        self.staged(folder)
        assert (folder / "target").is_symlink() == (link is not None)
        assert sorted(str(path.relative_to(place)) for path in place.rglob("*")) == ["deep", "deep/x", "y"]
        assert (place / "deep" / "x").read_text() == "new"
        assert (mode_of(place), mode_of(place / "deep"), mode_of(place / "deep" / "x")) == (0o700, 0o750, 0o600)

    def test_a_link_to_nothing_leads_to_the_output(self, folder: Path) -> None:
        (folder / "target").symlink_to("far/place")
        self.staged(folder)
        assert (folder / "target").is_symlink() and (folder / "far" / "place" / "y").read_text() == "new"

    def test_a_file_in_its_place_is_left_alone(self, folder: Path) -> None:
        (folder / "target").write_text("a file")
        with pytest.raises(StoreUnavailable, match=r"Cannot write .*target: Not a directory"):
            self.staged(folder)
        assert (folder / "target").read_text() == "a file"

    def test_a_copy_goes_through_the_links_of_its_target(self, folder: Path) -> None:
        self.filled(folder / "from")
        (folder / "far").mkdir()
        (folder / "to").mkdir()
        (folder / "to" / "deep").symlink_to("../far")
        (folder / "far" / "x").write_text("before")
        os.chmod(folder / "far" / "x", 0o604)
        Dir("from").copy_to("to")
        assert (folder / "to" / "deep").is_symlink() and (folder / "far" / "x").read_text() == "old"
        assert mode_of(folder / "far" / "x") == 0o604
