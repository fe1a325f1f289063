"""`Kept`: what a worker process loads once, and what of it counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from evaluations import Flow, shown
from projects import Project

from rayflow import Kept, task
from rayflow.api import Scheduler
from rayflow.errors import BadArguments
from rayflow.lang.parameters.kept import KeptObject
from rayflow.runtime.worker.kept_objects import KEPT_OBJECTS


@pytest.fixture
def flow(project: Project) -> Flow:
    return Flow(project)


TEXT = """
    import os
    from rayflow import Dir, File, Kept, get_context, task

    def scale():
        return 10

    class Model:
        def __init__(self, text):
            self.text = text

    def load(path, *, more=0):
        with open("loads", "a") as file:
            file.write(f"{os.getpid()}\\n")
        os.environ["MODEL_IS_LOADED"] = "yes"
        print("loading")
        return Model(open(str(getattr(path, "path", path))).read() + str(scale() + more))

    @task
    def predict(n, model: Model = Kept(load, "model.txt", more=1)):
        return f"{model.text} {n} {os.environ.get('MODEL_IS_LOADED')}"

    @task
    def by_file(n, model=Kept(load, File("model.txt"))):
        return f"{model.text} {n}"

    @task
    def main(count):
        return [predict(n) for n in range(count)]
"""


def loads(flow: Flow) -> list[str]:
    path = flow.project.path / "loads"
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def model(flow: Flow) -> Path:
    flow.write(TEXT)
    path = flow.project.path / "model.txt"
    path.write_text("m")
    return path


def test_an_object_is_loaded_once_for_many_calls_and_executions(flow: Flow, model: Path) -> None:
    assert flow.call("main", 3) == [f"m11 {n} yes" for n in range(3)]
    assert flow.call("main", 5) == [f"m11 {n} yes" for n in range(5)]
    assert flow.counts("cached") == {"predict": 3}
    assert loads(flow) == [str(os.getpid())]
    assert [line.strip() for line in flow.watching.lines] == ["loading"]


def test_its_arguments_and_the_loaders_code_count_and_the_object_does_not(flow: Flow, model: Path) -> None:
    flow.call("predict", 1)
    flow.edit("more=1))", "more=2))")
    assert flow.call("predict", 1) == "m12 1 yes"
    flow.edit("return 10", "return 20")
    assert flow.call("predict", 1) == "m22 1 yes"
    model.write_text("other")  # named by its path alone, which is the same
    flow.module = flow.project.load("flow")
    flow.call("predict", 1)
    assert flow.counts("cached") == {"predict": 1}
    assert len(loads(flow)) == 3


def test_a_project_does_not_get_what_another_one_has_loaded_from_the_same_relative_path(
    flow: Flow, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert flow.call("predict", 1) == "m11 1 yes"
    folder = tmp_path / "another"
    folder.mkdir()
    for name, text in (("rayflow.toml", ""), ("model.txt", "another")):
        (folder / name).write_text(text)
    monkeypatch.chdir(folder)
    flow.project.forget()
    other = Flow(Project(folder))
    other.write(TEXT)
    assert other.call("predict", 1) == "another11 1 yes"
    other.project.forget()


def test_a_call_may_give_another_one(flow: Flow, model: Path) -> None:
    module = flow.module
    assert module is not None
    (flow.project.path / "second.txt").write_text("s")
    assert flow.run([module.predict(1), module.predict(1, Kept(module.load, "second.txt"))]) == [
        "m11 1 yes", "s10 1 yes",
    ]  # fmt: skip


def test_a_file_of_the_loader_counts_as_a_file_argument_does(flow: Flow, model: Path) -> None:
    assert flow.call("by_file", 1) == flow.call("by_file", 1) == "m10 1"
    assert flow.counts("cached") == {"by_file": 1}
    model.write_text("changed")
    flow.module = flow.project.load("flow")
    assert flow.call("by_file", 1) == "changed10 1"
    assert len(loads(flow)) == 2
    flow.module = flow.project.load("flow")
    assert flow.call("by_file", 2) == "changed10 2"
    assert len(loads(flow)) == 2


def test_an_error_in_the_loader_is_the_calls_with_the_loaders_lines(flow: Flow, model: Path) -> None:
    model.unlink()
    with pytest.raises(FileNotFoundError) as error:
        flow.call("predict", 1)
    assert "in load\n    return Model(open(" in shown(error.value)
    ((status, frames),) = flow.project.sql("select status, traceback from jobs where task_name = 'flow.predict'")
    assert status == "failed" and "in load" in frames
    model.write_text("m")
    assert flow.call("predict", 1) == "m11 1 yes"


def test_the_loaded_object_is_checked_against_the_annotation(flow: Flow, model: Path) -> None:
    flow.edit("return Model(open", "return (open")
    flow.edit(" + str(scale() + more))", ")")
    with pytest.raises(BadArguments, match="model"):
        flow.call("predict", 1)


def test_an_argument_of_the_loader_may_come_from_the_context(flow: Flow, model: Path) -> None:
    flow.edit('Kept(load, File("model.txt"))', 'Kept(load, get_context("place"))')
    assert flow.module is not None
    assert flow.run(flow.module.by_file.update_context(place="model.txt")(1)) == "m10 1"


def test_a_coroutine_that_awaits_has_its_object_all_the_while(flow: Flow, model: Path) -> None:
    module = flow.write(TEXT + """
    class Closable(Model):
        is_closed = False
        def close(self):
            self.is_closed = True

    def load_closable(n):
        return Closable(str(n))

    @task
    def other(n, model=Kept(load_closable, "other")):
        return model.text

    @task
    async def awaits(model=Kept(load_closable, "mine")):
        for n in range(12):
            await other(n, Kept(load_closable, n))
        return model.text, model.is_closed
    """)
    assert flow.run(module.awaits()) == ("mine", False)
    assert len(KEPT_OBJECTS) <= 9


INSIDE = TEXT + """
    from dataclasses import dataclass

    @dataclass
    class Config:
        n: int
        model: object

    @task
    def models(of, more=None):
        return str(of)

    @task
    def by_default(n, of=[Kept(load, "model.txt")]):
        return str(of)

    @task
    def many(*of, **named):
        return str((of, named))

    @task
    def give(value):
        return value

    @task
    def choose(in_list):
        return [Kept(load, "model.txt")] if in_list else Kept(load, "model.txt")
