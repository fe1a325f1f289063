"""Rows about durable runs: a service in its own process, its clients here.

In: a plan. Out: one row for each promise of a service: how soon a run ends, how many end in a second, what a wake
costs, how soon a killed service goes on, what a cancel costs, and what many sleeping runs take. Never: asks a service
for anything but what its clients ask.
"""

from __future__ import annotations

import datetime
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from rayflow.client.addresses import ServiceAddress
from rayflow.client.client import Client, ClientRun
from tests.benchmarks.measuring import MIB, Plan, Row, Skipped, child_environment, clock, memory_of

FLOWS = Path(__file__).with_name("durable_flows.py")

ONE_BY_ONE = 200
AT_ONCE = 500
ENDED = 10_000
SLEEPING = 100_000
WOKEN = 20
"""How many waiting runs are woken, one after the other."""

FEW, MANY = 10, 1_000
"""The sizes of what a woken run has behind it."""

THREADS = 8
"""The clients of `AT_ONCE` runs."""

LINGERS_SECONDS = 0.5
"""How long the effect takes in which the service is killed."""


class Service:
    """`rayflow serve` on a store of its own."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self._folder = folder
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None
        self.client: Client

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> float:
        """Start its process. Seconds until it has answered a request."""
        command = [
            sys.executable, "-m", "rayflow", "serve", str(FLOWS), "--port", "0", "--store", str(self._folder / "store"),
            *self._flags,
        ]  # fmt: skip
        environment = child_environment(RAYFLOW_HOME=str(self._folder / "home"))
        with clock() as taken:
            with (self._folder / "log").open("ab") as log:
                self._process = subprocess.Popen(command, cwd=self._folder, env=environment, stdout=log, stderr=log)
            self.client = Client(self._address())
            self.client.asks()
        return taken.seconds

    def _address(self) -> ServiceAddress:
        assert self._process is not None
        while self._process.poll() is None:
            for note in (self._folder / "home" / "services").glob("*.json"):
                told = json.loads(note.read_text())
                if told["pid"] == self._process.pid:
                    return ServiceAddress(told["url"], told["token"])
            time.sleep(0.002)
        raise AssertionError(f"the service has ended: {(self._folder / 'log').read_text()[-2000:]}")

    def end(self, *, kill: bool = False) -> None:
        """End the process, if there is one. kill: as a power cut does."""
        if self._process is not None:
            (self._process.kill if kill else self._process.terminate)()
            self._process.wait()
            self._process = None

    def cpu_seconds(self) -> float:
        """What all its threads have taken so far. Raises Skipped where the system does not tell."""
        try:
            stated = [each.read_text() for each in Path(f"/proc/{self.pid}/task").glob("*/schedstat")]
        except OSError as error:
            raise Skipped(f"CPU time is read from /proc: {error}") from None
        return sum(int(text.split()[0]) for text in stated) / 1e9


@contextmanager
def _service(plan: Plan, *flags: str) -> Iterator[Service]:
    made = Service(plan.folder("service"), *flags)
    made.start()
    try:
        yield made
    finally:
        made.end()


def _peer(plan: Plan, work: str, count: int, figure: str) -> tuple[float | None, dict[str, str]]:
    """A figure of redflow, or the text that says why there is none."""
    found = plan.peer("redflow", work, count)
    return (None, {"redflow": found}) if isinstance(found, str) else (float(found[figure]), {})


# --- soon, and many ---------------------------------------------------------------------------------------------------


def one_run(plan: Plan) -> Row:
    """From the start of a run to its result, as its client sees it; in a service without Ray."""
    return _one_run(plan, "run", 10, "--inline")


def one_run_on_ray(plan: Plan) -> Row:
    """The same, on a local Ray."""
    return _one_run(plan, "run-ray", 20)


def _one_run(plan: Plan, name: str, budget: float, *flags: str) -> Row:
    count = plan.size(ONE_BY_ONE)
    peer, others = _peer(plan, "run", count, "milliseconds")
    with _service(plan, *flags) as service:
        for number in range(20):
            service.client.run("one_effect", {"number": -1 - number})
        taken = []
        for number in range(count):
            with clock() as each:
                assert service.client.run("one_effect", {"number": number}) == number
            taken.append(each.seconds)
    median = statistics.median(taken) * 1000
    return Row(
        name, f"a run of one effect{'' if flags else ', on Ray'}, p50", median, "ms", "redflow", peer,
        budget=f"< {budget:g} ms", ok=median < budget, clock="start - result", others=others,
    )  # fmt: skip


def runs_at_once(plan: Plan) -> Row:
    """Runs of one effect that are started together, in a service without Ray."""
    return _runs_at_once(plan, "runs", "--inline")


def runs_at_once_on_ray(plan: Plan) -> Row:
    """The same, on a local Ray."""
    return _runs_at_once(plan, "runs-ray")


def _runs_at_once(plan: Plan, name: str, *flags: str) -> Row:
    count = plan.size(AT_ONCE)
    peer, others = _peer(plan, "runs", count, "rate")
    with _service(plan, *flags) as service:
        for number in range(20):
            service.client.run("one_effect", {"number": -1 - number})
        rate = statistics.median(count / _all_seconds(service.client, count, turn) for turn in range(plan.rounds))
    return Row(
        name, f"{count} runs of one effect at once{'' if flags else ', on Ray'}", rate, "runs/s", "redflow", peer,
        budget="> 500 runs/s", ok=rate > 500, clock="first start - last result", others=others,
    )  # fmt: skip


def _all_seconds(client: Client, count: int, turn: int = 0) -> float:
    """Seconds from the first start of so many runs to the last result."""

    def some(first: int) -> None:
        numbers = range(first, count, THREADS)
        runs = [client.start("one_effect", {"number": turn * count + number}) for number in numbers]
        assert [run.result() for run in runs] == [turn * count + number for number in numbers]

    with ThreadPoolExecutor(THREADS) as threads, clock() as taken:
        list(threads.map(some, range(min(THREADS, count))))
    return taken.seconds


# --- waits ------------------------------------------------------------------------------------------------------------


def wake_beside_subtree(plan: Plan) -> Row:
    """What the service works for the wake of a run that waits beside a finished subtree, after a restart."""
    few, many = (_wake_ms(plan, "after_subtree", count) for count in (FEW, plan.size(MANY)))
    peer, others = _peer(plan, "wake", plan.size(200), "milliseconds")
    return Row(
        "wake", f"wake beside {plan.size(MANY):,} finished calls, CPU", many, "ms", "redflow, 200", peer,
        budget="< 3 ms", ok=many < 3, beside=(f"beside {FEW} calls {few:.2f} ms",), clock="its threads' time",
        others=others,
    )  # fmt: skip


def wake_after_outcomes(plan: Plan) -> Row:
    """The same for a body that has awaited so many effects."""
    count = plan.size(MANY)
    few, many = (_wake_ms(plan, "after_outcomes", each) for each in (FEW, count))
    allowed = 3 + 0.05 * count
    return Row(
        "wake-body", f"wake of a body after {count:,} outcomes, CPU", many, "ms",
        budget=f"< {allowed:g} ms", ok=many < allowed, beside=(f"after {FEW} outcomes {few:.2f} ms",),
        clock="its threads' time",
    )  # fmt: skip


def _wake_ms(plan: Plan, flow: str, count: int) -> float:
    """CPU milliseconds of the service for each wake of runs that were left by an earlier process.

    Each is woken by an event that was emitted before, and is due then: so no request costs anything meanwhile.
    """
    woken = max(2, plan.size(WOKEN))
    with _service(plan, "--inline") as service:
        runs = [service.client.start(flow, {"count": count, "key": str(each)}) for each in range(woken + 1)]
        for run in runs:
            _until_waiting(run)
        service.end()
        service.start()
        service.client.emit("wake", key=str(woken))  # the first wake imports modules
        _again(service.client, runs.pop()).result()
        due = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2.5)
        for each in range(woken):
            service.client.emit("wake", key=str(each), at=due + datetime.timedelta(seconds=0.03 * each))
        time.sleep(1.5)  # what the emits have left behind is tidied up
        before = service.cpu_seconds()
        last = _again(service.client, runs[-1])
        last.result()
        taken = service.cpu_seconds() - before
        for run in runs:
            _again(service.client, run).result()
    return taken / woken * 1000


def _again(client: Client, run: ClientRun) -> ClientRun:
    """The run as a client of the service's present process sees it."""
    return ClientRun(client, run.id)


