"""What answers at an address that is not, or not directly, that of a dashboard: one clear error, soon."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from played_dashboard import TOKEN
from relays import HOST, answering, https_gate, proxy, self_made, served

from rayflow.__main__ import main
from rayflow.errors import BadConfig, ClusterUnavailable
from rayflow.submission import job_api
from rayflow.submission.job_api import JobApi, RayJob

JOB = RayJob("rayflow-x", "RUNNING", node_id="n")

QUESTIONS: dict[str, Callable[[JobApi], object]] = {
    "the version": JobApi.ray_version, "all jobs": JobApi.jobs, "a job": lambda api: api.job("rayflow-x"),
}  # fmt: skip


def said(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no authority of the machine on which the tests run."""
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(
    "body",
    [
        b"<html>Welcome</html>", b"", b"[1, 2]", b"null", b'"text"', b"5", b'{"a": 1}', b'[{"submission_id": "x"}]',
        b"\xff\xfe", b"[" * 200_000, b'{"submission_id": 1, "status": 2, "driver_exit_code": "x"}',
        b'[{"submission_id": "x", "status": "RUNNING", "metadata": [1]}]',
        b'[{"submission_id": "x", "status": "RUNNING", "start_time": Infinity}]',
    ],
)  # fmt: skip
def test_an_answer_of_another_form_is_no_dashboards(body, question):
    with answering(said(body)) as address, pytest.raises(ClusterUnavailable, match="is not the dashboard of a Ray clu"):
        QUESTIONS[question](JobApi(address))


@pytest.mark.parametrize("verb", [["submit", "flow.py"], ["attach", "-"], ["cancel", "-"]])
def test_every_verb_says_that_a_web_server_is_no_dashboard(project, capsys, verb: list[str]):
    project.write("flow.py", "from rayflow import task\n\n@task\ndef main():\n    return 1\n")
    store = ["--store", str(project.path.parent / "results")] if verb[0] == "submit" else []
    with answering(said(b"<html>")) as address:
        assert main([*verb, "--address", address, *store]) == 2
    assert f"{address} answers, but it is not the dashboard of a Ray cluster" in capsys.readouterr().err
    assert not (project.path.parent / "results").exists()


def drips(connection: socket.socket) -> None:
    while True:
        connection.sendall(b" ")
        time.sleep(0.02)


def pours(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"x" * 100_000)


