"""Asks a cluster what `findings` wants to know.

In: a configuration. Out: `ClusterFacts`. Never: judges. It makes the store, as a run would, if there is none.

Every node is asked by a small Ray task of its own. These tasks travel by value and need nothing but Ray, so that a node
without rayflow answers, too.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import ray
from ray import cloudpickle, exceptions

from rayflow.config import Config
from rayflow.errors import ClusterUnavailable, RayflowError, VersionMismatch
from rayflow.lang.options.runtime_environments import IMAGES, INSTALLERS
from rayflow.runtime.on_ray.connection import connecting, ray_settings
from rayflow.runtime.on_ray.doctor import node_probe
from rayflow.runtime.on_ray.doctor.findings import ClusterFacts, Finding, NodeFacts, findings_of
from rayflow.runtime.on_ray.doctor.imported_modules import modules_needed
from rayflow.runtime.on_ray.lowering import on_node
from rayflow.runtime.protocol.reports import Reporter
from rayflow.store.beacons import leave_beacon, remove_beacon
from rayflow.store.open import open_store
from rayflow.store.trial import StoreTrial
from rayflow.values.filesystems.filesystems import is_url
from rayflow.version import VERSION

NODE_SECONDS = 60.0
"""How long the nodes may take to answer, all together."""

CLOCK_TRIES = 3
"""How often a clock is asked: the answer that took least time counts."""


def examined(config: Config, reporter: Reporter) -> tuple[ClusterFacts, list[Finding]]:
    """What is known of the cluster that a run with this configuration would use, and what is wrong with it."""
    facts = facts_of(config, reporter)
    return facts, findings_of(facts)


def facts_of(config: Config, reporter: Reporter) -> ClusterFacts:
    """What is known of the cluster that a run with this configuration would use."""
    mine = ClusterFacts(
        address=config.address,
        store=config.store,
        python=platform.python_version(),
        ray=ray.__version__,
        rayflow=VERSION,
        is_url=is_url(config.store) and not config.store.startswith("file://"),
        settings={name: os.environ.get(name) for name in node_probe.SETTINGS},
        under_uv=os.environ.get("RAY_ENABLE_UV_RUN_RUNTIME_ENV") != "0" and is_under_uv(),
        modules=modules_needed(config.project_dir),
        installs=any(config.environment.get(key) for key in (*INSTALLERS, *IMAGES)),
    )
    try:
        # Not in the environment of all tasks, nor by uv: that may be what is wrong. The nodes are asked as they are.
        with ray_settings.without_uv():
            connecting.connect(replace(config, environment={}), reporter, ships_project=False)
    except (ClusterUnavailable, VersionMismatch) as error:
        return replace(mine, refused=" ".join(str(error).split()))
    has_token = ray_settings.token_in(os.environ) is not None
    with _beacon(config.store) as (beacon, store_error):
        nodes = _ask_all(config.store, beacon, mine.modules)
    return replace(mine, nodes=nodes, has_token=has_token, store_error=store_error)


@contextlib.contextmanager
def _beacon(url: str) -> Iterator[tuple[str | None, str | None]]:
    """A beacon in the store while this lasts; or why this process cannot leave one."""
    beacon, error = None, None
    if url == ":memory:":
        error = "it is in the memory of one process"
    else:
        try:
            open_store(url)
            beacon = leave_beacon(url, f"doctor-{os.urandom(8).hex()}")
        except RayflowError as failed:
            error = " ".join(str(failed).split())
    try:
        yield beacon, error
    finally:
        if beacon is not None:
            with contextlib.suppress(RayflowError):  # a compaction sweeps it later
                remove_beacon(url, beacon)


def _ask_all(store: str, beacon: str | None, modules: Sequence[str]) -> tuple[NodeFacts, ...]:
    """What each node alive tells, in the order of their names."""
    cloudpickle.register_pickle_by_value(node_probe)
    try:
        probe, clock = ray.remote(node_probe.probed), ray.remote(node_probe.now)
        nodes = [node for node in ray.nodes() if node["Alive"]]
        options = [{**on_node(node["NodeID"]), "name": "rayflow:doctor"} for node in nodes]
        refs = [probe.options(**each).remote(store, beacon, modules) for each in options]
        until = time.monotonic() + NODE_SECONDS
        found = [
            _facts_of_node(node, ref, partial(clock.options(**each).remote), until)
            for node, ref, each in zip(nodes, refs, options, strict=True)
        ]
    finally:
        cloudpickle.unregister_pickle_by_value(node_probe)
    return tuple(sorted(found, key=lambda node: node.name))


def _facts_of_node(node: Mapping[str, Any], ref: Any, ask_clock: Callable[[], Any], until: float) -> NodeFacts:
    """What one node tells. ask_clock: sends it a question for its clock."""
    name = f"node {node['NodeManagerAddress']}" + (f" ({host})" if (host := node.get("NodeManagerHostname")) else "")
    try:
        told: dict[str, Any] = ray.get(ref, timeout=max(0.1, until - time.monotonic()))
        ahead, within = _clock(ask_clock, until)
    except exceptions.GetTimeoutError:
        ray.cancel(ref, force=True)
        return NodeFacts(name, error=f"no answer within {NODE_SECONDS:g} s")
    except exceptions.RayError as error:
        return NodeFacts(name, error=" ".join(str(error).split())[:500])
    trial = told.pop("trial", None)
    return NodeFacts(
        name,
        trial=StoreTrial(*trial) if trial is not None else None,
        clock_ahead=ahead,
        clock_within=within,
        object_bytes=node["Resources"].get("object_store_memory", 0.0),
        **told,
    )


def _clock(ask: Callable[[], Any], until: float) -> tuple[float, float]:
    """How far ahead of this one a clock is, in seconds, and how exact that is."""
    found: list[tuple[float, float]] = []
    for _ in range(CLOCK_TRIES):
        sent, began = time.time(), time.perf_counter()
        there: float = ray.get(ask(), timeout=max(0.1, until - time.monotonic()))
        took = time.perf_counter() - began
        found.append((took / 2, there - (sent + took / 2)))
    within, ahead = min(found)
    return ahead, within


def is_under_uv(pid: int | None = None, processes: str = "/proc") -> bool:
    """Whether `uv run` has started this process, or one that has started it. False where the system does not tell."""
    pid = os.getppid() if pid is None else pid
    while pid > 1:
        try:
            with open(f"{processes}/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
            with open(f"{processes}/{pid}/stat") as file:
                above = int(file.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return False
        if os.path.basename(words[0]) == b"uv" and b"run" in words[1:]:
            return True
        pid = above
    return False
