import redun
import redun.functools
from redun import task as step
from redun.functools import map_ as each

redun_namespace = "aliases"


@redun.task()
def half(x: float) -> float:
    return x / 2


@step
def whole(x: float) -> float:
    return x * 2


@redun.task(name="main")
def start() -> list:
    return [each(half, [1, 2]), redun.functools.flatten([[whole(1)], [half(3)]]), redun.cond(half(0), 1, 2)]
