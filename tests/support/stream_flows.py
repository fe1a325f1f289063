"""Flows that write to streams, for tests with a service in a process of its own."""

from __future__ import annotations

SOURCE = '''
import asyncio
import os
import time
from pathlib import Path

from rayflow import effect, flow, gather, map_, stream, subrun, task, wait_for_event

TOKENS = stream("tokens")


def until(name):
    """Wait until the test makes a file."""
    while not Path(name).exists():
        time.sleep(0.01)


@effect
def says(text):
    for word in text.split():
        TOKENS.write(word)
    return text


@effect
def says_until(text, name):
    for word in text.split():
        TOKENS.write(word)
    until(name)
    TOKENS.write("end")
    return text


@effect(retries=3, retry_delay=0, max_worker_losses=3)
def dies_once(name):
    first = not Path("died").exists()
    Path("died").touch()
    for number in range(3 if first else 5):
        TOKENS.write(["first" if first else "second", number])
    if first:
        until(name)
        os._exit(1)
    return "done"


@effect(retries=1, retry_delay=0)
def raises_once():
    first = not Path("raised").exists()
    Path("raised").touch()
    for number in range(3 if first else 2):
        TOKENS.write(number)
    if first:
        raise OSError("once")
    return "done"


@effect
def many(count):
    for number in range(count):
        TOKENS.write(number)
    return count


@effect
def says_heard(event):
    TOKENS.write("heard")


@task
def double(n):
    stream("doubles").write(n)
    return 2 * n


@flow
def inside(first):
    return subrun([double(first), double(first + 100)])


@flow
def wide(count):
    return map_(double, list(range(count)))


@flow
async def steps():
    TOKENS.write("one")
    first = await gather(double(1))
    TOKENS.write("two")
    await gather(wait_for_event("go", timeout="60s"))
    TOKENS.write("three")
    return first


@flow
def hears():
    return [says("a b"), says_heard(wait_for_event("go"))]


@flow
def main():
    return says("hello there")
'''
