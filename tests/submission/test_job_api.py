"""The job API's client against servers that answer as clusters and others do; what jobs are made of."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from played_dashboard import TOKEN

from rayflow.cli.job_following import how_to_come_back
from rayflow.errors import BadArguments, BadConfig, ClusterUnavailable, NotFound, StoreUnavailable, VersionMismatch
from rayflow.store.beacons import sees_beacon
from rayflow.store.open import open_store
from rayflow.submission import bootstrap, job_requests
from rayflow.submission.job_api import JobApi, RayJob, base_of, job_of, users_headers, users_token
from rayflow.submission.job_requests import JobRequest, check_ray, start
from rayflow.submission.packages import project_package
from rayflow.submission.project_files import files_of
from rayflow.submission.shared_stores import check_reached, check_shared, leave_job_beacon, remove_job_beacon
from rayflow.submission.submitting import directory_in
from rayflow.version import VERSION

ID = "0197a3c2-51f0-7000-8000-000000000000"


@pytest.fixture
def gibberish() -> Iterator[str]:
    """The address of a server that does not speak HTTP, as a control service answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"\x00\x00\x18\x04\x00\x00\x00\x00\x00\x00\x04")

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


# --- addresses and tokens ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["http://head:8265", "http://head:8265/", "head:8265", " http://head:8265 "])
def test_a_dashboard_is_found_however_its_address_is_written(given):
    assert base_of(given) == "http://head:8265"


@pytest.mark.parametrize("given", ["head", "auto", "ray://head:10001", "http://", "head:port", "http://head:99999999"])
def test_what_is_no_address_of_a_dashboard_is_refused(given):
    with pytest.raises(BadConfig, match="write http://HEAD:8265"):
        base_of(given)


def test_a_proxy_may_stand_before_a_dashboard_and_wants_headers(monkeypatch):
    assert base_of("https://rays.example.org/cluster-1/") == "https://rays.example.org/cluster-1"
    monkeypatch.setenv("RAY_JOB_HEADERS", '{"X-User": "ada"}')
    assert users_headers() == {"X-User": "ada"}
    monkeypatch.setenv("RAY_JOB_HEADERS", "ada")
    with pytest.raises(BadConfig, match="RAY_JOB_HEADERS"):
        users_headers()


def test_headers_that_are_refused_are_not_repeated_since_they_may_hold_a_password(monkeypatch):
    for text in ('{"Authorization": "hunter2"', '["hunter2"]'):
        monkeypatch.setenv("RAY_JOB_HEADERS", text)
        with pytest.raises(BadConfig, match="RAY_JOB_HEADERS") as refused:
            users_headers()
        assert "hunter2" not in str(refused.value)


def test_the_token_is_the_one_that_ray_would_send(monkeypatch, tmp_path):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert users_token() is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("of home\n")
    assert users_token() == "of home"
    (tmp_path / "file").write_text("of the file\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "file"))
    assert users_token() == "of the file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of the variable")
    assert users_token() == "of the variable"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert users_token() is None


def test_a_wrong_token_and_none_at_all_are_told_apart(dashboard):
    assert JobApi(dashboard.address, TOKEN).ray_version() == "2.60.0"
    with pytest.raises(ClusterUnavailable, match="wants another token"):
        JobApi(dashboard.address, "wrong").ray_version()
    with pytest.raises(ClusterUnavailable, match=r"wants a token, and none was sent .*RAY_AUTH_TOKEN"):
        JobApi(dashboard.address).ray_version()


