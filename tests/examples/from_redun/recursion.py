from redun import cond, task

redun_namespace = "recursion"


@task()
def fib(n: int) -> int:
    if n < 2:
        return n
    return fib(n - 1) + fib(n - 2)


@task()
def is_even(n: int) -> bool:
    return n % 2 == 0


@task()
def steps(n: int, count: int = 0) -> int:
    return cond(n == 1, count, cond(is_even(n), steps(n // 2, count + 1), steps(3 * n + 1, count + 1)))


@task()
def main() -> list:
    return [fib(12), steps(6)]