def _until_waiting(run: ClientRun) -> None:
    while (state := run.state()) != "waiting":
        assert state == "running", run.describe()
        time.sleep(0.02)


# --- death and cancel -------------------------------------------------------------------------------------------------


def recovery(plan: Plan) -> Row:
    """From the start of a service, after one that was killed in the middle of an effect, to that run's result, less
    what the effect takes."""
    peer, others = _peer(plan, "recovery", 1, "seconds")
    taken, up = [], []
    for _ in range(plan.rounds):
        with _service(plan, "--inline") as service:
            service.client.run("one_effect", {"number": -1})
            run = service.client.start("lingering", {"seconds": LINGERS_SECONDS})
            time.sleep(LINGERS_SECONDS / 2)
            service.end(kill=True)
            with clock() as whole:
                up.append(service.start())
                assert _again(service.client, run).result() == 1
            taken.append(whole.seconds - LINGERS_SECONDS)
    seconds = statistics.median(taken)
    return Row(
        "recovery", "recovery after kill -9", seconds, "s", "redflow", peer, budget="< 3 s", ok=seconds < 3,
        beside=(f"answers after {statistics.median(up):.2f} s",), clock="start - result, less the effect",
        others=others,
    )  # fmt: skip


def cancel(plan: Plan) -> Row:
    """A cancel of a waiting run, in a store with many runs that have ended."""
    count = plan.size(ENDED)
    peer, others = _peer(plan, "cancel", plan.size(500), "milliseconds")
    with _service(plan, "--inline") as service:
        _all_seconds(service.client, count)
        taken = []
        for number in range(20):
            run = service.client.start("waiting", {"key": str(number)})
            _until_waiting(run)
            with clock() as each:
                assert run.cancel("benchmark")
            taken.append(each.seconds)
    median = statistics.median(taken) * 1000
    return Row(
        "cancel", f"cancel beside {count:,} ended runs, p50", median, "ms", "redflow, 500", peer, budget="< 20 ms",
        ok=median < 20, beside=(f"the slowest {max(taken) * 1000:.0f} ms",), clock="cancel()", others=others,
    )  # fmt: skip


