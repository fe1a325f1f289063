"""Calls as type checkers see them. `# is: X` says what type a line reveals, `# wrong` that the checker refuses it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import ParamSpec, TypeVar, reveal_type

from rayflow import (
    Task,
    any_of,
    apply_tags,
    as_task,
    ask,
    catch,
    child,
    cond,
    continue_as,
    effect,
    emit,
    finally_,
    first,
    flat_map,
    flatten,
    flow,
    gather,
    join,
    len_,
    map_,
    now,
    run,
    seq,
    sleep,
    sleep_until,
    spawn,
    starmap,
    task,
    uuid,
    wait_for_event,
    within,
    wraps_task,
    zip_,
)  # fmt: skip

P = ParamSpec("P")
T = TypeVar("T")


@task
def rated(x: int, name: str = "a") -> float:
    return 1.0


@task(retries=2)
def counted(names: list[str]) -> dict[str, int]:
    return {}


@task
async def spelled(x: int) -> str:
    return str(await gather(rated(x)))


@task(num_cpus=2)
async def packed(x: int) -> bytes:
    return b""


def recover(error: ValueError) -> None:
    return None


def plain(x: int) -> str:
    return str(x)


def spell(with_: Callable[[int], str]) -> None: ...


def rate(with_: Task[[int], float]) -> None: ...


@task(name="first")
def first_of(items: list[T]) -> T:
    return items[0]


@task
def last_of(items: list[T]) -> T:
    return items[-1]


@wraps_task
def listed(inner: Task[P, T]) -> Callable[P, list[T]]:
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> list[T]:
        return [inner.func(*args, **kwargs)]

    return wrapper


@listed
@task
def named(x: int) -> str:
    return str(x)


@wraps_task(retries=2)
def shown(inner: Task[P, int]) -> Callable[P, str]:
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> str:
        return str(inner.func(*args, **kwargs))

    return wrapper


@shown
@task
def text(x: int) -> int:
    return x + 1


@listed
def bare(x: int) -> str:
    return str(x)


class Tools:
    @staticmethod
    @task
    def doubled(x: int) -> int:
        return 2 * x


# --- results ----------------------------------------------------------------------------------------------------------

reveal_type(rated(1))  # is: float
reveal_type(rated(1, name="b"))  # is: float
reveal_type(rated.options(retries=1)(1, "b"))  # is: float
reveal_type(rated.partial(1)())  # is: float
reveal_type(rated.func(1))  # is: float
reveal_type(counted(["a"]))  # is: dict[str, int]
reveal_type(counted(["a"])["a"])  # is: int
reveal_type(spelled(1))  # is: str
reveal_type(packed(1))  # is: bytes
reveal_type(rated(counted(["a"])["a"]) + 1)  # is: float
reveal_type(Tools.doubled(Tools.doubled(1)))  # is: int
reveal_type(first_of([1]))  # is: int
reveal_type(last_of(["a"]))  # is: str
reveal_type(named(1))  # is: list[str]
reveal_type(bare(1))  # is: list[str]
reveal_type(text(1))  # is: str
reveal_type(Tools.doubled(1))  # is: int
reveal_type(as_task(plain)(1))  # is: str
reveal_type(run(rated(1)))  # is: float
reveal_type(run([rated(1)]))  # is: list[float]

# --- forms ------------------------------------------------------------------------------------------------------------

reveal_type(cond(True, rated(1), "no"))  # is: float | str
reveal_type(cond(True, rated(1)))  # is: float | None
reveal_type(cond(True, rated(1), False, "no", b"never"))  # is: float | str | bytes
reveal_type(catch(rated(1), ValueError, recover))  # is: float | None
reveal_type(map_(rated, [1, 2]))  # is: list[float]
reveal_type(map_(spelled, [1, 2]))  # is: list[str]
reveal_type(map_(plain, [1, 2]))  # is: list[str]
reveal_type(starmap(rated, [(1, "a")]))  # is: list[float]
reveal_type(flat_map(counted, [["a"]]))  # is: list[str]
reveal_type(flatten([[1], [2]]))  # is: list[int]
reveal_type(zip_([1], ["a"]))  # is: list[tuple[int, str]]
reveal_type(seq([rated(1), rated(2)]))  # is: list[float]
reveal_type(len_(counted([])))  # is: int
reveal_type(apply_tags(rated(1), {"kind": "trial"}))  # is: float


async def body() -> None:
    reveal_type(await gather(rated(1)))  # is: float
    reveal_type(await gather(spelled(1)))  # is: str
    reveal_type(await gather({"a": rated(1)}))  # is: dict[str, float]
    reveal_type(await gather(rated(1), spelled(1)))  # is: list[Any]
    await rated(1)  # wrong


# --- effects, waits and races: as terms, and awaited ------------------------------------------------------------------


@effect(retries=2)
def paid(amount: float) -> str:
    return "a receipt"


@flow(timeout="2h")
def handled(x: int) -> float:
    seq([rated(x), sleep("5s"), paid(rated(x))])
    cond(wait_for_event("paid", key=uuid()).data["ok"], paid(within(rated(x), "1m", 0.0)), emit("unpaid"))
    return first(child(rated(x)), any_of(rated(2)))


@flow
def refunded(x: int) -> str:
    return finally_(paid(child(rated(x))), sleep(1))


MOMENT = datetime(2030, 1, 1, tzinfo=UTC)

reveal_type(paid(1.0))  # is: str
reveal_type(handled(1))  # is: float
rated(child("a"))
rated(now().day)


async def waiting() -> None:
    await sleep("5s")
    await sleep_until(MOMENT)
    reveal_type(await gather(sleep("5s")))  # is: None
    reveal_type(await wait_for_event("paid"))  # is: Event | None
    reveal_type(await wait_for_event("paid", timeout="5s", default=3))  # is: Event | int
    reveal_type((await wait_for_event("paid", default=3)) == 3)  # is: bool
    answer: bool = await ask("may I?", bool)
    reveal_type(await emit("paid", {"answer": answer}))  # is: str
    reveal_type(await child(rated(1)))  # is: float
    reveal_type(await child(finally_(rated(1), 0), id="one"))  # is: float
    reveal_type(await spawn(rated(1)))  # is: RunRef
    reveal_type(await join(await spawn(rated(1))))  # is: Any
    await join(spawn(rated(1)))
    reveal_type(await continue_as(spelled(1)))  # is: str
    reveal_type(await first(rated(1), sleep(3)))  # is: float | None
    reveal_type(await first(child(rated(1)), wait_for_event("paid")))  # is: float | Event | None
    reveal_type(await first(sleep(3)))  # is: None
    reveal_type(await first(rated(1), rated(2), sleep(3)))  # is: Any
    reveal_type(await any_of(rated(1), spelled(2)))  # is: float | str
    reveal_type(await within(rated(1), "5s"))  # is: float | None
    reveal_type(await within(child(rated(1)), "5s", "late"))  # is: float | str
    reveal_type(await within(rated(1), "5s", child(spelled(2))))  # is: float | str
    reveal_type(await finally_(rated(1), sleep(1)))  # is: float
    reveal_type(await now())  # is: datetime
    reveal_type(await uuid())  # is: str
    sleep(rated)  # wrong
    within(rated(1))  # wrong
    first(rated(1)).missing(1)


# --- what fits, and what does not -------------------------------------------------------------------------------------

spell(spelled)
rated("a")  # wrong
rated()  # wrong
rated(1, z=3)  # wrong
counted([1])  # wrong
spelled("a")  # wrong
packed(1, 2)  # wrong
rated(counted([]))  # wrong
rated.options(retries=1)("a")  # wrong
map_(rated, ["a"])  # wrong
spell(packed)  # wrong
spell(rated)  # wrong
rate(rated.partial(name="b"))
rate(Tools.doubled)
rate(counted)  # wrong
rate(plain)  # wrong
first_of(1)  # wrong
named("a")  # wrong
text("a")  # wrong
rated(named(1))  # wrong
Tools.doubled("a")  # wrong
