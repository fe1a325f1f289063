"""Files, directories and sets of files as values, on this machine."""

from __future__ import annotations

import os
import pickle
import sqlite3
from pathlib import Path

import pytest

from rayflow import ContentFile, Dir, File, FileSet
from rayflow.errors import BadArguments, FileMissing
from rayflow.lang.arguments.from_text import parse
from rayflow.values.encoding.encoding import decode, make_ref
from rayflow.values.encoding.identity import value_hash
from rayflow.values.files import content_cache, file_states
from rayflow.values.files.validity import still_as_recorded
from rayflow.values.filesystems import filesystems
from rayflow.values.filesystems.filesystems import DirectoryEntry, local_path, use_base
from rayflow.values.witnesses import OF_FILE, check


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before = filesystems._base
    use_base(str(tmp_path))
    monkeypatch.setenv("RAYFLOW_CACHE_DIR", str(tmp_path / "cache"))
    yield tmp_path
    use_base(before)


def test_a_file_is_written_read_copied_and_removed(folder: Path) -> None:
    file = File("deep/new.txt")
    assert not file.exists() and not file.isfile()
    file.write("a\nb\n")
    assert (folder / "deep" / "new.txt").read_text() == "a\nb\n"
    assert (file.read(), file.read("rb"), file.readlines()) == ("a\nb\n", b"a\nb\n", ["a\n", "b\n"])
    assert (file.exists(), file.isfile(), file.size()) == (True, True, 4)
    assert (file.basename(), file.dirname(), str(file)) == ("new.txt", "deep", "deep/new.txt")
    with file.open("a") as stream:
        stream.write("c\n")
    with open(file) as stream:
        assert stream.read() == "a\nb\nc\n"
    copy = file.copy_to("copy.txt")
    assert copy == File("copy.txt") and copy.read() == "a\nb\nc\n"
    file.write(b"\xff")
    assert file.read("rb") == b"\xff"
    file.remove()
    file.remove()
    assert not file.exists()
    file.touch()
    assert file.size() == 0
    os.utime(folder / "deep" / "new.txt", (1, 1))
    file.touch()
    assert (folder / "deep" / "new.txt").stat().st_mtime > 1


@pytest.mark.parametrize("mode", ["w", "wt", "a", "x", "wb", "w+", "r+", "r", "rb"])
def test_a_stream_is_as_pythons_own(folder: Path, mode: str) -> None:
    names = ("one", "other")
    for name in names if mode != "x" else ():
        (folder / name).write_text("text")
    with File("one").open(mode) as ours, open(folder / "other", mode) as plain:
        assert type(ours) is type(plain)
        assert (ours.name, ours.mode) == (str(folder / "one"), plain.mode)
        assert (ours.readable(), ours.writable(), ours.tell()) == (plain.readable(), plain.writable(), plain.tell())
        assert os.fstat(ours.fileno()).st_ino == (folder / "one").stat().st_ino


def test_a_text_stream_ends_lines_as_it_is_told(folder: Path) -> None:
    with File("deep/lines").open("w", newline="\r\n") as stream:
        stream.write("a\nb\n")
    assert (folder / "deep/lines").read_bytes() == b"a\r\nb\r\n"


def test_a_missing_file_is_an_error_that_is_a_file_not_found_error(folder: Path) -> None:
    for action in (File("never").read, File("never").size, lambda: File("never").copy_to("other")):
        with pytest.raises(FileMissing, match=r"There is no file never on .*never\)"):
            action()
    assert issubclass(FileMissing, FileNotFoundError)


def test_a_file_that_was_there_for_the_caller_and_is_not_here_names_staging(folder: Path) -> None:
    file = File("gone.txt")
    file.write("x")
    _, encoded = make_ref(file)
    file.remove()
    with pytest.raises(FileMissing, match=r"no share of that disk.*stage"):
        decode(encoded).read()


