"""The client of a service, with redflow's names.

In: names of workflows, JSON inputs, ids. Out: handles of runs; plain data about runs and events. Never: runs a handler.
"""

from __future__ import annotations

import asyncio
import builtins
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from rayflow import config as configuration
from rayflow.client.addresses import address_of
from rayflow.client.async_client import AsyncClient, AsyncRun
from rayflow.compat.redflow import run_views as views
from rayflow.compat.redflow.durations import moment_in_zone
from rayflow.compat.redflow.errors import (
    CanceledError,
    InputValidationError,
    RateLimitExceededError,
    RedflowError,
    TimeoutError,
    UnknownWorkflowError,
)
from rayflow.compat.redflow.registry import NAMESPACE, get_default_registry, task_name
from rayflow.compat.redflow.streams import STREAM, RunStreamReader
from rayflow.compat.redflow.types import (
    ALL_STATUSES,
    TERMINAL_STATUSES,
    AttemptTrace,
    EventRecord,
    ListedEvent,
    ListedRun,
    ListEventsParams,
    ListRunsParams,
    RunState,
    RunStats,
    RunStatus,
    RunStreamRecord,
    SearchRunsParams,
    SearchRunsResult,
    StepState,
    WorkflowMeta,
)
from rayflow.errors import (
    BadArguments,
    Cancelled,
    EventConflict,
    NoSuchTask,
    NotFound,
    RateLimited,
    ServiceUnavailable,
)
from rayflow.values.encoding.previews import preview

T = TypeVar("T")

MOST_LISTED = 10_000
"""The most runs or events that one question looks at."""


@dataclass(frozen=True, slots=True)
class RunHandle:
    """A run that was started. id: of the run."""

    id: str
    _client: RedflowClient

    async def get_state(self) -> RunState | None:
        """As `RedflowClient.get_run`."""
        return await self._client.get_run(self.id)

    async def result(self, *, timeout_ms: int = 30_000) -> Any:
        """As `RedflowClient.wait_for_result`."""
        return await self._client.wait_for_result(self.id, timeout_ms=timeout_ms)


