"""What a service begins with of schedules and firings: the answers of the store are those of a plain reading of the
rows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from keeper_talks import firings_recalled, open_firings
from schedule_world import ScheduleWorld
from small_stores import execution

from rayflow.keeper.commands import RecallFirings
from rayflow.records import FiringRow, Row, ScheduleRow
from rayflow.store.exchange import garbage
from rayflow.store.exchange.transfer import transfer
from rayflow.store.open import open_store

NOW = 1_790_000_000_000_000
SECOND = 1_000_000


def rows_of(seed: int, steps: int) -> list[Any]:
    """The rows of schedules and firings of a random world, as they are in the middle of it."""
    world = ScheduleWorld(seed)
    for _ in range(steps):
        world.act()
    return [row for row in world.rows if isinstance(row, ScheduleRow | FiringRow)]


def in_order(rows: list[Any]) -> list[Any]:
    return sorted(rows, key=lambda row: row.number)


@pytest.mark.parametrize("seed", range(6))
def test_the_store_answers_as_its_rows_are_read(seed: int, tmp_path: Path) -> None:
    rows = rows_of(seed, 90)
    store = open_store(tmp_path / "store")
    for start in range(0, len(rows), 40):
        store.keep(rows[start : start + 40][::-1])
    records = store.run_records()
    last = {row.schedule: row for row in rows if isinstance(row, ScheduleRow)}
    assert in_order(records.schedules()) == in_order(list(last.values()))
    assert in_order(records.open_firings()) == in_order(open_firings(rows))
    for name in last:
        moments = sorted({row.moment for row in rows if isinstance(row, FiringRow) and row.schedule == name})
        for first, end in ((moments[0], moments[-1]), (moments[len(moments) // 2], moments[-1])) if moments else ():
            wanted = RecallFirings(name, first, end)
            assert in_order(records.firings_between(name, first, end)) == in_order(
                list(firings_recalled(rows, wanted).firings)
            )
    records.close()
    shown = store.history().records("SELECT * FROM firings")
    latest = {(row.schedule, row.moment, row.last_moment): row for row in rows if isinstance(row, FiringRow)}
    expected = {(row.schedule, row.number) for row in latest.values()}
    assert {(row["schedule"], row["number"]) for row in shown} == expected
    store.close()


SOME: list[Row] = [
    ScheduleRow("s", 1, NOW, "active", "put", "flow.f", '[{"every": 10}]', "skip", 0, NOW),
    FiringRow("s", NOW + 10 * SECOND, 2, NOW + 10 * SECOND, "started", "time", run_id="r"),
]


def test_what_is_known_of_schedules_stays_when_old_executions_are_forgotten(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    store.keep([*SOME, execution("one", 1)])
    assert garbage.collect(store, older_than=datetime.now(UTC)).forgotten == 1
    assert store.run_records().schedules() == SOME[:1]
    assert store.run_records().open_firings() == SOME[1:]
    store.close()


def test_a_whole_store_is_copied_with_its_schedules_and_one_execution_without(tmp_path: Path) -> None:
    source, whole, chosen = (open_store(tmp_path / name) for name in ("source", "whole", "chosen"))
    source.keep([*SOME, execution("one", 1)])
    transfer(source, whole)
    transfer(source, chosen, ["one"])
    assert whole.run_records().schedules() == SOME[:1]
    assert chosen.run_records().schedules() == []
    assert chosen.history().records("SELECT * FROM firings") == []


def test_a_firing_without_its_schedule_is_dangling(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    store.keep(SOME[1:])
    [problem] = store.dangling()
    assert problem.text.startswith("schedules whose firings are recorded and they are not")
    store.close()
