"""An order: it is paid for, a person approves it, and it is shipped; or the money goes back."""

from dataclasses import dataclass
from pathlib import Path

from rayflow import JobInfo, NonRetriable, cond, effect, event, flow, seq, task, wait_for_event

LEDGER = Path("ledger.txt")
"""What the bank, the warehouse and the post have done: a stand-in for the world outside."""


@dataclass
class Order:
    """An order as it comes in. id: names it. customer: who pays. items: price and number of each thing."""

    id: str
    customer: str
    items: list[tuple[float, int]]


def note(text: str) -> None:
    """One line of the world's ledger."""
    with LEDGER.open("a") as file:
        file.write(f"{text}\n")


@task
def price(items: list[tuple[float, int]]) -> float:
    """What the things cost: pure, so it is computed once for equal things, whoever orders them."""
    return round(sum(each * number for each, number in items), 2)


@effect(retries=5, retry_delay=0.2)
def charge(customer: str, amount: float, job: JobInfo = JobInfo()) -> str:
    """Take the money. The bank is told a key, so that a repeated request is one payment."""
    if amount <= 0:
        raise NonRetriable(f"Nothing to pay: {amount}")
    note(f"charge {customer} {amount}")
    return f"payment of {customer}, {job.idempotency_key[:8]}"


@effect
def ship(order: str, payment: str) -> str:
    """Send the parcel, when it is paid for."""
    note(f"ship {order}")
    return f"{order} is on its way ({payment})"


@effect
def refund(order: str, payment: str) -> str:
    """Give the money back."""
    note(f"refund {order}")
    return f"{order} was not approved; the money is on its way back ({payment})"


@flow(on=event("order.created"))
def checkout(order: Order) -> str:
    """The whole order. It waits for an approval, a day at most, and holds no process while it waits."""
    payment = charge(order.customer, price(order.items))
    approval = wait_for_event("approval", key=order.id, timeout="1d")
    end = cond(approval, ship(order.id, payment), refund(order.id, payment))
    return seq([payment, end])[1]  # the money first: without it, nobody is asked
