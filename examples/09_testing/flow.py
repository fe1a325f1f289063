"""A price list from the web, in euros: small, and with all that makes workflows hard to test."""

import urllib.request

from rayflow import catch, map_, run, task

RATES = "https://example.org/rates.csv"


@task(retries=3, retry_delay=60.0, cache_for="1d")
def download(url: str) -> str:
    """Slow, far away, sometimes down; and what it gives is old after a day."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


@task
def parse(table: str) -> dict[str, float]:
    """currency,rate on each line."""
    rows = [line.split(",") for line in table.split()]
    return {currency: float(rate) for currency, rate in rows}


@task
def last_known(error: OSError) -> str:
    return "USD,1.00"


@task
def convert(amount: float, rates: dict[str, float]) -> float:
    return round(amount / rates["USD"], 2)


@task
def prices(amounts: list[float], rates: dict[str, float]) -> list[float]:
    return map_(convert.partial(rates=rates), amounts)


@task
def main(amounts: list[float]) -> list[float]:
    table = catch(download(RATES), OSError, last_known)
    return prices(amounts, parse(table))


if __name__ == "__main__":
    print(run(main([10.0, 20.0])))
