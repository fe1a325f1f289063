"""Tasks that call themselves: the graph grows while it is evaluated, and equal branches are computed once."""

from board import attacks

from rayflow import cond, run, task

NUMBERS = [(i * 7919) % 1009 for i in range(64)]
"""Something to sort."""


@task
def fib(n: int) -> int:
    """The n-th Fibonacci number, in the most wasteful way there is. Equal calls are shared, so n + 1 bodies run."""
    return n if n < 2 else fib(n - 1) + fib(n - 2)


@task
def merge_sort(numbers: list[int]) -> list[int]:
    """The numbers in order: both halves are sorted at the same time, wherever there is a free processor."""
    if len(numbers) <= 8:
        return sorted(numbers)
    middle = len(numbers) // 2
    return merge(merge_sort(numbers[:middle]), merge_sort(numbers[middle:]))


@task
def merge(left: list[int], right: list[int]) -> list[int]:
    """Two ordered lists as one."""
    merged = []
    left, right = left[::-1], right[::-1]
    while left and right:
        merged.append(left.pop() if left[-1] <= right[-1] else right.pop())
    return merged + left[::-1] + right[::-1]


@task
def queens(size: int, placed: tuple[int, ...] = ()) -> int:
    """In how many ways the rest of a board can be filled with queens that do not attack each other.

    placed: the column of the queen in each row so far.
    """
    if len(placed) == size:
        return 1
    return total([queens(size, (*placed, column)) for column in range(size) if not attacks(placed, column)])


@task
def total(counts: list[int]) -> int:
    return sum(counts)


@task
def collatz(n: int, steps: int = 0) -> int:
    """How many steps it takes to reach 1: a loop, written as a call in the last place."""
    return steps if n == 1 else collatz(3 * n + 1 if n % 2 else n // 2, steps + 1)


@task
def power_of_two_above(limit: int, power: int = 1) -> int:
    """The same kind of loop with a lazy condition: only the arm that is chosen grows."""
    return cond(double(power) > limit, double(power), power_of_two_above(limit, double(power)))


@task
def double(n: int) -> int:
    return 2 * n


@task
def main(n: int = 30, size: int = 6) -> dict[str, object]:
    """All of them at once."""
    return {
        f"fib({n})": fib(n),
        "smallest": merge_sort(NUMBERS)[:5],
        f"{size} queens": queens(size),
        "collatz(27)": collatz(27),
        "power of two above 1000": power_of_two_above(1000),
    }


if __name__ == "__main__":
    print(run(main()))
