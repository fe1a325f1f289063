"""The environment variables that Ray reads: its token, the address where it listens, how soon it notices a lost node.

In: the variables that the user has set. Out: the environment of the Rays that we start, and of the processes that join
them. Never: starts or joins a Ray.

Each Ray that we start serves one user on one machine: it asks for a token of its own, and it listens on loopback alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

Environment: TypeAlias = Mapping[str, str | None]
"""Variables and their texts; None: not set."""

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"

EVERYWHERE = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0"}
"""Variables for any Ray. Under `uv run` Ray would otherwise build an environment for every worker."""

KEEPALIVE = {"RAY_grpc_client_keepalive_time_ms": "10000", "RAY_grpc_client_keepalive_timeout_ms": "5000"}
"""With these, Ray notices after 15 s that a node cannot be reached; with its own settings, after seven minutes.

All processes of a cluster must have the same settings: a server refuses pings that come sooner than it expects. So they
are set only for the Rays that we start.
"""

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""With 0, Ray uses 127.0.0.1 as its node's address, as it does on macOS: then all its processes listen there alone.
When the address is given as 127.0.0.1, Ray replaces it by the machine's address in the network."""

_OWN = "rayflow-"
"""The beginning of the tokens that rayflow makes."""

_DEFAULT_PATH = "~/.ray/auth_token"
"""Where Ray itself keeps a token."""

_before: dict[str, str | None] | None = None
"""The user's mode and token, from before this process set a token of ours."""


def users() -> dict[str, str | None]:
    """Mode and token as the user has set them. A token of ours does not count: it was set here, or by the process or
    the worker that has started this process."""
    found = {name: os.environ.get(name) for name in (MODE, TOKEN)}
    if not (found[TOKEN] or "").startswith(_OWN):
        return found
    return dict(_before) if _before is not None else {MODE: None, TOKEN: None}


def own_token() -> str | None:
    """A new token for a Ray that we start; None where the user has switched tokens off by RAY_AUTH_MODE=disabled."""
    return None if (users()[MODE] or "").lower() == "disabled" else _OWN + os.urandom(32).hex()


def for_own(token: str | None) -> dict[str, str | None]:
    """The environment of a Ray that we start, and of all that join it. token: None where it asks for none."""
    kept = {name: os.environ.get(name) or text for name, text in {**EVERYWHERE, **KEEPALIVE}.items()}
    return {**kept, LOOPBACK: "0", MODE: "token" if token else "disabled", TOKEN: token}


def for_others() -> dict[str, str | None]:
    """The environment of a process that joins a cluster that others have started: with the user's token, if there is
    one. Without a mode, Ray sends the token only to clusters that it has found or started itself."""
    mine = users()
    if mine[MODE] is None and token_in(mine, any_mode=True) is not None:
        mine[MODE] = "token"
    return mine


def without_token(environment: Environment) -> dict[str, str | None]:
    """The same environment for a cluster that asks for no token."""
    return {**environment, MODE: "disabled", TOKEN: None}


def token_in(environment: Environment, *, any_mode: bool = False) -> str | None:
    """The token that Ray would send in such an environment; None when it would send none.

    any_mode: also where no mode is set.
    """
    if not any_mode and (environment.get(MODE) or "").lower() != "token":
        return None
    token = environment.get(TOKEN)
    if token:
        return token
    try:
        return Path(os.environ.get(TOKEN_PATH) or _DEFAULT_PATH).expanduser().read_text().strip() or None
    except OSError:
        return None


@contextmanager
def settled(environment: Environment) -> Iterator[None]:
    """While this lasts, Ray connects this process as the environment says.

    Where a token is sent, mode and token stay in the environment of this process, since Ray reads them again for the
    processes that it starts. All else is restored afterwards.
    """
    global _before
    from ray._private import ray_constants

    mine = users()
    before = {name: os.environ.get(name) for name in environment if name not in mine}
    could_be_many = ray_constants.ENABLE_RAY_CLUSTER
    _set(environment)
    # Private. Ray has read the environment when it was imported, perhaps long ago. By the same call it reads it again
    # when it switches tokens on for a cluster that it starts.
    ray_constants.ENABLE_RAY_CLUSTER = could_be_many and environment.get(LOOPBACK) != "0"
    _read_again()
    try:
        yield
    except BaseException:
        _set(mine)
        _read_again()
        raise
    else:
        if token_in(environment) is None:
            _set(mine)
        elif (environment.get(TOKEN) or "").startswith(_OWN):
            _before = mine
    finally:
        _set(before)
        ray_constants.ENABLE_RAY_CLUSTER = could_be_many


@contextmanager
def without_uv() -> Iterator[None]:
    """While this lasts, Ray connects this process as if `uv run` had not started it."""
    from ray._private import ray_constants

    before = ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV  # private: read from the environment when Ray is imported
    ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False
    try:
        yield
    finally:
        ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = before


def applied(base: Mapping[str, str], environment: Environment) -> dict[str, str]:
    """These variables over those of another environment."""
    return {name: text for name, text in {**base, **environment}.items() if text is not None}


def _set(environment: Environment) -> None:
    for name, text in environment.items():
        if text is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = text


def _read_again() -> None:
    from ray import _raylet

    core: Any = _raylet
    core.Config.initialize("")
    core.AuthenticationTokenLoader.instance().reset_cache()
