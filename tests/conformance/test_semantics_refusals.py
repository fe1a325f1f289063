"""Buckets that deny, do not exist or do not answer: one clear error each, and the rest of the run goes on."""

from __future__ import annotations

import http.server
import json
import os
import re
import threading
import urllib.request
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Dir, File, FileSet
from rayflow.errors import FileMissing, StoreUnavailable
from rayflow.values.filesystems.filesystems import located
from rayflow.values.process import waits
from rayflow.values.witnesses import OF_FILE, check

FLOW = """
    from rayflow import Dir, File, FileSet, catch, script, task

    @task
    def read(root):
        return File(f"{root}/there").read()

    @task
    def write(root):
        File(f"{root}/new").write("abc")
        return File(f"{root}/new")

    @task
    def stream(root):
        with File(f"{root}/streamed").open("w") as stream:
            stream.write("abc")
        return File(f"{root}/streamed")

    @task
    def exists(root):
        return File(f"{root}/there").exists()

    @task
    def listed(root):
        return [file.path for file in Dir(f"{root}/folder")]

    @task
    def matching(root):
        return [file.path for file in FileSet(f"{root}/folder/*")]

    @task
    def passed(root):
        return length(File(f"{root}/there"))

    @task
    def length(file):
        return len(file.read())

    @task
    def staged_in(root):
        return script("cat in", inputs=File(f"{root}/there").stage("in"))

    @task
    def staged_out(root):
        return script("echo out > out", outputs=File(f"{root}/out").stage("out"))

    @task
    def told(error):
        return f"{type(error).__name__}: {error}"

    ACTIONS = [read, write, stream, exists, listed, matching, passed, staged_in, staged_out]

    @task
    def caught(root):
        return {action.fullname.rpartition(".")[2]: catch(action(root), Exception, told) for action in ACTIONS}

    @task
    def other():
        return "fine"

    @task
    def both(root):
        return [write(root), other()]

    @task
    def made(root):
        File(f"{root}/made").write("made")
        return [File(f"{root}/made"), Dir(f"{root}/folder")]
"""

REFUSING = {
    "denied": "The credentials of this process on .* do not permit it: see AWS_ACCESS_KEY_ID",
    "wrong": "The credentials of this process on .* do not permit it: see AWS_ACCESS_KEY_ID",
    "none": "This process on .* has no credentials for it: see AWS_ACCESS_KEY_ID",
    "unreachable": "It does not answer .*: check the network, and AWS_ENDPOINT_URL",
}
MISSING = "there is no bucket s3://never-made"


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(FLOW)
    return made


@pytest.fixture
def filled(bucket: str) -> str:
    """A bucket with some files."""
    for name in ("there", "folder/a"):
        File(f"{bucket}/{name}").write("x")
    return bucket


