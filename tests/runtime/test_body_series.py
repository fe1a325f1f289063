"""Bodies that run one after the other in one enclosure: each call comes out as it does alone."""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from projects import Project

from rayflow.lang import tasks
from rayflow.lang.registry import use_task_source
from rayflow.lang.terms.codec import dumps, loads
from rayflow.runtime.output.printing import many_bodies
from rayflow.runtime.protocol.attempts import Call, Reply, VectorCall, VectorReply, WorkerContext
from rayflow.runtime.worker.body_series import BodySeries
from rayflow.runtime.worker.worker import Worker
from rayflow.store.open import open_store
from rayflow.values.display import masking

FLOW = """
    import asyncio
    import os
    import sys
    import threading
    import time
    import warnings

    from rayflow import File, task

    STOP = threading.Event()

    @task
    def inc(n):
        return n + 1

    @task
    def add(n: int, *, by: int = 2) -> int:
        return n + by

    @task
    def odd_ones(n, what):
        if n % 2 == 0:
            return os.environ.get("SEEN", "clean")
        return globals()[what](n)

    def prints(n):
        print("n is", n)
        return n

    def warns(n):
        warnings.warn("old")
        return n

    def raises(n):
        print("before")
        raise ValueError(f"not {n}")

    def exits(n):
        sys.exit(3)

    def makes_a_list(n):
        return [n, {"a": n}]

    def calls(n):
        return inc(n)

    def drops_a_call(n):
        inc(n)
        return n

    def sets_the_environment(n):
        os.environ["SEEN"] = str(n)
        return n

    def goes_elsewhere(n):
        os.chdir("/")
        return os.getcwd()

    def awaits(n):
        async def body():
            return await inc(n)
        return body()

    def takes_stdout(n):
        sys.stdout = open(os.devnull, "w")
        return n

    def returns_text(n):
        return "a" * 10_000 if n == 1 else "b"

    def leaves_a_thread(n):
        threading.Thread(target=STOP.wait, daemon=True).start()
        return n

    def cannot_be_kept(n):
        return threading.Lock()

    def writes(n):
        File(f"out{n}.txt").write("text")
        return n

    def tells_the_secret(n):
        return f"it is {'hush' + 'hush'}"

    @task
    def naps(n):
        if n == 1:
            time.sleep(0.05)
        return n

    @task
    def is_interrupted(n):
        if n == 2:
            raise KeyboardInterrupt
        return n
"""

KINDS = [
    "prints", "warns", "raises", "exits", "makes_a_list", "calls", "drops_a_call", "sets_the_environment",
    "goes_elsewhere", "awaits", "takes_stdout", "returns_text", "leaves_a_thread", "cannot_be_kept", "writes",
    "tells_the_secret",
]  # fmt: skip


class Stand:
    """A worker, and what the bodies that it has run printed."""

    def __init__(self, project: Project) -> None:
        project.write("flow.py", FLOW)
        self.flow = project.load("flow")
        table = {each.fullname: each.entry() for each in tasks.tasks_of(self.flow)}
        self.printed: list[tuple[str, str, str]] = []
        context = WorkerContext(str(project.path), (), ":memory:", table)
        self.worker = Worker(context, open_store(":memory:"), printed=lambda *told: self.printed.append(told))

    def vector(self, name: str, names: tuple[str, ...], arguments: list[tuple[Any, ...]]) -> VectorCall:
        entry = self.worker.table[f"flow.{name}"]
        self.worker.find(entry.name, entry.hash)  # the first call of a task that was not found before goes alone
        count = len(arguments)
        ids = b"".join(number.to_bytes(16, "big") for number in range(count))
        return VectorCall(range(100, 100 + count), ids, entry.name, entry.hash, names, arguments)

    def alone(self, vector: VectorCall) -> list[Reply]:
        """The replies of the members, each run by itself."""
        with many_bodies():
            return [self.worker.run(vector.call(place)) for place in range(len(vector.jobs))]

    def together(self, vector: VectorCall) -> tuple[VectorReply, list[Reply]]:
        columns, replies = VectorReply.empty(), list[Reply]()
        with many_bodies(), BodySeries(self.worker) as series:
            series.run_vector(vector, time.perf_counter() + 100, columns, replies.append)
        return columns, replies


@pytest.fixture
def stand(project: Project) -> Iterator[Stand]:
    before, there = use_task_source(None), os.getcwd()
    os.chdir(project.path)
    yield Stand(project)
    os.chdir(there)
    use_task_source(before)


def told(reply: Reply) -> tuple[Any, ...]:
    """All of a reply but its cost, and the frames of a failure."""
    failure = reply.failure
    said = (failure.type_name, failure.message, failure.notes) if failure is not None else None
    return reply.job, reply.attempt, reply.term, said, reply.entries, reply.rows, reply.is_paused


