"""Large values stay mapped, more of them than a process may have files open."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from projects import Project

from rayflow.store.folders.local import LocalFolder
from rayflow.store.folders.mapped import MOST_DESCRIPTORS

FLOW = """
    import resource, sys
    import numpy as np
    from rayflow import Scheduler, task

    @task
    def make(i: int):
        return np.full(40_000, i)

    @task
    def total(arrays):
        assert not any(array.flags.writeable for array in arrays)
        return sum(int(array[-1]) for array in arrays)

    @task
    def main(n: int):
        return total([make(i) for i in range(n)])

    if __name__ == "__main__":
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
        with Scheduler(inline=True) as scheduler:
            print(scheduler.run(main(int(sys.argv[2]))))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "count"), [(128, 200), (1024, 1100)])
def test_a_call_takes_more_mapped_arrays_than_files_may_be_open(project: Project, limit: int, count: int) -> None:
    project.write("flow.py", FLOW)
    for _ in range(2):  # computed, then found
        words = [sys.executable, "flow.py", str(limit), str(count)]
        done = subprocess.run(words, cwd=project.path, capture_output=True, text=True, timeout=300, check=False)
        assert done.stdout.strip() == str(sum(range(count))), done.stderr[-2000:]


def test_a_map_lasts_as_long_as_its_content_is_used(tmp_path: Path) -> None:
    folder = LocalFolder(str(tmp_path))
    for number in range(MOST_DESCRIPTORS + 5):
        folder.write(f"file{number}", [bytes([number % 256]) * 300_000])
    before = len(os.listdir("/proc/self/fd"))
    contents = [folder.read(f"file{number}") for number in range(MOST_DESCRIPTORS + 5)]
    assert len(os.listdir("/proc/self/fd")) - before <= MOST_DESCRIPTORS
    assert all(content.readonly and content.nbytes == 300_000 for content in contents)
    assert [content[-1] for content in contents] == [number % 256 for number in range(MOST_DESCRIPTORS + 5)]
    part = contents[-1][10:20]
    del contents
    assert bytes(part) == bytes([(MOST_DESCRIPTORS + 4) % 256]) * 10
    assert len(os.listdir("/proc/self/fd")) <= before
