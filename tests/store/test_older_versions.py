"""Stores that earlier versions have written: what they hold is read, and answers calls, as if it were written today.

Each zip beside `versions/flow.py` is what `rayflow export` of one version has written of a run of that file. To
add one: run the flow in a project such as `old` lays out, and export its store.
"""

from __future__ import annotations

import importlib
import os
import zipfile
from pathlib import Path

import pytest
from projects import Project

import rayflow
from rayflow.api import history
from rayflow.records import TagRow
from rayflow.store import layout
from rayflow.store.open import Store, open_store
from rayflow.store.write import schemas
from rayflow.values.process.recorded_names import name_today, recorded_name

VERSIONS = Path(__file__).parent / "versions"
WHEN = 1767225600
STORES = sorted(path.stem for path in VERSIONS.glob("*.zip"))

RECORDED_MODULES = {
    "rayflow.api": "Scheduler history run",
    "rayflow.lang.awaiting": "gather",
    "rayflow.lang.builtins": (
        "apply_func as_task compose const fork_thread identity join_thread merge_handles no_prov subrun throw"
    ),
    "rayflow.lang.combinators": (
        "all_ and_ any_ apply_tags catch catch_all cond delay flat_map flatten force get_context len_ map_ "
        "not_ or_ quote seq starmap zip_"
    ),
    "rayflow.lang.job_info": "JobInfo",
    "rayflow.lang.rules": "Become Fail Failed Need form",
    "rayflow.lang.scripts": "script",
    "rayflow.lang.tasks": "Task task",
    "rayflow.lang.wrapping": "wraps_task",
    "rayflow.values.custom": "Handler Value register_handler",
    "rayflow.values.files": "ContentDir ContentFile ContentFileSet Dir File FileSet",
    "rayflow.values.handles": "Handle",
    "rayflow.values.secrets": "Secret",
}
"""The public names, by the module that code hashes, kinds and pickles of the first records name for them."""


@pytest.fixture
def old(project: Project, request: pytest.FixtureRequest) -> Project:
    """The project of the flow, with the files that its tasks have written, and the store of an earlier version."""
    project.environment["OLD_SECRET"] = "hidden"
    project.write("flow.py", (VERSIONS / "flow.py").read_text())
    project.write("rayflow.toml", "inline = true\n")
    texts = {"in.csv": "a,b\n1,2\n", "data/d.txt": "d", "a.txt": "written\n", "b.txt": "sheet\n", "out/one.txt": "one"}
    for name, text in texts.items():
        os.utime(project.write(name, text), (WHEN, WHEN))
    brought = project.rayflow("import", str(VERSIONS / f"{request.param}.zip"))
    assert brought.returncode == 0, brought.stderr
    return project


@pytest.mark.parametrize("old", STORES, indirect=True)
def test_a_store_of_an_earlier_version_answers_all_calls(old: Project) -> None:
    ended = old.rayflow("run", "flow.py", "main")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("{'kinds': 33, 'local': 'inner', 'files': ['File', 'Sheet', 'Dir']")
    assert old.counts("computed") == {"old.fails": 2}  # what has failed is tried again


@pytest.mark.slow
@pytest.mark.parametrize("old", STORES, indirect=True)
def test_the_values_in_a_store_of_an_earlier_version_are_read(old: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = old.load("flow")
    monkeypatch.chdir(old.path)
    recorded = history(store=str(old.path / ".rayflow"))
    [[kinds]] = recorded.sql("select job_id from jobs where task_name = 'old.kinds'").fetchall()
    value = recorded.value(kinds)
    assert [type(each).__name__ for each in value] == [type(each).__name__ for each in flow.kinds.func()]
    [[made]] = recorded.sql("select job_id from jobs where task_name = 'old.written'").fetchall()
    assert (type(recorded.value(made)), recorded.value(made).path) == (flow.File, "a.txt")
    computed = "select job_id from jobs where how = 'computed' and task_name <> 'old.fails'"
    for (job,) in recorded.sql(computed).fetchall():
        recorded.value(job)
        recorded.arguments(job)


def rows_of(store: Store) -> dict[str, list[str]]:
    """All rows that the views show."""
    history = store.history()
    return {name: sorted(map(str, history.sql(f"FROM {name}").fetchall())) for name in schemas.layouts()}


@pytest.mark.parametrize("version", STORES)
def test_a_store_of_the_first_layout_is_read_and_becomes_one_of_this_layout_when_it_is_written(
    tmp_path: Path, version: str
) -> None:
    with zipfile.ZipFile(VERSIONS / f"{version}.zip") as archive:
        archive.extractall(tmp_path)
    as_it_was = (tmp_path / layout.FORMAT).read_bytes()
    assert layout.check_format(as_it_was, "") == 1
    assert all(path.read_bytes().startswith(b"RFCOMMT1") for path in (tmp_path / layout.COMMITS).iterdir())
    reader = open_store(tmp_path, read_only=True)
    shown = rows_of(reader)
    assert len(shown["jobs"]) > 50 and not reader.check()
    assert (tmp_path / layout.FORMAT).read_bytes() == as_it_was
    writer = open_store(tmp_path)
    assert layout.check_format((tmp_path / layout.FORMAT).read_bytes(), "") == layout.LAYOUT_VERSION
    [first] = writer.snapshot().commits
    writer.append([TagRow("job", "x", "k", "1", 1, False)])
    writer.commit()
    writer.compact()
    assert first.id in writer.snapshot().commits[-1].replaces
    shown_now = rows_of(writer)
    assert len(shown_now.pop("tags")) == len(shown.pop("tags")) + 1
    assert shown_now == shown


@pytest.mark.parametrize("old", STORES, indirect=True)
def test_what_an_earlier_version_did_not_record_of_a_job_is_null(old: Project) -> None:
    columns = ("ready_at", "sent_at", "waited_on", "stage_in_seconds", "stage_out_seconds", "requested")
    assert len(old.sql("select * from jobs where how = 'computed'")) > 10
    assert old.sql(f"select distinct {', '.join(columns)} from jobs") == [(None,) * len(columns)]
    assert old.sql("select count(*), count(started_at) from attempts") == [(2, 0)]
    shown = old.rayflow("log", "--jobs", "--task", "old.kinds", "--json")
    assert shown.returncode == 0, shown.stderr


def test_a_public_name_is_recorded_as_it_always_was() -> None:
    """A module that is moved keeps the name that hashes know: else every task that uses it would run again."""
    for module, names in RECORDED_MODULES.items():
        for name in names.split():
            found = getattr(rayflow, name)
            assert recorded_name(getattr(found, "__module__", None) or type(found).__module__) == module, name
            if wrapped := getattr(found, "__globals__", None):
                assert recorded_name(wrapped["__name__"]) in {module, "rayflow.values.tracebacks"}, name
        assert importlib.import_module(name_today(module))
