"""Values that are true only while the world is as it was."""

from __future__ import annotations

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Scheduler

PAGES = """
    import pathlib
    from rayflow import task
    from rayflow.values.witnesses import VALIDATORS, ValidatorAt

    BOOK = pathlib.Path(__file__).parent / "book"

    class Page:
        def __init__(self, name):
            self.name = name

        def __rayflow_witness__(self):
            return ("page", (self.name, (BOOK / self.name).read_text()))

    def validate(payloads, store):
        (BOOK / "asked").write_text(str(len(payloads)))
        return [(BOOK / name).read_text() == text for name, text in payloads]

    VALIDATORS["page"] = ValidatorAt(__name__, "validate")

    @task
    def write(name):
        (BOOK / name).write_text("written")
        return Page(name)

    @task
    def several(names):
        return [write(name) for name in names]

    @task
    def hidden(name):
        (BOOK / name).write_text("written")
        return {"page": [Page(name)], "rest": "x" * 10_000}
"""


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    (project.path / "book").mkdir()
    made.write(PAGES)
    return made


def test_a_cached_value_counts_only_while_its_witness_holds(flow: Flow) -> None:
    book = flow.project.path / "book"
    flow.call("write", "one")
    flow.call("write", "one")
    assert flow.computed() == {}
    (book / "one").write_text("changed")
    flow.call("write", "one")
    assert flow.computed() == {"write": 1}
    assert (book / "one").read_text() == "written"
    flow.call("write", "one")
    assert flow.computed() == {}


def test_a_witness_inside_a_large_value_counts(flow: Flow) -> None:
    flow.call("hidden", "one")
    flow.call("hidden", "one")
    assert flow.computed() == {}
    (flow.project.path / "book" / "one").write_text("changed")
    flow.call("hidden", "one")
    assert flow.computed() == {"hidden": 1}


def test_all_values_of_a_tick_are_asked_about_together_and_each_once(flow: Flow) -> None:
    book = flow.project.path / "book"
    names = [f"p{number}" for number in range(50)]
    flow.call("several", names)
    flow.call("several", names)
    assert flow.computed() == {}
    assert (book / "asked").read_text() == "50"
    (book / "p7").write_text("changed")
    flow.call("several", names)
    assert flow.computed() == {"write": 1}


# --- values that say themselves whether they hold --------------------------------------------------------------------

TABLES = """
    import dataclasses
    import pathlib
    import rayflow
    from rayflow import task

    HERE = pathlib.Path(__file__).parent

    class Table(rayflow.Value):
        def __init__(self, name, version=0, stamps=()):
            self.name, self.version, self.stamps = name, version, stamps

        def identity(self):
            return self.name, self.version

        def current(self):
            return int((HERE / self.name).read_text())

        def is_valid(self):
            return self.version == self.current()

        def prepare(self):
            return Table(self.name, self.version, (*self.stamps, "prepared"))

        def finish(self):
            return Table(self.name, self.current(), (*self.stamps, "finished"))

        @classmethod
        def parse(cls, text):
            return cls(text)

    @dataclasses.dataclass
    class Report:
        title: str
        table: Table

    @task
    def load(name):
        return Table(name)

    @task
    def look(table):
        return table.name, table.version, table.stamps

    @task
    def report(name):
        return Report("of " + name, Table(name))

    @task(check_valid="shallow")
    def report_all(name):
        return [report(name)]

    @task
    def title(report):
        return report.title

    @task
    def main(name):
        return look(load(name))

    @task
    def of_argument(table: Table):
        return look(table)
"""


@pytest.fixture
def tables(project: Project) -> Flow:
    made = Flow(project)
    (project.path / "genes").write_text("1")
    made.write(TABLES)
    return made


def test_a_value_is_finished_when_it_leaves_a_task_and_prepared_when_it_enters_one(tables: Flow) -> None:
    assert tables.call("main", "genes") == ("genes", 1, ("finished", "prepared"))


def test_what_made_a_value_runs_again_when_the_value_holds_no_more(tables: Flow) -> None:
    tables.call("main", "genes")
    tables.call("main", "genes")
    assert tables.computed() == {}
    (tables.project.path / "genes").write_text("2")
    assert tables.call("main", "genes") == ("genes", 2, ("finished", "prepared"))
    assert tables.computed() == {"load": 1, "look": 1}


@pytest.mark.parametrize("task", ["report", "report_all"])
def test_a_value_inside_a_dataclass_is_asked_too_also_for_a_full_reduction(tables: Flow, task: str) -> None:
    tables.call(task, "genes")
    tables.call(task, "genes")
    assert tables.computed() == {}
    (tables.project.path / "genes").write_text("2")
    tables.call(task, "genes")
    assert tables.computed()["report"] == 1


def test_the_parts_of_a_value_keep_their_lineage(tables: Flow) -> None:
    tables.call("report", "genes")
    tables.call("look", tables.module.Table("genes", 1))  # type: ignore[union-attr]
    rows = tables.project.sql(
        "SELECT whole.type, part.type, part.preview FROM value_parts "
        "JOIN values AS whole USING (value_hash) JOIN values AS part ON part.value_hash = part_hash"
    )
    assert rows == [("flow.Report", "flow.Table", rows[0][2])]
    assert "genes" in rows[0][2]


def test_the_parts_of_an_argument_of_the_root_keep_their_lineage(tables: Flow) -> None:
    module = tables.module
    assert module is not None
    tables.call("title", module.Report("of genes", module.Table("genes", 1)))
    rows = tables.project.sql(
        "SELECT argument.name, part.type FROM arguments AS argument JOIN value_parts USING (value_hash) "
        "JOIN values AS part ON part.value_hash = part_hash"
    )
    assert rows == [("report", "flow.Table")]


@pytest.mark.ray
def test_on_ray_hooks_run_where_the_users_code_is(project: Project, ray_cluster: str) -> None:
    project.write("flow.py", TABLES)
    for name in ("genes", "cells"):
        (project.path / name).write_text("1")
    flow = project.load("flow")
    with Scheduler(store=str(project.path / ".rayflow"), address=ray_cluster) as scheduler:
        assert scheduler.run([flow.main("genes"), flow.main("cells")]) == [
            ("genes", 1, ("finished", "prepared")), ("cells", 1, ("finished", "prepared"))
        ]  # fmt: skip
        (project.path / "genes").write_text("2")
        assert scheduler.run([flow.main("genes"), flow.main("cells")])[0] == ("genes", 2, ("finished", "prepared"))
    assert project.counts("computed") == {"flow.load": 1, "flow.look": 1, "<expression>": 1}
