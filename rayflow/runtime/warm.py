"""A local Ray that stays up between runs: `rayflow up` and `rayflow down`.

In: nothing but the machine. Out: the address of the Ray that `up` has started, if it runs. Never: stops a Ray that it
has not started.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rayflow.errors import ClusterUnavailable

STARTUP_SECONDS = 60.0
"""How long Ray may take to come up."""


def _place() -> Path:
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(base) / f"rayflow-{os.getuid()}"


def _note() -> Path:
    return _place() / "up.json"


def _is_ours(place: Path) -> bool:
    """Whether nobody else can have written what is in a folder: where temporary files are, anybody can make one."""
    try:
        found = place.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


def _read() -> dict[str, object] | None:
    if not _is_ours(_place()):
        return None
    try:
        known: dict[str, object] = json.loads(_note().read_text())
    except (OSError, ValueError):
        return None
    return known if _is_alive(known.get("pid")) else None


def _is_alive(pid: object) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes() if Path("/proc").exists() else b"ray"
        os.kill(pid, 0)
    except (OSError, ProcessLookupError):
        return False
    return b"ray" in command


def address_of_running() -> str | None:
    """The address of the Ray that `up` has started and that still runs; None when there is none."""
    known = _read()
    return str(known["address"]) if known else None


def up(num_cpus: int | None = None) -> str:
    """Start a local Ray that stays. Returns its address; when it runs already, that one's.

    Raises ClusterUnavailable when it does not come up.
    """
    running = address_of_running()
    if running is not None:
        return running
    place = _place()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_ours(place):
        raise ClusterUnavailable(f"{place} belongs to somebody else, or others may write there: remove it.")
    port = _free_port()
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "disabled",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}",
        "--node-ip-address=127.0.0.1", "--include-dashboard=false", "--disable-usage-stats",
        f"--temp-dir={place / 'ray'}",
    ]  # fmt: skip
    if num_cpus is not None:
        command.append(f"--num-cpus={num_cpus}")
    log = place / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment,
            start_new_session=True, cwd=place,
        )  # fmt: skip
    address = f"127.0.0.1:{port}"
    end = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise ClusterUnavailable(f"Ray did not start; its last words are in {log}.")
        if b"Ray runtime started" in log.read_bytes():
            _note().write_text(json.dumps({"pid": process.pid, "address": address}))
            return address
        time.sleep(0.1)
    process.terminate()
    raise ClusterUnavailable(f"Ray did not come up within {STARTUP_SECONDS:g} s; its last words are in {log}.")


def down() -> bool:
    """Stop the Ray that `up` has started, and only that one. False when none runs."""
    known = _read()
    _note().unlink(missing_ok=True)
    if known is None:
        return False
    pid = int(str(known["pid"]))
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 20
    while _is_alive(pid) and time.monotonic() < end:
        time.sleep(0.1)
    if _is_alive(pid):
        os.killpg(pid, signal.SIGKILL)
    return True


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def prepare_token(address: str) -> None:
    """Make token and mode fit for joining a cluster: Ray wants both or neither, and only enables the mode by itself for
    clusters it starts. The Ray of `up` has none."""
    if "RAY_AUTH_MODE" in os.environ:
        return
    has_token = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    running = address_of_running()
    if running is not None and address in (running, "auto") and not has_token:
        os.environ["RAY_AUTH_MODE"] = "disabled"
    elif has_token or Path("~/.ray/auth_token").expanduser().exists():
        os.environ["RAY_AUTH_MODE"] = "token"
