"""The verbs that ask, and look after, a store."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest

from rayflow.store.history.views import text_of


def test_log_lists_executions_the_latest_first(rayflow: Any) -> None:
    rayflow.run("main")
    rayflow.run("several", "--n", "2")
    lines = rayflow("log").out.splitlines()
    assert lines[0].split() == ["execution", "started", "status", "took", "what", "jobs"]
    assert "failed" in lines[1] and "several(2)" in lines[1]
    assert "done" in lines[2] and "3 jobs, 3 computed" in lines[2]
    assert len(rayflow("log", "--limit", "1").out.splitlines()) == 2
    records = json.loads(rayflow("log", "--json").out)
    assert [record["status"] for record in records] == ["failed", "done"]
    assert lines[1].split()[0] == records[0]["execution_id"][:18]


def test_log_shows_the_calls_of_an_execution_as_a_tree(rayflow: Any) -> None:
    rayflow.run("main")
    done = rayflow("log", "-")
    name = rayflow.namespace
    tree = [line for line in done.out.splitlines() if line.startswith("computed")]
    assert f" {name}.main(greet='Hello') = 'Hello, World!'" in tree[0]
    assert any(f"   {name}.greeter(greet='Hello', thing='World') = 'Hello, World!'" in line for line in tree)
    found = json.loads(rayflow("log", "-", "--json").out)
    assert found["execution"]["task_name"] == f"{name}.main"
    assert [(job["depth"], job["how"]) for job in found["jobs"]] == [(0, "computed"), (1, "computed"), (1, "computed")]
    assert found["jobs"][0]["arguments"][0]["preview"] == "'Hello'"


def test_a_task_that_has_only_failed_is_known_by_its_code_and_its_file(rayflow: Any) -> None:
    """Its name does not lead to the file: it is of a namespace."""
    code = "from rayflow import task\n\nrayflow_namespace = 'lab'\n\n@task\ndef only_fails(n: int):\n    1 // n\n"
    rayflow.path.write_text(code)
    assert rayflow.run("only_fails", "--n", "0").code == 1
    told = rayflow("log", "lab.only_fails").out
    assert f"{rayflow.file}:5" in told and "ZeroDivisionError" in told
    again = rayflow("run", "--inline", "--rerun", "-")
    assert again.code == 1 and "ZeroDivisionError" in again.err and "cannot be taken up" not in again.err


def test_a_job_takes_as_long_as_its_body_and_what_is_below_and_not_what_it_waited_for(rayflow: Any) -> None:
    rayflow.path.write_text(
        "import time\nfrom rayflow import task\n\n@task\ndef slow(i):\n    time.sleep(0.3)\n    return i\n\n"
        "@task\ndef total(xs):\n    return sum(xs)\n\n@task\ndef main():\n    return total([slow(1), slow(2)])\n"
    )
    rayflow.run("main")
    took = {line.split("(")[0].split(".")[-1]: line.split()[1:3] for line in rayflow("log", "-").out.splitlines()
            if line.startswith("computed")}  # fmt: skip
    assert took["total"][1] == "ms" and took["slow"][0] < "0.6" and took["main"][0] >= "0.6"
    [job] = rayflow.ids(f"select job_id from jobs where task_name = '{rayflow.namespace}.total'")
    shown = rayflow("log", job).out
    assert "\nbegan " in shown and " ms\n" in shown[shown.index("\ntook ") :].split("in its body")[0]
    assert " ms " in rayflow("log", "total").out


def test_a_job_says_what_it_waited_for_and_what_it_asked_of_a_node(rayflow: Any) -> None:
    rayflow.path.write_text(
        "import time\nfrom rayflow import task\n\n@task(limits=['lab_db'], num_cpus=0.5)\ndef slow(i):\n"
        "    time.sleep(0.3)\n    return i\n\n@task(retries=1, retry_delay=0)\ndef total(xs):\n    1 / 0\n\n"
        "@task\ndef main():\n    return total([slow(1), slow(2)])\n"
    )
    rayflow.run("main")
    [late] = rayflow.ids("select job_id from jobs where waited_on is not null and task_name like '%.slow'")
    shown = rayflow("log", late).out
    assert re.search(r"\nwaited +0\.\d\d s to be sent \(limit lab_db\)\n", shown), shown
    assert re.search(r'\nasked for +\{"num_cpus": ?0\.5\}\n', shown), shown
    [total] = rayflow.ids("select job_id from jobs where task_name like '%.total'")
    shown = rayflow("log", total).out
    assert re.search(r"\nwaited +0\.\d\d s for its arguments\n", shown), shown
    assert re.search(r"\n  1: raised at [-0-9: ]+ after [\d.]+ m?s: ZeroDivisionError", shown), shown


def test_arguments_stand_in_the_order_of_the_parameters(rayflow: Any) -> None:
    rayflow.path.write_text(
        "from rayflow import task\n\n@task\ndef train(model, rate, *, best=1, after=2):\n    return rate\n\n"
        "@task\ndef main():\n    return train('m', 3)\n"
    )
    for _ in range(2):
        rayflow.run("main")
        assert f"{rayflow.namespace}.train(model='m', rate=3, best=1, after=2) = 3" in rayflow("log", "-").out
    [job] = rayflow.ids(f"select job_id from jobs where task_name = '{rayflow.namespace}.train' and how = 'cached'")
    found = json.loads(rayflow("log", job, "--json").out)
    assert [each["name"] for each in found["arguments"]] == ["model", "rate", "best", "after"]


def test_a_tree_of_many_siblings_is_summed_up(rayflow: Any) -> None:
    rayflow.run("wide", "--n", "500")
    done = rayflow("log", "-")
    assert len(done.out.splitlines()) < 40
    assert f"... and 488 more {rayflow.namespace}.leaf; all 500 jobs, 500 computed" in done.out


def test_log_shows_one_job_whole_with_what_it_printed(rayflow: Any) -> None:
    rayflow.run("main")
    [job] = rayflow.ids(f"select job_id from jobs where task_name = '{rayflow.namespace}.get_planet'")
    done = rayflow("log", job[:10])
    assert "\nstdout\n  asking\n" in done.out
    assert "\nresult\n  'World'\n" in done.out
    assert f"called by    {rayflow.namespace}.main" in done.out
    found = json.loads(rayflow("log", job, "--json").out)
    assert found["logs"][0]["text"] == "asking\n"
    [greeter] = rayflow.ids(f"select job_id from jobs where task_name = '{rayflow.namespace}.greeter'")
    assert f"thing = 'World'  from {rayflow.namespace}.get_planet" in rayflow("log", greeter).out


def test_log_shows_a_failed_job_with_its_traceback_and_attempts(rayflow: Any) -> None:
    rayflow.run("fail", "--i", "7", "--option", "retries=1", "--option", "retry_delay=0")
    [job] = rayflow.ids("select job_id from jobs")
    done = rayflow("log", job)
    assert "error        ValueError: no 7" in done.out
    assert "1: raised at " in done.out and "2: raised at " in done.out
    assert "in fail\n" in done.out


def test_log_shows_calls_values_and_tasks_by_their_ids(rayflow: Any) -> None:
    rayflow.run("main")
    name = f"{rayflow.namespace}.greeter"
    query = f"select call_hash, value_hash, task_hash from calls where task_name = '{name}'"
    [record] = json.loads(rayflow("sql", query, "--json").out)
    call, value, task = record["call_hash"], record["value_hash"], record["task_hash"]
    assert "thing = 'World'" in rayflow("log", call).out
    assert "'Hello, World!'" in rayflow("log", value).out
    shown = rayflow("log", task).out
    assert "def greeter" in shown and f"function {name}" in shown
    for which in (call, value, task):
        assert json.loads(rayflow("log", which, "--json").out)


@pytest.mark.parametrize("is_full", [True, False])
def test_log_and_why_take_a_task_by_its_name(rayflow: Any, is_full: bool) -> None:
    rayflow.run("main")
    rayflow.run("main", "--greet", "Hi")
    full = f"{rayflow.namespace}.greeter"
    given = full if is_full else "greeter"
    shown = rayflow("log", given).out
    calls = [line.split() for line in shown.splitlines() if line.startswith("  computed")]
    assert shown.startswith(f"{full}\n") and "versions, the latest first\n" in shown and len(calls) == 2
    assert f"{full}(greet='Hi', thing='World') = 'Hi, World!'" in " ".join(calls[0])
    found = json.loads(rayflow("log", given, "--json").out)
    assert found["task_name"] == full and len(found["versions"]) == 1
    assert [job["job_id"][:12] for job in found["jobs"]] == [call[-1] for call in calls]
    told = rayflow("why", given).out
    assert f"job {calls[0][-1]}" in told and "greet was 'Hello' and is 'Hi'" in told


def test_a_name_that_several_tasks_have_is_asked_for_in_full(rayflow: Any) -> None:
    rayflow.project.write("other.py", "from rayflow import task\n\n\n@task\ndef leaf(i: int):\n    return i\n")
    rayflow.run("leaf", "--i", "1")
    assert rayflow("run", "--inline", "other.py", "--i", "1").code == 0
    done = rayflow("log", "leaf")
    assert done.code == 1 and "Give the full name" in done.err and "other.leaf" in done.err


@pytest.mark.parametrize("words", [["log", "zz"], ["why", "zz"], ["resume", "zz"], ["forget", "zz"]])
def test_an_unknown_id_is_an_error_of_the_users(rayflow: Any, words: list[str]) -> None:
    rayflow.run("main")
    done = rayflow(*words)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ") and "'zz'" in done.err


@pytest.mark.parametrize("words", [["log"], ["sql", "select 1"], ["why", "-"], ["store", "check"], ["forget", "x"]])
def test_asking_makes_no_store(rayflow: Any, words: list[str]) -> None:
    done = rayflow(*words)
    assert done.code == 1
    assert "There is no store at" in done.err
    assert not (rayflow.project.path / ".rayflow").exists()


# --- sql --------------------------------------------------------------------------------------------------------------


def test_sql_answers_as_a_table_as_csv_and_as_json(rayflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rayflow.run("main")
    query = "select how, count(*) as jobs, max(queued_at) as last, null as nothing from jobs group by how"
    table = rayflow("sql", query).out.splitlines()
    assert table[0].split() == ["how", "jobs", "last", "nothing"]
    assert table[1].split()[:2] == ["computed", "3"]
    [record] = json.loads(rayflow("sql", query, "--json").out)
    assert (record["how"], record["jobs"], record["nothing"]) == ("computed", 3, None)
    assert record["last"].endswith("+00:00")
    [row] = csv.DictReader(io.StringIO(rayflow("sql", query, "--csv").out))
    assert (row["jobs"], row["nothing"], row["last"]) == ("3", "", record["last"])
    monkeypatch.setattr("sys.stdin", io.StringIO("select 41 + 1 as answer"))
    assert json.loads(rayflow("sql", "-", "--json").out) == [{"answer": 42}]


def test_sql_knows_the_time_and_its_zone(rayflow: Any) -> None:
    rayflow.run("main")
    done = rayflow("sql", "select now() as t, now() - max(queued_at) > interval 0 second as later from jobs", "--json")
    assert done.code == 0, done.err
    [record] = json.loads(done.out)
    assert record["t"] > "2024" and record["later"] is True


@pytest.mark.parametrize("query", ["", "  ", "select 1; select 2", "copy (select 1) to 'out.csv'"])
def test_sql_refuses_what_is_not_one_query(rayflow: Any, query: str) -> None:
    rayflow.run("main")
    done = rayflow("sql", query)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert not (rayflow.project.path / "out.csv").exists()


def test_the_schema_is_listed_with_what_each_column_means(rayflow: Any) -> None:
    rayflow.run("main")
    shown = rayflow("sql", "--schema").out
    assert "computed, cached or shared" in shown
    assert {"table": "jobs", "column": "how"}.items() <= next(
        column for column in json.loads(rayflow("sql", "--schema", "--json").out) if column["column"] == "how"
    ).items()


@pytest.mark.parametrize("name", ["upstream_of", "downstream_of", "lineage_of", "calls_of_file"])
def test_functions_stand_in_the_schema_with_their_columns_and_an_example(rayflow: Any, name: str) -> None:
    rayflow.run("main")
    told = json.loads(rayflow("sql", "--schema", "--json").out)
    columns = [(each["column"], each["type"], each["documentation"]) for each in told if each["table"] == f"{name}()"]
    [documentation] = {documentation for _, _, documentation in columns}
    example = re.search(rf"from {name}\('[^']*'\)", documentation)
    assert example is not None
    rows = json.loads(rayflow("sql", f"describe {example[0]}", "--json").out)
    assert [(row["column_name"], row["column_type"]) for row in rows] == [each[:2] for each in columns]
    assert all(kind in ("VARCHAR", "INTEGER", "BIGINT", "TIMESTAMP") for _, kind, _ in columns)


def test_every_macro_of_the_views_stands_in_the_schema(rayflow: Any) -> None:
    rayflow.run("main")
    made = re.findall(r"CREATE OR REPLACE (?:MACRO|VIEW) (\w+)", text_of("views"))
    told = {each["table"].removesuffix("()"): each for each in json.loads(rayflow("sql", "--schema", "--json").out)}
    assert made and all(told[name]["documentation"] for name in made)


@pytest.mark.parametrize(
    ("query", "offer"),
    [
        ("select job_idd from jobs", "job_id"),
        ("select j.tsk_name from jobs j", "task_name"),
        ("select j.statuss from jobs j", "status"),
        ("select * from job", "jobs"),
        ("select * from executons", "executions"),
        ("from lineage_off('x')", "lineage_of"),
        ("select cout(*) from jobs", "count"),
        ("select * from lineage_of()", "lineage_of(wanted)"),
        ("select nothing_like_it from jobs", "--schema"),
    ],
)
def test_a_name_that_is_not_there_is_told_with_the_nearest_and_where_all_are(
    rayflow: Any, query: str, offer: str
) -> None:
    rayflow.run("main")
    done = rayflow("sql", query)
    assert done.code == 1 and offer in done.err and "`rayflow sql --schema` lists the tables" in done.err


CELLS = {
    "1.10::decimal(38, 2)": ("1.10", "1.10"),
    "170141183460469231731687303715884105727::hugeint": (2**127 - 1, str(2**127 - 1)),
    "18446744073709551615::ubigint": (2**64 - 1, str(2**64 - 1)),
    "'\\x00\\xFF'::blob": ({"$bytes": "AP8="}, "00ff"),
    "'nan'::double": ("NaN", "nan"),
    "'-inf'::double": ("-Infinity", "-inf"),
    "0.1::double": (0.1, "0.1"),
    "timestamp '2026-01-02 03:04:05.000006'": ("2026-01-02T03:04:05.000006+00:00", "2026-01-02T03:04:05.000006+00:00"),
    "[timestamp '2026-01-02 03:04:05']": (["2026-01-02T03:04:05+00:00"], '"[""2026-01-02T03:04:05+00:00""]"'),
    "date '2026-01-02'": ("2026-01-02", "2026-01-02"),
    "time '03:04:05'": ("03:04:05", "03:04:05"),
    "uuid '00000000-0000-0000-0000-000000000001'": ("00000000-0000-0000-0000-000000000001",) * 2,
    "{'a': [1, NULL], 'b': {'c': 'x\"y'}}": (
        {"a": [1, None], "b": {"c": 'x"y'}}, '"{""a"": [1, null], ""b"": {""c"": ""x\\""y""}}"'
    ),
    "map {'k': 1.5::decimal(3, 1)}": ({"k": "1.5"}, '"{""k"": ""1.5""}"'),
    "NULL": (None, ""),
    "''": ("", '""'),
    "true": (True, "true"),
    "'a,b\"c'": ('a,b"c', '"a,b""c"'),
    "'é\n😀'": ("é\n😀", '"é\n😀"'),
    "interval 90 seconds": (90.0, "0:01:30"),
}  # fmt: skip


@pytest.mark.parametrize("cell", CELLS)
def test_cells_of_every_type_arrive_whole_in_json_and_csv(rayflow: Any, cell: str) -> None:
    rayflow.run("main")
    as_json, as_csv = CELLS[cell]
    done = rayflow("sql", f"select {cell} as c, 7 as d", "--json")
    [found] = json.loads(done.out, parse_constant=pytest.fail)
    assert found == {"c": as_json, "d": 7} and type(found["c"]) is type(as_json)
    assert rayflow("sql", f"select {cell} as c, 7 as d", "--csv").out == f"c,d\n{as_csv},7\n"


def test_columns_of_one_name_are_all_there(rayflow: Any) -> None:
    rayflow.run("main")
    [row] = json.loads(rayflow("sql", "select 1 a, 2 a, 3 a, 4 a_1", "--json").out)
    assert sorted(row.values()) == [1, 2, 3, 4]


def test_wrong_sql_is_the_users_error_in_duckdbs_words(rayflow: Any) -> None:
    rayflow.run("main")
    done = rayflow("sql", "selec 1")
    assert done.code == 1
    assert 'syntax error at or near "selec"' in done.err


# --- why --------------------------------------------------------------------------------------------------------------


def _why(rayflow: Any, task: str, *more: str) -> str:
    [job] = rayflow.ids(
        f"select job_id from jobs where task_name = '{rayflow.namespace}.{task}' order by queued_at desc limit 1"
    )
    done = rayflow("why", job, *more)
    assert done.code == 0, done.err
    return str(done.out)


def test_why_names_the_argument_that_differs_and_where_it_came_from(rayflow: Any) -> None:
    rayflow.run("main")
    assert "no earlier evaluation of this task" in _why(rayflow, "greeter")
    rayflow.run("main", "--greet", "Hi")
    told = _why(rayflow, "greeter")
    assert "It ran because its arguments differ." in told
    assert "  greet was 'Hello' and is 'Hi'" in told
    assert "The cache had its result" in _why(rayflow, "get_planet")
    found = json.loads(_why(rayflow, "greeter", "--json"))
    assert found["arguments_changed"] and not found["code_changed"]


def test_why_says_that_a_result_was_forgotten(rayflow: Any) -> None:
    rayflow.run("main")
    assert f"task {rayflow.namespace}.get_planet: 1 result counts no more." in rayflow("forget", "get_planet").out
    done = rayflow.run("main")
    assert "1 computed, 2 cached" in done.err
    assert "the earlier result was forgotten" in _why(rayflow, "get_planet")


def test_why_says_that_a_failure_is_not_kept(rayflow: Any) -> None:
    rayflow.run("fail", "--i", "1")
    rayflow.run("fail", "--i", "1")
    assert "It ran because it failed before, and is tried again: failures are not kept." in _why(rayflow, "fail")


def test_why_says_that_the_context_differs(rayflow: Any) -> None:
    rayflow.path.write_text(
        "from rayflow import get_context, task\n\n@task\ndef where(x):\n    return get_context('db.host', x)\n\n"
        "@task\nasync def main():\n    return await where('here')\n\n"
        "@task(check_valid='shallow')\ndef whole():\n    return where('here')\n"
    )
    for name in ("main", "whole"):
        rayflow.run(name, "--context", "db.host=a", "--context", "other=1")
        rayflow.run(name, "--context", "db.host=b", "--context", "other=2")
        told = _why(rayflow, name)
        if name == "main":
            assert "It ran because the context that it reads differs: db.host." in told
        else:
            assert "It did not run. The cache had its result" in told, "its body's term, which is the same"
    assert json.loads(rayflow("why", "main", "--json").out)["context_changes"] == ["db.host"]
    rayflow("forget", "main")
    rayflow.run("main", "--context", "db.host=b")
    assert "the earlier result was forgotten" in _why(rayflow, "main")


def test_why_says_of_a_call_that_was_never_made_what_failed_before_it(rayflow: Any) -> None:
    rayflow.path.write_text(
        "from rayflow import task\n\n@task\ndef broken(i: int):\n    return 1 // i\n\n"
        "@task\ndef needs(x):\n    return x\n\n@task\ndef main(i: int = 1):\n    return needs(broken(i))\n"
    )
    rayflow.run("main")
    rayflow.run("main", "--i", "0")
    assert "It did not run, because what it needs has failed: ZeroDivisionError" in _why(rayflow, "needs")
    assert "It ran because its arguments differ.\n  i was 1 and is 0\n" in _why(rayflow, "broken")


def test_why_shows_the_change_of_code_and_the_way_to_it(rayflow: Any) -> None:
    """Two processes' worth of code: a process would take the second definition for a duplicate of the first."""

    def run() -> None:
        assert rayflow.project.rayflow("run", "--inline", "changing.py").returncode == 0

    code = "from rayflow import task\n\n\ndef helper():\n    return 1\n\n\n@task\ndef main():\n    return helper()\n"
    rayflow.project.write("changing.py", code)
    run()
    rayflow.project.write("changing.py", code.replace("return 1", "return 2"))
    run()
    told = rayflow("why", "-").out
    assert "It ran because its code has changed." in told
    assert "function changing.helper was changed, reached by changing.main -> changing.helper  changing.py:4" in told
    assert "\n-    return 1\n+    return 2\n" in told


