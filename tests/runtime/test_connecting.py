"""Which Ray a run gets, and what this process tells it: its own, that of `rayflow up`, or a cluster that is named."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rayflow.config import Config
from rayflow.errors import ClusterLost, ClusterUnavailable
from rayflow.runtime.on_ray.cluster import RayCluster, RaySubmission
from rayflow.runtime.on_ray.connection import connecting, local_ray, ray_output, ray_settings
from rayflow.runtime.on_ray.connection.cluster_watch import Watch
from rayflow.runtime.on_ray.connection.ray_settings import KEEPALIVE, LOOPBACK, MODE, TOKEN
from rayflow.runtime.protocol.reports import Silent
from rayflow.values.process import waits

HERE = local_ray.LocalRay("/projects/here", "127.0.0.1:1111", 1, "rayflow-here")
OTHER = local_ray.LocalRay("/projects/other", "127.0.0.1:2222", 2, "rayflow-other")
OPEN = local_ray.LocalRay("/projects/open", "127.0.0.1:3333", 3, None)
SEEN = (MODE, TOKEN, LOOPBACK, *KEEPALIVE)


class Watcher(Silent):
    """A reporter that remembers what is begun, and warnings."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.warnings: list[str] = []
        self.warned_once = threading.Event()

    def connecting(self, what: str) -> None:
        self.begun.append(what)

    def warned(self, text: str) -> None:
        self.warnings.append(text)
        self.warned_once.set()


class FakeRay:
    """Is connected as soon as it is asked, and notes by what address, and what stood in the environment."""

    def __init__(self) -> None:
        self.joined: list[tuple[str, dict[str, str | None]]] = []
        self.before_init: Any = lambda: None
        self.asked: list[tuple[str, str | None]] = []
        self.is_connected = False
        self.shutdowns = 0
        self.wants_token = True

    def is_initialized(self) -> bool:
        return self.is_connected

    def shutdown(self) -> None:
        self.is_connected = False
        self.shutdowns += 1

    def init(self, *, address: str, **_: Any) -> None:
        self.before_init()
        self.joined.append((address, {name: os.environ.get(name) for name in SEEN}))

    def reached(self, *asked: Any) -> bool:
        self.asked.append(asked)
        return self.wants_token

    def found(self, address: str, folder: None) -> str:
        return OTHER.address


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRay]:
    """A fake of Ray; three Rays of `rayflow up` run; the user has a token for clusters, in a variable."""
    fake = FakeRay()
    monkeypatch.setattr(connecting, "ray", fake)
    monkeypatch.setattr(connecting.services, "get_ray_address_from_environment", fake.found)
    monkeypatch.setattr(connecting, "_reach", fake.reached)
    monkeypatch.setattr(connecting, "_has_other_machines", lambda: False)
    monkeypatch.setattr(connecting.atexit, "register", lambda _: None)
    monkeypatch.setattr(ray_output, "listen", lambda: None)
    monkeypatch.setattr(local_ray, "all_running", lambda: [HERE, OTHER, OPEN])
    monkeypatch.setattr(local_ray, "running", {each.project: each for each in (HERE, OTHER, OPEN)}.get)
    monkeypatch.setattr(ray_settings, "_before", None)
    monkeypatch.setattr(ray_settings, "_read_again", lambda: None)  # this process may be connected to the tests' Ray
    for name in SEEN:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv(TOKEN, "mine")
    yield fake
    os.environ.pop(MODE, None)
    os.environ.pop(TOKEN, None)


def connected(ray: FakeRay, project: str, address: str | None) -> tuple[str, dict[str, str | None], str]:
    """Connect; where to, what the environment said, and what was told."""
    watcher = Watcher()
    connecting.connect(Config(project, f"{project}/.rayflow", address=address), watcher)
    ((joined, environment),) = ray.joined
    ray.joined.clear()
    return joined, environment, watcher.begun[0]


