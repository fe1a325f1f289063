"""A dry run knows which calls a shallow call (`check_valid="shallow"`) spares. The oracle is the run after it."""

from __future__ import annotations

from collections import Counter

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Scheduler
from rayflow.runtime.planning.dry import DryRun

FLOW = """
from rayflow import File, task

@task
def make(n):
    out = File(f"out-{n}.txt")
    out.write("x" * n)
    return out

@task
def size(f):
    return len(f.read())

@task
def total(xs):
    return sum(xs)

@task
async def awaited(n):
    return await size(make(n))

@task
def middle(n):
    return total([size(make(each)) for each in range(1, n)])

@task
def use(x, y):
    return x + y

@task
def main():
    return use(middle(4), awaited(5))
"""

CHANGES = {
    "nothing": None,
    "a file between": None,
    "the file that a body awaited": None,
    "code below": ("return len(f.read())", "return len(f.read()) + 1"),
    "code of the call": ("return total([", "return total(xs=["),
}


@pytest.fixture
def flow(project: Project, monkeypatch: pytest.MonkeyPatch) -> Flow:
    monkeypatch.chdir(project.path)
    flow = Flow(project)
    flow.write(FLOW)
    return flow


def planned(flow: Flow) -> DryRun:
    assert flow.module is not None
    with Scheduler(store=str(flow.project.path / ".rayflow"), inline=True, read_only=True) as scheduler:
        return scheduler.dry_run(flow.module.main())


def counts(plan: DryRun, *verdicts: str) -> Counter[str]:
    """How many calls of each task have one of these verdicts."""
    found: Counter[str] = Counter()
    for call in plan.calls:
        if call.verdict in verdicts:
            found[call.task_name.rpartition(".")[2]] += call.alike
    return found


def shallow(flow: Flow, names: tuple[str, ...]) -> None:
    """Give these tasks the option, and no others."""
    text = FLOW
    for name in names:
        for kind in ("def", "async def"):
            text = text.replace(f"@task\n{kind} {name}(", f'@task(check_valid="shallow")\n{kind} {name}(')
    flow.write(text)


BOTH = ("middle", "awaited")


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("before", "now"), [((), ()), ((), BOTH), (BOTH, BOTH), (BOTH, ()), ((), ("size",))])
def test_what_is_predicted_below_a_changed_call_is_what_runs(
    flow: Flow, before: tuple[str, ...], now: tuple[str, ...], change: str
) -> None:
    shallow(flow, before)
    flow.call("main")
    shallow(flow, now)
    flow.edit("use(middle(4), awaited(5))", "use(x=middle(4), y=awaited(5))")  # so that all else is predicted
    if change == "a file between":
        (flow.project.path / "out-2.txt").unlink()
    elif change == "the file that a body awaited":
        (flow.project.path / "out-5.txt").unlink()
    elif CHANGES[change] is not None:
        flow.edit(*CHANGES[change])
    plan = planned(flow)
    certain, possible = counts(plan, "runs"), counts(plan, "runs", "waits", "perhaps")
    said = [(call.verdict, call.call, call.reason) for call in plan.calls]
    flow.call("main")
    ran = Counter(flow.computed())
    assert not certain - ran, (said, ran)
    assert not ran - possible, (said, ran)
