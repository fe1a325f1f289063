"""Calls that go together as vectors leave exactly what they leave one by one."""

from __future__ import annotations

from collections import Counter
from functools import partial, reduce
from operator import and_, or_
from random import Random
from typing import Any

import pytest

from rayflow.evaluator import commands, messages
from rayflow.evaluator.evaluator import Evaluator
from rayflow.lang.terms.codec import dumps
from rayflow.records import JobRow, ReductionRow
from rayflow.testing.playbook import call, submitted, task
from rayflow.testing.simulation.cluster import SimulatedCluster
from rayflow.testing.simulation.contexts import in_contexts, in_gaps
from rayflow.testing.simulation.meaning import TooLarge, meaning_of
from rayflow.testing.simulation.program_vectors import in_vectors
from rayflow.testing.simulation.programs import Program, random_program
from rayflow.testing.simulation.world import CALM

PARTS = 4
MOST_ORDERS = 40
"""Orders of the answers in which the calls are tried one by one to find a row that vectors left."""

SEEDS = 240
ALONE = 10**9
"""No calls are so many that they become a vector."""

TIMES = (
    "at", "since", "queued_at", "ready_at", "sent_at", "started_at", "finished_at", "wall_seconds",
    "cpu_seconds",
)  # fmt: skip
"""Columns that depend on when an answer comes."""

WHICH = ("how", "attempts", "missed", "waited_on", "started_at", "peak_memory_bytes", "node", "pid")
"""Columns of a job that say whether it did the work for the equal jobs. Which of these does is chance."""


def program_of(seed: int) -> Program:
    random = Random(seed)
    while True:
        program = in_vectors(random_program(random), random)
        if seed % 4 == 1:
            program = in_contexts(program, random)
        if seed % 4 == 2:
            program = in_gaps(program, random)
        try:
            meaning_of(program, most_calls=60)
        except TooLarge:
            continue
        return program


def left_by(program: Program, seed: int, fewest: int) -> dict[str, Counter[Any]]:
    """All rows that a run of a program leaves, and another run after it; by table."""
    cluster = SimulatedCluster(Random(seed), partial(Evaluator, fewest=fewest))
    cluster.run(program, CALM)
    cluster.run(program, CALM)
    tables: dict[str, Counter[Any]] = {}
    reductions = [row for rows in cluster.committed.reductions.values() for row in rows]
    for row in (*cluster.committed.rows, *reductions):
        fields = {name: value for name, value in row._asdict().items() if name not in TIMES}
        if type(row) is JobRow:
            if row.finished_at is None:
                continue  # whether a job is recorded as open depends on time
            del fields["ordinal"]
            work = tuple(fields.pop(name, None) for name in WHICH)
            tables.setdefault("work", Counter())[row.execution_id, row.eval_hash, work] += 1
        if type(row) is ReductionRow:
            del fields["execution_id"]
        tables.setdefault(type(row).__name__, Counter())[tuple(fields.items())] += 1
    # A value or a task that two jobs name is recorded by the first of them, and perhaps again.
    for name in ("ValueRow", "TaskRow", "CallRow", "CallChildRow", "ArgumentRow", "TaskSetRow", "ValuePartRow"):
        tables[name] = Counter(set(tables.get(name, ())))
    return tables


def _is_within(found: Counter[Any], orders: list[Counter[Any]]) -> bool:
    """Whether each row is there as often as in some of these orders: what all of them have is there, and nothing else
    than what one of them has."""
    fewest, most = reduce(and_, orders), reduce(or_, orders)
    return fewest <= found <= most


@pytest.mark.parametrize("part", range(PARTS))
def test_vectors_leave_the_rows_that_their_calls_leave_one_by_one(part: int) -> None:
    same = depends = 0
    for seed in range(part, SEEDS, PARTS):
        program = program_of(seed)
        alone = [left_by(program, seed + 1_000 * order, ALONE) for order in range(3)]
        together = left_by(program, seed, 2)
        for name in together.keys() | alone[0].keys():
            # Some rows depend on the order of the answers, which is different here: such as the call that a value is
            # said to come from, where two calls made it.
            while not _is_within(together.get(name, Counter()), [each.get(name, Counter()) for each in alone]):
                assert len(alone) < MOST_ORDERS, f"seed {seed}: {name}"
                alone.append(left_by(program, seed + 1_000 * len(alone), ALONE))
            is_same = all(each.get(name) == together.get(name) for each in alone)
            same, depends = same + is_same, depends + (not is_same)
    assert same > 10 * depends


def test_the_programs_of_these_tests_do_make_vectors() -> None:
    ended: Counter[type] = Counter()

    class Counting(Evaluator):
        def handle(self, incoming: Any) -> list[commands.Command]:
            ended.update(map(type, incoming))
            came = super().handle(incoming)
            ended.update(type(each) for each in came if not (type(each) is commands.Record and not each.columns))
            return came

    for seed in range(150):
        SimulatedCluster(Random(seed), partial(Counting, fewest=2)).run(program_of(seed), CALM)
    assert ended[commands.RunVector] > 40
    assert ended[messages.ReturnedVector] > 40
    assert ended[commands.Record] > 20


def test_a_vector_gives_its_calls_the_ordinals_of_their_places_between_other_calls() -> None:
    entries = task("double", "x"), task("other", "x", cache=False, limits=["one"])
    calls = [call("double", 1), call("other", 1), call("double", 2), call("double", 1), call("double", 3)]

    def ordinals(fewest: int) -> dict[bytes, int | None]:
        evaluator = Evaluator(fewest=fewest)
        waiting: list[messages.Message] = [submitted(calls, *entries)]
        found: dict[bytes, int | None] = {}
        while waiting:
            for command in evaluator.handle([waiting.pop(0)._replace(at=1)]):
                waiting += answers(command)
                if isinstance(command, commands.Record):
                    rows = [*command.rows, *(row for columns in command.columns for row in columns.rows())]
                    found.update({row.job_id: row.ordinal for row in rows if isinstance(row, JobRow)})
        return found

    assert ordinals(2) == ordinals(ALONE)
    assert sorted(ordinals(2).values(), key=str) == [1, 2, 3, 4, 5, 6]


def answers(command: commands.Command) -> list[messages.Message]:
    """A store without records, and workers that return 7."""
    cost = messages.Cost(1, 0.5, 0.25)
    match command:
        case commands.LookUp():
            return [messages.LookedUp(1, command.asker, ())]
        case commands.LookUpVector():
            return [messages.LookedUpVector(1, command.first, {})]
        case commands.RunTask():
            return [messages.Returned(1, command.job, command.attempt, dumps(7), cost)]
        case commands.RunVector():
            count = len(command.jobs)
            columns = [[dumps(7)] * count, [1] * count, [0.5] * count, [0.25] * count, [None] * count]
            return [messages.ReturnedVector(1, command.jobs, *columns)]
    return []
