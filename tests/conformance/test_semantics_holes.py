"""Holes that other systems have had and that must not come back, one by one."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from evaluations import Flow
from projects import Project

from rayflow import task
from rayflow.errors import CyclicCall, DuplicateTask, NotSerializable


@pytest.fixture
def flow(project: Project) -> Flow:
    return Flow(project)


@task(namespace="holes")
def same(x: Any) -> Any:
    return x


# 1 (a caught failure), 2 (stale shallow answers) and 11 (jobs left running) stand with errors and cache.


def test_03_a_call_that_waits_for_itself_does_not_hang(flow: Flow) -> None:
    flow.write("from rayflow import task\n@task\ndef loop(x):\n    return [loop(x)]\n")
    with pytest.raises(CyclicCall, match="loop"):
        flow.call("loop", 1)


def test_04_products_of_a_loop_that_differ_in_a_default_are_not_mixed_up(flow: Flow) -> None:
    with pytest.raises(DuplicateTask, match="Two tasks"):
        flow.write("""
            from rayflow import task

            tasks = []
            for n in (1, 2):
                @task
                def add(x, n=n):
                    return x + n
                tasks.append(add)
        """)


def test_05_five_hundred_nested_arguments_and_operators_are_no_recursion(flow: Flow) -> None:
    term: Any = same(1)
    for number in range(500):
        term = same([term + number])[0]
    assert flow.run(term) == 1 + sum(range(500))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({1, "a", None}, {None, "a", 1}),
        (frozenset(["x", "y", "z"]), frozenset(["z", "y", "x"])),
    ],
    ids=["mixed set", "frozenset"],
)
def test_06_order_that_means_nothing_does_not_count(flow: Flow, left: Any, right: Any) -> None:
    flow.run(same(left))
    flow.run(same(right))
    assert flow.computed() == {}


def test_06_neither_aliasing_nor_memory_order_counts(flow: Flow) -> None:
    import numpy

    shared = [1, 2]
    flow.run(same([shared, shared]))
    flow.run(same([[1, 2], [1, 2]]))
    assert flow.computed() == {}
    array = numpy.arange(6).reshape(2, 3)
    flow.run(same(array))
    flow.run(same(numpy.asfortranarray(array)))
    assert flow.computed() == {}


def test_06_the_order_of_a_set_of_texts_is_not_that_of_the_process(flow: Flow) -> None:
    text = """
        from rayflow import Scheduler, quote, task
        @task(namespace="holes")
        def give(x, expr):
            return sorted(x)
        with Scheduler(store="store", inline=True) as scheduler:
            scheduler.run(give({"a", "b", "c", "d"}, quote([give({"e", "f", "g"}, {"h": 1, "i": 2})])))
            print(scheduler.sql("select count(distinct eval_hash) from jobs").fetchall()[0][0])
    """
    flow.project.write("sets.py", text)
    for seed in ("1", "2", "3"):
        done = flow.project.python("sets.py", PYTHONHASHSEED=seed)
        assert done.stdout.strip() == "1", done.stderr


# 7 (expressions in any container) and 14 (__post_init__) stand with the evaluation.


def test_08_options_at_the_call_lose_nothing(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import task

        @task(hash_includes=["model 1"], retries=2, check_valid="shallow")
        def f(x):
            return x
    """)
    flow.run(module.f(1))
    flow.run(module.f.options(num_cpus=2)(1))
    assert flow.computed() == {}
    assert module.f.options(num_cpus=2).hash == module.f.hash
    assert module.f.options(num_cpus=2).definition_options["retries"] == 2


def test_12_an_unpicklable_result_can_be_caught_and_its_siblings_are_kept(flow: Flow) -> None:
    flow.write("""
        import threading
        from rayflow import task

        @task
        def bad():
            return {"deep": [threading.Lock()]}

        @task
        def good():
            return 1

        @task
        def main():
            return [good(), bad()]
    """)
    with pytest.raises(NotSerializable, match=r'result\["deep"\]\[0\]'):
        flow.call("main")
    assert flow.call("good") == 1
    assert flow.computed() == {}


def test_15_a_keyword_only_default_behind_args_is_reduced(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        @task
        def one():
            return 1

        @task
        def main(*args, key=one()):
            return args, type(key).__name__
    """)
    assert flow.call("main", 5) == ((5,), "int")


def test_17_an_error_does_not_depend_on_its_line(flow: Flow) -> None:
    text = "from rayflow import task\n@task\ndef fail():\n    raise ValueError('no')\n"
    digests = set()
    for lines in ("", "# one more line\n\n"):
        flow.write(lines + text)
        with pytest.raises(ValueError):
            flow.call("fail")
        digests.add(flow.watching.summaries[-1].failures[0][2].digest)
    assert len(digests) == 1


def test_18_nothing_is_asked_of_the_network() -> None:
    """Importing and running inline opens no socket."""
    code = """
import socket
def refuse(*a, **k): raise AssertionError("a socket was opened")
socket.socket.connect = refuse
import tempfile
from rayflow import Scheduler, task
@task
def f(): return 1
with Scheduler(store=tempfile.mkdtemp(), inline=True) as s: print(s.run(f()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "1", done.stderr


# --- what a body is given ---------------------------------------------------------------------------------------------


def test_a_change_of_a_list_after_the_call_is_not_seen(flow: Flow) -> None:
    flow.write("""
        import collections, dataclasses
        from rayflow import task

        @dataclasses.dataclass
        class Box:
            items: list

        @task
        def size(xs):
            return len(xs.items) if isinstance(xs, Box) else len(xs)

        @task
        def main():
            plain, queue, box = [1], collections.deque([1]), Box([1])
            calls = [size(plain), size(queue), size(box), size.partial(plain)()]
            plain.append(2), queue.append(2), box.items.append(2)
            return calls
    """)
    assert flow.call("main") == [1, 1, 1, 1]


def test_arguments_are_fresh_containers_and_arrays_that_cannot_be_written(flow: Flow) -> None:
    flow.write("""
        import numpy
        from rayflow import task

        @task
        def spoil(xs, array):
            xs.append(1)
            return len(xs), array.flags.writeable

        @task(cache=False)
        def make():
            return [0]

        @task
        def main():
            xs = make()
            return [spoil(xs, numpy.zeros(2)), spoil(xs, numpy.zeros(5000))]
    """)
    assert flow.call("main") == [(2, False), (2, False)]


def test_a_partial_with_lazy_arguments_is_a_value_once_they_are_known(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        @task
        def one():
            return 1

        @task
        def add(x, y):
            return x + y

        @task
        def apply(functions, x):
            return [f(x) for f in functions]

        @task
        def main():
            return apply([add.partial(one()), add.partial(y=one() + 1)], 10)
    """)
    assert flow.call("main") == [11, 12]


def test_13_a_script_in_a_scratch_directory_is_answered_from_the_cache(flow: Flow) -> None:
    flow.write("""
        from rayflow import File, script, task

        @task
        def main():
            return script(
                "tr a-z A-Z < given.txt", inputs=[File("given.txt").stage("given.txt")], outputs=File("-"), tempdir=True
            )
    """)
    given = flow.project.write("given.txt", "abc")
    assert flow.call("main") in ("ABC", b"ABC")
    flow.call("main")
    assert not flow.computed()
    given.write_text("abcd")
    assert flow.call("main") in ("ABCD", b"ABCD")