@pytest.mark.parametrize(
    ("then", "says"),
    [(drips, "it does not answer in time"), (pours, "its answer does not end"), (None, "breaks off in the middle")],
)
@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_that_does_not_end_is_not_waited_for(monkeypatch, question, then, says):
    monkeypatch.setattr(job_api, "MOST_ANSWER_BYTES", 3_000_000)
    monkeypatch.setattr(job_api, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(job_api, "LIST_SECONDS", 0.3)
    begun = time.monotonic()
    begins = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n["
    with answering(begins, then) as address, pytest.raises(ClusterUnavailable, match=says):
        QUESTIONS[question](JobApi(address))
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("how", ["it is mute", "nobody is let in"])
def test_an_address_that_never_answers_is_given_up_in_seconds(monkeypatch, how):
    monkeypatch.setattr(job_api, "ANSWER_SECONDS", 0.3)
    begun = time.monotonic()
    with contextlib.ExitStack() as opened:
        if how == "it is mute":
            port = opened.enter_context(served(lambda connection: time.sleep(3)))
        else:  # a full queue: the system answers to no further connection, as where a firewall drops all
            listening = opened.enter_context(socket.socket())
            listening.bind(("127.0.0.1", 0))
            listening.listen(0)
            port = listening.getsockname()[1]
            for _ in range(2):
                waiting = opened.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(("127.0.0.1", port))
        with pytest.raises(ClusterUnavailable, match=r"cannot|can be reached .*: it does not answer in time\."):
            JobApi(f"http://127.0.0.1:{port}").ray_version()
    assert time.monotonic() - begun < 5


def test_a_redirect_is_told_alone_and_with_the_place_that_it_leads_to():
    moved = b"HTTP/1.1 302 Found\r\nLocation: /login?next=secret\r\nContent-Length: 0\r\n\r\n"
    with answering(moved) as address, pytest.raises(ClusterUnavailable) as refused:
        JobApi(address).ray_version()
    text = str(refused.value)
    assert text.startswith(f"{address} is not the dashboard itself: it sends requests on to {address}/login,")
    assert "secret" not in text and "ssh -L" not in text


# --- HTTPS ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_made(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_self_made_certificate_is_trusted_once_its_file_is_named(dashboard, certificate, monkeypatch, name):
    with https_gate(dashboard.server.server_port, certificate) as port:
        address = f"https://127.0.0.1:{port}"
        with pytest.raises(
            ClusterUnavailable, match=rf"certificate of {address} is not trusted: self.signed.*SSL_CERT_FI"
        ):
            JobApi(address, TOKEN).ray_version()
        assert dashboard.asked == [], "and nobody gets the token"
        monkeypatch.setenv(name, str(certificate))
        assert JobApi(address, TOKEN).ray_version() == "2.60.0"
        with proxy(port) as (url, _), pytest.raises(ClusterUnavailable, match="is not trusted: Hostname mismatch"):
            asked_through(monkeypatch, "https://another.test", url)


def test_a_file_without_certificates_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(
        BadConfig, match=r"REQUESTS_CA_BUNDLE names .*none\.pem, where no certificates can be read: No such"
    ):
        JobApi("https://head:8265")
    (tmp_path / "none.pem").write_text("text")
    with pytest.raises(BadConfig, match="where no certificates can be read"):
        JobApi("https://head:8265")
    JobApi("http://head:8265")


def test_https_and_http_are_told_apart(dashboard, certificate):
    port = dashboard.server.server_port
    with pytest.raises(ClusterUnavailable, match=rf"does not speak HTTPS .* name http://127\.0\.0\.1:{port},"):
        JobApi(f"https://127.0.0.1:{port}").ray_version()
    with (
        https_gate(port, certificate) as gate,
        pytest.raises(ClusterUnavailable, match="https:// where a proxy wants it"),
    ):
        JobApi(f"http://127.0.0.1:{gate}").ray_version()


# --- proxies ----------------------------------------------------------------------------------------------------------


def asked_through(monkeypatch: pytest.MonkeyPatch, address: str, url: str) -> str:
    monkeypatch.setenv(f"{address.partition(':')[0].upper()}_PROXY", url)
    return JobApi(address, TOKEN).ray_version()


def test_a_proxy_of_the_environment_leads_to_the_dashboard(dashboard, certificate, monkeypatch):
    port = dashboard.server.server_port
    with proxy(port) as (url, asked):
        assert asked_through(monkeypatch, f"http://{HOST}:8265", url) == "2.60.0"
    assert asked == [f"GET http://{HOST}:8265/api/version HTTP/1.1"]
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with https_gate(port, certificate) as gate, proxy(gate) as (url, asked):
        assert asked_through(monkeypatch, f"https://{HOST}:8265", url) == "2.60.0"
    assert asked == [f"CONNECT {HOST}:8265 HTTP/1.0"]


def test_no_proxy_is_asked_for_what_the_environment_excepts(dashboard, monkeypatch):
    with proxy(dashboard.server.server_port) as (url, asked):
        monkeypatch.setenv("NO_PROXY", f"other.test,{HOST}")
        with pytest.raises(ClusterUnavailable, match=rf"can be reached at http://{HOST}:8265: "):
            asked_through(monkeypatch, f"http://{HOST}:8265", url)
    assert asked == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_error_names_the_proxy_but_not_its_password(dashboard, monkeypatch, scheme):
    with proxy(dashboard.server.server_port, password="sesame") as (url, _):
        place = url.removeprefix("http://")
        with pytest.raises(ClusterUnavailable, match=rf"\(through the proxy {place}\).* 407") as refused:
            asked_through(monkeypatch, f"{scheme}://{HOST}:8265", f"http://ada:hunter2@{place}")
        assert "hunter2" not in str(refused.value)
        if scheme == "http":
            assert asked_through(monkeypatch, f"http://{HOST}:8265", f"http://ada:sesame@{place}") == "2.60.0"
    with pytest.raises(ClusterUnavailable, match=rf"\(through the proxy {place}\): Connection refused"):
        asked_through(monkeypatch, f"{scheme}://{HOST}:8265", f"http://ada:hunter2@{place}")


def test_what_a_server_or_a_proxy_does_not_take_is_refused_with_what_is_large(dashboard, tmp_path):
    from rayflow.errors import BadProject
    from rayflow.submission.job_requests import JobRequest, start
    from rayflow.submission.packages import project_package
    from rayflow.submission.project_files import files_of

    (tmp_path / "rayflow.toml").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "model.bin").write_bytes(b"1" * 5000)
    dashboard.most_bytes = 100
    request = JobRequest("0197a3c2-51f0-7000-8000-000000000000", ("run", "flow.py"), ".", "s3://bucket/results")
    with pytest.raises(BadProject, match=r"a proxy before it, takes .*\. The largest are data/model\.bin \(4\.9 KiB\)"):
        start(JobApi(dashboard.address, TOKEN), request, project_package(files_of(str(tmp_path))), None, lambda _: None)
    assert dashboard.jobs == {}