# --- many sleeping runs -----------------------------------------------------------------------------------------------


def sleeping_memory(plan: Plan) -> Row:
    """The memory of a service that was started when so many runs were asleep."""
    found = _sleeping(plan)
    budget = 500 * MIB
    return Row(
        "sleeping", f"service, {plan.size(SLEEPING):,} sleeping runs", found["bytes"] / MIB, "MiB",
        budget="< 500 MiB", ok=found["bytes"] < budget, clock="resident",
        beside=(f"before the restart {found['before'] / MIB:,.0f} MiB; {found['rate']:,.0f} starts/s",),
    )  # fmt: skip


def sleeping_restart(plan: Plan) -> Row:
    """How long its start takes."""
    seconds = _sleeping(plan)["seconds"]
    return Row(
        "sleeping-up", f"restart, {plan.size(SLEEPING):,} sleeping runs", seconds, "s", budget="< 15 s",
        ok=seconds < 15, clock="start - first answer",
    )  # fmt: skip


def _sleeping(plan: Plan) -> dict[str, float]:
    return plan.once("sleeping", lambda: _many_sleeping(plan, plan.size(SLEEPING)))


def _many_sleeping(plan: Plan, count: int) -> dict[str, float]:
    with _service(plan, "--inline") as service:
        client = service.client

        def some(first: int) -> str:
            for number in range(first, count, THREADS):
                run = client.start("sleeping", {"seconds": 100_000 + number})
            return run.id

        with ThreadPoolExecutor(THREADS) as threads, clock() as taken:
            last = list(threads.map(some, range(min(THREADS, count))))
        for each in last:
            _until_waiting(ClientRun(client, each))
        before = memory_of(service.pid)
        service.end()
        seconds = service.start()
        assert len(service.client.runs(state="waiting", limit=1)) == 1
        return {"bytes": memory_of(service.pid), "before": before, "seconds": seconds, "rate": count / taken.seconds}