def test_a_file_is_looked_at_when_it_is_passed_on_and_not_when_it_is_made(folder: Path) -> None:
    file = File("late.txt")
    file.write("1")
    first, encoded = make_ref(file)
    again = decode(encoded)
    assert again.is_valid()
    file.write("longer")
    assert not again.is_valid()
    second, _ = make_ref(file)
    assert first.digest != second.digest and first.witnesses != second.witnesses
    assert make_ref(again)[0] == second


def test_files_are_known_by_path_class_and_state(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / name).write_text("same")
        os.utime(folder / name, (5, 5))
    hashes = {value_hash(file) for file in (
        File("one"), File("two"), ContentFile("one"), ContentFile("two"), File("one", immutable=True), Dir(".")
    )}  # fmt: skip
    assert len(hashes) == 6
    assert value_hash(File("one")) == value_hash(File("one"))
    assert File("one") == File("one") != ContentFile("one")
    assert len({File("one"), File("one"), File("two")}) == 2


def test_a_file_is_small_when_it_is_kept(folder: Path) -> None:
    (folder / "one").write_text("x")
    assert len(pickle.dumps(File("one"))) < 150
    assert make_ref(File("one"))[0].size < 400


def test_a_directory_and_a_set_have_files(folder: Path) -> None:
    for name in ("d/b.txt", "d/a.txt", "d/deep/c.txt", "d/.a.txt.0123.rayflow-tmp"):
        File(name).write(name)
    assert [file.path for file in Dir("d")] == ["d/a.txt", "d/b.txt", "d/deep/c.txt"]
    assert [file.path for file in FileSet("d/*.txt")] == ["d/a.txt", "d/b.txt"]
    assert [file.path for file in FileSet("d/**/*.txt")] == ["d/a.txt", "d/b.txt", "d/deep/c.txt"]
    assert [file.path for file in FileSet(f"{folder}/d/a*")] == [f"{folder}/d/a.txt"]
    assert (Dir("d").exists(), Dir("e").exists(), FileSet("e/*").exists()) == (True, False, False)
    Dir("d").copy_to("e")
    assert [file.read() for file in Dir("e").files()] == ["d/a.txt", "d/b.txt", "d/deep/c.txt"]
    Dir("d").remove()
    Dir("d").remove()
    assert not Dir("d").exists()
    Dir("f/g").makedirs()
    assert make_ref(Dir("f"))[0].witnesses[0][1][2] == 0
    assert make_ref(Dir("d"))[0].witnesses[0][1][2] is None
    with pytest.raises(BadArguments, match="stage each file"):
        FileSet("*").stage()


def test_a_relative_path_on_a_machine_without_the_project_says_so(folder: Path) -> None:
    use_base("/no/such/project")
    for action in (File("out.txt").exists, lambda: File("out.txt").write("x"), lambda: make_ref(File("out.txt"))):
        with pytest.raises(FileMissing, match=r"does not have its directory /no/such/project.*stage"):
            action()
    assert not os.path.exists("/no/such")
    assert not File(str(folder / "absolute")).exists()


def test_strange_names_are_names_like_others(folder: Path) -> None:
    for name in ("with space", "quo'te\"$(x)", "new\nline", "ümläut", "-dash", "#hash?query"):
        file = File(f"strange/{name}")
        file.write(name)
        assert file.read() == name
        ref, encoded = make_ref(file)
        assert decode(encoded).read() == name
        assert still_as_recorded([ref.witnesses[0][1]]) == [True]
    assert len(Dir("strange").files()) == 6


def test_what_is_no_path_is_refused_at_once() -> None:
    for wrong in (3, None, "", b"x", [File("x")]):
        with pytest.raises(BadArguments, match=r"File\(path\)"):
            File(wrong)  # type: ignore[arg-type]


