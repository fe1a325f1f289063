"""Temperatures of any unit in degrees Celsius: tasks that are returned, composed, mapped and handed on."""

from collections.abc import Callable

from rayflow import Task, compose, identity, map_, run, task

READINGS = [68.0, 50.0, 86.0, 77.0]


@task
def scale(factor: float, x: float) -> float:
    return round(factor * x, 6)


@task
def shift(offset: float, x: float) -> float:
    return x + offset


@task
def converter(unit: str) -> Task[[float], float]:
    """A task that turns degrees of a unit into degrees Celsius."""
    if unit == "F":
        return compose(scale.partial(5 / 9), shift.partial(-32.0))
    if unit == "K":
        return shift.partial(-273.15)
    return identity


@task
def larger(a: float, b: float) -> float:
    return max(a, b)


@task
def smaller(a: float, b: float) -> float:
    return min(a, b)


@task
def fold(function: Callable[[float, float], float], items: list[float]) -> float:
    """The items brought down to one by a function of two, as a tree of calls: its halves can run at the same time."""
    if len(items) == 1:
        return items[0]
    middle = len(items) // 2
    return function(fold(function, items[:middle]), fold(function, items[middle:]))


@task
def main(unit: str = "F", readings: list[float] = READINGS) -> dict[str, object]:
    """All readings in degrees Celsius, the hottest and the coldest."""
    celsius = map_(converter(unit), readings)  # the function is lazy itself: which task it is, a task decides
    return {"celsius": celsius, "hottest": fold(larger, celsius), "coldest": fold(smaller, celsius)}


if __name__ == "__main__":
    print(run(main()))
