from typing import Tuple

from redun import task

redun_namespace = "outputs"


@task(nout=3)
def three(n: int) -> list:
    return [n, n + 1, n + 2]


@task()
def pair() -> Tuple[int, str]:
    return 1, "one"


@task()
def joined(*parts, sep: str = "-") -> str:
    return sep.join(map(str, parts))


@task()
def main() -> list:
    a, b, c = three(5)
    number, word = pair()
    return [joined(a, c, b), joined(number, word, sep="=")]
