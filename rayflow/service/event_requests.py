"""What a service is asked about events.

In: names, plain data, ids. Out: requests to the keeper; events as plain data. Never: delivers one.
"""

from __future__ import annotations

import uuid
from concurrent.futures import Future
from typing import Any

from rayflow.errors import NotFound
from rayflow.keeper.requests import EmitRequested
from rayflow.lang.terms.codec import dumps
from rayflow.runtime.worker.results import pack_expression
from rayflow.service.large_values import kept_in
from rayflow.service.service import Service
from rayflow.values.digests import digest


def emit(
    service: Service,
    name: str,
    data: Any,
    *,
    key: str | None = None,
    id: str | None = None,
    due_at: int | None = None,
    strict: bool = False,
    request_id: str | None = None,
) -> Future[Any]:
    """Emit an event. The answer: the event, and its deliveries. Without an id it has one that follows from that of the
    request."""
    symbolic, _ = pack_expression(data, kept_in(service.store))
    packed = dumps(symbolic)
    content = digest("event", name.encode(), repr(key).encode(), packed)
    event_id = id if id is not None else uuid.uuid4().hex if request_id is None else f"request:{request_id}"
    return service.ask(
        lambda at, request: EmitRequested(
            at, request, event_id, name, key, packed, content, due_at=due_at, strict=strict
        )
    )


def event(service: Service, event_id: str) -> dict[str, Any]:
    """An event and its deliveries. Raises NotFound."""
    recorded = service.questions.event(event_id)
    if recorded is None:
        raise NotFound(f"There is no event {event_id!r} in this store.")
    kept = service.look(lambda keeper: keeper.event(event_id))
    return recorded if kept is None else {**recorded, **kept}