def test_a_port_where_nobody_or_somebody_else_listens_is_told(gibberish, dashboard):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(ClusterUnavailable, match=r"No dashboard .* Connection refused\. .*ssh -L 8265"):
            JobApi(f"127.0.0.1:{free.getsockname()[1]}").ray_version()
    with pytest.raises(ClusterUnavailable, match=r"does not speak HTTP .*control service \(GCS, 6379\)"):
        JobApi(gibberish).ray_version()
    with pytest.raises(ClusterUnavailable, match="not the dashboard of a Ray cluster"):
        JobApi(f"{dashboard.address}/elsewhere", TOKEN).ray_version()


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_and_the_token_stays(code):
    reached: list[str | None] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            if self.server.server_port == first.server_port:
                self.send_response(code)
                self.send_header("Location", f"http://localhost:{second.server_port}/login?next=secret")
                self.end_headers()
                return
            reached.append(self.headers.get("Authorization"))
            self.send_response(200)
            self.end_headers()

        do_POST = do_GET

    first, second = (HTTPServer(("127.0.0.1", 0), Elsewhere) for _ in range(2))
    with first, second:
        for each in (first, second):
            threading.Thread(target=each.serve_forever, args=(0.02,), daemon=True).start()
        api = JobApi(f"http://127.0.0.1:{first.server_port}", TOKEN)
        job = RayJob("rayflow-x", "RUNNING", node_id="n")
        starts = partial(api.submit, job.submission_id, "true", {}, {})
        for ask in (api.ray_version, api.jobs, lambda: list(api.follow_log(job)), starts):
            leads = f"on to http://localhost:{second.server_port}/login,"
            with pytest.raises(ClusterUnavailable, match=leads) as refused:
                ask()
            assert "secret" not in str(refused.value)
        first.shutdown()
        second.shutdown()
    assert reached == []


@pytest.mark.parametrize(
    ("address", "is_direct"),
    [
        ("http://127.0.0.1:8265", True), ("http://127.8.0.1:8265", True), ("http://[::1]:8265", True),
        ("http://localhost:8265", True), ("http://head:8265", False), ("http://10.0.0.5:8265", False),
    ],
)  # fmt: skip
def test_no_proxy_stands_between_a_tunnel_and_its_user(monkeypatch, address, is_direct):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        proxy = f"127.0.0.1:{nobody.getsockname()[1]}"
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", f"http://{proxy}")
        met: list[str] = []

        def connect(place: tuple[str, int], *_: Any, **__: Any) -> Any:
            met.append(f"{place[0]}:{place[1]}")
            raise ConnectionRefusedError

        monkeypatch.setattr(socket, "create_connection", connect)
        with pytest.raises(ClusterUnavailable):
            JobApi(address).ray_version()
    assert (met != [proxy]) == is_direct and len(met) == 1


# --- starting ---------------------------------------------------------------------------------------------------------


def request(*words: str, **more: Any) -> JobRequest:
    return JobRequest(ID, ("run", "flow.py", *words), ".", "s3://bucket/results", **more)


def test_a_project_is_sent_once_and_a_request_starts_once(dashboard, tmp_path):
    (tmp_path / "flow.py").write_text("x = 1\n")
    package = project_package(files_of(str(tmp_path)))
    api = JobApi(dashboard.address, TOKEN)
    said: list[str] = []
    job, is_new = start(api, request("--n", "3"), package, None, said.append)
    assert (job.submission_id, is_new) == (f"rayflow-{ID}", True)
    job, is_new = start(api, request("--n", "3"), package, None, said.append)
    assert not is_new
    about_packages = [line.partition(" /api/packages")[0] for line in dashboard.asked if "packages" in line]
    assert about_packages == ["GET", "PUT", "GET"]
    assert [text.startswith("sending") for text in said] == [True, False]
    assert len(dashboard.jobs) == 1
    with pytest.raises(BadArguments, match="was submitted before, with other arguments or other code"):
        start(api, request("--n", "4"), package, None, said.append)
    told = dashboard.jobs[f"rayflow-{ID}"]
    assert told["runtime_env"] == {"working_dir": package.uri}
    assert told["metadata"]["rayflow_execution"] == ID


def test_a_request_that_was_not_answered_can_be_repeated(dashboard, tmp_path):
    (tmp_path / "flow.py").write_text("x = 1\n")
    package = project_package(files_of(str(tmp_path)))
    api = JobApi(dashboard.address, TOKEN)
    dashboard.is_mute = True
    said = rf"broken off the connection .*not known whether .* --execution-id {ID} starts it once"
    with pytest.raises(ClusterUnavailable, match=said):
        start(api, request(), package, None, lambda _: None)
    dashboard.is_mute = False
    job, is_new = start(api, request(), package, None, lambda _: None)
    assert not is_new and job.state == "PENDING"
    assert len(dashboard.jobs) == 1


