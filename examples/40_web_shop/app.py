"""The web shop: an ASGI application that takes orders, and shows how far each has come.

    rayflow serve flow.py --inline &
    uvicorn app:app --port 8000

It keeps nothing itself: orders are runs, and the service has them. So it may be started anew, or many times, at will.
"""

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import rayflow
from rayflow.client.async_client import AsyncClient, AsyncRun
from rayflow.errors import BadArguments, NotFound, RunConflict, ServiceUnavailable

PAGE = """<!doctype html>
<title>The web shop</title>
<h1>Your order</h1>
<ol id="progress"></ol>
<script>
  const lines = document.getElementById("progress");
  const events = new EventSource("progress");   // after a break it goes on behind the last line
  events.onmessage = (event) => {
    const line = document.createElement("li");
    const item = JSON.parse(event.data);
    line.textContent = typeof item === "string" ? item : `${item.packed}: ${item.number} of ${item.of}`;
    lines.append(line);
  };
  events.addEventListener("end", () => events.close());
</script>
"""


def client_of(request: Request) -> AsyncClient:
    """The application's connection to the service."""
    client: AsyncClient = request.app.state.client
    return client


async def run_of(request: Request) -> AsyncRun:
    """The run of the order that the path names: it has the order's id."""
    return await client_of(request).get(request.path_params["order"])


async def place_order(request: Request) -> Response:
    """Take an order. When this has answered, the order is recorded; the same order again is the same run."""
    order = await request.json()
    if not isinstance(order, dict) or not order.get("id"):
        raise BadArguments("An order has an id.")
    run = await client_of(request).start("fulfil", {"order": order}, id=str(order["id"]))
    return JSONResponse({"order": order["id"], "is_new": run.is_new}, 202)


async def show_order(request: Request) -> Response:
    """How far an order is, as one sentence."""
    run = await run_of(request)
    described = await run.describe()
    return JSONResponse({"state": described["state"], "why": described["explanation"]})


async def show_page(request: Request) -> Response:
    """A page that follows an order."""
    return HTMLResponse(PAGE)


async def progress(request: Request) -> Response:
    """The order's progress as server-sent events, until it has ended."""
    run = await run_of(request)
    after = int(request.headers.get("last-event-id") or 0)

    async def events() -> AsyncIterator[str]:
        async for item in run.stream("progress", after=after):
            yield f"id: {item.number}\ndata: {json.dumps(item.value)}\n\n"
        yield "event: end\ndata:\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


async def courier_came(request: Request) -> Response:
    """A courier has taken the parcel: the order that waits for this goes on."""
    order, name = request.path_params["order"], (await request.json())["name"]
    accepted = await client_of(request).emit("courier.came", {"name": name}, key=order, id=f"courier of {order}")
    return JSONResponse({"event": accepted["event_id"]}, 202)


@contextlib.asynccontextmanager
async def connected(app: Starlette) -> AsyncIterator[None]:
    """One connection for all requests."""
    async with rayflow.aconnect() as client:
        app.state.client = client
        yield


def answers(status: int, **headers: str) -> Callable[[Request, Exception], Awaitable[Response]]:
    """A handler of errors."""

    async def answer(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, status, headers)

    return answer


app = Starlette(
    routes=[
        Route("/orders", place_order, methods=["POST"]),
        Route("/orders/{order}", show_order),
        Route("/orders/{order}/page", show_page),
        Route("/orders/{order}/progress", progress),
        Route("/orders/{order}/courier", courier_came, methods=["POST"]),
    ],
    exception_handlers={
        BadArguments: answers(400),
        NotFound: answers(404),
        RunConflict: answers(409),  # the id of an earlier order, with other things in it
        ServiceUnavailable: answers(503, **{"retry-after": "5"}),
    },
    lifespan=connected,
)
