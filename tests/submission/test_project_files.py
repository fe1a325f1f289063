"""Which files of a project are sent to a cluster, and the archives that are made of them."""

from __future__ import annotations

import errno
import os
import socket
import zipfile
from pathlib import Path
from typing import Any

import pytest

from rayflow.errors import BadProject
from rayflow.lang.modules import namespace_of, project_of
from rayflow.submission import packages, project_files
from rayflow.submission.packages import own_package, project_package
from rayflow.submission.project_files import ProjectFile, check_sizes, files_of, where_most_is


def make(folder: Path, *names: str, **texts: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_text(f"the text of {name}\n")


def names(folder: Path, excludes: tuple[str, ...] = ()) -> list[str]:
    return [file.name for file in files_of(str(folder), excludes)]


def test_repositories_stores_environments_and_caches_are_left_out(tmp_path):
    make(
        tmp_path, "pyproject.toml", "flow.py", "lib/help.py", ".git/HEAD", ".rayflow/format", "__pycache__/flow.pyc",
        ".venv/bin/python", "env of mine/pyvenv.cfg", "conda/conda-meta/history", "old results/format",
        "old results/commits/1", "node_modules/x.js", ".mypy_cache/x", "lib/old.pyc", "empty/", "format",
    )  # fmt: skip
    assert names(tmp_path) == ["empty/", "flow.py", "format", "lib/help.py", "pyproject.toml"]


@pytest.mark.parametrize(
    ("git", "ray", "out"),
    [
        ("*.csv\n!keep.csv\n", "", ["a.csv", "sub/a.csv"]),
        ("/a.csv\n", "", ["a.csv"]),
        ("sub/\n", "", ["sub/a.csv", "sub/b.py", "sub/keep.csv"]),
        ("", "sub/*.csv\n", ["sub/a.csv", "sub/keep.csv"]),
        # What git ignores, but the tasks need, is brought back.
        ("*.csv\n", "!sub/a.csv\n", ["a.csv", "keep.csv", "sub/keep.csv"]),
        ("# only this\n\nb.py\n", "", ["sub/b.py"]),
    ],
)
def test_ignored_files_are_left_out_and_rayignore_counts_more_than_gitignore(tmp_path, git, ray, out):
    every = ["a.csv", "keep.csv", "rayflow.toml", "sub/a.csv", "sub/b.py", "sub/keep.csv"]
    make(tmp_path, *every)
    (tmp_path / ".gitignore").write_text(git)
    (tmp_path / ".rayignore").write_text(ray)
    found = [name for name in names(tmp_path) if not name.startswith(".")]
    assert found == [name for name in every if name not in out]


def test_rules_of_inner_and_outer_directories_count_as_for_git(tmp_path):
    make(tmp_path, ".git/HEAD", "proj/rayflow.toml", "proj/x.log", "proj/a/x.log", "proj/a/y.txt", "proj/data/big.bin")
    (tmp_path / ".gitignore").write_text("*.log\n/proj/data/\n")
    (tmp_path / "proj" / "a" / ".gitignore").write_text("!x.log\n")
    assert names(tmp_path / "proj") == ["a/.gitignore", "a/x.log", "a/y.txt", "rayflow.toml"]
    assert "a/y.txt" not in names(tmp_path / "proj", ("a/*.txt",))


def test_links_are_followed_but_not_in_circles_and_not_into_nothing(tmp_path, monkeypatch):
    make(tmp_path, "proj/rayflow.toml", "proj/a/x.py", "shared/y.py")
    (tmp_path / "proj/again").symlink_to(tmp_path / "proj")
    (tmp_path / "proj/b").symlink_to(tmp_path / "shared")
    (tmp_path / "proj/gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "proj/itself").symlink_to(tmp_path / "proj/itself")
    os.mkfifo(tmp_path / "proj/pipe")
    os.mkfifo(tmp_path / "proj/a/.gitignore")
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path / "proj/a")
        listening.bind("socket")
    # The mark says that a project of its own was linked in.
    assert names(tmp_path / "proj") == ["a/x.py", "b/rayflow.toml", "b/y.py", "rayflow.toml"]


@pytest.mark.parametrize("marks", [["proj/.git/HEAD"], ["proj/.rayflow/format"], [], ["proj/lib/.rayflow/format"]])
def test_tasks_have_the_same_names_in_the_copy(tmp_path, marks):
    """The names depend on the nearest mark of a project, and some marks are not sent."""
    modules = ["flow.py", "flows/etl.py", "lib/inner/steps.py"]
    make(tmp_path / "here", *(f"proj/{name}" for name in modules), *marks)
    here = tmp_path / "here" / "proj"
    copy = tmp_path / "copy"
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for file in files_of(project_of(str(here))):
            archive.writestr(file.name, b"" if file.path is None else Path(file.path).read_bytes())
        archive.extractall(copy)
    spelled = [namespace_of("", str(here / name)) for name in modules]
    assert [namespace_of("", str(copy / name)) for name in modules] == spelled


def test_a_file_that_cannot_be_sent_is_named(tmp_path, monkeypatch):
    make(tmp_path, "rayflow.toml", "back\\slash")
    with pytest.raises(BadProject, match="backslash"):
        files_of(str(tmp_path))
    (tmp_path / "back\\slash").unlink()
    (tmp_path / "x\udcff").write_text("")
    with pytest.raises(BadProject, match=r"The name of 'x\\udcff' is not UTF-8"):
        files_of(str(tmp_path))


class Listed(list[Any]):
    """What `os.scandir` gives, from a list."""

    def __enter__(self) -> Listed:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Locked:
    """An entry of a directory whose state may not be read."""

    def __init__(self, entry: os.DirEntry[str]) -> None:
        self.name, self.path = entry.name, entry.path

    def stat(self) -> os.stat_result:
        raise PermissionError(errno.EACCES, "Permission denied")


def test_what_may_not_be_looked_at_is_named_and_not_left_out_in_silence(tmp_path, monkeypatch):
    make(tmp_path, "rayflow.toml", "locked/x")
    scandir = os.scandir

    def listed(directory: str) -> Listed:
        with scandir(directory) as found:
            return Listed(Locked(each) if each.name == "x" else each for each in found)

    monkeypatch.setattr(os, "scandir", listed)
    with pytest.raises(BadProject, match=r"locked/x cannot be read \(Permission denied\), .*\.rayignore"):
        files_of(str(tmp_path))


def test_large_files_are_named_and_a_project_that_is_too_large_is_refused(tmp_path, monkeypatch):
    make(tmp_path, "rayflow.toml", "model/weights.bin", "small.py")
    monkeypatch.setattr(project_files, "WARNED_BYTES", 26)
    [warning] = check_sizes(files_of(str(tmp_path)), str(tmp_path))
    assert warning.startswith("model/weights.bin has 30 B and is sent with the project")
    assert ".rayignore" in warning
    monkeypatch.setattr(project_files, "MOST_BYTES", 60)
    with pytest.raises(BadProject, match=r"has 76 B, .* at most 60 B\. The largest are model/weights\.bin \(30 B\)"):
        check_sizes(files_of(str(tmp_path)), str(tmp_path))


def sized(name: str, size: int) -> ProjectFile:
    return ProjectFile(name, f"/project/{name}", size)


@pytest.mark.parametrize(
    ("files", "named"),
    [
        # Many small files: the folders that have them; nearly all in one folder: what is in it.
        ([sized(f"data/raw/{'ab'[n % 2]}/{n}", 10) for n in range(10)] + [sized("flow.py", 1)],
         "data/raw/a/ (5 files, 50 B), data/raw/b/ (5 files, 50 B)"),
        ([sized("x/1", 7), sized("x/2", 7), sized("y", 13), sized("z/", 0)], "x/ (2 files, 14 B), y (13 B), z/ (0 B)"),
        ([sized("a/b/c", 99), sized("d", 1)], "a/b/c (99 B), d (1 B)"),
        ([sized(str(n), n) for n in range(9)], "8 (8 B), 7 (7 B), 6 (6 B), 5 (5 B), 4 (4 B)"),
    ],
)  # fmt: skip
def test_it_is_said_in_which_files_and_folders_most_is(files, named):
    assert where_most_is(files) == f"The largest are {named}."


def test_more_files_than_any_project_has_are_refused_before_all_are_looked_at(tmp_path, monkeypatch):
    make(tmp_path, "rayflow.toml", *(f"data/{n}/x" for n in range(30)))
    monkeypatch.setattr(project_files, "MOST_FILES", 12)
    seen: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda directory: seen.append(directory) or scandir(directory))
    with pytest.raises(BadProject, match=r"has more than 12 files, .* The largest are data/.*\.rayignore"):
        files_of(str(tmp_path))
    assert len(seen) <= 15
    make(tmp_path, ".rayignore")
    (tmp_path / ".rayignore").write_text("data/\n")
    assert names(tmp_path) == [".rayignore", "rayflow.toml"]


