"""The same work on peers, in an interpreter that has them: `python peers.py redun fan-out 500`.

In: a peer, a work (fan-out, chain, replay, hello; for redflow see redflow_peer.py) and a count; an empty folder. Out:
one line of JSON: whether the peer is installed, and its seconds if so; for redun also the bytes of its database for
each job. Never: imports anything of rayflow.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FLOW = """
from redun import task

redun_namespace = "benchmark"

@task()
def main(name: str = "world") -> str:
    return f"hello {name}"
"""


def noop(number: int) -> int:
    """A call that does nothing."""
    return number


def step(number: int) -> int:
    """One link of a chain."""
    return number + 1


def joblib(work: str, count: int) -> dict[str, Any]:
    """Processes of joblib, which have started."""
    from joblib import Parallel, delayed

    assert work == "fan-out"
    with Parallel(n_jobs=os.cpu_count()) as parallel:
        parallel(delayed(noop)(number) for number in range(100))
        started = time.perf_counter()
        found = parallel(delayed(noop)(number) for number in range(count))
        seconds = time.perf_counter() - started
    assert found == list(range(count))
    return {"seconds": seconds}


def dask(work: str, count: int) -> dict[str, Any]:
    """A local cluster of Dask with one worker process for each processor, which have started."""
    from distributed import Client, LocalCluster

    logging.disable(logging.CRITICAL)
    with (
        LocalCluster(n_workers=os.cpu_count(), threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.gather(client.map(noop, range(-100, 0), pure=False))
        started = time.perf_counter()
        if work == "chain":
            number: Any = 0
            for _ in range(count):
                number = client.submit(step, number, pure=False)
            assert client.gather(number) == count
        else:
            assert client.gather(client.map(noop, range(count), pure=False)) == list(range(count))
        return {"seconds": time.perf_counter() - started}


def redun(work: str, count: int) -> dict[str, Any]:
    """redun with its default executor of threads and a database in SQLite."""
    return _redun_hello(count) if work == "hello" else _redun_calls(work, count)


def _redun_hello(rounds: int) -> dict[str, Any]:
    Path("flow.py").write_text(FLOW)
    command = [str(Path(sys.executable).with_name("redun")), "run", "flow.py", "main"]
    subprocess.run(command, check=True, capture_output=True)
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    return {"seconds": statistics.median(seconds)}


def _redun_calls(work: str, count: int) -> dict[str, Any]:
    from redun import Scheduler, task
    from redun.config import Config

    logging.disable(logging.CRITICAL)
    noop_task, step_task = task(namespace="benchmark")(noop), task(namespace="benchmark")(step)

    @task(namespace="benchmark")
    def fan_out(count: int) -> list[int]:
        return [noop_task(number) for number in range(count)]

    def chain() -> Any:
        number: Any = 0
        for _ in range(count):
            number = step_task(number)
        return number

    def run() -> float:
        scheduler = Scheduler(config=Config({"backend": {"db_uri": "sqlite:///redun.db"}}))
        scheduler.load()
        started = time.perf_counter()
        found = scheduler.run(chain() if work == "chain" else fan_out(count))
        taken = time.perf_counter() - started
        assert found == (count if work == "chain" else list(range(count)))
        return taken

    seconds = run()
    if work == "replay":
        seconds = run()
    return {"seconds": seconds, "bytes": Path("redun.db").stat().st_size / count}


def redflow(work: str, count: int) -> dict[str, Any]:
    """redflow with a worker in this process, and a Redis of its own."""
    import redflow_peer  # beside this script

    found: dict[str, Any] = redflow_peer.measure(work, count)
    return found


PEERS: dict[str, tuple[str, Callable[[str, int], dict[str, Any]]]] = {
    "joblib": ("joblib", joblib), "dask": ("distributed", dask), "redun": ("redun", redun),
    "redflow": ("redflow", redflow),
}  # fmt: skip
"""By name: the package that has to be there, and what runs the work."""


def main() -> None:
    """Measure what the command line says."""
    package, run = PEERS[sys.argv[1]]
    installed = importlib.util.find_spec(package) is not None
    if package == "redflow":
        installed = installed and shutil.which("redis-server") is not None
    print(json.dumps({"installed": installed, **(run(sys.argv[2], int(sys.argv[3])) if installed else {})}))


if __name__ == "__main__":
    main()
