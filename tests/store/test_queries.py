"""A query reads: what writes, several statements and none are refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_stores

from rayflow.errors import BadQuery
from rayflow.store.history.history import History
from rayflow.store.open import open_store


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


OUTSIDE = [
    "select * from read_text('{}')",
    "select * from read_blob('{}')",
    "select * from read_csv('{}')",
    "select * from '{}'",
    "select * from read_json('{}')",
    "select * from sniff_csv('{}')",
    "select * from glob('{}*')",
    "select * from read_text('{store}/../secret.csv')",
    "select * from query('select * from read_text(''{}'')')",
    "summarize '{}'",
    "describe table '{}'",
    "with a as (from read_text('{}')) from a",
    "explain analyze select * from read_text('{}')",
    "select (select content from read_text('{}')) from jobs union all select '1'",
    "select * from parquet_metadata('{}')",
    "select * from read_csv('http://127.0.0.1:9/x.csv')",
    "select * from read_parquet('s3://bucket/x.parquet')",
    "select getenv('HOME')",
    "pragma disable_external_access",
    "pragma enable_profiling='json'",
    "pragma profiling_output='{}'",
]
"""Queries that reach for something besides the store."""


@pytest.mark.parametrize("query", OUTSIDE)
def test_a_query_sees_the_store_and_nothing_else(history: History, tmp_path: Path, query: str) -> None:
    outside = tmp_path / "secret.csv"
    outside.write_text("a,b\n1,2\n")
    with pytest.raises(BadQuery) as caught:
        history.sql(query.format(outside, store=tmp_path / "store"))
    if "pragma" not in query and "getenv" not in query:
        assert "--allow-files" in str(caught.value)
    assert "a,b" not in str(caught.value) and outside.read_text() == "a,b\n1,2\n"
    # What was refused has left nothing that the next one could use.
    assert history.sql("select 1").fetchall() == [(1,)]


def test_files_are_read_where_that_is_allowed_and_only_there(history: History, tmp_path: Path) -> None:
    outside = tmp_path / "secret.csv"
    outside.write_text("a,b\n1,2\n")
    query = f"select b, (select count(*) from jobs) from read_csv('{outside}')"
    answer = history.sql(query, allow_files=True)
    assert answer.fetchall() == [(2, 0)]
    with pytest.raises(BadQuery, match="--allow-files"):
        history.sql(query)
    assert history.sql("select count(*) from jobs").fetchall() == [(0,)]


def test_variables_of_the_program_are_no_tables(history: History) -> None:
    import pyarrow as pa

    query = pa.table({"a": [1]})
    with pytest.raises(BadQuery, match="query does not exist"):
        history.sql("select * from query")
    assert query.num_rows == 1


@pytest.mark.parametrize("name", ["it's a store", "a,b [1]", "ü/../store", "link"])
def test_a_store_whose_path_is_odd_is_read_all_the_same(tmp_path: Path, name: str) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "ü").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    store = open_store(tmp_path / name)
    for number in range(3):
        store.append([small_stores.execution(f"e{number}", number), small_stores.job(f"e{number}", number)])
        store.commit()
    store.compact("e1")
    assert open_store(tmp_path / name, read_only=True).history().sql("select count(*) from jobs").fetchall() == [(3,)]
