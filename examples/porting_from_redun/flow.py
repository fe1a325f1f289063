"""A workflow that came from redun: the import and the name of the namespace are all that was changed."""

from rayflow import catch, cond, map_, seq, task

rayflow_namespace = "ported"


@task()
def get_planet() -> str:
    return "World"


@task()
def greeter(greet: str, thing: str) -> str:
    return f"{greet}, {thing}!"


@task()
def step1(x: int) -> int:
    return x + 1


@task(version="1", tags={"step": 2})
def step2(x: int) -> int:
    return x * 2


@task(limits=["printer"])
def step2a(x: int, y: int, colour: str) -> str:
    return f"{x + y} {colour}"


@task(cache=False, retries=1)
def step2b(x: int, flag: bool) -> int:
    return -x if flag else x


@task(check_valid="shallow")
def step3(a: str, b: int) -> str:
    return f"{a} and {b}"


@task(nout=2)
def both(n: int) -> list[int]:
    return [n, n + 1]


@task()
def broken(x: int) -> int:
    raise ValueError(x)


@task()
def mended(error: ValueError) -> str:
    return f"mended {error}"


@task()
def main(greet: str = "Hello", n: int = 10) -> dict[str, object]:
    result1 = step1(n)
    low, high = both(n)
    return {
        "greeting": greeter(greet, get_planet()),
        "chain": step2(result1),
        "branches": step3(step2a(result1, 10, "red"), step2b(result1, True)),
        "caught": catch(broken(low), ValueError, mended),
        "chosen": cond(high > 10, "high", "low"),
        "mapped": map_(step1, [1, 2, 3]),
        "in order": seq([step1(20), step1(30)]),
    }


if __name__ == "__main__":
    from rayflow import Scheduler

    with Scheduler() as scheduler:
        for name, value in scheduler.run(main()).items():
            print(f"{name}: {value}")
