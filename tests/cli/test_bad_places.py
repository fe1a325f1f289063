"""Places that cannot be: of a store, of a configuration file, of a file; and URLs with a typing error."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from projects import Project

from rayflow import File
from rayflow.api import Scheduler
from rayflow.errors import BadArguments, BadConfig, StoreUnavailable
from rayflow.store.exchange.archive import writing
from rayflow.store.open import open_store
from rayflow.values.filesystems.atomic_writes import beside_of
from rayflow.values.filesystems.filesystems import filesystem
from rayflow.values.filesystems.url_checks import meant_url

LONG = "x" * 300

TYPING_ERRORS = {
    "s3:/bucket/a": "s3://bucket/a",
    "s3:bucket": "s3://bucket",
    "S3://bucket": "s3://bucket",
    "s3:///bucket": "s3://bucket",
    " s3://bucket": "s3://bucket",
    "s3//bucket": "s3://bucket",
    "s3:": "s3://BUCKET",
    "gs:/x": "gs://x",
    "https//x/y": "https://x/y",
    "http:/x": "http://x",
    "file:/x": "file:///x",
    "file://x/y": "file:///x/y",
}

VERBS = {
    "run": ("run", "--inline", "{file}", "--store", "{place}"),
    "log": ("log", "--store", "{place}"),
    "why": ("why", "x", "--store", "{place}"),
    "sql": ("sql", "select 1", "--store", "{place}"),
    "check": ("store", "check", "--store", "{place}"),
    "push": ("push", "{place}"),
    "pull": ("pull", "{place}"),
    "config": ("config", "show", "--store", "{place}"),
    "resume": ("resume", "-", "--store", "{place}"),
}


def _words(verb: str, rayflow: Any, place: str) -> list[str]:
    return [word.format(file=rayflow.file, place=place) for word in VERBS[verb]]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("written", ["s3:/bucket/a", "https//x/y"])
def test_each_verb_says_which_url_was_meant_and_makes_nothing(rayflow: Any, verb: str, written: str) -> None:
    rayflow.run()
    before = sorted(os.listdir(rayflow.project.path))
    found = rayflow(*_words(verb, rayflow, written))
    assert found.code == 1
    assert f"Did you mean {TYPING_ERRORS[written]}?" in found.err
    assert sorted(os.listdir(rayflow.project.path)) == before


@pytest.mark.parametrize(("written", "meant"), TYPING_ERRORS.items())
def test_a_url_with_a_typing_error_is_no_place_of_a_store_or_a_file(project: Project, written: str, meant: str) -> None:
    with pytest.raises(BadConfig, match="Did you mean") as found:
        open_store(written)
    assert meant in str(found.value)
    with pytest.raises(BadConfig, match="Did you mean"):
        Scheduler(store=written)
    with pytest.raises(BadArguments, match="Did you mean"):
        File(written)
    with pytest.raises(BadArguments, match="Did you mean"), writing(written):
        pass
    project.write("rayflow.toml", f'store = "{written}"\n')
    with pytest.raises(BadConfig, match=r"rayflow.toml: the store .*Did you mean"):
        Scheduler()


@pytest.mark.parametrize(
    "text",
    [
        "s3://b", "file:///x", "simplecache::s3://b/x", "memory://x", "memory:///x", "C:/x", "a:b", "./s3:/x", "/s3:/x",
        "data/s3:/x", "https://host/x:y", "10:20.txt", "git//x", "~/x", "//x", "foo://x",
    ],
)  # fmt: skip
def test_other_paths_and_urls_are_left_alone(text: str) -> None:
    assert meant_url(text) is None
    assert File(text).path == text


def test_a_scheme_that_nothing_serves_offers_the_nearest() -> None:
    with pytest.raises(BadConfig, match=r"Did you mean s3a?://\?"):
        filesystem("s4://bucket")


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "config"])
@pytest.mark.parametrize("place", [LONG, "/".join(["x" * 200] * 25), "{file}", "{file}/inside", "\udcffx"])
def test_a_place_where_no_store_can_be_is_the_users_error(rayflow: Any, verb: str, place: str) -> None:
    rayflow.run()
    found = rayflow(*_words(verb, rayflow, place.format(file=rayflow.file)))
    assert found.code == 1
    assert "Traceback" not in found.err
    assert "is a file" in found.err or "File name too long" in found.err or "not UTF-8" in found.err


@pytest.mark.parametrize("place", ["a\nb", "a b", "é€", "a'b\"c", "%41", "a;b", "*"])
def test_a_store_may_have_any_name_that_is_text(rayflow: Any, place: str) -> None:
    assert rayflow.run("--store", place).code == 0
    for words in (("log", "-"), ("sql", "select count(*) from jobs"), ("store", "check")):
        assert rayflow(*words, "--store", place).code == 0
    assert (rayflow.project.path / place / "format").is_file()


def test_a_zero_byte_or_an_empty_path_is_said(project: Project) -> None:
    for place in ("a\0b", ""):
        with pytest.raises(BadConfig, match=r"zero byte|empty path"):
            Scheduler(store=place)


def test_a_store_that_is_a_file_in_the_project_is_named(rayflow: Any) -> None:
    rayflow.project.write(".rayflow", "")
    for words in (("run", "--inline", rayflow.file), ("log",), ("store", "check")):
        found = rayflow(*words)
        assert (found.code, "is a file: a store is a folder" in found.err) == (1, True)


# --- configuration files ----------------------------------------------------------------------------------------------

GOOD = {
    "empty": b"",
    "with a mark": b"\xef\xbb\xbfinline = true\n",
    "CRLF": b"inline = true\r\nlogs = false\r\n",
    "with a mark and CRLF": b"\xef\xbb\xbfinline = true\r\n",
}
BAD = {
    "Latin-1": (b"inline = true\n# \xe9\n", "is not UTF-8 (line 2)"),
    "no TOML": (b"inline = true\nx = = 3\n", "line 2"),
    "deep": (b"context = " + b"{a=" * 2000 + b"1" + b"}" * 2000, "nested too deep"),
    "deep arrays": (b"context = {a = " + b"[" * 9000 + b"]" * 9000 + b"}", "nested too deep"),
    "a zero byte": (b"inline = \x00", "not valid TOML"),
    "UTF-16": ("inline = true\n".encode("utf-16"), "is not UTF-8"),
}


@pytest.mark.parametrize("name", ["rayflow.toml", "pyproject.toml"])
@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD)
def test_a_file_of_settings_is_read_however_it_was_saved(rayflow: Any, name: str, content: bytes) -> None:
    if name == "pyproject.toml":
        content = content.replace(b"inline", b"[tool.rayflow]\ninline")
    (rayflow.project.path / name).write_bytes(content)
    assert rayflow("config", "show").code == 0


@pytest.mark.parametrize("name", ["rayflow.toml", "pyproject.toml"])
@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("verb", ["run", "log", "config"])
def test_a_file_of_settings_that_cannot_be_read_is_named(
    rayflow: Any, name: str, content: bytes, message: str, verb: str
) -> None:
    (rayflow.project.path / name).write_bytes(content)
    words = {"run": ("run", "--inline", rayflow.file), "log": ("log",), "config": ("config", "show")}[verb]
    found = rayflow(*words)
    assert found.code == 1
    assert name in found.err and message in found.err


@pytest.mark.parametrize("name", ["rayflow.toml", "pyproject.toml"])
def test_what_is_no_file_is_no_file_of_settings(rayflow: Any, name: str, tmp_path: Path) -> None:
    path = rayflow.project.path / name
    path.unlink(missing_ok=True)
    path.mkdir()
    assert "is a folder" in rayflow("config", "show").err
    path.rmdir()
    os.mkfifo(path)
    assert "is no regular file" in rayflow("config", "show").err


@pytest.mark.parametrize("text", ["tool = 3", "[tool]\nrayflow = 3"])
def test_a_table_that_is_none_is_said(rayflow: Any, text: str) -> None:
    rayflow.project.write("pyproject.toml", text)
    found = rayflow("config", "show")
    assert (found.code, "has to be a table" in found.err) == (1, True)


# --- exports ----------------------------------------------------------------------------------------------------------


def test_an_export_removes_what_a_killed_one_has_left_and_no_more(rayflow: Any) -> None:
    rayflow.run()
    folder = rayflow.project.path
    ended = subprocess.Popen(["true"])
    ended.wait()
    living = beside_of(str(folder / "elsewhere" / "y.zip"))
    other = folder / os.path.basename(living)
    left = folder / other.name.replace(f"-{os.getpid():x}-", f"-{ended.pid:x}-")
    for path in (left, other):
        path.write_bytes(b"half")
    with writing("x.zip"):  # one that goes on meanwhile
        (going_on,) = set(folder.glob(".x.zip.*"))
        assert rayflow("export", "x.zip").code == 0
        assert going_on.exists()
        (folder / "x.zip").unlink()
    assert not left.exists()
    assert other.exists()
    assert rayflow("import", "x.zip", "--store", "elsewhere").code == 0


@pytest.mark.parametrize("place", [LONG, "/".join(["x" * 200] * 25), "nosuch/x.zip"])
def test_an_export_that_cannot_be_written_is_the_worlds(rayflow: Any, place: str) -> None:
    rayflow.run()
    found = rayflow("export", place)
    assert (found.code, "Traceback" in found.err) == (StoreUnavailable.exit_code, False)


@pytest.mark.parametrize("written", ["file://localhost/a", "FILE://LocalHost/a", " file://localhost/a"])
def test_a_file_url_that_names_this_host_is_a_url_to_write_without_it(project: Project, written: str) -> None:
    for error, make in ((BadConfig, open_store), (BadArguments, File)):
        with pytest.raises(error, match=r"which names a host: write file:///a\.$"):
            make(written)  # type: ignore[operator]
