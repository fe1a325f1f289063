"""A process that replays a fan-out from the cache of a store, so that its memory can be told from that of others.

In: the store and the number of calls, as arguments. Out: {"seconds", "peak" (bytes)} as JSON. Never: starts Ray.
"""

from __future__ import annotations

import json
import os
import sys

from rayflow import Scheduler
from tests.benchmarks import workloads
from tests.benchmarks.measuring import clock, memory_of


def main() -> None:
    """Replay what the command line says."""
    store, count = sys.argv[1], int(sys.argv[2])
    with Scheduler(store=store) as scheduler, clock() as taken:
        found = scheduler.run(workloads.fan_out(count))
    assert len(found) == count
    assert "ray" not in sys.modules, "a replay has imported Ray"
    print(json.dumps({"seconds": taken.seconds, "peak": memory_of(os.getpid(), "VmHWM")}))


if __name__ == "__main__":
    main()
