"""What the tests rest on: no process stays behind, no foreign setting comes in, skips say why."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import processes
import pytest
from machines import two_machines


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
def test_two_machines_have_each_a_network_a_disk_and_a_name_and_leave_nothing() -> None:
    with two_machines("10.77.32.1", "10.77.32.2") as (one, two):
        one.seen(one.disk / "note").write_text("hello")
        assert one.run("cat", "note").stdout == "hello"
        assert two.run("cat", "note").returncode != 0
        assert [machine.run("hostname").stdout for machine in (one, two)] == ["machine-one\n", "machine-two\n"]
        serve = "import socket; print(socket.create_server(('10.77.32.1', 9)).accept()[1][0])"
        server = subprocess.Popen(one.words(sys.executable, "-c", serve), stdout=subprocess.PIPE, text=True)
        call = "import socket\nwhile socket.socket().connect_ex(('10.77.32.1', 9)): pass"
        assert two.run(sys.executable, "-c", call).returncode == 0
        assert server.communicate(timeout=20)[0] == "10.77.32.2\n"
        left = two.start("sleep", "60", log=Path(os.devnull))
    assert left.wait(20) == -signal.SIGKILL
    assert one.processes() == two.processes() == []
    assert not one.disk.exists()
