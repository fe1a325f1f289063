from redun import task
from redun.functools import apply_func, as_task, compose, const, delay, force, identity

redun_namespace = "higher_order"


def shorten(text: str, at: int) -> str:
    return text[:at]


@task()
def scale(x: float, by: float) -> float:
    return x * by


@task()
def shift(x: float, by: float = 1.0) -> float:
    return x + by


@task()
def chooser(name: str):
    return {"scale": scale.partial(by=3.0), "shift": shift}[name]


@task()
def applied(func, values: list) -> list:
    return [func(value) for value in values]


@task()
def main() -> list:
    both = compose(shift, scale.partial(by=10.0))
    return [
        applied(chooser("scale"), [1.0, 2.0]),
        chooser("shift")(5.0),
        both(2.0),
        apply_func(shorten, "abcdef", at=2),
        as_task(max)(3, 9, 4),
        const(identity(1), identity(2)),
        force(delay(7)),
        force(scale.partial(2.0, by=4.0)),
    ]
