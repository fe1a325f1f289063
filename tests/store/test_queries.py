"""A query reads: what writes, several statements and none are refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayflow.errors import BadQuery
from rayflow.store.history import History
from rayflow.store.store import open_store


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    monkeypatch.chdir(tmp_path)
    store = open_store(tmp_path / "store")
    return store.history()


@pytest.mark.parametrize(
    "query",
    [
        "select 1",
        "select 1;",
        "-- one\nselect 'copy (select 1) to x; é' as \"insert\" -- two",
        "with a as (select 1) select * from a",
        "with a as materialized (select 1) from a",
        "(select 1)",
        "from jobs",
        "values (1)",
        "table jobs",
        "describe jobs",
        "show tables",
        "summarize jobs",
        "pivot (select 1 a, 2 b) on a using sum(b)",
        "explain select 1",
        "explain (select 1)",
        "explain (format json) select 1",
        "explain analyze select 1",
        "pragma table_info('jobs')",
        "pragma database_list",
    ],
)
def test_a_query_is_answered(history: History, query: str) -> None:
    assert history.sql(query).columns


@pytest.mark.parametrize(
    "query",
    [
        "copy (select 1) to 'out.csv'",
        "/* select */ copy (select 1) to 'out.csv'",
        "explain analyze copy (select 1) to 'out.csv'",
        "explain /* ( */ (analyze) copy (select 1) to 'out.csv'",
        "with a as (copy (select 1) to 'out.csv') select 1",
        "with a as materialized (copy (select 1) to 'out.csv') select 1",
        "explain analyze with a as (copy (select 1) to 'out.csv') select 1",
        "attach 'out.db'",
        "create table t (a int)",
        "insert into loaded.jobs select * from loaded.jobs",
        "export database 'out'",
        "import database 'out'",
        "set threads = 1",
        "install httpfs",
    ],
)
def test_a_statement_that_is_no_query_is_refused_and_nothing_is_written(
    history: History, tmp_path: Path, query: str
) -> None:
    with pytest.raises(BadQuery, match="Only queries can be asked: SELECT"):
        history.sql(query)
    assert not list(tmp_path.glob("out*"))


def test_several_statements_and_none_are_refused(history: History) -> None:
    with pytest.raises(BadQuery, match="2 statements; one is run at a time"):
        history.sql("select 1; select 2")
    for empty in ("", "  ", "-- nothing"):
        with pytest.raises(BadQuery, match="empty"):
            history.sql(empty)