def test_a_project_that_is_too_large_when_it_is_packed_is_refused_before_it_is_sent(tmp_path, monkeypatch):
    make(tmp_path, "rayflow.toml")
    (tmp_path / "zeros.bin").write_bytes(bytes(50_000))
    monkeypatch.setattr(packages, "MOST_PACKED_BYTES", 40_000)
    path = tmp_path.parent / "x.zip"
    project_package(files_of(str(tmp_path))).write(str(path))
    (tmp_path / "noise.bin").write_bytes(os.urandom(5_000_000))
    with pytest.raises(
        BadProject, match=r"packed .* larger than 39\.1 KiB, .* The largest are noise\.bin \(4\.8 MiB\)"
    ):
        project_package(files_of(str(tmp_path))).write(str(path))
    assert path.stat().st_size < 2_000_000, "it goes on for nothing"


def test_a_sparse_file_of_600_megabytes_is_refused_without_being_read(tmp_path):
    make(tmp_path, "rayflow.toml")
    with (tmp_path / "huge.bin").open("wb") as stream:
        stream.truncate(600 << 20)
    with pytest.raises(BadProject, match=r"600\.0 MiB.*huge\.bin \(600\.0 MiB\)"):
        check_sizes(files_of(str(tmp_path)), str(tmp_path))


