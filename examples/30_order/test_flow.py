"""How the order is tested: no service, no bank, no waiting; and with a service that is killed everywhere."""

import pytest
from flow import Order, charge, checkout, price, refund, ship

from rayflow import JobInfo, NonRetriable
from rayflow.testing import Rehearsal, RehearsedRun

ORDER = Order("order-7", "ada", [(9.5, 2), (3.0, 1)])


class World:
    """The world outside: what it was asked to do, with the keys of the payments."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.payments: set[str] = set()

    def charge(self, customer: str, amount: float, job: JobInfo) -> str:
        self.asked.append(f"charge {customer} {amount}")
        self.payments.add(job.idempotency_key)
        return f"payment of {customer}"

    def ship(self, order: str, payment: str) -> str:
        self.asked.append(f"ship {order}")
        return f"{order} is on its way"

    def refund(self, order: str, payment: str) -> str:
        self.asked.append(f"refund {order}")
        return f"{order} was not approved"


@pytest.fixture
def world(rehearsal: Rehearsal) -> World:
    """A rehearsal whose effects are done in a world of the test. One that is forgotten here is an error."""
    rehearsal.strict = True
    made = World()
    rehearsal.replace(charge, made.charge)
    rehearsal.replace(ship, made.ship)
    rehearsal.replace(refund, made.refund)
    return made


def test_the_price_is_a_plain_function() -> None:
    assert price.func([(9.5, 2), (3.0, 1)]) == 22.0


def test_an_order_that_is_approved_in_time_is_shipped(rehearsal: Rehearsal, world: World) -> None:
    run = rehearsal.start(checkout(ORDER))
    assert run.state() == "waiting"
    assert run.explain().startswith("it waits for the event 'approval' with the key 'order-7', until ")
    rehearsal.skip("23h")
    rehearsal.emit("approval", {"by": "grace"}, key="order-8")  # of another order
    assert world.asked == ["charge ada 22.0"]
    rehearsal.emit("approval", {"by": "grace"}, key="order-7")
    assert run.result() == "order-7 is on its way"
    assert world.asked == ["charge ada 22.0", "ship order-7"]


def test_after_a_day_without_an_approval_the_money_goes_back(rehearsal: Rehearsal, world: World) -> None:
    run = rehearsal.start(checkout(ORDER))
    rehearsal.skip("24h")
    assert run.state() == "done"
    assert world.asked == ["charge ada 22.0", "refund order-7"]
    rehearsal.emit("approval", {"by": "grace"}, key="order-7")  # too late
    assert run.result() == "order-7 was not approved"


def test_an_event_starts_the_order(rehearsal: Rehearsal, world: World) -> None:
    data = {"id": "order-7", "customer": "ada", "items": [[9.5, 2], [3, 1]]}
    assert rehearsal.emit("order.created", data)["status"] == "delivered"
    [run] = rehearsal.runs(checkout)
    rehearsal.emit("approval", key="order-7")
    assert run.result() == "order-7 is on its way"


def test_a_bank_that_is_down_is_asked_again(rehearsal: Rehearsal, world: World) -> None:
    rehearsal.fail(charge, OSError("no answer"), attempts=(1, 2))
    run = rehearsal.start(checkout(ORDER))
    assert run.state() == "running"  # the next attempt is due in a moment, and time stands still
    rehearsal.skip("1s")
    assert run.state() == "waiting"
    assert world.asked == ["charge ada 22.0"]


def test_without_the_money_nobody_is_asked_for_an_approval(rehearsal: Rehearsal, world: World) -> None:
    rehearsal.fail(charge, NonRetriable("the card is blocked"))
    run = rehearsal.start(checkout(ORDER))
    assert run.state() == "failed"
    with pytest.raises(NonRetriable, match="the card is blocked"):
        run.result()
    assert world.asked == []


def test_the_order_ends_alike_wherever_its_service_is_killed(rehearsal: Rehearsal, world: World) -> None:
    def approve(rehearsal: Rehearsal, run: RehearsedRun) -> None:
        rehearsal.skip("2h")
        rehearsal.emit("approval", {"by": "grace"}, key="order-7")

    assert rehearsal.crash_everywhere(checkout(ORDER), approve) > 10
    assert len(world.payments) == 1  # the bank may be asked twice, and sees one payment
