"""What the tests rest on: no process stays behind, no foreign setting comes in, skips say why."""

from __future__ import annotations

import os
import subprocess
import sys

import processes
import pytest


def test_a_process_is_found_also_when_its_parent_has_ended() -> None:
    start = "from subprocess import *; print(Popen(['sleep', '60'], stdout=DEVNULL, stderr=DEVNULL).pid)"
    ended = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, check=True)
    orphan = int(ended.stdout)
    assert orphan in processes.started_here()
    assert os.getpid() not in processes.started_here()
    os.kill(orphan, 9)


def test_settings_of_the_machine_do_not_reach_the_tests() -> None:
    assert "RAY_ADDRESS" not in os.environ
    mine = {processes.MARKER}
    assert not [name for name in os.environ if name.startswith("RAYFLOW_") and name not in mine]


@pytest.mark.netns
def test_a_network_namespace_can_be_made() -> None:
    name = f"rayflow-test-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "netns", "delete", name], check=True)