@pytest.fixture
def refuse(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Have the server, or this machine, refuse from now on, in one of these ways; "" ends it."""
    boto3 = pytest.importorskip("boto3")
    from s3fs import S3FileSystem

    def check_from(count: str) -> None:
        url, head = f"{s3_server}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(url, count.encode(), head, method="POST"))

    with monkeypatch.context() as patch:
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")

        def refuse(way: str) -> None:
            S3FileSystem.clear_instance_cache()
            if way == "denied":  # somebody who is known, and may do nothing
                users = boto3.client("iam", endpoint_url=s3_server)
                name = f"user-{len(users.list_users()['Users'])}"
                users.create_user(UserName=name)
                key = users.create_access_key(UserName=name)["AccessKey"]
                patch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
                patch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
            if way in ("denied", "wrong"):
                check_from("0")
            elif way == "none":
                patch.delenv("AWS_ACCESS_KEY_ID")
                patch.delenv("AWS_SECRET_ACCESS_KEY")
                patch.setenv("HOME", "/nonexistent")
            elif way == "unreachable":
                patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
                patch.setenv("AWS_MAX_ATTEMPTS", "1")  # else botocore asks it five times, and waits in between
            else:
                check_from("inf")
                patch.undo()

        yield refuse
        check_from("inf")
    S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize("way", REFUSING)
def test_each_action_says_which_path_what_was_said_and_what_to_do(
    flow: Flow, filled: str, refuse: Callable[[str], None], way: str
) -> None:
    refuse(way)
    with pytest.raises(StoreUnavailable, match=rf"Cannot write {filled}/new: \w+: .*{REFUSING[way]}"):
        flow.call("both", filled)
    assert flow.computed()["other"] == 1
    texts = flow.call("caught", filled)
    for action, text in texts.items():
        assert text.startswith("StoreUnavailable: Cannot "), (action, text)
        assert f" {filled}/" in text
        assert re.search(REFUSING[way], text), text
    refuse("")
    again = flow.call("caught", filled)  # nothing of that was kept
    assert (again["read"], again["exists"], again["passed"], again["staged_in"]) == ("x", True, 1, "x")
    assert again["listed"] == again["matching"] == [f"{filled}/folder/a"]
    assert [again[name].read() for name in ("write", "stream", "staged_out")] == ["abc", "abc", "out\n"]


@pytest.mark.parametrize("way", REFUSING)
def test_what_cannot_be_asked_does_not_count_and_what_was_kept_counts_again_later(
    flow: Flow, filled: str, refuse: Callable[[str], None], way: str
) -> None:
    flow.call("made", filled)
    refuse(way)
    with pytest.raises(StoreUnavailable, match=f"Cannot write {filled}/made"):
        flow.call("made", filled)
    assert any(f"rayflow cannot tell whether {filled}/made has changed" in text for text in flow.watching.warnings)
    assert flow.call("other") == "fine"  # a run that needs no bucket is not disturbed
    refuse("")
    flow.call("made", filled)
    assert flow.computed() == {}


def test_credentials_without_a_network_disturb_no_run_that_needs_neither(flow: Flow) -> None:
    done = flow.project.rayflow(
        "run", "--inline", "flow.py", "other", AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret",
        AWS_ENDPOINT_URL="http://127.0.0.1:9", GOOGLE_APPLICATION_CREDENTIALS="/nonexistent", HOME="/nonexistent",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "'fine'\n")


def test_a_file_that_cannot_be_looked_at_is_no_argument(flow: Flow, filled: str, refuse: Callable[[str], None]) -> None:
    refuse("wrong")
    for place in (File(f"{filled}/there"), Dir(f"{filled}/folder"), FileSet(f"{filled}/folder/*")):
        with pytest.raises(StoreUnavailable, match=f"Cannot (look at|list) {filled}/"):
            flow.call("length", place)


def test_a_bucket_that_does_not_exist_is_named(flow: Flow, s3_server: str) -> None:
    texts = flow.call("caught", "s3://never-made")
    assert texts.pop("exists") is False
    for action, text in texts.items():
        assert MISSING in text, (action, text)
    assert "FileMissing: There is no file s3://never-made/there: there is no bucket" in texts["read"]
    assert "mend its name, or create it" in texts["matching"]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 gets and gives streams in blocks of five megabytes instead of fifty."""
    s3fs = pytest.importorskip("s3fs")
    monkeypatch.setattr(s3fs.S3FileSystem, "default_block_size", 5 * 2**20)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.usefixtures("small_blocks")
def test_what_broke_off_while_it_was_written_does_not_appear(bucket: str) -> None:
    def broken(name: str, mode: str, data: str | bytes) -> None:
        with File(f"{bucket}/{name}").open(mode) as stream:
            stream.write(data)
            raise ZeroDivisionError

    for name, mode, data in (("text", "w", "half"), ("bytes", "wb", b"half"), ("large", "wb", bytes(12_000_000))):
        with pytest.raises(ZeroDivisionError):
            broken(name, mode, data)
    assert Dir(bucket).files() == []
    fs, path = located(bucket)
    assert fs.remote.call_s3("list_multipart_uploads", Bucket=path).get("Uploads", []) == []


@pytest.mark.usefixtures("small_blocks")
def test_a_file_that_changes_while_it_is_read_is_told(bucket: str) -> None:
    file = File(f"{bucket}/changing")
    with file.open("wb") as stream:
        stream.write(bytes(12_000_000))
    with file.open("rb") as stream:
        assert stream.read(10) == bytes(10)
        file.write(b"y" * 12_000_000)
        with pytest.raises(StoreUnavailable, match=f"Cannot read {bucket}/changing: .*It was changed while"):
            stream.read()


# --- Google's ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, str], None]]:
    """A server in place of Google's that refuses whatever it is asked, with a status and a message."""
    gcsfs = pytest.importorskip("gcsfs")
    said = [403, ""]

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = json.dumps({"error": {"code": said[0], "message": said[1]}}).encode()
            self.send_response(int(said[0]))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
    gcsfs.GCSFileSystem.clear_instance_cache()

    def say(status: int, message: str) -> None:
        said[:] = [status, message]

    yield say
    server.shutdown()
    server.server_close()
    gcsfs.GCSFileSystem.clear_instance_cache()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "ada does not have storage.objects.get access"),
        (401, "Anonymous caller does not have storage.objects.get access"),
    ],
)
def test_a_bucket_of_google_that_denies_says_so(
    flow: Flow, guarded: Callable[[int, str], None], status: int, message: str
) -> None:
    guarded(status, message)
    for action, text in flow.call("caught", "gs://guarded").items():
        assert text.startswith("StoreUnavailable: Cannot "), (action, text)
        assert message in text and "gs://guarded/" in text
        assert "do not permit it: see GOOGLE_APPLICATION_CREDENTIALS" in text