class RedflowClient:
    """A connection to the service that keeps the runs. Any event loop may use it.

    The service is looked for when the client is first used, and again when it does not answer: it may have moved.
    """

    def __init__(self, *, app: str | None, url: str | None, token: str | None, store: str | None) -> None:
        self.app = app
        self._url = url
        self._token = token
        self.store = store
        """The store of the service; None for the project's, and for a service whose address was given."""
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncClient] = WeakKeyDictionary()

    async def close(self) -> None:
        """Close the connections of this event loop."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    async def _ask(self, question: Callable[[AsyncClient], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        known = self._clients.get(loop)
        if known is not None:
            try:
                return await question(known)
            except ServiceUnavailable:
                await self.close()
        client = self._clients[loop] = AsyncClient(address_of(self._url, self._token, self.store))
        return await question(client)

    # --- runs ---------------------------------------------------------------------------------------------------------

    async def emit_workflow(
        self,
        workflow_name: str,
        input: Any = None,
        *,
        idempotency_key: str | None = None,
        run_at: datetime | None = None,
        queue_override: str | None = None,
    ) -> RunHandle:
        """As `run_by_name`."""
        return await self.run_by_name(
            workflow_name, input, idempotency_key=idempotency_key, run_at=run_at, queue_override=queue_override
        )

    async def run_by_name(
        self,
        workflow_name: str,
        input: Any = None,
        *,
        idempotency_key: str | None = None,
        run_at: datetime | None = None,
        queue_override: str | None = None,
    ) -> RunHandle:
        """Start a run of a workflow. When this has returned, the run is recorded.

        input: as JSON has it. idempotency_key: a second start of the workflow with it gives the same run, as long as
        the run is kept. run_at: it begins then; a datetime without a zone is in the zone of this machine.
        queue_override: another queue than the workflow's. Raises UnknownWorkflowError, RateLimitExceededError,
        RunConflict for a key that had another input, ServiceUnavailable.
        """
        flow = _flow_name(workflow_name)
        id = None if idempotency_key is None else f"{flow}:{idempotency_key}"
        at = None if run_at is None else moment_in_zone(run_at)
        tags = None if self.app is None else {"app": self.app}
        try:
            run = await self._ask(
                lambda client: client.start(flow, {"input": input}, id=id, at=at, tags=tags, queue=queue_override)
            )
        except NoSuchTask:
            raise UnknownWorkflowError(workflow_name) from None
        except RateLimited as error:
            raise RateLimitExceededError(str(error), math.ceil(error.retry_after * 1000)) from error
        return RunHandle(run.id, self)

    async def cancel_run(self, run_id: str, *, reason: str = "") -> bool:
        """End a run, and the runs that its steps have started. False if it had ended, or if there is none."""
        try:
            return await self._ask(lambda client: AsyncRun(client, run_id).cancel(reason))
        except NotFound:
            return False

    async def resume_run(self, run_id: str, input: Any, *, form: Any = None) -> RunHandle | None:
        """Let a run go on that waits for input. input: its input from now on. form: what a person has filled in.

        None for a run that waits for no input, or that there is not; the handle of a run that goes on already. Raises
        InputValidationError for a form that does not fit.
        """
        try:
            run = await self._ask(lambda client: AsyncRun(client, run_id).describe())
            if run["state"] in ("queued", "running"):
                return RunHandle(run_id, self)
            places = [wait["place"] for wait in run["waits"] if wait["kind"] == "ask"]
            if not places:
                return None
            answer = [input, form]
            await self._ask(lambda client: AsyncRun(client, run_id).answer(answer, place=places[0]))
        except NotFound:
            return None
        except BadArguments as error:
            raise InputValidationError(f"Resume form validation failed: {error}", error) from error
        return RunHandle(run_id, self)

    def make_run_handle(self, run_id: str) -> RunHandle:
        """The handle of a run that was started elsewhere."""
        return RunHandle(run_id, self)

    async def wait_for_result(self, run_id: str, *, timeout_ms: int = 30_000) -> Any:
        """The output of a run, when it has ended.

        Raises RedflowError when it has failed, with the run's own error as the cause; CanceledError when it was
        cancelled; TimeoutError when the time is over first: the run goes on; NotFound when there is no such run.
        """
        try:
            return await self._ask(lambda client: AsyncRun(client, run_id).result(timeout_ms / 1000))
        except (ServiceUnavailable, NotFound):
            raise
        except Cancelled as error:
            raise CanceledError(str(error)) from error
        except builtins.TimeoutError as error:
            if await self._ask(lambda client: AsyncRun(client, run_id).state()) in views.ENDED:
                raise RedflowError(_failed(error)) from error
            raise TimeoutError(f"Timed out waiting for run result: {run_id}") from error
        except Exception as error:
            raise RedflowError(_failed(error)) from error

    # --- questions about runs -----------------------------------------------------------------------------------------

    async def get_run(self, run_id: str) -> RunState | None:
        """A run; None if there is none."""
        try:
            run = await self._ask(lambda client: AsyncRun(client, run_id).describe())
            history = await self._ask(lambda client: AsyncRun(client, run_id).history())
        except NotFound:
            return None
        told = views.run_state(run, history)
        if told["status"] == "succeeded":
            told["output"] = await self.wait_for_result(run_id)
        return told

    async def get_run_steps(self, run_id: str) -> list[StepState]:
        """The steps of a run, each as it was tried last, in the order of their beginnings."""
        return views.latest_steps(views.steps_of(await self._history(run_id)))

    async def get_run_attempts(self, run_id: str) -> list[AttemptTrace]:
        """The attempts of a run, with their steps."""
        run = await self.get_run(run_id)
        return [] if run is None else views.attempts_of(run, await self._history(run_id))

    async def _history(self, run_id: str) -> list[dict[str, Any]]:
        try:
            return await self._ask(lambda client: AsyncRun(client, run_id).history())
        except NotFound:
            return []

    async def list_runs(self, params: ListRunsParams | None = None) -> list[ListedRun]:
        """Runs of workflows, latest first unless sort says otherwise."""
        given = params or ListRunsParams()
        return (await self.search_runs(
            SearchRunsParams(
                status=given.status, workflow=given.workflow, cursor=given.cursor, limit=given.limit, sort=given.sort
            )
        ))["runs"]  # fmt: skip

    async def search_runs(self, params: SearchRunsParams) -> SearchRunsResult:
        """The runs of workflows that fit all that is asked, latest first unless sort says otherwise."""
        flow = None if params.workflow is None else _flow_name(params.workflow)
        rows = await self._ask(lambda client: client.runs(flow=flow, limit=MOST_LISTED))
        runs = [views.listed_run(row) for row in rows if views.workflow_of(row["flow"]) is not None]
        if params.sort == "asc":
            runs.reverse()
        if params.cursor is not None:
            ids = [run["id"] for run in runs]
            runs = runs[ids.index(params.cursor) + 1 :] if params.cursor in ids else []
        found = [run for run in runs if _fits(run, params)]
        return {"runs": found[: max(1, params.limit)], "scanned": len(runs)}

    async def get_stats(self) -> RunStats:
        """How many runs of workflows there are."""
        found: Counter[RunStatus] = Counter()
        for each in (await self._ask(lambda client: client.stats()))["flows"]:
            if views.workflow_of(each["flow"]) is not None:
                found.update({views.STATUSES[state]: runs for state, runs in each["states"].items()})
        by_status: dict[RunStatus, int] = {status: found[status] for status in ALL_STATUSES}
        return {"total": found.total(), "by_status": by_status}

    # --- streams ------------------------------------------------------------------------------------------------------

    async def get_run_stream(self, run_id: str, *, limit: int | None = None) -> list[RunStreamRecord]:
        """What the handler of a run has written to its stream so far: all of it, or the first so many records."""
        reader = await self.read_stream(run_id, drain=True)
        found: list[RunStreamRecord] = []
        if reader is not None:
            async for chunk in reader:
                if limit is not None and len(found) >= limit:
                    break
                found.append(chunk.record)
            await reader.aclose()
        return found

    async def read_stream(
        self, run_id: str, *, drain: bool = False, resumable: bool | str | None = None
    ) -> RunStreamReader | None:
        """A reader of what the handler of a run writes to its stream, until the run has ended; None if there is no run.

        drain: read what there is, and wait for no more. resumable: True for chunks with a cursor; the cursor of a chunk
        to go on behind it.
        """
        after = int(resumable) if isinstance(resumable, str) and resumable.strip() else 0
        try:
            await self._ask(lambda client: AsyncRun(client, run_id).streams())
        except NotFound:
            return None
        run = AsyncRun(self._clients[asyncio.get_running_loop()], run_id)
        return RunStreamReader(run.stream(STREAM, after=after, follow=not drain), bool(resumable))

    # --- workflows ----------------------------------------------------------------------------------------------------

    async def list_workflows(self) -> list[str]:
        """The names of the workflows that the worker has loaded, sorted."""
        return [meta["name"] for meta in await self.list_workflows_meta()]

    async def get_workflow_meta(self, name: str) -> WorkflowMeta | None:
        """What is known of a workflow that the worker has loaded; None for another."""
        return next((meta for meta in await self.list_workflows_meta() if meta["name"] == name), None)

    async def list_workflows_meta(self) -> list[WorkflowMeta]:
        """The workflows that the worker has loaded, by name."""
        flows = await self._ask(lambda client: client.flows())
        schedules = await self._ask(lambda client: client.schedules.list())
        named = [(views.workflow_of(flow["name"]), flow) for flow in flows]
        metas = [views.workflow_meta(name, flow, schedules) for name, flow in named if name is not None]
        return sorted(metas, key=lambda meta: meta["name"])

    # --- events -------------------------------------------------------------------------------------------------------

    async def emit_event(
        self,
        event_name: str,
        input: Any = None,
        *,
        correlation_key: str | None = None,
        emit_at: datetime | None = None,
        event_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> list[RunHandle]:
        """Emit an event, and give the runs that it has started. The rest is as in `emit_event_detailed`."""
        told = await self.emit_event_detailed(
            event_name, input, correlation_key=correlation_key, emit_at=emit_at, event_id=event_id,
            idempotency_key=idempotency_key,
        )  # fmt: skip
        handles: list[RunHandle] = told["handles"]
        return handles

    async def emit_event_detailed(
        self,
        event_name: str,
        input: Any = None,
        *,
        correlation_key: str | None = None,
        emit_at: datetime | None = None,
        event_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Emit an event: the dict of its event_id, the handles of the runs that it has started, and resumed_run_ids,
        the runs in which it has resolved a wait.

        input: its data, as JSON has them. correlation_key: waits find it by this. emit_at: it is delivered then. The
        same event_id or idempotency_key again is the same event, and gives the same answer. Raises ValueError for an
        empty name or key, and for an id that had other data.
        """
        name = _filled(event_name, "event_name")
        key = None if correlation_key is None else _filled(correlation_key, "correlation_key")
        id = None if event_id is None else _filled(event_id, "event_id")
        if id is None and idempotency_key:
            id = f"{name}:{idempotency_key}"
        at = None if emit_at is None else moment_in_zone(emit_at)
        try:
            event = await self._ask(lambda client: client.emit(name, input, key=key, id=id, at=at))
        except EventConflict as error:
            raise ValueError(f"emit_event: {error}") from error
        deliveries, resumed = views.deliveries_of(event)
        handles = [RunHandle(each["run_id"], self) for each in deliveries if each["status"] != "failed"]
        return {"event_id": event["event_id"], "handles": handles, "resumed_run_ids": resumed}

    async def get_event(self, event_id: str) -> EventRecord | None:
        """An event, with the runs that it has started and the waits that it has resolved; None if there is none."""
        try:
            return views.event_record(await self._ask(lambda client: client.event(event_id)))
        except NotFound:
            return None

    async def list_events(self, params: ListEventsParams | None = None) -> list[ListedEvent]:
        """Events, latest first unless sort says otherwise."""
        given = params or ListEventsParams()
        rows = await self._ask(lambda client: client.events(name=given.name, limit=MOST_LISTED))
        events = [views.listed_event(row) for row in rows]
        if given.sort == "asc":
            events.reverse()
        if given.cursor is not None:
            ids = [event["id"] for event in events]
            events = events[ids.index(given.cursor) + 1 :] if given.cursor in ids else []
        return events[: max(1, given.limit)]


