"""Several writers in one store at the same time: whatever they do, what was acknowledged is there, whole and once.

In the campaign each place soaks for TEST_SOAK_SECONDS (300), with other seeds than those of the short test.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from small_stores import TASK, key, rows

from rayflow.store.exchange.transfer import transfer
from rayflow.store.open import Store, open_store

SECONDS = float(os.environ.get("TEST_SOAK_SECONDS", "300"))
WRITERS = 4
STEPS = 12
"""What each writer does in a short soak."""

UNEVEN = """SELECT count(*) FROM executions
            WHERE execution_id NOT IN (SELECT execution_id FROM jobs) OR execution_id NOT IN
                  (SELECT execution_id FROM reductions)"""


class Soak:
    """One store at a URL, a copy of it, and the executions that were acknowledged."""

    def __init__(self, url: str, copy: str, seed: int, seconds: float) -> None:
        self.url, self.copy, self.seed = url, copy, seed
        self.numbers = itertools.count(1)
        self.acknowledged: set[int] = set()
        self.end = time.monotonic() + seconds

    def write(self, writer: int) -> None:
        """One writer's life: it commits, merges, copies, and now and then is gone with what it had not committed."""
        chance = random.Random(f"{self.seed}/{writer}")
        store = open_store(self.url)
        for step in itertools.count():
            if step >= STEPS and time.monotonic() >= self.end:
                return
            what = chance.random()
            number = next(self.numbers)
            if what < 0.6:
                store.append(rows(store, f"e{number}", number))
                store.commit()
                self.acknowledged.add(number)
            elif what < 0.7:
                store.append(rows(store, f"e{number}", number))
                store = open_store(self.url)
            elif what < 0.8:
                store.compact()
            elif what < 0.9:
                self.look(store, chance)
            else:
                transfer(store, open_store(self.copy))

    def look(self, store: Store, chance: random.Random) -> None:
        """What was acknowledged before the question is in the answer."""
        before = set(self.acknowledged)
        history = store.history()
        assert history.sql(UNEVEN).fetchall() == [(0,)]
        assert {f"e{number}" for number in before} <= {row["execution_id"] for row in history.executions(limit=None)}
        history.close()
        store.refresh()
        some = chance.sample(sorted(before), min(3, len(before)))
        found = store.look_up([(key(number), TASK) for number in some])
        assert [sorted(row.kind for row in answers) for answers in found] == [["full", "single"]] * len(some)

    def check(self, url: str) -> None:
        """Nothing is lost, twice or damaged, before and after everything is merged."""
        store = open_store(url)
        wanted = [(f"e{number}",) for number in sorted(self.acknowledged)]
        for _ in range(2):
            query = "SELECT execution_id FROM {} ORDER BY substr(execution_id, 2)::INT"
            for table in ("executions", "jobs"):
                assert store.history().sql(query.format(table)).fetchall() == wanted
            assert store.check() == []
            store.compact()


LONG = pytest.param(SECONDS, marks=[pytest.mark.campaign, pytest.mark.timeout(7200)])


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, LONG])
@pytest.mark.parametrize("place", ["local", "memory-url"])
def test_several_writers_lose_nothing_and_show_nothing_twice(place: str, seconds: float, tmp_path: Path) -> None:
    seed = random.randrange(2**32) if seconds else 1
    url = str(tmp_path / "store") if place == "local" else f"memory://soak-{os.getpid()}-{seed}"
    soak = Soak(url, str(tmp_path / "copy"), seed, seconds)
    open_store(url).close()
    with ThreadPoolExecutor(WRITERS) as pool:
        for each in [pool.submit(soak.write, writer) for writer in range(WRITERS)]:
            each.result()
    assert soak.acknowledged, f"seed {seed}"
    soak.check(url)
    transfer(open_store(url), open_store(soak.copy))
    soak.check(soak.copy)
