"""Heads of clusters, started as a user starts them: `ray start --head --block`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running_head(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, *, patience_seconds: float = 20, **popen: Path
) -> Iterator[None]:
    """The head that a command starts, once it is up. At the end it is stopped, and its folder removed.

    patience_seconds: how long it may take to stop before it is killed. popen: more for the process.
    """
    log = folder / "log"
    with log.open("wb") as output:
        ray = subprocess.Popen(
            command, stdout=output, stderr=output, env=dict(environment), start_new_session=True, **popen
        )
    try:
        end = time.monotonic() + 180
        while b"Ray runtime started" not in log.read_bytes():
            assert ray.poll() is None and time.monotonic() < end, log.read_text()[-2000:]
            time.sleep(0.02)
        yield
    finally:
        ray.send_signal(signal.SIGTERM)
        try:
            ray.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(ray.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
