"""Flows of every form, for services that are killed: each keeps a ledger of what it has done outside.

In: nothing. Out: the source of the flows; what each run of them must come to, and what it must have done outside.
Never: runs anything.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

SOURCE = '''    """One flow for each form. The ledger has a line for each doing of an effect."""

    import json
    import os
    import time

    from rayflow import (
        JobInfo, ask, child, continue_as, effect, emit, event, finally_, first, flow, gather, join, now, seq, sleep,
        spawn, task, uuid, wait_for_event, within,
    )

    LEDGER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ledger.jsonl")


    def note(what, job):
        line = json.dumps({
            "what": what, "key": job.idempotency_key, "run": job.execution_id, "at": time.time_ns(), "pid": os.getpid(),
        })
        descriptor = os.open(LEDGER, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line.encode() + b"\\n")
        finally:
            os.close(descriptor)


    @effect
    def do(what, seconds=0.0, job: JobInfo = JobInfo()):
        note(what, job)
        time.sleep(seconds)
        return f"did {what}"


    @task
    def twice(x):
        return [x, x]


    @flow
    def chain(name):
        return seq([do(f"{name} 1", 0.02), sleep(0.15), do(f"{name} 2"), twice(name), sleep(0.1), do(f"{name} 3")])


    @flow
    def many(name):
        return [do(f"{name} {number}", 0.01) for number in range(6)]


    @flow
    def hears(name):
        return seq([do(f"{name} before"), wait_for_event("go", key=name).data, do(f"{name} after")])


    @flow
    def asks(name):
        return seq([do(f"{name} before"), ask(f"go on with {name}?", int), do(f"{name} after")])


    @flow
    def parent(name):
        return [child(chain(f"{name} a")), child(chain(f"{name} b"), id=f"{name} b"), join(spawn(many(f"{name} c")))]


    @flow
    def race(name):
        quick = seq([sleep(0.2), do(f"{name} quick")])[1]
        never = seq([wait_for_event("never", key=name), do(f"{name} never")])
        return do(do(first(never, quick)))


    @task
    def won(name, winner):
        return f"{name} won by {winner}"


    @flow
    def duel(name):
        one, two = seq([sleep(0.1), "one"])[1], seq([sleep(0.1), "two"])[1]
        return do(won(name, first(one, two)))


    @task
    def joined(*parts):
        return " ".join(parts)


    @flow
    def bounded(name):
        return [do(joined(name, within(wait_for_event("never", key=name), 0.3, "late"))), do(f"{name} end")]


    @task
    def fails(text):
        raise LookupError(text)


    @flow
    def guarded(name):
        return finally_(seq([do(f"{name} used"), sleep(0.1), fails(name)]), do(f"{name} released"))


    @flow
    async def agent(name):
        found = []
        for number in range(3):
            found.append(await do(f"{name} {number}", 0.01))
            found.extend(await gather(do(f"{name} {number} left"), do(f"{name} {number} right")))
            await sleep(0.05)
        found.append((await wait_for_event("go", key=name)).data)
        return found


    @flow
    def emits(name):
        return seq([do(f"{name} first"), emit("made", name), "emitted"])


    @flow(on=event("made"))
    def made(name: str):
        return seq([sleep(0.05), do(f"{name} made")])


    @flow
    def rounds(name, left: int = 3):
        if left == 0:
            return do(f"{name} 0")
        return seq([do(f"{name} {left}"), sleep(0.05), continue_as(rounds(name, left - 1))])


    @flow
    def noted(name):
        return [uuid(), now(), do(f"{name} noted"), sleep(0.1)]
'''


class Expected(NamedTuple):
    """What a run of a flow comes to. does: what is to be in the ledger, each once: the possibilities. value: of the
    run; of one that fails, the text of its failure. hears, is_asked: whether it waits for the event "go" of its name,
    or for the answer 7. is_failed: it fails with a LookupError."""

    does: Callable[[str], list[list[str]]]
    value: Callable[[str], Any]
    hears: bool = False
    is_asked: bool = False
    is_failed: bool = False


def _chain_does(name: str) -> list[str]:
    return [f"{name} {number}" for number in (1, 2, 3)]


def _chain_value(name: str) -> Any:
    return [f"did {name} 1", None, f"did {name} 2", [name, name], None, f"did {name} 3"]


def _many_does(name: str) -> list[str]:
    return [f"{name} {number}" for number in range(6)]


def _agent_does(name: str) -> list[str]:
    return [f"{name} {number}{side}" for number in range(3) for side in ("", " left", " right")]


def _did(whats: list[str]) -> list[str]:
    return [f"did {what}" for what in whats]


FLOWS: dict[str, Expected] = {
    "chain": Expected(lambda name: [_chain_does(name)], _chain_value),
    "many": Expected(lambda name: [_many_does(name)], lambda name: _did(_many_does(name))),
    "hears": Expected(
        lambda name: [[f"{name} before", f"{name} after"]],
        lambda name: [f"did {name} before", f"for {name}", f"did {name} after"],
        hears=True,
    ),
    "asks": Expected(
        lambda name: [[f"{name} before", f"{name} after"]],
        lambda name: [f"did {name} before", 7, f"did {name} after"],
        is_asked=True,
    ),
    "parent": Expected(
        lambda name: [[*_chain_does(f"{name} a"), *_chain_does(f"{name} b"), *_many_does(f"{name} c")]],
        lambda name: [_chain_value(f"{name} a"), _chain_value(f"{name} b"), _did(_many_does(f"{name} c"))],
    ),
    "race": Expected(
        lambda name: [[f"{name} quick", f"did {name} quick", f"did did {name} quick"]],
        lambda name: f"did did did {name} quick",
    ),
    "duel": Expected(lambda name: [[f"{name} won by one"], [f"{name} won by two"]], lambda name: mock.ANY),
    "bounded": Expected(
        lambda name: [[f"{name} late", f"{name} end"]], lambda name: [f"did {name} late", f"did {name} end"]
    ),
    "guarded": Expected(lambda name: [[f"{name} used", f"{name} released"]], lambda name: name, is_failed=True),
    "agent": Expected(
        lambda name: [_agent_does(name)], lambda name: [*_did(_agent_does(name)), f"for {name}"], hears=True
    ),
    "emits": Expected(
        lambda name: [[f"{name} first", f"{name} made"]], lambda name: [f"did {name} first", mock.ANY, "emitted"]
    ),
    "rounds": Expected(lambda name: [[f"{name} {left}" for left in (3, 2, 1, 0)]], lambda name: f"did {name} 0"),
    "noted": Expected(lambda name: [[f"{name} noted"]], lambda name: [mock.ANY, mock.ANY, f"did {name} noted", None]),
}


class Doing(NamedTuple):
    """One line of the ledger. at: nanoseconds since the epoch."""

    what: str
    key: str
    run: str
    at: int
    pid: int


def doings_in(ledger: Path) -> dict[str, list[Doing]]:
    """The lines of a ledger, by what was done, in order."""
    found: defaultdict[str, list[Doing]] = defaultdict(list)
    for line in ledger.read_text().splitlines() if ledger.exists() else ():
        doing = Doing(**json.loads(line))
        found[doing.what].append(doing)
    return found
