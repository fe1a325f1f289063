"""A second process that counts an execution's job rows by SQL, so that a clock can stop when everybody can see them.

In, a line each: {"store", "execution", "jobs"} as JSON. Out: the count, a line each, once it has reached `jobs`. The
count of one that never does is given after `PATIENCE_SECONDS`.
"""

from __future__ import annotations

import json
import sys
import time

from rayflow.store.open import open_store

PATIENCE_SECONDS = 30.0
PAUSE_SECONDS = 0.005


def main() -> None:
    """Answer until the input ends."""
    _warm_up()
    print("ready", flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        print(count(question["store"], question["execution"], question["jobs"]), flush=True)


def count(store: str, execution: str, wanted: int) -> int:
    """The job rows of an execution that are closed; waits for so many."""
    history = open_store(store, create=False, read_only=True).history()
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        ((found,),) = history.sql(
            "SELECT count(*) FROM jobs WHERE execution_id = $execution AND status = 'done'", {"execution": execution}
        ).fetchall()
        if found >= wanted or time.monotonic() > end:
            history.close()
            return int(found)
        time.sleep(PAUSE_SECONDS)


def _warm_up() -> None:
    """Import what a question imports."""
    import duckdb

    duckdb.connect().execute("SELECT 1").fetchall()


if __name__ == "__main__":
    main()
