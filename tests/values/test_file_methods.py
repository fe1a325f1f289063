"""The methods of files, folders and sets: alike on this machine, in memory and in a bucket, and as Python's own."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

import pytest

from rayflow import ContentDir, ContentFile, ContentFileSet, Dir, File, FileSet
from rayflow.errors import BadArguments, DirectoryNotEmpty, FileMissing
from rayflow.values.encoding.encoding import decode, make_ref
from rayflow.values.encoding.identity import value_hash
from rayflow.values.files import file_states
from rayflow.values.files.validity import still_as_recorded
from rayflow.values.filesystems import filesystems
from rayflow.values.filesystems.filesystems import use_base
from rayflow.values.witnesses import OF_FILE


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before = filesystems._base
    use_base(str(tmp_path))
    monkeypatch.setenv("RAYFLOW_CACHE_DIR", str(tmp_path / "cache"))
    yield tmp_path
    use_base(before)


@pytest.fixture(params=["relative", "local", "memory", "s3"])
def folder(request: pytest.FixtureRequest, project: Path) -> str:
    """Where to write; there is nothing yet."""
    if request.param == "relative":
        return "folder"
    if request.param == "local":
        return str(project / "folder")
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}/folder"
    return f"{request.getfixturevalue('bucket')}/{uuid.uuid4().hex}"


WORDS = [
    {},
    {"encoding": "latin-1"},
    {"encoding": "utf-16"},
    {"encoding": "utf-8-sig"},
    {"encoding": "ascii", "errors": "replace"},
    {"encoding": "ascii", "errors": "xmlcharrefreplace"},
    {"newline": "\r\n"},
    {"newline": ""},
    {"newline": "\n", "encoding": "utf-32"},
]
TEXT = "grün\nzwei\r\ndrei"


@pytest.mark.parametrize("words", WORDS, ids=repr)
def test_text_is_written_added_and_read_as_pythons_open_does(
    folder: str, tmp_path: Path, words: dict[str, Any]
) -> None:
    own = tmp_path / "own"
    file, streamed = File(f"{folder}/file"), File(f"{folder}/streamed")
    python = {"encoding": "utf-8", **words}
    for mode in ("w", "a"):
        with open(own, mode, **python) as stream:
            stream.write(TEXT)
        file.write(TEXT, mode, **words)
        assert file.read("rb") == own.read_bytes()
    with streamed.open("w", **words) as stream:
        stream.write(TEXT)
        stream.write(TEXT)
    assert streamed.read("rb") == own.read_bytes()
    reading = {**python, "errors": "strict"}
    with open(own, **reading) as stream:
        expected = stream.read()
    given = {name: value for name, value in words.items() if name != "errors"}
    assert file.read(**given) == expected
    with open(own, **reading) as stream:
        assert file.readlines(**given) == list(stream)
    with open(own, "rb") as stream:
        assert file.readlines("rb") == list(stream)


def test_what_cannot_be_encoded_or_decoded_is_pythons_error_and_changes_nothing(folder: str) -> None:
    file = File(f"{folder}/file")
    file.write("before")
    for mode in ("w", "a"):
        with pytest.raises(UnicodeEncodeError):
            file.write("grün", mode, encoding="ascii")
        assert file.read() == "before"
    with pytest.raises(LookupError):
        file.write("x", encoding="no such")
    file.write(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        file.read()
    assert file.read(errors="replace") == "�" and file.readlines(errors="ignore") == []


@pytest.mark.parametrize(
    "content", [b"a\n", bytearray(b"a\n"), memoryview(b"a\n")], ids=["bytes", "bytearray", "memoryview"]
)
def test_bytes_are_taken_as_they_are(folder: str, content: Any) -> None:
    file = File(f"{folder}/file")
    for mode, expected in (("w", b"a\n"), ("wb", b"a\n"), ("ab", b"a\na\n"), ("a", b"a\na\na\n")):
        file.write(content, mode)
        assert file.read("rb") == expected


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda file: file.write("x", "wb"), "takes bytes, and this is a text"),
        (lambda file: file.write(b"x", "wt"), "takes a text, and these are bytes"),
        (lambda file: file.write(b"x", encoding="utf-8"), "takes no encoding: bytes are taken as they are"),
        (lambda file: file.write(b"x", errors="ignore", newline=""), "takes no errors and no newline"),
        (lambda file: file.write(5), "takes a text or bytes, not a int: 5"),
        (lambda file: file.write(None), "takes a text or bytes, not a NoneType"),
        (lambda file: file.write("x", "r"), r"the mode is one of w, wt, wb, a, at, ab\. open\(\) knows all others"),
        (lambda file: file.read("rb", encoding="utf-8"), "takes no encoding"),
        (lambda file: file.open("rb", newline=""), "takes no newline"),
        (lambda file: file.open("wb", errors="strict"), "takes no errors"),
    ],
)
def test_what_makes_no_sense_is_said(folder: str, call: Any, said: str) -> None:
    file = File(f"{folder}/file")
    file.write("before")
    with pytest.raises(BadArguments, match=said):
        call(file)
    assert file.read() == "before"


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_is_removed_when_it_holds_nothing(folder: str) -> None:
    place = Dir(folder)
    place.rmdir()
    place.file("deep/file").write("x")
    for held in (place, Dir(f"{folder}/deep")):
        with pytest.raises(DirectoryNotEmpty, match=r"is not empty, so rmdir\(\) leaves it\. remove\(\) deletes it"):
            held.rmdir()
    assert place.file("deep/file").exists()
    place.file("deep/file").remove()
    Dir(f"{folder}/deep").rmdir()
    place.makedirs()
    place.rmdir()
    assert not place.exists()


@pytest.mark.parametrize("end", ["", "/"])
def test_a_path_is_told_relative_to_a_folder(folder: str, end: str) -> None:
    place = Dir(folder + end)
    file = place.file("a/b.txt")
    file.write("x")
    for inside in (file, file.path, f"{folder}/a/b.txt", place.files()[0]):
        assert place.rel_path(inside) == "a/b.txt"
    assert place.file(place.rel_path(file)).read() == "x"
    assert place.rel_path(place) == "."
    for outside in ("elsewhere/x", f"{folder}2/x", File("memory://other/x")):
        with pytest.raises(BadArguments, match="that is not in it"):
            place.rel_path(outside)


def test_paths_of_this_machine_are_compared_without_detours(project: Path) -> None:
    assert Dir(".").rel_path("a/b") == "a/b"
    assert Dir("a").rel_path(str(project / "a" / "x" / ".." / "b")) == "b"
    assert Dir(str(project)).rel_path(Path("a/b")) == "a/b"
    assert Dir("/").rel_path("/etc/x") == "etc/x"
    assert Dir(f"file://{project}/a").rel_path("a/b") == "b"


MANY = [Dir, ContentDir, FileSet, ContentFileSet]


def of(kind: Any, folder: str, **given: Any) -> Any:
    return kind(folder if issubclass(kind, Dir) else f"{folder}/*", **given)


@pytest.mark.parametrize("kind", MANY)
@pytest.mark.parametrize("immutable", [False, True])
def test_members_are_immutable_and_known_by_content_as_what_they_are_in(
    folder: str, kind: Any, immutable: bool
) -> None:
    File(f"{folder}/one").write("1")
    many = of(kind, folder, immutable=immutable)
    found = [*many.files(), *many, *([many.file("one")] if issubclass(kind, Dir) else [])]
    expected = (ContentFile if "Content" in kind.__name__ else File)(found[0].path, immutable=immutable)
    assert found == [expected] * len(found) and len(found) >= 2
    before = value_hash(found[0])
    File(f"{folder}/one").write("changed")
    assert (value_hash(many.files()[0]) == before) == immutable


def touched(file: File) -> None:
    """The same content again, later."""
    file.write(file.read("rb"))
    fs, path = filesystems.located(file.path)
    if fs.is_local:
        os.utime(path, ns=(1, os.stat(path).st_mtime_ns + 1_000_000_000))


@pytest.mark.parametrize("kind", [ContentDir, ContentFileSet])
def test_what_is_known_by_content_changes_with_names_and_contents_alone(folder: str, kind: Any) -> None:
    for name in ("one", "two"):
        File(f"{folder}/{name}").write(name)
    first = value_hash(of(kind, folder))
    (payload,) = [state for kind_, state in make_ref(of(kind, folder))[0].witnesses if kind_ == OF_FILE]
    touched(File(f"{folder}/one"))
    assert value_hash(of(kind, folder)) == first and still_as_recorded([payload]) == [True]
    File(f"{folder}/one").write("eno")
    assert value_hash(of(kind, folder)) != first and still_as_recorded([payload]) == [False]
    File(f"{folder}/one").write("one")
    assert value_hash(of(kind, folder)) == first
    File(f"{folder}/two").copy_to(f"{folder}/three")
    File(f"{folder}/two").remove()
    assert value_hash(of(kind, folder)) != first
    many = of(kind, folder)
    assert decode(make_ref(many)[1]) == many


@pytest.mark.parametrize(("plain", "content"), [(Dir, "content tree"), (FileSet, "content glob"), (File, "content")])
def test_the_configuration_makes_content_count(
    project: Path, monkeypatch: pytest.MonkeyPatch, plain: Any, content: str
) -> None:
    File("folder/one").write("one")
    many = plain("folder/one") if plain is File else of(plain, "folder")
    stat = value_hash(many)
    monkeypatch.setattr(file_states, "_usual", "content")
    many = plain("folder/one") if plain is File else of(plain, "folder")
    assert make_ref(many)[0].witnesses[0][1][0] == content
    first = value_hash(many)
    assert first != stat
    touched(File("folder/one"))
    again = plain("folder/one") if plain is File else of(plain, "folder")
    assert value_hash(again) == first


def test_folders_of_equal_content_in_two_places_have_one_version(folder: str) -> None:
    for name in ("a/x", "b/x"):
        File(f"{folder}/{name}").write("same")
    found = [make_ref(ContentDir(f"{folder}/{name}"))[0].witnesses[0][1] for name in ("a", "b")]
    assert found[0][3] == found[1][3] and value_hash(ContentDir(f"{folder}/a")) != value_hash(ContentDir(f"{folder}/b"))


def test_empty_folders_and_links_count_by_content_too(project: Path) -> None:
    (project / "d" / "empty").mkdir(parents=True)
    (project / "d" / "dead").symlink_to("nowhere")
    first = value_hash(ContentDir("d"))
    assert value_hash(ContentDir("d")) == first
    (project / "d" / "dead").unlink()
    second = value_hash(ContentDir("d"))
    (project / "d" / "empty").rmdir()
    assert len({first, second, value_hash(ContentDir("d")), value_hash(ContentDir("none"))}) == 4


# --- staging without a script -----------------------------------------------------------------------------------------


def test_a_body_stages_and_unstages_without_a_script(folder: str, project: Path) -> None:
    far = File(f"{folder}/data.txt")
    far.write("far")
    staged = far.stage("near/copy.txt")
    near = staged.stage()
    assert near == File("near/copy.txt") and (project / "near" / "copy.txt").read_text() == "far"
    near.write("changed")
    assert staged.unstage() == far and far.read() == "changed"
    tree = Dir(folder).stage("tree")
    assert tree.stage() == Dir("tree") and (project / "tree" / "data.txt").read_text() == "changed"
    Dir("tree").file("more/x").write("x")
    assert tree.unstage() == Dir(folder) and File(f"{folder}/more/x").read() == "x"


@pytest.mark.parametrize("kind", [File, ContentFile])
def test_staging_keeps_the_class_and_says_what_is_missing(folder: str, kind: Any) -> None:
    staged = kind(f"{folder}/data.txt", immutable=True).stage("near.txt")
    with pytest.raises(FileMissing, match=r"There is no file .*data\.txt"):
        staged.stage()
    with pytest.raises(FileMissing, match=r"There is no file near\.txt"):
        staged.unstage()
    staged.remote.write("x")
    assert staged.stage() == kind("near.txt", immutable=True)


def test_what_is_staged_under_its_own_path_stays(project: Path) -> None:
    file = File("a.txt")
    file.write("x")
    before = os.stat("a.txt" if os.getcwd() == str(project) else project / "a.txt").st_mtime_ns
    assert file.stage().stage() == file and File(str(project / "a.txt")).stage("a.txt").unstage().read() == "x"
    assert (project / "a.txt").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("staged", "name"),
    [
        (File("data/a.txt").stage(), "a.txt"),
        (File("data/a.txt").stage("in/"), "in/a.txt"),
        (File("data/a.txt").stage("in/deep/"), "in/deep/a.txt"),
        (File("data/a.txt").stage(Path("in/b.txt")), "in/b.txt"),
        (ContentFile("s3://bucket/data/a.txt").stage("in/"), "in/a.txt"),
        (Dir("data").stage(), "data"),
        (Dir("data/").stage(), "data"),
        (Dir("data").stage("in/"), "in"),
        (ContentDir("s3://bucket/data").stage("in"), "in"),
    ],
    ids=repr,
)
def test_a_name_that_ends_in_a_slash_is_a_folder(staged: Any, name: str) -> None:
    assert staged.local == name
