"""A Dir is what a program that walks it sees: through links, with its empty folders, and never round."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rayflow import ContentFile, Dir, File, FileSet
from rayflow.__main__ import main
from rayflow.runtime.worker.scripts.scratch import stage_inputs
from rayflow.values.encoding.encoding import make_ref
from rayflow.values.files.validity import still_as_recorded
from rayflow.values.filesystems import filesystems
from rayflow.values.filesystems.directory_walk import all_in
from rayflow.values.filesystems.filesystems import use_base

pytestmark = pytest.mark.filterwarnings("ignore:.*(a folder that it lies in|it is not copied)")


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A project with a folder `d` that has links of all kinds, some of them out of it."""
    for name in ("d/own/a.txt", "d/b.txt", "out/far.txt", "out/deep/farther.txt", "out/deep/empty", "d/empty/inner"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name) if path.suffix else path.mkdir()
    links = {
        "d/folder": "../out", "d/same": str(tmp_path / "out"), "d/sibling": "own", "d/file": "b.txt",
        "d/farfile": "../out/far.txt",
        "d/nowhere": "../never", "d/self": "self", "d/one": "two", "d/two": "one", "d/throughfile": "b.txt/x",
        "d/chain": "folder",
        "d/own/up": "..", "d/own/here": ".", "d/own/above": str(tmp_path), "out/back": "../d", "d/only/round": "..",
    }  # fmt: skip
    for link, target in links.items():
        (tmp_path / link).parent.mkdir(exist_ok=True)
        (tmp_path / link).symlink_to(target)
    before = filesystems._base
    use_base(str(tmp_path))
    yield tmp_path
    use_base(before)


FAR = ["far.txt", "deep/farther.txt"]
FILES = sorted([
    "own/a.txt", "b.txt", "file", "farfile", "sibling/a.txt",
    *(f"{link}/{name}" for link in ("folder", "same", "chain") for name in FAR),
])  # fmt: skip
EMPTY = sorted(["empty/inner", "only", *(f"{link}/deep/empty" for link in ("folder", "same", "chain"))])
NOWHERE = ["nowhere", "one", "self", "throughfile", "two"]


def in_it(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Its files, its empty folders and its links to nothing, by a walk of Python's own (of a folder without loops)."""
    files, empty, nowhere = [], [], []
    for at, folders, names in os.walk(folder, followlinks=True):
        if not folders and not names:
            empty.append(os.path.relpath(at, folder))
        for name in names:
            path = os.path.join(at, name)
            (files if os.path.exists(path) else nowhere).append(os.path.relpath(path, folder))
    return sorted(files), sorted(empty), sorted(nowhere)


def state(path: str = "d", *, immutable: bool = False) -> tuple:
    return make_ref(Dir(path, immutable=immutable))[0].witnesses[0][1]


def test_a_folder_is_walked_through_links_and_not_round(tree: Path) -> None:
    found = all_in(str(tree / "d"))
    start = len(str(tree / "d")) + 1
    assert [entry.path[start:] for entry in found if entry.is_file] == FILES
    assert [entry.path[start:] for entry in found if entry.is_dir] == EMPTY
    assert [entry.path[start:] for entry in found if entry.leads_nowhere] == NOWHERE
    assert [file.path for file in Dir("d")] == [f"d/{name}" for name in FILES]
    texts = sorted(f"d/{name}" for name in FILES if name.endswith("txt"))
    assert [file.path for file in FileSet("d/**/*.txt")] == texts
    assert state()[2] == len(FILES)
    (tree / "entry").symlink_to("d")
    assert [file.path for file in Dir("entry")] == [f"entry/{name}" for name in FILES]


@pytest.mark.filterwarnings("default")
def test_a_link_that_leads_round_is_named_once(tree: Path) -> None:
    with pytest.warns(UserWarning, match="a folder that it lies in") as told:
        assert state() == state()
    named = [str(each.message).partition(" is a link to ")[0] for each in told]
    assert len(named) == len(set(named))
    assert {os.path.relpath(name, tree / "d") for name in named} >= {"own/up", "own/here", "own/above", "folder/back"}


@pytest.mark.parametrize("links", range(2, 6))
def test_a_walk_ends_however_folders_lead_to_each_other(tmp_path: Path, links: int) -> None:
    """Each of them has links to all of them."""
    for one in range(links):
        (tmp_path / str(one)).mkdir()
        (tmp_path / str(one) / "file").touch()
    for one in range(links):
        for other in range(links):
            (tmp_path / str(one) / f"to{other}").symlink_to(f"../{other}")
    found = {entry.path for entry in all_in(str(tmp_path / "0")) if entry.is_file}
    assert len({os.path.realpath(path) for path in found}) == links
    assert f"{tmp_path}/0/to1/file" in found


def relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file in a linked folder is written": lambda tree: (tree / "out/far.txt").write_text("other"),
    "a file deep in a linked folder is added": lambda tree: (tree / "out/deep/new").touch(),
    "a file in a linked folder is removed": lambda tree: (tree / "out/far.txt").unlink(),
    "the file that a link leads to is written": lambda tree: (tree / "d/b.txt").write_text("longer than it was"),
    "a link to a folder is added": lambda tree: (tree / "d/new").symlink_to("../out"),
    "a link to a folder is removed": lambda tree: (tree / "d/folder").unlink(),
    "a link leads to another folder": lambda tree: relink(tree / "d/folder", "own"),
    "an empty folder is added": lambda tree: (tree / "d/own/new").mkdir(),
    "an empty folder is removed": lambda tree: (tree / "d/empty/inner").rmdir(),
    "an empty folder in a linked one is removed": lambda tree: (tree / "out/deep/empty").rmdir(),
    "an empty folder becomes a file": lambda tree: ((tree / "d/empty/inner").rmdir(), (tree / "d/empty/inner").touch()),
    "a link to nothing is added": lambda tree: (tree / "d/new").symlink_to("nowhere at all"),
    "a link to nothing is removed": lambda tree: (tree / "d/nowhere").unlink(),
    "a link to nothing leads to something": lambda tree: (tree / "never").write_text("now"),
}
IN_NAMES = [name for name in CHANGES if "written" not in name]


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_program_would_see_otherwise_is_another_state(tree: Path, change: str) -> None:
    first, names = state(), state(immutable=True)
    assert still_as_recorded([first, names]) == [True, True]
    CHANGES[change](tree)
    assert still_as_recorded([first, names]) == [False, change not in IN_NAMES]
    assert state() != first and (state(immutable=True) != names) == (change in IN_NAMES)