OURS = {LOOPBACK: "0", **KEEPALIVE, MODE: "token"}


@pytest.mark.parametrize(
    ("project", "address", "joined"),
    [("/projects/here", None, HERE), ("/projects/here", "auto", HERE), ("/projects/open", None, OPEN),
     ("/projects/here", OTHER.address, OTHER), ("/projects/new", OTHER.address, OTHER),
     ("/projects/new", "localhost:2222", OTHER), ("/projects/new", "auto", OTHER)],
)  # fmt: skip
def test_a_run_joins_the_ray_of_its_own_project_or_one_that_it_names_with_its_token(
    ray: FakeRay, project: str, address: str | None, joined: local_ray.LocalRay
) -> None:
    where, environment, told = connected(ray, project, address)
    assert where == joined.address
    assert told == f"joining the Ray of `rayflow up` at {joined.address}"
    mode = "token" if joined.token else "disabled"
    assert environment == {**OURS, MODE: mode, TOKEN: joined.token}
    assert ray.asked == [(joined.address, joined.token)]


@pytest.mark.parametrize(("project", "address"), [("/projects/new", None), ("/projects/here", "local")])
def test_any_other_run_starts_a_ray_of_its_own_with_a_token_of_its_own(
    ray: FakeRay, project: str, address: str | None
) -> None:
    tokens = set()
    for _ in range(2):
        where, environment, told = connected(ray, project, address)
        assert (where, told) == ("local", "starting Ray on this machine")
        tokens.add(environment.pop(TOKEN))
        assert environment == OURS
    assert len(tokens) == 2 and not tokens & {None, "mine", HERE.token, OTHER.token}


def test_a_run_whose_user_has_switched_tokens_off_says_so(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODE, "disabled")
    _, environment, told = connected(ray, "/projects/new", None)
    assert environment == {**OURS, MODE: "disabled", TOKEN: None}
    assert told == "starting Ray on this machine, where every user can run code in it (RAY_AUTH_MODE=disabled)"
    assert (os.environ[MODE], os.environ[TOKEN]) == ("disabled", "mine")


def test_a_process_that_ends_leaves_the_ray_of_its_runs_once_and_never_the_users_own(ray: FakeRay) -> None:
    connecting.disconnect()
    ray.is_connected = True  # by the user
    connecting.connect(Config("/projects/here", "/projects/here/.rayflow"), Watcher())
    connecting.disconnect()
    assert (ray.joined, ray.shutdowns) == ([], 0)
    ray.is_connected = False
    connected(ray, "/projects/here", None)
    ray.is_connected = True  # by the run
    connecting.disconnect()
    connecting.disconnect()
    assert ray.shutdowns == 1


def test_a_cluster_of_somebody_else_gets_the_users_token_and_none_of_our_settings(ray: FakeRay) -> None:
    connected(ray, "/projects/here", None)
    where, environment, told = connected(ray, "/projects/here", "10.0.0.5:6379")
    assert (where, told) == ("10.0.0.5:6379", "joining the Ray cluster at 10.0.0.5:6379")
    assert environment == {**dict.fromkeys(SEEN), MODE: "token", TOKEN: "mine"}
    assert ray.asked[-1] == ("10.0.0.5:6379", "mine")


