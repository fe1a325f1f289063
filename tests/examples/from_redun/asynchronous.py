import asyncio

from redun import task
from redun.functools import seq

redun_namespace = "asynchronous"


@task(cache=False)
async def slow(x: int) -> int:
    await asyncio.sleep(0.01)
    return x + 1


@task(cache=False)
async def total(n: int) -> int:
    found = 0
    for i in range(n):
        found += await slow(i)
    return found


@task()
def main() -> list:
    return [slow(1), total(3), seq([slow(2), slow(3)])]
