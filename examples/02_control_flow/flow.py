"""Convert invoices to euros: a fallback, a decision, an order of events and a task that takes a task.

None of the tasks below calls an `if` on a lazy value. What depends on results is written with the forms:
`catch` (something may fail), `cond` (something decides), `seq` (one after the other).
"""

from collections.abc import Callable

from rates import SourceDown, look_up, spread

from rayflow import catch, cond, run, seq, task

INVOICES = [(1200.00, "USD"), (850.00, "GBP"), (99000.00, "JPY"), (64.50, "USD")]
"""Amount and currency."""


@task
def fetch(source: str) -> dict[str, float]:
    """The rates of one source."""
    return look_up(source)


@task
def fall_back(error: SourceDown) -> dict[str, float]:
    """What to do about a source that is down: ask another one."""
    return fetch("newspaper")


@task
def agree(one: dict[str, float], other: dict[str, float], tolerance: float = 0.02) -> bool:
    """Whether two quotations are close enough to be believed."""
    return spread(one, other) <= tolerance


@task
def convert(rates: dict[str, float], invoice: tuple[float, str]) -> float:
    """An invoice in euros."""
    amount, currency = invoice
    return round(amount / rates[currency], 2)


@task
def for_each(function: Callable[[tuple[float, str]], float], items: list[tuple[float, str]]) -> list[float]:
    """One call of a task for each item. The task is an argument like any other."""
    return [function(item) for item in items]


@task
def book(rates: dict[str, float]) -> dict[str, object]:
    """Convert all invoices, each by a call of its own."""
    amounts = for_each(convert.partial(rates), INVOICES)
    return {"booked": True, "amounts": amounts, "total": total(amounts)}


@task
def total(amounts: list[float]) -> float:
    return round(sum(amounts), 2)


@task
def refuse(one: dict[str, float], other: dict[str, float]) -> dict[str, object]:
    """Book nothing, and say what differs."""
    return {"booked": False, "quotations": [one, other]}


@task
def main(source: str = "central_bank", tolerance: float = 0.02) -> dict[str, object]:
    """Book the invoices if two sources of rates agree."""
    # seq: the second source is asked when the first one has answered, never at the same time.
    quotations = seq([catch(fetch(source), SourceDown, fall_back), fetch("newspaper")])
    rates, others = quotations[0], quotations[1]
    # cond: only the arm that is chosen is ever reduced.
    return cond(agree(rates, others, tolerance), book(rates), refuse(rates, others))


if __name__ == "__main__":
    print(run(main()))