def test_a_cluster_that_asks_for_no_token_gets_none_and_the_users_settings_stay(
    ray: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.wants_token = False
    for mode in (None, "token"):
        if mode is not None:
            monkeypatch.setenv(MODE, mode)
        _, environment, _ = connected(ray, "/projects/here", "10.0.0.5:6379")
        assert environment == {**dict.fromkeys(SEEN), MODE: "disabled"}
        assert (os.environ.get(MODE), os.environ[TOKEN]) == (mode, "mine")


@pytest.mark.parametrize(
    ("address", "what"),
    [(None, "Ray to start on this machine"), ("10.0.0.5:6379", "the Ray cluster at 10.0.0.5:6379 to let us in")],
)
def test_what_takes_long_to_start_or_to_join_is_told(
    ray: FakeRay, monkeypatch: pytest.MonkeyPatch, address: str | None, what: str
) -> None:
    monkeypatch.setattr(waits, "SLOW_SECONDS", 0.02)
    monkeypatch.setattr(waits, "_reported_at", {})
    watcher = Watcher()
    waits.listen(watcher.warned)
    ray.before_init = lambda: watcher.warned_once.wait(20)
    connecting.connect(Config("/projects/new", "/projects/new/.rayflow", address=address), watcher)
    waits.stop_listening(watcher.warned)
    (warning,) = watcher.warnings
    assert warning.startswith("Still waiting after ") and warning.endswith(f" s for {what}.")


@pytest.mark.parametrize("runtime_env", [{}, {"pip": ["lxml"]}])
def test_a_scheduler_that_does_not_answer_is_told_and_an_environment_that_it_cannot_have_is_an_error(
    monkeypatch: pytest.MonkeyPatch, runtime_env: dict[str, Any]
) -> None:
    from ray import exceptions

    from rayflow.runtime.on_ray import cluster

    monkeypatch.setattr(waits, "SLOW_SECONDS", 0.02)
    monkeypatch.setattr(waits, "_reported_at", {})
    watcher = Watcher()
    waits.listen(watcher.warned)

    def get(ref: object, timeout: float) -> object:
        watcher.warned_once.wait(20)
        raise exceptions.RuntimeEnvSetupError("Failed\nERROR: no such package lxml")

    monkeypatch.setattr(cluster.ray, "get", get)
    monkeypatch.setattr(cluster.ray, "wait", lambda refs, timeout: (refs, []))
    mine = RayCluster(Config("/p", "s3://bucket/results", environment=runtime_env), watcher)
    mine._actor = object()
    watch = Watch({})
    monkeypatch.setattr(connecting, "is_connected", lambda: True)
    monkeypatch.setattr(connecting, "watch", lambda before: watch)
    submission = RaySubmission.__new__(RaySubmission)
    submission._cluster, submission._deaths, submission._error = mine, 0, None
    with pytest.raises(ClusterUnavailable, match=r"no such package lxml. It comes from \[environment\]"):
        submission._again(lambda actor: None)
    watch.stop()
    waits.stop_listening(watcher.warned)
    (warning,) = watcher.warnings
    assert "s3://bucket/results" in warning and (str(runtime_env) in warning) == bool(runtime_env)


class Hung:
    """A Ray whose control service does not answer any more."""

    def __init__(self) -> None:
        self.left = threading.Event()
        self.asked = 0
        self.gcs_address = "127.0.0.1:7"

    def get_runtime_context(self) -> Hung:
        return self

    def get_node_id(self) -> str:
        return "ab"

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, Any]]:
        self.asked += 1
        self.left.wait(60)
        return []

    def shutdown(self) -> None:
        self.left.set()


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hung]:
    fake = Hung()
    monkeypatch.setattr(connecting, "ray", fake)
    monkeypatch.setattr(connecting, "_leaving", [])
    monkeypatch.setattr(connecting, "NODES_SECONDS", 0.05)
    monkeypatch.setattr(connecting.atexit, "register", lambda _: None)
    yield fake
    fake.left.set()


def test_a_cluster_whose_watch_says_that_it_is_lost_is_not_asked_again_but_reported_and_left(hung: Hung) -> None:
    mine = RayCluster(Config("/p", "/p/.rayflow", address="10.0.0.5:6379"), Silent())
    mine._watch = lost = Watch({"its control service": ("127.0.0.1", 7)})
    lost.stop()
    lost.lost = "its control service has not answered for 10 s"
    mine._actor = object()
    submission = RaySubmission.__new__(RaySubmission)
    submission._cluster, submission._deaths, submission._error = mine, 0, None
    submission._driver, submission.execution_id = SimpleNamespace(config=mine._config), "an-id"  # type: ignore[assignment]
    with pytest.raises(ClusterLost, match=r"at 10.0.0.5:6379 is lost: its control service .* rayflow resume an-id"):
        submission._again(lambda actor: None)
    assert hung.asked == 0 and hung.left.wait(20) and mine._watch is None


