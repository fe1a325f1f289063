"""Whether the store of an execution is one that a cluster and the submitting machine share.

In: the store that a configuration names. Out: nothing, or what to configure. Never: records anything.

A URL is the same store everywhere. A path may be a folder of one machine, or a shared one. So the submitting machine
writes a small file into it, the beacon, and the job looks for it before it runs.
"""

from __future__ import annotations

import contextlib
import os
import socket

from rayflow.errors import BadConfig, NotFound, StoreUnavailable
from rayflow.store.beacons import leave_beacon, remove_beacon, sees_beacon
from rayflow.store.open import open_store
from rayflow.values.filesystems.filesystems import is_url

_ADVICE = (
    'Name one that both reach, `store = "s3://bucket/results"` in rayflow.toml, RAYFLOW_STORE or --store: a URL, or a '
    "folder that all machines share."
)


def path_of(store: str) -> str | None:
    """The path of a store; None for a URL."""
    text = store.removeprefix("file://")
    return None if is_url(text) else text


def check_shared(store: str, project_dir: str) -> None:
    """Raise BadConfig for a store that a cluster certainly cannot reach."""
    if store == ":memory:":
        raise BadConfig(f"The store :memory: ends with its process, and so cannot be used by a job. {_ADVICE}")
    path = path_of(store)
    if path is None:
        return
    within = os.path.relpath(os.path.realpath(path), os.path.realpath(project_dir))
    if within.split(os.sep)[0] != "..":
        raise BadConfig(f"The store is {path}, in the project on this machine, where no cluster reaches it. {_ADVICE}")


def leave_job_beacon(store: str, execution_id: str) -> str | None:
    """Write the beacon into a store that is a folder here, and make the store if there is none. Returns its path
    in the store; None for a URL, and for a path whose parent is not on this machine. Raises StoreUnavailable."""
    path = path_of(store)
    if path is None or not os.path.isdir(os.path.dirname(path)):
        return None
    open_store(path)
    return leave_beacon(path, f"submitted-{execution_id}")


def remove_job_beacon(store: str, beacon: str | None) -> None:
    """Remove the beacon, when nobody will look for it."""
    path = path_of(store)
    if path is not None and beacon is not None:
        with contextlib.suppress(StoreUnavailable):  # it does no harm, and a compaction sweeps it later
            remove_beacon(path, beacon)


def check_reached(store: str, beacon: str | None) -> None:
    """In a job: raise StoreUnavailable unless this machine reaches the store that the submitting machine means."""
    path = path_of(store)
    here = f"{socket.gethostname()}, a machine of the cluster"
    if path is not None and beacon is not None:
        if not sees_beacon(path, beacon):
            what = "is another folder" if os.path.isdir(path) else "does not exist"
            raise StoreUnavailable(
                f"The store {path} is a folder of the machine that has submitted; on {here}, it {what}. {_ADVICE}"
            )
        return
    if path is not None and not os.path.isdir(os.path.dirname(path)):
        raise StoreUnavailable(f"The store {path} is not on {here}: there is no {os.path.dirname(path)}. {_ADVICE}")
    try:
        open_store(store)
    except NotFound as error:
        raise StoreUnavailable(f"The store {store} cannot be reached from {here}: {error}") from None
