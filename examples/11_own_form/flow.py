"""Sources that may be down, tried in order: a form of our own."""

from rayflow import Become, Fail, Failed, Need, form, run, task

UP = {"archive"}
"""The sources that answer today."""


@form
def first_good(args: tuple, seen: tuple) -> Need | Become | Fail:
    """`first_good(a, b, c)`: the value of the first term that does not fail; those behind it are never computed.

    args: the terms, as they were written, not reduced. seen: what those that were needed have come to so far.
    """
    if seen and not isinstance(seen[-1], Failed):
        return Become(seen[-1])
    if len(seen) == len(args):
        return Fail(seen[-1])
    return Need([args[len(seen)]])


@task
def fetch(source: str) -> list[int]:
    if source not in UP:
        raise ConnectionError(f"{source} is down")
    return [3, 1, 2]


@task
def guess() -> list[int]:
    return [0]


@task
def total(values: list[int]) -> int:
    return sum(values)


@task
def main() -> dict[str, object]:
    values = first_good(fetch("office"), fetch("mirror"), fetch("archive"), guess())
    return {"values": values, "total": total(values)}


if __name__ == "__main__":
    print(run(main()))
