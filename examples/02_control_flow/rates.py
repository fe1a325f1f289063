"""Exchange rates to the euro, as two sources quote them. Plain functions and constants: no tasks here."""

CENTRAL_BANK = {"USD": 1.09, "GBP": 0.85, "JPY": 163.0}
NEWSPAPER = {"USD": 1.08, "GBP": 0.86, "JPY": 162.0}
QUOTES = {"central_bank": CENTRAL_BANK, "newspaper": NEWSPAPER}


class SourceDown(Exception):
    """A source of rates that does not answer."""


def look_up(source: str) -> dict[str, float]:
    """The rates of a source. Raises SourceDown for one that is not there."""
    if source not in QUOTES:
        raise SourceDown(f"{source} does not answer")
    return QUOTES[source]


def spread(one: dict[str, float], other: dict[str, float]) -> float:
    """The largest relative difference between two quotations of the same currencies."""
    return max(abs(one[currency] - other[currency]) / other[currency] for currency in one)
