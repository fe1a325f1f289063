"""What happens to an order of the web shop: it is paid for, others hear of it, it is packed, and a courier takes it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rayflow import JobInfo, effect, emit, event, flow, gather, stream, wait_for_event

LEDGER = Path("ledger.txt")
"""What the bank, the warehouse and the office have done: a stand-in for the world outside."""

PROGRESS = stream("progress")
"""What the customer sees while the order goes on."""


@dataclass
class Order:
    """An order as it comes in. id: names it. customer: who pays. things: how many of each thing, by its name."""

    id: str
    customer: str
    things: dict[str, int]


def note(text: str) -> None:
    """One line of the world's ledger."""
    with LEDGER.open("a") as file:
        file.write(f"{text}\n")


@effect(retries=5, retry_delay=0.5)
def charge(order: Order, job: JobInfo = JobInfo()) -> str:
    """Take the money, once: the bank would be told the key."""
    note(f"charge {order.customer} for {order.id}")
    return job.idempotency_key[:8]


@effect
def pack(order: str, thing: str, count: int) -> str:
    """Put a thing into the parcel, piece by piece."""
    for number in range(1, count + 1):
        PROGRESS.write({"packed": thing, "number": number, "of": count})
    note(f"pack {count} {thing} for {order}")
    return thing


@effect
def file_away(text: str) -> str:
    """Something that the office does, once."""
    note(text)
    return text


@flow
async def fulfil(order: Order) -> str:
    """The whole order. Each line of progress is written once, also when the service is killed in between."""
    PROGRESS.write("received")
    payment = await gather(charge(order))
    PROGRESS.write("paid")
    # Everyone who subscribes gets a run: the order does not know them, and waits for none of them.
    await gather(emit("order.paid", {"id": order.id, "customer": order.customer, "payment": payment}))
    await gather(*(pack(order.id, thing, count) for thing, count in order.things.items()))
    PROGRESS.write("waits for the courier")
    courier = await gather(wait_for_event("courier.came", key=order.id, timeout="7d"))
    end = "lost: no courier has come" if courier is None else f"on its way with {courier.data['name']}"
    PROGRESS.write(end)
    return end


@flow(on=event("order.paid"))
def invoice(paid: dict[str, Any]) -> Any:
    """The office writes an invoice for each paid order."""
    return file_away(f"invoice {paid['id']} to {paid['customer']}")


@flow(on=event("order.paid"))
def thank(paid: dict[str, Any]) -> Any:
    """And a letter."""
    return file_away(f"thank {paid['customer']}")
