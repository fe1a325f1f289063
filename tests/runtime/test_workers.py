"""A worker in this process: where tasks come from, what becomes of what a body does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from rayflow.errors import BadModule, NoSuchTask
from rayflow.lang import tasks
from rayflow.lang.registry import use_task_source
from rayflow.lang.terms.codec import loads
from rayflow.runtime.protocol.attempts import Call, WorkerContext, pack_arguments
from rayflow.runtime.worker.process_policy import RAY_WORKER, USERS_PROCESS
from rayflow.runtime.worker.worker import Worker
from rayflow.store.open import open_store


@pytest.fixture(autouse=True)
def _no_worker_before() -> Iterator[None]:
    before = use_task_source(None)
    yield
    use_task_source(before)


def table_of(module) -> dict:
    return {each.fullname: each.entry() for each in tasks.tasks_of(module)}


def by_value(entry):
    """The entry as it is for a task of a script."""
    from rayflow.values.encoding.encoding import encode, to_bytes

    function = tasks.find_task(entry.name).func
    import cloudpickle

    module = sys.modules[function.__module__]
    cloudpickle.register_pickle_by_value(module)
    try:
        return replace(entry, module=None, file=None, code=bytes(to_bytes(encode(function))))
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def worker_with(table, **options) -> Worker:
    return Worker(WorkerContext(None, (), ":memory:", table), open_store(":memory:"), **options)


def call(worker: Worker, name: str, **arguments):
    entry = worker.table[name]
    return worker.run(Call(1, 1, b"j" * 16, name, entry.hash, pack_arguments(arguments)))


CODE = """
    from rayflow import task

    @task
    def even(n):
        return True if n == 0 else odd(n - 1)

    @task
    def odd(n):
        return False if n == 0 else even(n - 1)

    @task
    def shifted(by, n):
        return n + by if n > 5 else three(n + 1)

    three = shifted.partial(3)
"""


def test_tasks_that_travel_by_value_may_name_themselves_each_other_and_partials_of_themselves(project):
    module = project.write("flow.py", CODE) and project.load("flow")
    table = {name: by_value(entry) for name, entry in table_of(module).items()}
    tasks.forget_tasks(["flow"])
    worker = worker_with(table)
    for name, arguments in (("flow.even", {"n": 2}), ("flow.odd", {"n": 2}), ("flow.shifted", {"by": 1, "n": 2})):
        reply = call(worker, name, **arguments)
        assert reply.failure is None, reply.failure
    assert loads(reply.term)._args == (3, 3)


def test_a_newer_table_is_asked_before_an_older_one(project):
    module = project.write("flow.py", CODE.replace("True", "1")) and project.load("flow")
    old = {name: by_value(entry) for name, entry in table_of(module).items()}
    project.edit("flow.py", "return 1 if", "return 2 if")
    module = project.load("flow")
    new = {name: by_value(entry) for name, entry in table_of(module).items()}
    tasks.forget_tasks(["flow"])
    first, second = worker_with(old), worker_with(new)
    assert loads(call(first, "flow.even", n=0).term) == 1
    assert loads(call(second, "flow.even", n=0).term) == 2
    assert loads(call(first, "flow.even", n=0).term) == 1


def test_tasks_that_were_learnt_are_found(project):
    module = project.write("flow.py", CODE) and project.load("flow")
    entries = table_of(module)
    tasks.forget_tasks(["flow"])
    del sys.modules["flow"]
    worker = worker_with({})
    with pytest.raises(NoSuchTask):
        worker.find("flow.even", entries["flow.even"].hash)
    worker.learn(entries.values())
    assert loads(call(worker, "flow.even", n=0).term) is True


def test_a_module_that_has_other_code_here_is_refused_by_name_and_place(project):
    module = project.write("flow.py", CODE) and project.load("flow")
    entries = table_of(module)
    project.edit("flow.py", "True", "False")
    project.load("flow")
    worker = worker_with(entries)
    reply = call(worker, "flow.even", n=0)
    assert reply.failure is not None
    assert reply.failure.type_name == f"{BadModule.__module__}.{BadModule.__name__}"
    assert "flow.py:" in reply.failure.message


@pytest.mark.parametrize("policy", [USERS_PROCESS, RAY_WORKER], ids=["the user's process", "a Ray worker"])
def test_a_loaded_module_of_an_older_version_is_imported_again_only_where_it_is_not_trusted(
    project, monkeypatch, policy
):
    monkeypatch.setattr(sys, "path", [str(project.path), *sys.path])
    new, old = CODE, CODE.replace("True if", "1 if")
    project.write("flow.py", new)
    table = table_of(project.load("flow"))
    project.write("flow.py", old)
    loaded = project.load("flow")
    project.write("flow.py", new)
    context = WorkerContext(str(project.path), (str(project.path),), ":memory:", table)
    reply = call(Worker(context, open_store(":memory:"), policy=policy), "flow.even", n=0)
    if policy.trusts_modules:
        assert reply.failure.type_name.endswith("BadModule") and sys.modules["flow"] is loaded
    else:
        assert loads(reply.term) is True and sys.modules["flow"] is not loaded


@pytest.mark.parametrize("policy", [USERS_PROCESS, RAY_WORKER], ids=["the user's process", "a Ray worker"])
def test_the_project_s_directories_come_first_on_the_path_only_in_a_process_of_its_own(monkeypatch, policy):
    monkeypatch.setattr(sys, "path", ["/elsewhere", "/project/lib"])
    Worker(WorkerContext(None, ("/project/src", "/project/lib"), ":memory:", {}), open_store(":memory:"), policy=policy)
    first = ["/project/src", "/project/lib", "/elsewhere"]
    assert sys.path == (first if policy.puts_paths_first else ["/elsewhere", "/project/lib", "/project/src"])


def test_a_call_that_was_made_and_not_returned_is_told(project):
    project.write(
        "flow.py",
        """
        from rayflow import task

        @task
        def f(n):
            return n

        @task
        def main():
            f(1)
            return f(2)
        """,
    )
    printed = []
    worker = worker_with(table_of(project.load("flow")), printed=lambda *told: printed.append(told))
    reply = call(worker, "flow.main")
    assert reply.term is not None
    ((task, stream, text),) = printed
    assert (task, stream) == ("main", "stderr")
    assert "created and not returned: f(1)" in text.replace("flow.f", "f")