def test_why_code_lists_what_a_task_reaches_and_what_it_cannot_follow(rayflow: Any) -> None:
    rayflow.path.write_text(
        "from rayflow import task\n\nLIMIT = 3\n\ndef helper(x):\n    return globals()[x]\n\n"
        "@task(hash_distributions={'B_wa': '0.7'})\ndef main():\n    return helper('a') < LIMIT\n"
    )
    done = rayflow("why", "--code", rayflow.file, "main")
    assert done.code == 0
    assert f"function {rayflow.namespace}.helper" in done.out
    assert f"constant {rayflow.namespace}.LIMIT = 3" in done.out
    assert "could not be followed" in done.out and "\ndistribution b-wa 0.7  " in done.out
    found = json.loads(rayflow("why", "--code", rayflow.file, "main", "--json").out)
    assert found["task_name"] == f"{rayflow.namespace}.main"
    assert len(found["definitions"]) == 4 and found["unresolved"]


# --- looking after ----------------------------------------------------------------------------------------------------


def test_forgetting_a_job_forgets_its_call_only(rayflow: Any) -> None:
    rayflow.run("wide", "--n", "3")
    [job] = rayflow.ids("select job_id from jobs order by eval_hash, task_name limit 1")
    assert json.loads(rayflow("forget", job, "--json").out)["results"] == 1
    assert "1 computed, 3 cached" in rayflow.run("wide", "--n", "3").err


