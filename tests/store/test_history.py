"""Questions over a small made-up history: two executions of main(n) -> load, score x 30, report."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from rayflow.errors import BadQuery, NotFound
from rayflow.records import (
    ArgumentRow,
    AttemptRow,
    CallChildRow,
    CallRow,
    DefinitionRow,
    ExecutionRow,
    FileRow,
    JobRow,
    LogRow,
    Row,
    TagRow,
    TaskRow,
    ValuePartRow,
    ValueRow,
)
from rayflow.store.history.answer_types import GroupLine, JobLine
from rayflow.store.history.filters import Filter, Taken
from rayflow.store.history.history import History
from rayflow.store.open import Store, open_store
from rayflow.values.digests import digest, short_digest
from rayflow.values.refs import Encoded

SCORES = 30


def h(*names: object) -> bytes:
    return digest("test", repr(names).encode())


def job_id(execution: str, name: str) -> bytes:
    return short_digest("job", f"{execution}/{name}".encode())


def value(content: object, kind: str = "int") -> ValueRow:
    return ValueRow(
        value_hash=h("value", content),
        type=kind,
        format="pickle5",
        size_bytes=3,
        inline=b"abc",
        preview=repr(content),
    )


class Writer:
    """Writes one execution; `code` is the version of score's code, `n` main's argument."""

    def __init__(self, store: Store, execution: str, start: int, code: str, n: int, how: str = "computed") -> None:
        self.rows: list[Row] = []
        self.execution, self.clock, self.how = execution, start, how
        self.rows.append(
            ExecutionRow(
                execution_id=execution, life=0, root=b"root", root_blob=None, options="{}", task_table=None,
                project_dir=None, task_name="flow.main", arguments=f"n={n}", status="running", started_at=start,
                finished_at=None, value_hash=None, error=None, jobs=None, computed=None, cached=None, shared=None,
                failed=None, command="rayflow run", user="me", host="host", project="p", git_commit=None,
                rayflow_version="0.1", python_version="3.11", ray_version=None,
            )
        )  # fmt: skip
        self.rows.append(self.rows[0]._replace(status="done", finished_at=start + 10_000, jobs=33))  # type: ignore[union-attr, call-arg]
        raw = FileRow(h("value", "raw.csv"), "/data/raw.csv", 10, 1, None)
        table = FileRow(h("value", f"table{n}"), f"/data/table{n}.csv", 10, 1, None)
        self.rows += [raw, table, value("raw.csv", "File"), value([f"table{n}"], "list")]
        self.rows.append(ValuePartRow(h("value", [f"table{n}"]), 0, h("value", f"table{n}")))
        load = self.call("load", None, {"path": ("raw.csv", None)}, [f"table{n}"], code="1")
        for index in range(SCORES):
            failed = index == 25 and how == "computed"
            self.call(f"score{index}", None, {"x": (index, None), "t": ([f"table{n}"], load)}, index * n, code, failed)
        self.call("report", None, {"t": ([f"table{n}"], load)}, "done", code="1")
        self.call("main", "root", {"n": (n, None)}, "end", code="1")
        for version in {code}:
            source = f"def score(): {version}"
            task = h("task", "score", version)
            self.rows.append(
                TaskRow(
                    task_hash=task,
                    task_name="flow.score",
                    source=source,
                    place="flow.py:3",
                    doc=None,
                    version=None,
                    unresolved=None,
                    at=start,
                )
            )
            self.rows.append(
                DefinitionRow(
                    task_hash=h("task", "score", version),
                    name="flow.helper",
                    kind="function",
                    definition_hash=h(version),
                    reached_from="flow.score",
                    place="flow.py:1",
                    source=f"return {version}",
                )
            )
        store.append(self.rows)
        store.commit()

    def call(
        self,
        name: str,
        root: str | None,
        arguments: dict[str, tuple[object, bytes | None]],
        result: object,
        code: str,
        failed: bool = False,
    ) -> bytes:
        self.clock += 10
        base = name.rstrip("0123456789")
        task = h("task", base, code)
        args = h("args", name, sorted(arguments), [content for content, _ in arguments.values()])
        call = h("call", task, args, result)
        parent = None if root else job_id(self.execution, "main")
        self.rows.append(
            JobRow(
                job_id=job_id(self.execution, name), execution_id=self.execution, parent_job_id=parent,
                task_name=f"flow.{base}", task_hash=task, eval_hash=h("eval", task, args),
                call_hash=None if failed else call, how=self.how, status="failed" if failed else "done", attempts=1,
                queued_at=self.clock if not root else 0, started_at=self.clock + 1, finished_at=self.clock + 2,
                wall_seconds=0.5, cpu_seconds=0.25, peak_memory_bytes=1000, node="host", pid=7,
                error="ValueError: no" if failed else None, traceback=None, story=None, ordinal=len(self.rows),
            )
        )  # fmt: skip
        if failed:
            return call
        self.rows.append(
            CallRow(
                call_hash=call,
                task_hash=task,
                task_name=f"flow.{base}",
                args_hash=args,
                eval_hash=h("eval", task, args),
                value_hash=h("value", result),
                task_set=task,
            )
        )
        self.rows.append(value(result, "list" if isinstance(result, list) else "int"))
        for argument, (content, source) in arguments.items():
            self.rows += [ArgumentRow(call, argument, h("value", content), source), value(content)]
        self.rows.append(CallChildRow(h("main"), len(self.rows), call))
        return call


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = open_store(tmp_path / "store")
    Writer(made, "0190-aaaa-1", 1_000_000, "v1", 2)
    Writer(made, "0190-aaaa-2", 2_000_000, "v2", 2)
    Writer(made, "0190-bbbb-3", 3_000_000, "v2", 3, how="cached")
    return made


@pytest.fixture
def history(store: Store) -> History:
    return store.history()


def test_executions_come_latest_first_each_once_with_its_closing_row(history: History) -> None:
    found = history.executions()
    assert [row["execution_id"] for row in found] == ["0190-bbbb-3", "0190-aaaa-2", "0190-aaaa-1"]
    assert {row["status"] for row in found} == {"done"}
    assert found[0]["started_at"] == datetime.fromtimestamp(3, UTC)
    assert history.executions(Filter(task="main"), limit=1) == found[:1]
    assert history.executions(Filter(task="other")) == []
    assert history.executions(Filter(status="running")) == []


def test_ids_are_found_by_their_beginning_by_dash_and_by_tilde(history: History) -> None:
    assert history.resolve("-").id == "0190-bbbb-3"
    assert history.resolve("~1").id == "0190-aaaa-2"
    assert history.resolve("0190-b").id == "0190-bbbb-3"
    job = job_id("0190-aaaa-1", "main").hex()
    for length in (11, 12, 32):
        assert history.resolve(job[:length].upper()) == history.resolve(job)
    assert history.resolve(job).kind == "job"
    assert history.resolve("/data/raw.csv").kind == "file"
    assert history.resolve(h("value", 0).hex(), kinds=("value",)).kind == "value"


@pytest.mark.parametrize("text", ["~9", "nothing", "", "ffffffffffffffff", "zz", "0190-aaaa"])
def test_an_id_that_is_unknown_or_could_be_several_says_so(history: History, text: str) -> None:
    with pytest.raises(NotFound):
        history.resolve(text)


def test_a_tree_shows_few_of_many_siblings_and_sums_up_the_rest(history: History) -> None:
    tree = history.job_tree("0190-aaaa-1", siblings=5)
    jobs = [line for line in tree.lines if isinstance(line, JobLine)]
    groups = [line for line in tree.lines if isinstance(line, GroupLine)]
    assert [line.job["task_name"] for line in jobs if line.depth == 0] == ["flow.main"]
    assert [line.job["task_name"] for line in jobs if line.depth == 1].count("flow.score") == 5
    assert any(line.job["status"] == "failed" for line in jobs)
    assert [(group.task_name, group.shown, group.sums["jobs"], group.sums["failed"]) for group in groups] == [
        ("flow.score", 5, 30, 1)
    ]
    assert groups[0].sums["wall_seconds"] == 15.0
    (load,) = (line for line in jobs if line.job["task_name"] == "flow.load")
    assert [(argument.name, argument.preview) for argument in load.arguments] == [("path", "'raw.csv'")]
    assert load.result == "['table2']"
    assert len(history.job_tree("0190-aaaa-1", siblings=100).lines) == 33


def test_a_chain_of_jobs_thousands_deep_is_one_tree(tmp_path: Path) -> None:
    store = open_store(tmp_path / "deep")
    execution = Writer(open_store(":memory:"), "e", 1, "v", 1).rows[0]
    jobs = [
        JobRow(
            job_id("e", str(n)),
            "e",
            job_id("e", str(n - 1)) if n else None,
            "f",
            None,
            None,
            None,
            None,
            "open",
            0,
            n,
            *[None] * 10,
        )  # type: ignore[arg-type]
        for n in range(3_000)
    ]
    store.append([execution, *jobs])
    store.commit()
    assert [line.depth for line in store.history().job_tree("e").lines] == list(range(3_000))


@pytest.mark.parametrize(("siblings", "shown"), [(0, 1), (2, 2), (10**9, 5)])
def test_a_job_with_several_rows_counts_once_in_a_tree_as_it_was_last(siblings: int, shown: int) -> None:
    store = open_store(":memory:")
    rows: list[Row] = [Writer(open_store(":memory:"), "e", 1, "v", 1).rows[0]]
    root = job_id("e", "root")
    for number, name in enumerate(["root", "a", "b", "c", "d", "e"]):
        parent = None if name == "root" else root
        opening = JobRow(
            job_id(execution="e", name=name), "e", parent, "f", None, None, None, None, "open", 0, number, *[None] * 10
        )  # type: ignore[arg-type]
        closing = opening._replace(status="failed" if name == "d" else "done", finished_at=number + 10, how="computed")
        rows.extend([closing] if name == "b" else [opening, closing])
        rows.extend([closing] if name == "c" else [])
    store.append(rows)
    store.commit()
    tree = store.history().job_tree("e", siblings=siblings)
    jobs = [line.job for line in tree.lines if isinstance(line, JobLine) and line.depth]
    assert len(jobs) == shown and job_id("e", "d").hex() in [job["job_id"] for job in jobs]
    assert {job["status"] for job in jobs} <= {"done", "failed"}
    sums = [line.sums for line in tree.lines if isinstance(line, GroupLine)]
    assert [(each["jobs"], each["computed"], each["open"], each["failed"]) for each in sums] == [(5, 4, 0, 1)] * (
        shown < 5
    )


def test_a_job_is_shown_whole(store: Store, history: History) -> None:
    job = job_id("0190-aaaa-1", "score3")
    long = h("long log")
    store.put_blob(long, Encoded("text", b"", (b"very long",)))
    store.append(
        [
            LogRow(job, 1, "stdout", "hello", None),
            LogRow(job, 1, "stderr", None, long),
            LogRow(job, 2, "stderr", None, h("gone")),
            AttemptRow(job_id=job, attempt=1, ended="lost", error="WorkerLost", node="host", pid=1, at=5),
            TagRow(entity="job", entity_id=job.hex(), key="good", value="true", at=1, removed=False),
            TagRow(entity="job", entity_id=job.hex(), key="bad", value="true", at=1, removed=False),
            TagRow(entity="job", entity_id=job.hex(), key="bad", value="true", at=2, removed=True),
        ]
    )
    store.commit()
    shown = history.job(job.hex())
    assert shown.execution is not None and shown.execution["execution_id"] == "0190-aaaa-1"
    assert shown.parent is not None and shown.parent["task_name"] == "flow.main"
    assert [
        (argument.name, argument.preview, argument.sources and argument.sources[0][1]) for argument in shown.arguments
    ] == [
        ("t", "['table2']", "flow.load"),
        ("x", "3", ()),
    ]
    assert shown.result is not None and shown.result["preview"] == "6"
    assert [log["text"] for log in shown.logs][:2] == ["very long", "hello"]
    assert "no blob" in shown.logs[2]["text"]
    assert [tag["key"] for tag in shown.tags] == ["good"]
    assert [attempt["ended"] for attempt in shown.attempts] == ["lost"]
    assert shown.attempts[0]["recorded_at"] == datetime.fromtimestamp(5e-6, UTC)
    assert shown.task is not None and shown.task["source"] == "def score(): v1"
    main = history.job(job_id("0190-aaaa-1", "main").hex())
    assert sum(row["jobs"] for row in main.children) == 32
    with pytest.raises(NotFound):
        history.job("00")
    with pytest.raises(NotFound, match="hexadecimal"):
        history.job("not hex")


def test_jobs_are_found_by_status_task_result_and_time(history: History) -> None:
    assert len(history.jobs(Filter(status="failed"))) == 2
    assert len(history.jobs(Filter(task="score", execution_id="0190-aaaa-2"), limit=None)) == SCORES
    assert len(history.jobs(Filter(task="flow.score", status="cached"), limit=7)) == 7
    made = history.jobs(Filter(result=Taken("result", (h("value", "done"),))))
    assert {row["task_name"] for row in made} == {"flow.report"}
    assert history.jobs(Filter(since=datetime.fromtimestamp(4, UTC))) == []


def test_the_full_name_of_a_task_means_no_other_whose_name_ends_with_it(store: Store, history: History) -> None:
    rows = Writer(store, "0190-cccc-4", 4_000_000, "v2", 4).rows
    (score,) = [row for row in rows if isinstance(row, JobRow) and row.job_id == job_id("0190-cccc-4", "score7")]
    store.keep([score._replace(job_id=job_id("0190-cccc-4", "other"), task_name="lib.flow.score", ordinal=99)])
    latest = history.jobs(Filter(task="flow.score", execution_id="0190-cccc-4"), limit=None)
    assert [row["task_name"] for row in latest] == ["flow.score"] * SCORES
    assert len(history.jobs(Filter(task="score", execution_id="0190-cccc-4"), limit=None)) == SCORES + 1


def test_a_call_shows_its_arguments_result_and_jobs(history: History) -> None:
    (row,) = history.jobs(Filter(task="report", execution_id="0190-aaaa-1"))
    shown = history.call(row["call_hash"])
    assert shown.call["task_name"] == "flow.report"
    assert [argument.name for argument in shown.arguments] == ["t"]
    assert shown.result is not None and shown.result["preview"] == "'done'"
    assert len(shown.jobs) == 2
    assert shown.children == ()
    with pytest.raises(NotFound):
        history.call("ab")


def test_a_file_inside_a_value_knows_who_made_it_and_who_took_it(history: History) -> None:
    shown = history.value_detail(h("value", "table2").hex())
    assert shown.file is not None and shown.file["path"] == "/data/table2.csv"
    assert [row["task_name"] for row in shown.made_by] == ["flow.load"]
    assert {row["task_name"] for row in shown.taken_by} == {"flow.score", "flow.report"}
    (whole,) = shown.wholes
    assert [part["path"] for part in history.value_detail(whole["value_hash"]).parts] == ["/data/table2.csv"]
    with pytest.raises(NotFound):
        history.value_detail("ab" * 20)


def test_lineage_goes_back_from_a_file_to_the_files_it_came_from(history: History) -> None:
    (step,) = history.lineage("/data/table2.csv")
    assert (step.distance, step.task_name) == (0, "flow.load")
    assert [file["path"] for file in step.input_files] == ["/data/raw.csv"]
    assert [file["path"] for file in step.output_files] == ["/data/table2.csv"]
    steps = history.lineage(h("value", "done").hex())
    assert [(step.distance, step.task_name) for step in steps][:1] == [(0, "flow.report")]
    assert {step.task_name for step in steps if step.distance == 1} == {"flow.load"}
    assert {step.distance for step in history.lineage(h("value", "done").hex(), levels=0)} == {0}
    rows = history.sql("SELECT task_name, input_path FROM lineage_of('/data/table2.csv')").fetchall()
    assert rows == [("flow.load", "/data/raw.csv")]
    assert history.sql("SELECT input_path FROM lineage WHERE path = '/data/table2.csv'").fetchall() == [
        ("/data/raw.csv",)
    ]
    with pytest.raises(NotFound, match="No recorded call"):
        history.lineage("/data/raw.csv")


def test_lineage_of_a_long_chain_is_complete(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    for n in range(60):
        store.append(
            [
                CallRow(
                    call_hash=h(n),
                    task_hash=h("t"),
                    task_name="f",
                    args_hash=h(n),
                    eval_hash=h(n),
                    value_hash=h("v", n),
                    task_set=h("t"),
                ),
                ArgumentRow(h(n), "x", h("v", n - 1), h(n - 1) if n else None),
            ]
        )
    store.commit()
    assert [step.distance for step in store.history().lineage(h("v", 59).hex())] == list(range(60))
    assert len(store.history().sql(f"FROM upstream_of('{h(59).hex()}')").fetchall()) == 60
    assert len(store.history().sql(f"FROM downstream_of('{h(0).hex()}')").fetchall()) == 60


def test_why_finds_the_same_arguments_first_and_shows_both_versions_of_the_code(history: History) -> None:
    found = history.why(job_id("0190-aaaa-2", "score7").hex())
    assert found.earlier is not None and found.earlier["job_id"] == job_id("0190-aaaa-1", "score7").hex()
    assert (found.task_changed, found.arguments_changed, found.changes) == (True, False, ())
    assert [row["source"] for row in found.definitions] == ["return v2"]
    assert [row["source"] for row in found.earlier_definitions] == ["return v1"]
    assert found.task is not None and found.task["source"] == "def score(): v2"


def test_why_compares_with_the_same_place_when_arguments_differ(history: History) -> None:
    found = history.why(job_id("0190-bbbb-3", "score7").hex())
    assert found.earlier is not None and found.earlier["job_id"] == job_id("0190-aaaa-2", "score7").hex()
    assert (found.task_changed, found.arguments_changed) == (False, True)
    (change,) = found.changes
    assert change.old is not None and change.new is not None
    assert (change.name, change.old.preview, change.new.preview) == ("t", "['table2']", "['table3']")
    assert change.new.sources[0][1] == "flow.load"


def test_why_of_the_first_evaluation_has_nothing_to_compare_with(history: History) -> None:
    found = history.why(job_id("0190-aaaa-1", "main").hex())
    assert found.earlier is None
    assert not found.task_changed and not found.arguments_changed


def test_why_tells_when_the_earlier_result_was_forgotten(store: Store, history: History) -> None:
    store.forget(task_name="flow.report", at=1_500_000)
    found = history.why(job_id("0190-aaaa-2", "report").hex())
    assert found.forgotten_at == datetime.fromtimestamp(1.5, UTC)


def test_views_show_hashes_as_hex_and_times_as_timestamps(history: History) -> None:
    rows = history.sql("SELECT job_id, queued_at FROM jobs WHERE task_name = 'flow.load' ORDER BY queued_at").fetchall()
    assert rows[0][0] == job_id("0190-aaaa-1", "load").hex()
    assert rows[0][1] == datetime.fromtimestamp(1.00001, UTC).replace(tzinfo=None)
    query = "SELECT status FROM jobs WHERE job_id = ?"
    assert history.sql(query, [job_id("0190-aaaa-1", "score25").hex()]).fetchall() == [("failed",)]


def test_every_column_is_documented_and_every_view_can_be_asked(history: History) -> None:
    columns = history.schema()
    assert all(column.documentation for column in columns)
    tables = {column.table for column in columns}
    assert {"jobs", "values", "lineage", "upstream", "downstream", "slowest", "failures", "current_tags"} <= tables
    for table in tables:
        names = ", ".join(column.column for column in columns if column.table == table)
        asked = table.replace("()", "('')")
        history.sql(f"SELECT {names} FROM {asked}").fetchall()


def test_sql_that_is_wrong_raises_with_duckdbs_own_words(history: History) -> None:
    with pytest.raises(BadQuery, match="nothing_here"):
        history.sql("SELECT * FROM nothing_here")


def test_an_open_history_sees_what_is_committed_later(store: Store, history: History) -> None:
    before = history.sql("SELECT count(*) FROM jobs").fetchall()[0][0]
    Writer(store, "0190-cccc-4", 4_000_000, "v3", 4)
    assert history.sql("SELECT count(*) FROM jobs").fetchall()[0][0] == before + 33


def test_answers_are_the_same_after_a_compaction(store: Store, history: History) -> None:
    tree = history.job_tree("0190-aaaa-1")
    why = history.why(job_id("0190-bbbb-3", "score7").hex())
    store.compact()
    assert store.history().job_tree("0190-aaaa-1") == tree
    assert store.history().why(job_id("0190-bbbb-3", "score7").hex()) == why


def test_the_span_of_a_task_leaves_out_the_fastest_and_the_slowest_quarter(tmp_path) -> None:
    with_jobs = open_store(tmp_path / "spans")
    empty = JobRow(*[None] * len(JobRow._fields))
    for number, seconds in enumerate([1.0, 2.0, 3.0, 4.0, 100.0]):
        row = empty._replace(
            job_id=bytes([number]) * 16, execution_id="e", task_name="flow.f", status="done", how="computed",
            attempts=1, queued_at=number, finished_at=number + 1, wall_seconds=seconds,
        )  # fmt: skip
        with_jobs.append([row, row._replace(job_id=bytes([number + 50]) * 16, how="cached")])
        with_jobs.append([row._replace(job_id=bytes([number + 90]) * 16, label="named", wall_seconds=7.0)])
    with_jobs.commit()
    spans = with_jobs.history().task_spans(["flow.f", "named", "flow.never"])
    assert spans == {"flow.f": (2.0, 4.0), "named": (7.0, 7.0)}


def test_the_phases_of_a_job_are_its_waits_apart_from_its_body(tmp_path) -> None:
    store = open_store(tmp_path / "phases")
    row = JobRow(*[None] * len(JobRow._fields))._replace(
        job_id=b"j" * 16, execution_id="e", task_name="flow.f", status="done", how="computed", attempts=1,
        queued_at=1_000_000, ready_at=3_000_000, sent_at=3_500_000, started_at=7_500_000, finished_at=9_000_000,
        wall_seconds=1.5, stage_in_seconds=0.25, stage_out_seconds=0.5, waited_on="limit db",
    )  # fmt: skip
    behind = row._replace(job_id=b"k" * 16, started_at=3_400_000)  # the worker's clock is behind
    store.append([row, behind, row._replace(job_id=b"c" * 16, how="cached", sent_at=None, started_at=None)])
    store.commit()
    columns = "arguments_seconds, held_seconds, waited_on, queue_seconds, stage_in_seconds, body_seconds"
    found = store.history().sql(f"SELECT {columns} FROM phases ORDER BY queue_seconds NULLS LAST").fetchall()
    assert found[0][3] == 0 and found[2][1] is None and found[2][3] is None
    assert found[1] == (2.0, 0.5, "limit db", 4.0, 0.25, 0.75)