"""


@pytest.mark.parametrize(
    ("call", "way"),
    [
        ("models([kept])", "of[0]"), ("models({'a': (1, kept)})", 'of["a"][1]'),
        ("models(Config(1, kept))", "of.model"), ("models([Config(1, kept)] * 300)", "of[0].model"),
        ("models([give(1), kept])", "of[1]"), ("models(Config(give(1), kept))", "of.model"),
        ("models(choose(True))", "of[0]"), ("models(kept, [kept])", "more[0]"),
        ("by_default(1)", "of[0]"), ("many(1, kept)", "of[1]"), ("many(a=kept)", 'named["a"]'),
        ("models(Kept(load, kept))", "of.args[0]"),
    ],
)  # fmt: skip
def test_one_inside_another_value_is_refused_and_no_result_is_recorded(
    flow: Flow, model: Path, call: str, way: str
) -> None:
    module = flow.write(INSIDE)
    names = {**vars(module), "kept": module.Kept(module.load, "model.txt")}
    with pytest.raises(BadArguments) as refused:
        flow.run(eval(call, names))
    task_name = call.partition("(")[0]
    text = str(refused.value)
    assert f"{task_name}: {way} is Kept(load, 'model.txt'), which is loaded only where it is a whole" in text
    (status,) = {row for (row,) in flow.project.sql(f"select status from jobs where task_name = 'flow.{task_name}'")}
    assert status == "failed" and loads(flow) == []


def test_one_that_another_task_returns_is_loaded_where_it_is_the_whole_argument(flow: Flow, model: Path) -> None:
    module = flow.write(INSIDE)
    assert flow.run(module.predict(1, module.choose(False))) == "m10 1 yes"


def test_a_loader_that_is_no_plain_function_is_refused() -> None:
    @task
    def lazy(n):
        return n

    with pytest.raises(BadArguments, match="is a task"):
        Kept(lazy, 1)
    with pytest.raises(BadArguments, match="is not a function"):
        Kept(3)  # type: ignore[arg-type]
    with pytest.raises(BadArguments, match="returns the lazy value"):
        KeptObject(lambda: lazy(1)).load()


@pytest.mark.ray
def test_each_worker_process_loads_once(project: Project, ray_cluster: str) -> None:
    flow = Flow(project)
    module = flow.write(TEXT)
    (project.path / "model.txt").write_text("m")
    with Scheduler(store=str(project.path / ".rayflow"), address=ray_cluster) as scheduler:
        for count in (40, 80):
            assert scheduler.run(module.main(count)) == [f"m11 {n} yes" for n in range(count)]
        pids = {pid for (pid,) in scheduler.sql("select pid from jobs where task_name = 'flow.predict'").fetchall()}
    assert len(loads(flow)) == len(set(loads(flow))) <= len(pids)