def test_a_cluster_that_does_not_tell_its_nodes_is_lost_and_left(hung: Hung) -> None:
    with pytest.raises(ClusterLost, match=r"did not list its nodes within 0\.05 s"):
        connecting.watch(None)
    assert hung.asked == 1 and hung.left.wait(20)


@pytest.mark.parametrize(
    ("runtime_env", "seconds"),
    [({}, 420), ({"env_vars": {"A": "1"}}, 420), ({"pip": ["lxml"]}, 1020),
     ({"pip": ["lxml"], "config": {"setup_timeout_seconds": 1800}}, 2220),
     ({"pip": ["lxml"], "config": {"setup_timeout_seconds": -1}}, None)],
)  # fmt: skip
def test_a_scheduler_has_time_to_begin_and_is_replaced_only_when_it_has_begun_and_hangs(
    monkeypatch: pytest.MonkeyPatch, runtime_env: dict[str, Any], seconds: float | None
) -> None:
    from ray import exceptions

    from rayflow.runtime.on_ray import cluster

    actors = [object() for _ in range(5)]
    killed: list[object] = []
    hangs: set[object] = set()
    limits: list[float | None] = []

    def get(ref: object, timeout: float | None) -> object:
        limits.append(timeout)
        if ref in hangs:
            raise exceptions.GetTimeoutError("Get timed out")
        return ref

    monkeypatch.setattr(cluster.ray, "get", get)
    monkeypatch.setattr(cluster.ray, "wait", lambda refs, timeout: (refs, []))
    monkeypatch.setattr(cluster.ray, "kill", killed.append)
    monkeypatch.setattr(cluster, "PAUSE_SECONDS", 0.0)
    mine = RayCluster(Config("/p", "s3://bucket/results", environment=runtime_env), Silent())
    watch = Watch({})
    watch.stop()
    monkeypatch.setattr(connecting, "is_connected", lambda: True)
    monkeypatch.setattr(connecting, "watch", lambda before: watch)
    monkeypatch.setattr(mine, "_started", iter(actors).__next__)
    submission = RaySubmission.__new__(RaySubmission)
    submission._cluster, submission._deaths, submission._error = mine, 0, None
    submit = partial(submission._again, lambda actor: actor, lambda: None)
    wait = partial(submission._again, lambda actor: actor)
    assert [wait(), submit(), wait(), submit()] == [actors[0]] * 4
    assert limits == [seconds, seconds, 300, 300], "what it has answered before it has opened the store is no sign"
    hangs.add(actors[0])
    assert wait() is actors[1] and killed == [actors[0]] and limits[4:] == [300, seconds]
    if seconds is None:
        return
    hangs.add(actors[1])
    told = rf"No answer came within {seconds:g} s from the scheduler: it starts on the cluster.*s3://bucket/results"
    with pytest.raises(ClusterUnavailable, match=told) as caught:
        submit()
    named = str({**runtime_env, "env_vars": ["A"]} if "env_vars" in runtime_env else runtime_env)  # without the values
    assert killed == actors[:2] and (named in str(caught.value)) == bool(runtime_env)
    assert submit() is actors[2], "a later run begins anew"


def test_auto_without_any_ray_says_what_to_do(ray: FakeRay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def found(address: str, folder: None) -> str:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(connecting.services, "get_ray_address_from_environment", found)
    with pytest.raises(ClusterUnavailable, match="--address auto finds no Ray on this machine"):
        connecting.connect(Config(str(tmp_path), ":memory:", address="auto"), Silent())