def test_a_store_can_be_checked_and_compacted(rayflow: Any) -> None:
    for greet in ("a", "b", "c"):
        rayflow.run("main", "--greet", greet)
    assert "is in order" in rayflow("store", "check").out
    assert json.loads(rayflow("store", "check", "--json").out) == []
    done = rayflow("store", "compact")
    assert done.code == 0 and "commits became 1" in done.out
    assert len(json.loads(rayflow("log", "--json").out)) == 3


def test_a_damaged_file_is_named_with_exit_code_2(rayflow: Any) -> None:
    rayflow.run("main")
    folder = rayflow.project.path / ".rayflow" / "commits"
    victim = sorted(folder.iterdir())[-1]
    victim.write_bytes(victim.read_bytes()[:-20])
    with pytest.warns(UserWarning, match="left out"):
        done = rayflow("store", "check")
    assert done.code == 2
    assert f"commits/{victim.name}" in done.out


def test_resume_takes_an_execution_up_again(rayflow: Any) -> None:
    rayflow.run("several", "--n", "1")
    rayflow.run("main")
    done = rayflow("resume", "-", "--inline", "--json")
    assert (done.code, done.out) == (0, '"Hello, World!"\n')
    failed = rayflow("resume", "~1", "--inline")
    assert failed.code == 1 and "ValueError: no 0" in failed.err


def test_an_execution_whose_file_is_gone_says_what_to_do(rayflow: Any) -> None:
    rayflow.run("main")
    rayflow.path.unlink()
    done = rayflow("resume", "-", "--inline")
    assert done.code == 1
    assert "Scheduler().resume(" in done.err