def test_a_job_is_found_by_the_beginning_of_its_execution(dashboard):
    api = JobApi(dashboard.address, TOKEN)
    for name in ("rayflow-aa1", "rayflow-aa2", "another", "rayflow-b"):
        api.submit(name, "true", {}, {})
    assert job_of(api, "b").submission_id == job_of(api, "-").submission_id == "rayflow-b"
    assert job_of(api, "rayflow-aa2").submission_id == "rayflow-aa2"
    with pytest.raises(NotFound, match="several executions"):
        job_of(api, "aa")
    with pytest.raises(NotFound, match="no job of an execution another"):
        job_of(api, "another")


def test_the_latest_job_of_an_execution_is_found_by_the_id_of_the_execution(dashboard):
    api = JobApi(dashboard.address, TOKEN)
    for name in (f"rayflow-{ID}", f"rayflow-{ID}-2", f"rayflow-{ID}-3"):
        api.submit(name, "true", {}, {"rayflow_execution": ID})
    for text in (ID, ID[:13], "-", f"rayflow-{ID[:13]}"):
        found = job_of(api, text)
        assert (found.submission_id, found.execution_id) == (f"rayflow-{ID}-3", ID)
    assert job_of(api, f"rayflow-{ID}-2").submission_id == f"rayflow-{ID}-2"  # as Ray lists it
    assert how_to_come_back(found, None) == f"Come back with: rayflow attach {ID[:18]}"


def test_arguments_that_no_command_can_hold_are_refused():
    with pytest.raises(BadArguments, match="put what is long into a file"):
        request("--text", "x" * 200_000).entrypoint(is_shipped=False)


def test_words_reach_the_job_as_they_are_whatever_a_shell_makes_of_them():
    words = ("--text", "it's $HOME; `rm` \"x\" é\n*", "--", "")
    text = request(*words).entrypoint(is_shipped=False)
    told = shlex.split(text.partition(" -I ")[2])
    assert told[0] == bootstrap.FILE and told[2:] == ["run", "flow.py", *words]
    assert bootstrap.unpacked(told[1])["store"] == "s3://bucket/results"


def test_the_ray_of_a_cluster_may_be_newer_but_not_too_old(monkeypatch):
    assert check_ray(job_requests.metadata.version("ray")) is None
    assert "the cluster runs Ray 3.1.0, and this machine has" in (check_ray("3.1.0") or "")
    with pytest.raises(VersionMismatch, match=r"The cluster runs Ray 2\.9\.3, and rayflow needs 2\.60 or newer"):
        check_ray("2.9.3")


def test_a_directory_is_where_it_was_in_the_project(tmp_path):
    (tmp_path / "p" / "flows").mkdir(parents=True)
    assert directory_in(str(tmp_path / "p"), str(tmp_path / "p" / "flows")) == "flows"
    assert directory_in(str(tmp_path / "p"), str(tmp_path / "p")) == "."
    assert directory_in(str(tmp_path / "p"), str(tmp_path)) == "."


# --- what a cluster lacks ---------------------------------------------------------------------------------------------

FACTS = {"executable": "/opt/python", "python": "3.11.7", "rayflow": VERSION, "lacking": []}
WANTED = {"rayflow": VERSION, "python": "3.11.2", "is_shipped": False}


@pytest.mark.parametrize(
    ("facts", "wanted", "said"),
    [
        ({}, {}, None),
        ({"rayflow": None}, {}, "has no rayflow: install rayflow-evaluator=="),
        ({"rayflow": "0.0.9"}, {}, f"has rayflow 0.0.9, but version {VERSION} has submitted: install"),
        ({"python": "3.10.4"}, {}, "is version 3.10.4, and rayflow needs 3.11"),
        ({"lacking": ["duckdb>=2.0"]}, {"is_shipped": True}, "pip install 'duckdb>=2.0'"),
    ],
)
def test_what_keeps_a_job_from_running_is_said_with_what_to_do(facts, wanted, said):
    problem = bootstrap.complaint({**FACTS, **facts}, {**WANTED, **wanted})
    assert (problem is None) == (said is None)
    assert said is None or said in problem