def test_equal_projects_have_one_package_byte_for_byte_wherever_and_whenever(tmp_path):
    packages = []
    for place, moment in (("one", 1_000_000_000), ("two", 1_700_000_000)):
        make(tmp_path / place, "rayflow.toml", "b.py", "a/c.sh", "empty/")
        (tmp_path / place / "a" / "c.sh").chmod(0o700 if place == "one" else 0o755)
        os.utime(tmp_path / place / "b.py", (moment, moment))
        packages.append(project_package(files_of(str(tmp_path / place))))
        packages[-1].write(str(tmp_path / f"{place}.zip"))
    assert packages[0].uri == packages[1].uri
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        modes = {entry.filename: oct(entry.external_attr >> 16) for entry in archive.infolist()}
    assert modes == {
        ".rayflow-job.py": "0o100644", "a/c.sh": "0o100755", "b.py": "0o100644", "empty/": "0o40755",
        "rayflow.toml": "0o100644",
    }  # fmt: skip


@pytest.mark.parametrize("change", ["text", "name", "mode", "one more"])
def test_any_change_gives_another_package(tmp_path, change):
    make(tmp_path, "rayflow.toml", "b.py")
    before = project_package(files_of(str(tmp_path))).uri
    if change == "text":
        (tmp_path / "b.py").write_text("x = 1\n")
    elif change == "name":
        (tmp_path / "b.py").rename(tmp_path / "c.py")
    elif change == "mode":
        (tmp_path / "b.py").chmod(0o755)
    else:
        make(tmp_path, "d.py")
    assert project_package(files_of(str(tmp_path))).uri != before


def test_a_file_that_changes_while_it_is_sent_is_noticed(tmp_path):
    make(tmp_path, "rayflow.toml", "b.py")
    package = project_package(files_of(str(tmp_path)))
    (tmp_path / "b.py").write_text("x = 1\n")
    with pytest.raises(BadProject, match="was changed while it was being sent"):
        package.write(str(tmp_path / "x.zip"))


def test_the_package_of_rayflow_has_its_modules_and_pages_in_one_folder():
    found = {file.name for file in own_package().files}
    assert {"rayflow/__init__.py", "rayflow/docs/cluster.md", "rayflow/submission/bootstrap.py"} <= found
    assert all(name.startswith("rayflow/") and "__pycache__" not in name for name in found)