def test_a_state_of_an_older_version_holds_no_more(tree: Path) -> None:
    """It did not tell of linked and empty folders, and these may have been others."""
    now = state()
    assert still_as_recorded([("dir", *now[1:]), ("names", *state(immutable=True)[1:])]) == [False, False]


def test_a_copy_has_all_that_a_program_sees(tree: Path, tmp_path: Path) -> None:
    Dir("d").copy_to("copy")
    assert in_it(tree / "copy") == (FILES, EMPTY, [])
    assert not any(path.is_symlink() for path in (tree / "copy").rglob("*"))
    assert (tree / "copy/same/deep/farther.txt").read_text() == "out/deep/farther.txt"
    assert main(["fs", "cp", "-r", str(tree / "d"), str(tree / "copied")]) == 0
    assert in_it(tree / "copied") == (FILES, EMPTY, [])
    Dir("d").copy_to("memory://links/copy")
    Dir("memory://links/copy").copy_to("back")
    assert in_it(tree / "back") == (FILES, EMPTY, [])
    Dir("memory://links").remove()


def test_a_listing_shows_all_that_a_program_sees(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fs", "ls", str(tree / "d")]) == main(["fs", "ls", "-r", str(tree / "d")]) == 0
    told = capsys.readouterr().out
    for name in ("folder/", "nowhere -> ../never", "self -> self", "empty/inner/", "same/deep/empty/", "same/far.txt"):
        assert f" {name}\n" in told


@pytest.mark.slow
def test_a_script_finds_all_that_a_program_sees(tree: Path) -> None:
    work = tree / "work"
    work.mkdir()
    stage_inputs(Dir("d").stage("in"), str(work), is_own=True)
    assert in_it(work / "in") == (FILES, EMPTY, NOWHERE)
    find = ["find", "-L", ".", "-type", "f"]
    listed = subprocess.run(find, cwd=work / "in", capture_output=True, text=True, check=False)  # it names bad links
    assert sorted(line.removeprefix("./") for line in listed.stdout.split()) == FILES


def test_a_link_to_a_folder_is_removed_and_what_it_leads_to_is_not(tree: Path) -> None:
    Dir("d/folder").remove()
    assert not (tree / "d/folder").exists() and (tree / "out/far.txt").exists()
    Dir("d").remove()
    assert not (tree / "d").exists() and (tree / "out/deep/farther.txt").exists()


@pytest.mark.parametrize("of", [File, ContentFile])
def test_a_file_behind_links_that_lead_to_each_other_is_not_there(tree: Path, of: type[File]) -> None:
    for name in ("d/self", "d/one", "d/nowhere", "d/throughfile"):
        ref, _ = make_ref(of(name))
        assert ref.witnesses[0][1][2] is None and still_as_recorded([ref.witnesses[0][1]]) == [True]