def test_a_file_is_read_from_a_command_line() -> None:
    for of in (File, ContentFile, Dir, FileSet):
        assert parse("data/x*", of) == of("data/x*")
    assert parse('["a", "s3://b/c"]', list[File]) == [File("a"), File("s3://b/c")]
    assert parse("x", File | None) == File("x")


def test_paths_are_found_where_they_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert local_path("a/b") == f"{folder}/a/b"
    assert local_path("/a/b") == "/a/b"
    assert local_path("~/b") == "/home/me/b"
    assert local_path("file:///a%20b") == "/a b"
    assert local_path("a:b") == f"{folder}/a:b"
    assert local_path("s3://a/b") is None
    assert local_path("simplecache::s3://a/b") is None


class TestContents:
    def test_an_unchanged_file_is_read_once(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "big").write_text("content")
        reads = []
        hash_stream = content_cache.hash_stream
        monkeypatch.setattr(content_cache, "hash_stream", lambda stream: (reads.append(1), hash_stream(stream))[1])
        monkeypatch.setattr(content_cache, "_SETTLED_NS", -1_000_000_000)
        first = value_hash(ContentFile("big"))
        assert value_hash(ContentFile("big")) == first and len(reads) == 1
        content_cache._opened.clear()  # as another process would
        assert value_hash(ContentFile("big")) == first and len(reads) == 1
        os.utime(folder / "big", (1, 1))
        assert value_hash(ContentFile("big")) == first and len(reads) == 2
        (folder / "big").write_text("other!!")
        os.utime(folder / "big", (1, 1))
        assert value_hash(ContentFile("big")) != first

    def test_a_file_that_was_just_written_is_not_remembered(self, folder: Path) -> None:
        (folder / "new").write_text("1")
        first = value_hash(ContentFile("new"))
        found = (folder / "new").stat()
        (folder / "new").write_text("2")
        os.utime(folder / "new", ns=(found.st_atime_ns, found.st_mtime_ns))
        assert value_hash(ContentFile("new")) != first

    def test_the_oldest_are_forgotten(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(content_cache, "MOST_REMEMBERED", 500)
        for number in range(1000):
            content_cache._remember(f"/{number}", "mark", "digest")
        with sqlite3.connect(folder / "cache" / "contents.sqlite") as memory:
            assert memory.execute("select count(*) from contents").fetchone() == (500,)
        assert content_cache._recall("/1", "mark") is None and content_cache._recall("/999", "mark") == "digest"

    def test_a_memory_that_cannot_be_used_costs_only_time(self, folder: Path) -> None:
        (folder / "cache").write_text("in the way")
        (folder / "one").write_text("x")
        assert value_hash(ContentFile("one")) == value_hash(ContentFile("one"))


def test_a_place_that_tells_no_versions_is_warned_of_once(folder: Path) -> None:
    file_states._warn_of_sizes.cache_clear()
    with pytest.warns(UserWarning, match="odd:// tells neither versions nor modification times") as told:
        found = [file_states._of_remote(f"odd://{size}", DirectoryEntry("x", size, 0)) for size in (3, 4)]
    assert found == [(3, None), (4, None)] and len(told) == 1
    assert file_states._of_remote("other://z", DirectoryEntry("z", 4, 0, version="v")) == (4, "v")


def test_what_cannot_be_looked_at_does_not_hold_and_the_others_do(folder: Path) -> None:
    (folder / "good").write_text("x")
    good = make_ref(File("good"))[0].witnesses[0][1]
    bad = ("stat", "nosuchscheme://x", 1, "v"), ("by the moon", "x", 1, 2), ("stat", "x" * 300, 1, 2)
    with pytest.warns(UserWarning, match="cannot tell whether"):
        assert still_as_recorded([good, *bad]) == [True, False, False, False]
    told: list[str] = []
    check([(OF_FILE, good), (OF_FILE, bad[0])], None, told.append)
    assert "rayflow cannot tell whether nosuchscheme://x has changed" in told[0] and len(told) == 1
