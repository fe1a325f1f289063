"""A daily digest: each morning, one letter about the sales that events have told of since the morning before."""

from datetime import datetime
from pathlib import Path

from rayflow import Firing, cron, effect, event, flow, wait_for_event

POST = Path("post.txt")
"""What was sent: a stand-in for the world outside."""


@effect(retries=5, retry_delay=60)
def send(letter: str) -> str:
    """Send a letter."""
    with POST.open("a") as file:
        file.write(f"{letter}\n")
    return letter


def microseconds(moment: datetime) -> int:
    """A moment as the times of events are counted."""
    return round(moment.timestamp() * 1_000_000)


@flow(schedule=cron("0 7 * * *", tz="Europe/Oslo"), overlap="queue", catch_up="7d")
async def digest(firing: Firing) -> str:
    """The letter of one morning. Each sale stands in one letter: that of the first morning after it."""
    first = microseconds(firing.previous) if firing.previous else 0
    is_of_this_day = (event.time >= first) & (event.time < microseconds(firing.moment))
    sales: list[dict[str, float]] = []
    # Each wait takes the next event that no earlier one of this run has taken, and does not wait for new ones.
    while (sale := await wait_for_event("sale", since="any", where=is_of_this_day, timeout=0)) is not None:
        sales.append(sale.data)
    total = sum(each["amount"] for each in sales)
    return send(f"{firing.moment:%Y-%m-%d}: {len(sales)} sales, {total:g} in all")
