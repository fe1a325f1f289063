"""A disk that fills while something runs on Ray: the value that is there is given, and the next run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluations import Watching
from projects import Project

from rayflow.api import Scheduler
from rayflow.errors import StoreUnavailable

pytestmark = [pytest.mark.ray, pytest.mark.mounts]

FLOW = """
    import os
    from rayflow import task

    def fill(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        try:
            for size in (4096, 1):
                try:
                    while os.write(descriptor, bytes(size)):
                        pass
                except OSError:
                    pass
        finally:
            os.close(descriptor)

    @task
    def filling(n, path):
        if path is not None:
            fill(path)
        return n

    @task
    def large(n):
        return bytes([n]) * 100_000

    @task
    def both(path):
        return large(filling(1, path))
"""


def test_a_value_is_given_or_one_error_and_what_was_recorded_counts(
    project: Project, ray_cluster: str, small_disk: Path
) -> None:
    project.write("flow.py", FLOW)
    flow = project.load("flow")
    watching, full = Watching(), small_disk / "full"
    with Scheduler(store=str(small_disk / "store"), address=ray_cluster, reporter=watching) as scheduler:
        assert scheduler.run(flow.filling(1, None)) == 1
        assert scheduler.run(flow.filling(2, str(full))) == 2
        assert any("what it did last is not recorded" in text for text in watching.warnings)
        full.unlink()
        with pytest.raises(StoreUnavailable, match="free some space and run again"):
            scheduler.run(flow.both(str(full)))
        full.unlink()
        assert scheduler.run(flow.large(7)) == bytes([7]) * 100_000
