"""Who may speak with a Ray: each of ours has a token of its own, and clusters of others get the user's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ray._private import ray_constants

from rayflow.runtime.on_ray.connection import ray_settings
from rayflow.runtime.on_ray.connection.ray_settings import (
    KEEPALIVE,
    LOOPBACK,
    MODE,
    TOKEN,
    TOKEN_PATH,
    settled,
    token_in,
)

OURS = "rayflow-" + "0" * 64


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A process whose user has set nothing; its home directory."""
    for name in (MODE, TOKEN, TOKEN_PATH, LOOPBACK, *KEEPALIVE):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(ray_settings, "_before", None)
    # Not by Ray itself: this process may be connected to the tests' Ray, with their token.
    monkeypatch.setattr(ray_settings, "_read_again", lambda: SENT.append(token_in(os.environ)))
    return tmp_path


def give(home: Path, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the user set a token, in one of Ray's ways."""
    if given == "variable":
        monkeypatch.setenv(TOKEN, "mine")
    elif given in ("file", "path"):
        file = home / (".ray/auth_token" if given == "file" else "elsewhere")
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine\n")
        if given == "path":
            monkeypatch.setenv(TOKEN_PATH, str(file))


SENT: list[str | None] = []
"""The tokens that Ray would have sent, each time that it was told to read the environment again."""


def sent() -> str | None:
    """The token that Ray would send now."""
    return SENT[-1]


BY_RAY = """
import itertools, os, pathlib
from rayflow.runtime.on_ray.connection import ray_settings
from rayflow.runtime.on_ray.connection.ray_settings import MODE, TOKEN, TOKEN_PATH, token_in
import ray
from ray._raylet import AuthenticationMode, AuthenticationTokenLoader, get_authentication_mode

home = pathlib.Path(os.environ["HOME"])
(home / ".ray").mkdir()
(home / "path").write_text("by path")
asked = itertools.product((None, "token", "TOKEN", "disabled"), (None, "by variable"), (None, str(home / "path")), "01")
for mode, token, path, has_file in asked:
    (home / ".ray" / "auth_token").unlink(missing_ok=True)
    if has_file == "1":
        (home / ".ray" / "auth_token").write_text("by file")
    ray_settings._set({MODE: mode, TOKEN: token, TOKEN_PATH: path})
    ray_settings._read_again()
    is_on = get_authentication_mode() is AuthenticationMode.TOKEN
    loader = AuthenticationTokenLoader.instance()
    sent = loader.get_raw_token() if is_on and loader.has_token(ignore_auth_mode=True) else None
    assert sent == token_in(os.environ), (mode, token, path, has_file, sent)
print("same")
"""


def test_ray_itself_reads_the_environment_again_and_finds_the_same_token(clean: Path) -> None:
    done = subprocess.run([sys.executable, "-c", BY_RAY], capture_output=True, text=True, timeout=120)
    assert done.stdout == "same\n", done.stderr


GIVEN = pytest.mark.parametrize("given", ["nothing", "variable", "path", "file"])


@GIVEN
@pytest.mark.parametrize("mode", [None, "token", "TOKEN", "disabled"])
def test_a_ray_of_ours_asks_for_a_new_token_unless_the_user_has_switched_tokens_off(
    clean: Path, monkeypatch: pytest.MonkeyPatch, given: str, mode: str | None
) -> None:
    give(clean, given, monkeypatch)
    if mode:
        monkeypatch.setenv(MODE, mode)
    first, second = ray_settings.own_token(), ray_settings.own_token()
    if mode == "disabled":
        assert (first, second) == (None, None)
    else:
        assert first and second and first != second and len(first) > 64 and "mine" not in (first, second)
    told = ray_settings.for_own(first)
    assert ray_settings.token_in(told) == first
    assert told[LOOPBACK] == "0" and KEEPALIVE.items() <= told.items()


@GIVEN
@pytest.mark.parametrize("mode", [None, "token", "disabled"])
@pytest.mark.parametrize("around", ["nothing", "a Ray of ours", "a child of a Ray of ours"])
def test_a_cluster_of_others_gets_the_users_token_whatever_this_process_has_used_before(
    clean: Path, monkeypatch: pytest.MonkeyPatch, given: str, mode: str | None, around: str
) -> None:
    give(clean, given, monkeypatch)
    if mode:
        monkeypatch.setenv(MODE, mode)
    wanted = "mine" if given != "nothing" and mode != "disabled" else None
    if around == "a Ray of ours":
        with settled(ray_settings.for_own(OURS)):
            assert sent() == OURS
        assert sent() == OURS == os.environ[TOKEN]
    elif around == "a child of a Ray of ours":
        monkeypatch.setenv(MODE, "token")
        monkeypatch.setenv(TOKEN, OURS)
        wanted = "mine" if given in ("path", "file") else None
    told = ray_settings.for_others()
    assert ray_settings.token_in(told) == wanted
    assert not KEEPALIVE.keys() & told.keys() and LOOPBACK not in told
    if wanted or told[MODE] != "token":
        with settled(told):
            assert sent() == wanted


@pytest.mark.parametrize("token", [OURS, None])
def test_what_is_set_to_connect_is_as_before_afterwards_but_for_the_token_that_ray_goes_on_to_use(
    monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    before = dict(os.environ)
    told = ray_settings.for_own(token)
    with settled(told):
        assert sent() == token
        assert told.items() <= {**os.environ, TOKEN: os.environ.get(TOKEN)}.items()
        assert not ray_constants.ENABLE_RAY_CLUSTER
    kept = {MODE: "token", TOKEN: token} if token else {}
    assert dict(os.environ) == {**before, **kept}
    assert ray_constants.ENABLE_RAY_CLUSTER


@pytest.mark.parametrize("token", [OURS, None])
def test_a_connection_that_fails_leaves_nothing_of_ours(monkeypatch: pytest.MonkeyPatch, token: str | None) -> None:
    monkeypatch.setenv(MODE, "token")
    monkeypatch.setenv(TOKEN, "mine")
    before = dict(os.environ)
    with pytest.raises(OSError), settled(ray_settings.for_own(token)):
        raise OSError
    assert dict(os.environ) == before
    assert sent() == "mine"
    assert ray_constants.ENABLE_RAY_CLUSTER


def test_what_the_user_has_set_of_pings_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    name = next(iter(KEEPALIVE))
    monkeypatch.setenv(name, "77")
    assert ray_settings.for_own(None)[name] == "77"


BEFORE_RAY = """
import os, sys

class NoRay:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "ray":
            print(os.environ.get("RAY_ENABLE_UV_RUN_RUNTIME_ENV"))
            raise SystemExit

sys.meta_path.insert(0, NoRay())
import rayflow.runtime.on_ray.{module}
"""


@pytest.mark.parametrize("module", ["cluster", "connection.connecting"])
def test_what_ray_reads_when_it_is_imported_is_set_before(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", raising=False)
    program = BEFORE_RAY.format(module=module)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "0\n", done.stderr
