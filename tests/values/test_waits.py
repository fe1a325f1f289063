"""What takes longer than ten seconds says what is waited for; what is quick says nothing."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rayflow.errors import StoreUnavailable
from rayflow.values.filesystems.filesystems import filesystem, located
from rayflow.values.process import waits
from rayflow.values.process.waits import waiting


class Told:
    """A listener; `released` is set by the first sentence."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.released = threading.Event()

    def __call__(self, text: str) -> None:
        self.sentences.append(re.sub(r"after \d+ s", "after N s", text))
        self.released.set()

    def wait(self) -> None:
        assert self.released.wait(20), "nothing was told"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """Who listens; ten seconds are a moment here."""
    monkeypatch.setattr(waits, "SLOW_SECONDS", 0.02)
    monkeypatch.setattr(waits, "_reported_at", {})
    listener = Told()
    waits.listen(listener)
    yield listener
    waits.stop_listening(listener)


def test_a_wait_is_told_once_while_it_lasts_and_the_next_for_the_same_is_not_told_soon(told: Told) -> None:
    for _ in range(2):
        with waiting("Ray to start"):
            told.wait()
    with waiting("another thing", whom="Ray to start"), pytest.raises(ValueError):
        raise ValueError
    assert told.sentences == ["Still waiting after N s for Ray to start."]
    assert not waits._open
    told.released.clear()
    with waiting("a bucket"):
        told.wait()
    assert told.sentences[1:] == ["Still waiting after N s for a bucket."]


def test_what_is_quick_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "_reported_at", {})
    monkeypatch.setattr(waits, "LOOK_SECONDS", 0.001)
    listener = Told()
    waits.listen(listener)
    for number in range(1000):
        with waiting(f"number {number}"):
            pass
    waits.stop_listening(listener)
    assert listener.sentences == []


def test_the_newest_listener_is_told_and_then_the_one_before_again(told: Told) -> None:
    inner = Told()
    waits.listen(inner)
    with waiting("one"):
        inner.wait()
    waits.stop_listening(inner)
    with waiting("two"):
        told.wait()
    assert (len(inner.sentences), len(told.sentences)) == (1, 1)


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch, told: Told) -> Iterator[str]:
    """A server that takes connections and says nothing, until somebody was told so: then it hangs up."""
    s3fs = pytest.importorskip("s3fs")
    s3fs.S3FileSystem.clear_instance_cache()  # what is kept there of a bucket knows its server
    place = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        place.settimeout(0.05)
        taken = []
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                taken.append(place.accept()[0])
            if told.released.is_set():
                while taken:
                    taken.pop().close()

    thread = threading.Thread(target=serve)
    thread.start()
    endpoint = f"http://127.0.0.1:{place.getsockname()[1]}"
    for name, text in {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
                       "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1"}.items():  # fmt: skip
        monkeypatch.setenv(name, text)
    yield endpoint
    ended.set()
    thread.join()
    place.close()
    s3fs.S3FileSystem.clear_instance_cache()


ASKS: dict[str, Callable[[Any, str, Path], object]] = {
    "read": lambda files, path, _: files.read_bytes(path),
    "write": lambda files, path, _: files.write_bytes(path, b"x"),
    "open": lambda files, path, _: files.open(path).read(),
    "exists": lambda files, path, _: files.exists(path),
    "stat": lambda files, path, _: files.stat(path),
    "stat many": lambda files, path, _: files.stat_many([path, path + "2"]),
    "list": lambda files, path, _: files.ls(path),
    "find": lambda files, path, _: files.find(path),
    "glob": lambda files, path, _: files.glob(path + "*"),
    "delete": lambda files, path, _: files.delete(path),
    "delete tree": lambda files, path, _: files.delete_tree(path),
    "get": lambda files, path, folder: files.get_file(path, str(folder / "here")),
    "put": lambda files, path, folder: files.put_file(__file__, path),
    "lacks": lambda files, path, _: files.lacks(path),
}


@pytest.mark.parametrize("ask", ASKS)
def test_every_question_to_a_remote_that_does_not_answer_is_told(
    frozen: str, told: Told, tmp_path: Path, ask: str
) -> None:
    files, path = located(f"s3://bucket-{ask.replace(' ', '-')}/file")
    files.remote.config_kwargs = {"retries": {"max_attempts": 0}}  # type: ignore[attr-defined]
    files.remote.retries = 1  # type: ignore[attr-defined]
    with contextlib.suppress(Exception):  # how it ends is not what is asked here
        ASKS[ask](files, path, tmp_path)
    assert len(told.sentences) == 1
    assert told.sentences[0].startswith("Still waiting after ")
    assert f"s3://bucket-{ask.replace(' ', '-')}" in told.sentences[0]


def test_credentials_that_are_looked_for_in_vain_are_told(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    import fsspec

    def found(url: str) -> Any:
        told.wait()
        raise ValueError("none")

    monkeypatch.setattr(fsspec.core, "url_to_fs", found)
    with contextlib.suppress(Exception):
        filesystem("gs://bucket/results")
    assert told.sentences == ["Still waiting after N s for an answer to: find the credentials for gs://bucket/results."]


@pytest.mark.parametrize("who", ["a run", "a verb"])
def test_a_store_that_does_not_answer_is_told_to_whoever_waits_for_it(
    frozen: str, told: Told, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], who: str
) -> None:
    import s3fs

    from rayflow import __main__
    from rayflow.api import Scheduler
    from rayflow.runtime.protocol.reports import Silent

    class Watcher(Silent):
        def warned(self, text: str) -> None:
            told(text)

    def say(text: str) -> None:
        told(text)

    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setattr(__main__, "_say", say)
    url = f"s3://bucket-of-{who.replace(' ', '-')}"
    if who == "a run":
        with pytest.raises(StoreUnavailable):
            Scheduler(store=f"{url}/results", inline=True, reporter=Watcher())
    else:
        assert __main__.main(["log", "--store", f"{url}/results"]) == 2
        assert "It does not answer" in capsys.readouterr().err
    assert len(told.sentences) == 1 and url in told.sentences[0]
    assert waits._listeners[-1] is told, "who has ended listens no more"
