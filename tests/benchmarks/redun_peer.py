"""The same work on redun, in an interpreter that has it: `python redun_peer.py fan-out 500`, in an empty folder.

Out: one line of JSON: its version and seconds (and, for `bytes`, bytes per job). Imports nothing of ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

FLOW = """
from redun import task

redun_namespace = "benchmark"

@task()
def main(name: str = "world") -> str:
    return f"hello {name}"
"""


def _hello() -> dict[str, Any]:
    Path("flow.py").write_text(FLOW)
    command = [str(Path(sys.executable).with_name("redun")), "run", "flow.py", "main"]
    subprocess.run(command, check=True, capture_output=True)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    return {"seconds": sorted(seconds)[1]}


def _calls(what: str, count: int) -> dict[str, Any]:
    import logging

    from redun import Scheduler, task
    from redun.config import Config

    logging.disable(logging.CRITICAL)

    @task(namespace="benchmark")
    def noop(number: int) -> int:
        return number

    @task(namespace="benchmark")
    def fan_out(count: int) -> list[int]:
        return [noop(number) for number in range(count)]

    @task(namespace="benchmark")
    def step(number: int) -> int:
        return number + 1

    def chain() -> Any:
        number: Any = 0
        for _ in range(count):
            number = step(number)
        return number

    def run() -> float:
        scheduler = Scheduler(config=Config({"backend": {"db_uri": "sqlite:///redun.db"}}))
        scheduler.load()
        started = time.perf_counter()
        found = scheduler.run(chain() if what == "chain" else fan_out(count))
        taken = time.perf_counter() - started
        assert found == (count if what == "chain" else list(range(count)))
        return taken

    seconds = run()
    if what == "replay":
        seconds = run()
    return {"seconds": seconds, "bytes": Path("redun.db").stat().st_size / count}


def main() -> None:
    """Measure what the command line says."""
    what, count = sys.argv[1], int(sys.argv[2])
    found = _hello() if what == "hello" else _calls(what, count)
    print(json.dumps({"version": version("redun"), **found}))


if __name__ == "__main__":
    main()
