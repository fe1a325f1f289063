"""What the tests rest on: no process stays behind, no foreign setting comes in, skips say why."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import processes
import pytest
from machines import Machine, linked_machines
from waiting import until


@pytest.mark.slow
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
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert token.stat().st_mode & 0o777 == 0o600 and token != Path.home() / ".ray" / "auth_token"


@pytest.mark.slow
@pytest.mark.netns
def test_machines_have_each_a_network_a_disk_and_a_name_and_leave_nothing() -> None:
    with linked_machines("10.77.32.1", "10.77.32.2", "10.77.32.3") as (one, two, three):
        one.seen(one.disk / "note").write_text("hello")
        assert one.run("cat", "note").stdout == "hello"
        assert two.run("cat", "note").returncode != 0
        names = [machine.run("hostname").stdout for machine in (one, two, three)]
        assert names == ["machine-one\n", "machine-two\n", "machine-three\n"]
        servers = [subprocess.Popen(one.words(sys.executable, "-c", SERVE, port)) for port in ("8", "9")]
        assert reached(two, "8", "9") == ["8", "9"]
        two.unplug()
        assert (reached(two, "8", "9"), reached(three, "8", "9")) == ([], ["8", "9"])
        two.plug_in()
        until(lambda: reached(two, "8", "9") == ["8", "9"])  # its neighbours are forgotten, and found again
        three.reach_only(9)
        assert reached(three, "8", "9") == ["9"]
        left = two.start("sleep", "60", log=Path(os.devnull))
    assert [process.wait(20) for process in (left, *servers)] == [-signal.SIGKILL] * 3
    assert one.processes() == two.processes() == three.processes() == []
    assert not one.disk.exists()


SERVE = """
import socket, sys
server = socket.create_server(("10.77.32.1", int(sys.argv[1])))
while True:
    server.accept()
"""

REACH = """
import socket, sys, time
found, end = [], time.monotonic() + 5
for port in sys.argv[1:]:
    while port not in found and time.monotonic() < end:
        try:
            socket.create_connection(("10.77.32.1", int(port)), timeout=1).close()
            found.append(port)
        except ConnectionRefusedError:  # the server has not begun
            continue
        except OSError:
            break
print(*found)
"""


def reached(machine: Machine, *ports: str) -> list[str]:
    """The ports of machine one that another reaches."""
    return machine.run(sys.executable, "-c", REACH, *ports).stdout.split()
