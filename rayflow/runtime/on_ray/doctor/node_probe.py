"""What one node tells of itself. It travels by value, so that a node without rayflow can tell that, too.

In: a store, a beacon in it, names of modules. Out: plain data. Never: raises for what a node lacks.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import time
from collections.abc import Sequence
from typing import Any

SETTINGS = (
    "RAY_grpc_client_keepalive_time_ms", "RAY_grpc_client_keepalive_timeout_ms", "RAY_ENABLE_UV_RUN_RUNTIME_ENV",
)  # fmt: skip
"""Environment variables that all processes of a cluster should have alike."""


def probed(store: str | None, beacon: str | None, modules: Sequence[str]) -> dict[str, Any]:
    """What this node is, has and reaches: the fields of `NodeFacts`, without those that only the driver knows."""
    import ray
    from ray._private import worker  # private: where a session keeps its files

    node = worker._global_node
    session = node.get_session_dir_path() if node is not None else None
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "ray": ray.__version__,
        "settings": {name: os.environ.get(name) for name in SETTINGS},
        "has_uv": shutil.which("uv") is not None,
        "shm_bytes": _size_of("/dev/shm")[0],
        "disk": (session, *_size_of(session)) if session else None,
        "missing": tuple(name for name in modules if not _can_be_imported(name)),
    }
    try:
        from rayflow.version import VERSION

        found["rayflow"] = VERSION
    except Exception as error:  # missing, or broken in any way
        return {**found, "rayflow": None, "rayflow_error": f"{type(error).__name__}: {error}"}
    if store is not None and beacon is not None:
        try:
            from rayflow.store.trial import try_store

            found["trial"] = tuple(try_store(store, beacon))
        except Exception as error:  # any error is what the node tells
            found["store_error"] = " ".join(f"{error}".split()) or type(error).__name__
    return found


def now() -> float:
    """The clock of this node, in seconds since the epoch."""
    return time.time()


def _size_of(path: str) -> tuple[int, int]:
    """The whole size and the free bytes of the file system with a path; zeros where there is none."""
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return 0, 0
    return usage.total, usage.free


def _can_be_imported(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
