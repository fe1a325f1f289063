"""A secret is nowhere in what a run leaves behind."""

from __future__ import annotations

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Scheduler, Secret
from rayflow.values import masking

TEXT = "correct-horse-battery"

LOGIN = """
    import sys
    from rayflow import Secret, catch, task

    @task
    def login(key: Secret):
        text = key.get()
        print("logging in with", end=" ")
        print(text)
        sys.stderr.write(text[:5])
        sys.stderr.write(text[5:] + "\\n")
        return len(text)

    @task
    def fail(key: Secret):
        raise ValueError("refused: " + key.get())

    @task
    def main(key: Secret):
        return [login(key), catch(fail(key), ValueError, lambda error: "caught")]
"""


@pytest.fixture
def flow(project: Project, monkeypatch: pytest.MonkeyPatch) -> Flow:
    monkeypatch.setattr(masking, "_masks", {})
    monkeypatch.setenv("LOGIN_KEY", TEXT)
    made = Flow(project)
    made.write(LOGIN)
    return made


def nowhere(flow: Flow) -> None:
    store = flow.project.path / ".rayflow"
    found = [str(path) for path in store.rglob("*") if path.is_file() and TEXT.encode() in path.read_bytes()]
    assert found == []
    rows = [str(flow.project.sql(f"SELECT * FROM {table}")) for table in ("jobs", "logs", "attempts", '"values"')]
    assert TEXT not in "".join(rows)
    assert "<Secret('env:LOGIN_KEY')>" in rows[1] and "<Secret('env:LOGIN_KEY')>" in rows[2]


def test_a_secret_is_nowhere_in_what_a_run_leaves_behind(flow: Flow) -> None:
    assert flow.call("main", Secret("env:LOGIN_KEY")) == [len(TEXT), "caught"]
    assert TEXT not in "".join(flow.watching.lines)
    nowhere(flow)


def test_another_text_under_the_same_reference_runs_nothing_again(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    flow.call("login", Secret("env:LOGIN_KEY"))
    monkeypatch.setenv("LOGIN_KEY", "another")
    assert flow.call("login", Secret("env:LOGIN_KEY")) == len(TEXT)
    assert flow.computed() == {}


@pytest.mark.ray
def test_on_ray_a_secret_is_read_by_the_worker_and_masked_there(flow: Flow, ray_cluster: str) -> None:
    (flow.project.path / "key").write_text(TEXT + "\n")
    flow.write(LOGIN.replace("LOGIN_KEY", "KEY"))
    key = Secret(f"file:{flow.project.path / 'key'}")
    store = str(flow.project.path / ".rayflow")
    with Scheduler(store=store, address=ray_cluster, reporter=flow.watching) as scheduler:
        assert flow.module is not None
        assert scheduler.run(flow.module.main(key)) == [len(TEXT), "caught"]
    assert TEXT not in "".join(flow.watching.lines)
    rows = str(flow.project.sql("SELECT * FROM logs")) + str(flow.project.sql("SELECT * FROM attempts"))
    assert TEXT not in rows and rows.count("<Secret(") >= 3
