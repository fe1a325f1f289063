"""Machines of one's own on this one: each has a network, a disk, a shared memory and a name that no other sees.

In: addresses. Out: `Machine`, on which commands run; a cable leads from each to one switch. Never: leaves a process or
a mount.

All that a machine has belongs to its namespaces, and is gone with the last process in them. What is not on its own disk
(Python, rayflow, the folders of tests) it shares with this one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

OWN_DISK = """
    for place in "$0" /dev/shm; do mount -t tmpfs tmpfs "$place" || exit 1; done
    mkdir -p "$0/tmp" && hostname "$1" && ip link set lo up && echo ready && exec cat
"""
"""What the first process of a machine does. It ends when whoever started it closes its stdin, also by dying."""


SWITCH = "ip link add switch type bridge && ip link set switch up && echo ready && exec cat"
"""What the process does whose network is the switch. It ends as the first process of a machine does."""

NAMES = "one", "two", "three", "four", "five"


@dataclass
class Machine:
    """One machine. address: its own. disk: a directory that every machine has, each with another content. init: its
    first process. switch: that of the switch. settings: variables for all that is started there."""

    name: str
    address: str
    disk: Path
    init: subprocess.Popen[bytes]
    switch: subprocess.Popen[bytes]
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What its processes get: temporary and cached files lie on its own disk."""
        own = {"TMPDIR": f"{self.disk}/tmp", "RAYFLOW_CACHE_DIR": f"{self.disk}/cache"}
        return {**os.environ, "NO_COLOR": "1", **own, **self.settings}

    def words(self, *command: str, cwd: str | Path | None = None) -> list[str]:
        """The command that runs this one there, by default in the root of its own disk."""
        enter = ["nsenter", f"--target={self.init.pid}", "--mount", "--net", "--uts"]
        return [*enter, "sh", "-c", 'cd "$0" && exec "$@"', str(cwd or self.disk), *command]

    def run(
        self, *command: str, cwd: str | Path | None = None, timeout: float = 120, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there to its end."""
        return subprocess.run(
            self.words(*command, cwd=cwd), env={**self.environment, **environment}, capture_output=True, text=True,
            timeout=timeout,
        )  # fmt: skip

    def start(self, *command: str, log: Path, **environment: str) -> subprocess.Popen[bytes]:
        """Start a command there, which writes to a log on this machine."""
        with log.open("wb") as stream:
            return subprocess.Popen(
                self.words(*command), env={**self.environment, **environment}, stdin=subprocess.DEVNULL, stdout=stream,
                stderr=stream, start_new_session=True,
            )  # fmt: skip

    def seen(self, path: str | Path) -> Path:
        """A path on its disk, as this process reaches it."""
        return Path(f"/proc/{self.init.pid}/root{path}")

    def unplug(self) -> None:
        """Take the cable out of the switch: what is sent from or to this machine from now on gets no answer."""
        self._set_cable("down")

    def plug_in(self) -> None:
        """Put the cable back."""
        self._set_cable("up")

    def _set_cable(self, state: str) -> None:
        _ip(self.switch, f"link set {self.name} {state}")

    def reach_only(self, *ports: int) -> None:
        """From now on this machine reaches nothing of the others but these ports, as one outside of a firewall does."""
        allowed = [f"rule add pref {port} ipproto tcp dport {port} lookup main" for port in ports]
        _ip(self.init, *allowed, f"rule add pref 32000 to {self.address}/24 unreachable")

    @cached_property
    def network(self) -> str:
        """What tells its processes from others."""
        return os.readlink(f"/proc/{self.init.pid}/ns/net")

    def processes(self, named: bytes = b"") -> list[int]:
        """The processes that run there, all or those whose command line holds this."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended
                if os.readlink(entry / "ns" / "net") == self.network and named in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found

    def end(self, seconds: float = 20) -> None:
        """End it, with all that runs there."""
        last = time.monotonic() + seconds
        while left := self.processes():
            assert time.monotonic() < last, f"{self.name} does not end: {left}"
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        self.init.communicate()


@contextlib.contextmanager
def linked_machines(*addresses: str) -> Iterator[list[Machine]]:
    """Machines with these addresses, of one /24 network, and a switch between them. They last as long as this does."""
    disk = Path(tempfile.mkdtemp(prefix="rf", dir="/tmp"))  # short: the paths of Ray's sockets have a limit
    made: list[Machine] = []
    switch = _begun("unshare", "--net", "sh", "-c", SWITCH)
    try:
        for number, address in zip(NAMES, addresses, strict=False):
            name = f"machine-{number}"
            init = _begun("unshare", "--mount", "--net", "--uts", "sh", "-c", OWN_DISK, str(disk), name)
            made.append(Machine(name, address, disk, init, switch))
            assert made[-1].network != os.readlink("/proc/self/ns/net")
            _ip(
                switch,
                f"link add {name} type veth peer name cable netns {init.pid}",
                f"link set {name} master switch up",
            )
            # By its default route a process finds out which address is its own; Ray asks in this way.
            _ip(init, f"addr add {address}/24 dev cable", "link set cable up", "route add default dev cable")
        yield made
    finally:
        for machine in made:
            machine.end()
        switch.communicate()
        disk.rmdir()  # which it lets be done once nothing is mounted there, and nothing was written past the mounts


def _begun(*words: str) -> subprocess.Popen[bytes]:
    """A process that holds namespaces, once it has made what is in them."""
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    return process


def _ip(process: subprocess.Popen[bytes], *lines: str) -> None:
    """Carry out commands of `ip` in the network of a process."""
    words = ["nsenter", f"--target={process.pid}", "--net", "ip", "-batch", "-"]
    done = subprocess.run(words, input="\n".join(lines), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def wait_for(process: subprocess.Popen[bytes], log: Path, text: bytes, seconds: float = 60) -> None:
    """Wait until a process has written this to its log; fail when it ends before."""
    end = time.monotonic() + seconds
    while text not in (told := log.read_bytes()):
        assert process.poll() is None and time.monotonic() < end, told.decode(errors="replace")[-2000:]
        time.sleep(0.05)
