from dataclasses import dataclass

from redun import cond, task
from redun.functools import flat_map, flatten, map_, seq, starmap, zip_

redun_namespace = "lazy_values"


@dataclass
class Point:
    x: int
    y: int


@task()
def point(x: int) -> Point:
    return Point(x, x * x)


@task()
def table() -> dict:
    return {"rows": [1, 2, 3], "name": "t"}


@task()
def add(a: int, b: int = 0) -> int:
    return a + b


@task()
def twice(x: int) -> list:
    return [x, x]


@task()
def main() -> dict:
    rows = table()["rows"]
    return {
        "attribute": point(3).y + 1,
        "compared": [table()["name"] == "t", add(1, 2) > 3, add(2) * 10 - 1],
        "nested": {"a": [add(1), (add(2), {"b": add(3)})]},
        "mapped": map_(add, rows),
        "partial": map_(add.partial(b=100), rows),
        "starmap": starmap(add, [{"a": 1, "b": 2}, {"a": 3}]),
        "flat": [flat_map(twice, [1, 2]), flatten([[1], [2, 3]])],
        "zipped": zip_([1, 2], ["a", "b"]),
        "in order": seq([add(1), add(2)]),
        "chosen": cond(add(0), "no", add(1) == 1, "yes", "never"),
    }