def test_a_bucket_of_google_that_does_not_answer_says_so(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    gcsfs = pytest.importorskip("gcsfs")
    from gcsfs import retry

    async def at_once(seconds: float) -> None:
        """It would try again for half a minute."""

    monkeypatch.setattr(retry, "asyncio", SimpleNamespace(sleep=at_once))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    gcsfs.GCSFileSystem.clear_instance_cache()
    for action, text in flow.call("caught", "gs://unreachable").items():
        assert text.startswith("StoreUnavailable: Cannot "), (action, text)
        assert "gs://unreachable/" in text
        assert "It does not answer" in text and "check the network, and STORAGE_EMULATOR_HOST" in text
    gcsfs.GCSFileSystem.clear_instance_cache()


def test_a_bucket_of_google_that_does_not_exist_is_named(flow: Flow, gcs_server: str) -> None:
    texts = flow.call("caught", "gs://never-made")
    assert texts.pop("exists") is False
    for action, text in texts.items():
        assert "there is no bucket gs://never-made" in text, (action, text)
    with pytest.raises(FileMissing, match="there is no bucket"):
        File("gs://never-made/x").read()


# --- the web ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "403.*do not permit it"), (500, "500"), (404, None), (410, None), (0, "It does not answer .* the network")],
)
def test_a_web_server_that_refuses_is_not_one_that_has_no_such_file(
    flow: Flow, guarded: Callable[[int, str], None], status: int, said: str | None
) -> None:
    pytest.importorskip("aiohttp")
    guarded(status, "no")
    url = f"{os.environ['STORAGE_EMULATOR_HOST']}/x" if status else "http://127.0.0.1:9/x"
    if said is None:
        assert not File(url).exists() and not File(url).isfile()
        with pytest.raises(FileMissing, match=f"There is no file {url}"):
            flow.call("length", File(url))
        return
    for ask in (File(url).read, File(url).exists, File(url).size, lambda: flow.call("length", File(url))):
        with pytest.raises(StoreUnavailable, match=f"Cannot (read|look at) {url}: .*{said}"):
            ask()
    told: list[str] = []
    assert check([(OF_FILE, ("stat", url, 3, None))], None, told.append) == {(OF_FILE, ("stat", url, 3, None)): False}
    assert f"rayflow cannot tell whether {url} has changed" in told[0]


def test_what_is_waited_for_is_told(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(waits, "SLOW_SECONDS", 0.01)
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        ANSWER.set()

    ANSWER.clear()
    states = [(OF_FILE, ("stat", f"{site}/{name}", 4, None)) for name in "ab"]
    waits.listen(tell)
    assert list(check(states, None).values()) == [True, True]
    waits.stop_listening(tell)
    (sentence,) = told
    assert sentence.endswith(f" s for an answer to: look at 2 files, such as {site}/a.")


ANSWER = threading.Event()


@pytest.fixture
def site() -> Iterator[str]:
    """A web server that answers when it is allowed to."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            ANSWER.wait(20)
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