def _flow_name(workflow: str) -> str:
    known = get_default_registry().get(workflow)
    return known.flow.fullname if known is not None else f"{NAMESPACE}.{task_name(workflow)}"


def _failed(error: BaseException) -> str:
    return f"Run failed: {type(error).__name__}: {error}"


def _filled(text: str, what: str) -> str:
    found = text.strip()
    if not found:
        raise ValueError(f"emit_event: {what} must be a non-empty text, not {preview(text)}.")
    return found


def _fits(run: ListedRun, params: SearchRunsParams) -> bool:
    error = run.get("error") or {}
    texts = (run["id"], run["workflow"], run["queue"], run["status"], str(error.get("message", "")))
    query = (params.query or "").strip().lower()
    return (
        params.status in (None, run["status"])
        and params.queue in (None, run["queue"])
        and params.parent_run_id in (None, run.get("parent_run_id"))
        and (params.created_after is None or run["created_at"] >= params.created_after)
        and (params.created_before is None or run["created_at"] <= params.created_before)
        and any(query in text.lower() for text in texts)
    )


def is_terminal_status(status: RunStatus) -> bool:
    """Whether a run of this status has ended."""
    return status in TERMINAL_STATUSES


def create_client(
    *, app: str | None = None, url: str | None = None, prefix: str | None = None, token: str | None = None
) -> RedflowClient:
    """A client of the service of a store.

    app: the tag `app` of the runs that it starts. url: the address of a service (http://HOST:PORT), or the store of a
    service that this user has started on this machine; by default the project's. prefix: the end of that store's name,
    so that several may lie side by side. token: what the service asks for; by default RAYFLOW_TOKEN, or the note of
    that service. Raises BadArguments for the address of a Redis.
    """
    if url is not None and url.startswith(("http://", "https://")):
        if prefix is not None:
            raise BadArguments("prefix= is the end of a store's name: the address of a service takes none.")
        return RedflowClient(app=app, url=url, token=token, store=None)
    return RedflowClient(app=app, url=None, token=token, store=store_url(url, prefix))


def store_url(url: str | None, prefix: str | None) -> str | None:
    """The store that url and prefix name; None for the project's. Raises BadArguments for the address of a Redis."""
    if url is not None and url.startswith(("redis://", "rediss://", "unix://")):
        raise BadArguments(
            f"{url!r} is the address of a Redis. The runs here are kept in a store, which needs no server: give url= a "
            "folder, or an address such as s3://bucket/runs, or leave it out for the project's store."
        )
    if not prefix:
        return url
    base = url if url is not None else configuration.load().store
    return f"{base.rstrip('/')}-{prefix.replace(':', '-')}"
