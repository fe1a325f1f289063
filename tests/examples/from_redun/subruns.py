from redun import task
from redun.scheduler import subrun

redun_namespace = "subruns"


@task()
def square(x: int) -> int:
    return x * x


@task()
def add_up(values: list) -> int:
    return sum(values)


@task()
def wide(n: int) -> int:
    return add_up([square(i) for i in range(n)])


@task()
def main(n: int = 5) -> list:
    return [subrun(wide(n), "default", load_modules=["subruns"]), subrun(square(9), executor="default")]