def test_members_that_return_a_scalar_come_back_as_columns(stand: Stand) -> None:
    columns, replies = stand.together(stand.vector("inc", ("n",), [(n,) for n in range(50)]))
    assert columns.jobs == list(range(100, 150)) and columns.terms == [dumps(n + 1) for n in range(50)]
    assert {len(each) for each in columns} == {50} and replies == []


def test_keywords_and_checks_are_as_in_a_call_alone(stand: Stand) -> None:
    vector = stand.vector("add", ("n", "by"), [(1, 1), ("x", 2), (3, 3)])
    columns, (refused,) = stand.together(vector)
    assert columns.terms == [dumps(2), dumps(6)] and told(refused) == told(stand.alone(vector)[1])
    assert refused.failure is not None and refused.failure.type_name.endswith("BadArguments")


@pytest.mark.parametrize("what", KINDS)
def test_a_body_that_leaves_more_than_a_scalar_is_answered_as_alone_and_so_is_the_next_one(
    stand: Stand, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if what == "tells_the_secret":
        masking.learn([("hushhush", "<Secret('env:HUSH')>")])
    monkeypatch.setattr(warnings, "showwarning", lambda *said: sys.stderr.write(warnings.formatwarning(*said[:4])))
    monkeypatch.setattr(warnings, "filters", [("default", None, UserWarning, None, 0)])
    directory = os.getcwd()
    vector = stand.vector("odd_ones", ("n", "what"), [(n, what) for n in range(5)])
    alone, said = stand.alone(vector), stand.printed[:]
    stand.printed.clear()
    columns, replies = stand.together(vector)
    stand.flow.STOP.set()
    found = {reply.job: told(reply) for reply in replies}
    for job, term in zip(columns.jobs, columns.terms, strict=True):
        found[job] = (job, 1, term, None, (), (), False)
    assert [found[reply.job] for reply in alone] == [told(reply) for reply in alone]
    assert stand.printed == said and os.getcwd() == directory and "SEEN" not in os.environ
    assert columns.jobs == ([100, 102, 103, 104] if what == "returns_text" else [100, 102, 104])


def test_calls_that_are_not_of_a_vector_share_an_enclosure_too_and_come_back_as_alone(stand: Stand) -> None:
    vectors = [stand.vector("inc", ("n",), [(1,), (2,)]), stand.vector("odd_ones", ("n", "what"), [(1, "prints")])]
    calls = [vector.call(place) for vector in vectors for place in range(len(vector.jobs))]
    entered = threading.active_count()
    with many_bodies(), BodySeries(stand.worker) as series:
        replies = [series.run(call) for call in calls]
    assert threading.active_count() == entered
    with many_bodies():
        assert [told(reply) for reply in replies] == [told(stand.worker.run(call)) for call in calls]


def test_a_call_with_packed_arguments_runs_in_an_enclosure_of_its_own(stand: Stand) -> None:
    plain = stand.vector("inc", ("n",), [(1,)]).call(0)
    with many_bodies(), BodySeries(stand.worker) as series:
        series.run(plain)
        reply = series.run(Call(*plain)._replace(arguments=dumps({"n": 4})))
    assert reply.term is not None and loads(reply.term) == 5


def test_each_member_has_its_own_cost(stand: Stand) -> None:
    columns, _ = stand.together(stand.vector("naps", ("n",), [(n,) for n in range(4)]))
    assert columns.wall_seconds[1] >= 0.05 > max(columns.wall_seconds[2:])
    # Other threads of this process may work meanwhile, so nothing is said of how little time a nap takes.
    assert len(columns.cpu_seconds) == len(columns.jobs) and min(columns.cpu_seconds) >= 0
    assert columns.started_at == sorted(columns.started_at) and columns.started_at[2] - columns.started_at[1] >= 50_000
    assert all(peak is not None and peak > 1_000_000 for peak in columns.peaks)


def test_after_its_time_is_over_no_further_member_begins_but_one_runs_in_any_case(stand: Stand) -> None:
    vector = stand.vector("inc", ("n",), [(n,) for n in range(4)])
    columns, replies = VectorReply.empty(), list[Reply]()
    with many_bodies(), BodySeries(stand.worker) as series:
        series.run_vector(vector, 0.0, columns, replies.append)
    assert len(columns.jobs) + len(replies) == 1


def test_ctrl_c_in_a_body_leaves_the_answers_of_those_before_it(stand: Stand) -> None:
    vector = stand.vector("is_interrupted", ("n",), [(n,) for n in range(4)])
    columns, replies = VectorReply.empty(), list[Reply]()
    with pytest.raises(KeyboardInterrupt), many_bodies(), BodySeries(stand.worker) as series:
        series.run_vector(vector, time.perf_counter() + 100, columns, replies.append)
    assert columns.jobs == [100, 101] and replies == []
    assert stand.together(stand.vector("inc", ("n",), [(1,)]))[0].terms == [dumps(2)]
