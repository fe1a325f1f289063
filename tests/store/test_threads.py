"""One history answers several threads at a time, while others write, compact, and ask."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from small_stores import filled, rows

from rayflow.store.exchange import selecting
from rayflow.store.history import views
from rayflow.store.history.history import History
from rayflow.store.write.schemas import TableLayout

UNEVEN = """SELECT count(*) FROM executions
            WHERE execution_id NOT IN (SELECT execution_id FROM jobs) OR execution_id NOT IN
                  (SELECT execution_id FROM reductions)"""


def test_several_threads_ask_one_history_while_another_writes(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")
    history = store.history()
    written = []

    def write() -> None:
        for number in range(10, 40):
            store.append(rows(store, f"e{number}", number))
            store.commit()
            if number % 5 == 0:
                store.compact()
            written.append(number)

    def ask(number: int) -> int:
        seen, asked = 3, 0
        while len(written) < 30 or not asked:
            # A commit is seen whole: none of its tables alone, and no row twice, not even while it is merged.
            assert history.sql(UNEVEN).fetchall() == [(0,)]
            found = history.jobs(limit=None)
            assert len({job["job_id"] for job in found}) == len(found) >= seen
            seen = len(found)
            assert [line.job["task_name"] for line in history.job_tree("e1").lines] == ["flow.f"]  # type: ignore[union-attr]
            # Each thread has temporary tables of its own.
            taken = selecting.rows_of(history, [f"e{number}"])
            assert taken["jobs"].column("execution_id").to_pylist() == [f"e{number}"]
            asked += 1
        return asked

    with ThreadPoolExecutor(4) as pool:
        writing = pool.submit(write)
        assert all(count for count in pool.map(ask, (1, 2, 3)))
        writing.result()
    assert len(history.executions(limit=None)) == 33
    history.close()


def test_a_thread_that_asks_while_another_brings_the_database_up_to_date_sees_what_was_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path / "store")
    history, seen, make_view = store.history(), [], views._raw_view
    query = "SELECT (SELECT count(*) FROM raw.executions), (SELECT count(*) FROM raw.jobs)"
    with ThreadPoolExecutor(1) as other:
        connection = other.submit(history.refresh).result()

        def asked_meanwhile(how: TableLayout, paths: list[str], *, is_loaded: bool) -> str:
            seen.extend(other.submit(lambda: connection.sql(query).fetchall()).result(60))
            return make_view(how, paths, is_loaded=is_loaded)

        store.append(rows(store, "e9", 9))
        store.commit()
        monkeypatch.setattr(views, "_raw_view", asked_meanwhile)
        history.refresh()
    assert set(seen) == {(3, 3)}
    assert history.answer(query).fetchall() == [(4, 4)]


def test_a_query_that_may_read_other_files_opens_nothing_to_the_other_threads(tmp_path: Path) -> None:
    history = filled(tmp_path / "store").history()
    outside = tmp_path / "outside.csv"
    outside.write_text("a\n1\n")
    query = f"SELECT a FROM read_csv('{outside}')"

    def refused(history: History) -> bool:
        try:
            history.sql(query)
        except Exception as error:
            return "--allow-files" in str(error)
        return False

    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(refused, history) for _ in range(8)]
        assert history.sql(query, allow_files=True).fetchall() == [(1,)]
        assert all(each.result() for each in answers)
    assert refused(history)
