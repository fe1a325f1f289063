"""`start_worker`: the service that keeps the runs, in this process.

In: options. Out: a handle that stops it. Never: a second one for the same store, in this process or another (the lease
sees to that).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

from rayflow import config as configuration
from rayflow.compat.redflow.client import store_url
from rayflow.compat.redflow.registry import get_default_registry
from rayflow.compat.redflow.schedules import put_schedules
from rayflow.compat.redflow.steps import SUBSCRIBERS
from rayflow.lang.options.options import merge_context
from rayflow.runtime.protocol.reports import Printing
from rayflow.service.service import Service
from rayflow.service.serving import BackgroundServer


@dataclass(slots=True)
class StartWorkerOptions:
    """How a worker is started.

    app: the name of this program, for those who ask who keeps the runs. url: the store; by default the project's.
    prefix: what the store's name ends with. inline: whether steps run in this process, one at a time; else on Ray.
    address: of a Ray cluster; by default one on this machine is started. inline and address are None for what the
    project's configuration says. host, port: where clients ask; 0 for any free port. standby_ms: how long to wait for
    another worker of the store to end.
    """

    app: str
    url: str | None = None
    prefix: str | None = None
    inline: bool | None = None
    address: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    standby_ms: int = 0


class WorkerHandle:
    """A worker that runs. url: where it listens."""

    def __init__(self, server: BackgroundServer) -> None:
        self._server = server
        self.url = server.url

    async def stop(self, *, grace_ms: int = 0) -> None:
        """End it, when the steps that run have ended or so many milliseconds are over. Every run stays where it is, and
        the next worker goes on with it."""
        await asyncio.to_thread(self._server.close, grace_ms / 1000)


async def start_worker(options: StartWorkerOptions) -> WorkerHandle:
    """Keep the runs of a store: of all workflows that this process has defined. Import their modules before.

    Raises ValueError for an empty app, LeaseHeld when another worker or `rayflow serve` keeps the store,
    StoreUnavailable, ClusterUnavailable, OSError when nothing can listen at the port.
    """
    if not options.app.strip():
        raise ValueError("start_worker requires a non-empty options.app")
    return WorkerHandle(await asyncio.to_thread(_start, options))


def _start(options: StartWorkerOptions) -> BackgroundServer:
    store = store_url(options.url, options.prefix)
    config = configuration.load(store=store, inline=options.inline, address=options.address)
    config = replace(config, context=merge_context(config.context, _subscribers()))
    service = Service(config, (), Printing(), holder=options.app.strip())
    service.hold(wait_seconds=options.standby_ms / 1000)
    try:
        service.open()
        put_schedules(service)
        return BackgroundServer(service, options.host, options.port)
    except BaseException:
        service.close()
        raise


def _subscribers() -> dict[str, Any]:
    """The flows that each event starts, for the steps that emit: on a cluster their workers know only some modules."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for definition in get_default_registry().list():
        for trigger in definition.options.event:
            found[trigger.name].append(definition.flow.fullname)
    first, second = SUBSCRIBERS.split(".")
    return {first: {second: {name: sorted(flows) for name, flows in found.items()}}}
