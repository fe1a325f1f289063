"""Machines of one's own on this one: each has a network, a disk, a shared memory and a name that no other sees.

In: addresses. Out: `Machine`, on which commands run; a cable lies between two. Never: leaves a process or a mount.

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
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

OWN_DISK = """
    for place in "$0" /dev/shm; do mount -t tmpfs tmpfs "$place" || exit 1; done
    mkdir -p "$0/tmp" && hostname "$1" && ip link set lo up && echo ready && exec cat
"""
"""What the first process of a machine does. It ends when whoever started it closes its stdin, also by dying."""


@dataclass
class Machine:
    """One machine. address: its own. disk: a directory that every machine has, each with another content."""

    name: str
    address: str
    disk: Path
    init: subprocess.Popen[bytes]

    @property
    def environment(self) -> dict[str, str]:
        """What its processes get: temporary and cached files lie on its own disk."""
        return {**os.environ, "NO_COLOR": "1", "TMPDIR": f"{self.disk}/tmp", "RAYFLOW_CACHE_DIR": f"{self.disk}/cache"}

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
        """Take the cable out: what is sent to it from now on gets no answer."""
        told = self.run("ip", "-brief", "link", "show", "type", "veth").stdout
        self.run("ip", "link", "set", told.partition("@")[0], "down")

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
def two_machines(first: str, second: str) -> Iterator[tuple[Machine, Machine]]:
    """Two machines with these addresses, and a cable between them. They last as long as this does."""
    disk = Path(tempfile.mkdtemp(prefix="rf", dir="/tmp"))  # short: the paths of Ray's sockets have a limit
    link = f"rf{os.getpid() % 1_000_000}"
    machines: list[Machine] = []
    try:
        for name, address in (("one", first), ("two", second)):
            init = subprocess.Popen(
                ["unshare", "--mount", "--net", "--uts", "sh", "-c", OWN_DISK, str(disk), f"machine-{name}"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            assert init.stdout is not None and init.stdout.readline() == b"ready\n"
            machines.append(Machine(name, address, disk, init))
            assert machines[-1].network != os.readlink("/proc/self/ns/net")
        ends = [f"{link}a", f"{link}b"]
        _ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for machine, end in zip(machines, ends, strict=True):
            _ip("link", "set", end, "netns", str(machine.init.pid))
            # By its default route a process finds out which address is its own; Ray asks in this way.
            words = f"addr add {machine.address}/24 dev {end}\nlink set {end} up\nroute add default dev {end}\n"
            subprocess.run(machine.words("ip", "-batch", "-"), input=words.encode(), check=True, capture_output=True)
        yield machines[0], machines[1]
    finally:
        for machine in machines:
            machine.end()
        disk.rmdir()  # which it lets be done once nothing is mounted there, and nothing was written past the mounts


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def wait_for(process: subprocess.Popen[bytes], log: Path, text: bytes, seconds: float = 60) -> None:
    """Wait until a process has written this to its log; fail when it ends before."""
    end = time.monotonic() + seconds
    while text not in (told := log.read_bytes()):
        assert process.poll() is None and time.monotonic() < end, told.decode(errors="replace")[-2000:]
        time.sleep(0.05)
