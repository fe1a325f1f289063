"""Pages of many tenants, from an API that serves each tenant one call at a time, and two in a second."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rayflow import child, effect, flow, limit, rate, task

CALLS = Path("calls.txt")


@contextmanager
def only_call_of(tenant: str) -> Iterator[None]:
    """The API's own rule: a second call of a tenant at the same time is an error."""
    busy = Path(f"{tenant}.busy")
    try:
        busy.open("x").close()
    except FileExistsError:
        raise RuntimeError(f"429: {tenant} has a call already") from None
    try:
        yield
    finally:
        busy.unlink()


@effect
def call_api(tenant: str, page: int) -> list[int]:
    """Ask for a page. (A stand-in: it notes the call.)"""
    with only_call_of(tenant), CALLS.open("a") as file:
        file.write(f"{tenant} {page}\n")
    return [page * 10, page * 10 + 1]


@flow(
    queue="api",
    fairness="{tenant}",
    max_concurrency=limit(1, key="{tenant}"),
    throttle=rate(2, "1s", key="{tenant}"),
)
def fetch(tenant: str, page: int) -> list[int]:
    """The run of one page. It is queued until its tenant may call."""
    return call_api(tenant, page)


@task
def counted(tenants: list[str], pages: list[list[list[int]]]) -> dict[str, int]:
    """How many rows each tenant has."""
    return {tenant: sum(map(len, mine)) for tenant, mine in zip(tenants, pages, strict=True)}


@flow
def sync(tenants: list[str], pages: int = 3) -> dict[str, int]:
    """A child for each page of each tenant. All are started at once; the service lets them run as they may."""
    return counted(tenants, [[child(fetch(tenant, page)) for page in range(pages)] for tenant in tenants])