def test_another_python_is_remarked_and_no_obstacle():
    other = {**FACTS, "python": "3.12.1"}
    assert bootstrap.complaint(other, WANTED) is None
    assert "the cluster runs Python 3.12, and the submitting machine 3.11" in (bootstrap.remark(other, WANTED) or "")
    assert bootstrap.remark(FACTS, WANTED) is None


@pytest.mark.slow
def test_the_facts_of_an_interpreter_leave_out_what_the_project_would_hide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ray.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    facts = bootstrap.facts_of(sys.executable, ["duckdb>=2.0", "no-such-thing>=1"])
    assert facts is not None
    assert (facts["rayflow"], facts["lacking"]) == (VERSION, ["no-such-thing>=1"])
    assert str(facts["ray_file"]).endswith("ray/__init__.py")
    assert bootstrap.facts_of("/bin/false", []) is None


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="the interpreter of a process is found by /proc")
def test_the_interpreter_of_a_process_is_the_one_whose_ray_it_has_loaded(monkeypatch):
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    program = "import ray._raylet, sys; print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, env={"PATH": "/nowhere"}) as process:
        assert process.stdout is not None and process.stdin is not None
        process.stdout.readline()
        found = bootstrap.interpreter_of(process.pid, [])
        process.stdin.close()
    assert found is not None
    assert os.path.samefile(found["executable"], sys.executable)
    assert found["ray"] == job_requests.metadata.version("ray")


# --- stores -----------------------------------------------------------------------------------------------------------


def test_a_store_in_the_project_or_in_memory_is_refused(tmp_path):
    for store in (str(tmp_path / "proj" / ".rayflow"), f"file://{tmp_path}/proj/results", ":memory:"):
        with pytest.raises(BadConfig, match="Name one that both reach"):
            check_shared(store, str(tmp_path / "proj"))
    for store in ("s3://bucket/results", str(tmp_path / "results"), f"file://{tmp_path}/results"):
        check_shared(store, str(tmp_path / "proj"))


def test_a_job_recognizes_the_folder_that_the_submitting_machine_means(tmp_path):
    store = str(tmp_path / "results")
    beacon = leave_job_beacon(store, ID)
    assert beacon is not None
    assert leave_job_beacon(store, ID) == beacon  # the same request, made again
    check_reached(store, beacon)
    with pytest.raises(StoreUnavailable, match="it is another folder"):
        check_reached(store, "tmp/submitted-other")
    with pytest.raises(StoreUnavailable, match="it does not exist"):
        check_reached(str(tmp_path / "other"), beacon)
    remove_job_beacon(store, beacon)
    with pytest.raises(StoreUnavailable):
        check_reached(store, beacon)


def test_a_job_that_waits_for_days_still_finds_its_beacon(tmp_path):
    store = str(tmp_path / "results")
    beacon = leave_job_beacon(store, ID)
    assert beacon is not None
    for days, is_left in ((29, True), (31, False)):
        written = time.time() - days * 86_400
        os.utime(os.path.join(store, beacon), (written, written))
        opened = open_store(store)
        assert opened.check() == []
        opened.compact()
        assert sees_beacon(store, beacon) == is_left


def test_a_folder_that_only_the_cluster_has_is_used_and_nothing_is_made_here(tmp_path):
    store = str(tmp_path / "mnt" / "results")
    assert leave_job_beacon(store, ID) is None
    assert not (tmp_path / "mnt").exists()
    with pytest.raises(StoreUnavailable, match=f"there is no {tmp_path / 'mnt'}"):
        check_reached(store, None)
    (tmp_path / "mnt").mkdir()
    check_reached(store, None)
    assert os.path.exists(store)


def test_a_url_has_no_beacon():
    assert leave_job_beacon("s3://bucket/results", ID) is None
