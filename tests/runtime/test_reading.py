"""What a run has stored is read in Python: values, arguments, and a task's calls as a table."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from projects import REPOSITORY, Project

from rayflow.api import Scheduler, history
from rayflow.errors import BadModule, BlobDamaged, BlobMissing, NotFound
from rayflow.evaluator.rows import INLINE_TERM_BYTES
from rayflow.store.history.values.stored_value import Stored
from rayflow.store.open import open_store

FLOW = """
from dataclasses import dataclass
from datetime import date

import numpy
import pandas

from rayflow import File, Secret, task


@dataclass
class Point:
    x: int
    y: str


@task
def give(kind: str):
    return {
        "none": lambda: None, "truth": lambda: True, "number": lambda: 3, "huge": lambda: 10**40,
        "text": lambda: "a\\nb", "bytes": lambda: b"\\x00", "date": lambda: date(2026, 1, 2),
        "list": lambda: [1, [2]], "dict": lambda: {"a": {1, 2}}, "point": lambda: Point(1, "a"),
        "array": lambda: numpy.arange(3), "large": lambda: numpy.zeros(400_000),
        "frame": lambda: pandas.DataFrame({"a": [1, 2]}), "task": lambda: add, "long": lambda: "x" * 100_000,
    }[kind]()


@task
def add(a, b=1, *, status="s", **more):
    return a + b


@task
def gather(values):
    return [values, len(values)]


@task
def wide(n: int):
    return gather([add(i) for i in range(n)])


@task
def nested(n: int):
    return [add(n), [give("large"), Point(add(n, 2), "b")], {"k": give("array")}]


@task
def write(path: str):
    file = File(path)
    file.write("hello")
    return file


@task
def fail(a, b):
    raise ValueError(f"no {a}")


@task
def login(secret: Secret):
    return 1
"""


@pytest.fixture
def flow(project: Project) -> Any:
    """A project with these tasks."""
    project.write("reading_flow.py", FLOW)
    return project.load("reading_flow")


def run(expr: Any) -> Any:
    with Scheduler(inline=True) as scheduler:
        return scheduler.run(expr)


KINDS = (
    "none", "truth", "number", "huge", "text", "bytes", "date", "list", "dict", "point", "array", "large", "frame",
    "task", "long",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_of_any_kind_is_read_by_every_name_that_it_has(flow: Any, kind: str) -> None:
    expected = run(flow.give(kind))
    asked = history()
    [row] = asked.jobs()
    names = ["-", row["execution_id"], row["execution_id"][:12], row["job_id"], row["job_id"][:10], row["call_hash"]]
    names.append(asked.stored("-").value_hash)
    for name in names:
        found = asked.value(name)
        assert type(found) is type(expected) and repr(found) == repr(expected), name
    assert asked.arguments(row["job_id"]) == asked.arguments("-") == asked.arguments(row["call_hash"]) == {"kind": kind}


def test_values_in_values_are_read_whatever_is_inside(flow: Any) -> None:
    run(flow.nested(1))
    number, (large, point), inner = history().value()
    assert number == 2 and large.shape == (400_000,) and point == flow.Point(3, "b") and list(inner["k"]) == [0, 1, 2]


@pytest.mark.parametrize("n", [3, 10_000])
def test_a_value_that_many_calls_made_is_read_however_wide_it_is(flow: Any, n: int) -> None:
    run(flow.wide(n))
    asked = history()
    assert asked.value() == [list(range(1, n + 1)), n]
    [job] = asked.jobs(limit=1)
    frame = asked.calls("gather")
    assert frame["values"][0] == list(range(1, n + 1)) and frame["result"][0][1] == n
    assert asked.arguments(job["call_hash"])
    assert open_store(".rayflow").check() == []
    assert asked.sql("select max(octet_length(inline)) from values").fetchall()[0][0] <= INLINE_TERM_BYTES


def test_arguments_stand_in_the_order_of_the_parameters_with_what_was_not_given(flow: Any) -> None:
    run(flow.add(1, status="t", z=[1], y={"k": None}))
    assert list(history().arguments().items()) == [
        ("a", 1),
        ("b", 1),
        ("status", "t"),
        ("more", {"z": [1], "y": {"k": None}}),
    ]


def test_a_failed_call_has_arguments_and_says_why_it_has_no_value(flow: Any) -> None:
    with pytest.raises(ValueError):
        run(flow.fail([1], b=flow.Point(1, "z")))
    asked = history()
    assert asked.arguments() == {"a": [1], "b": flow.Point(1, "z")}
    for name in ("-", asked.jobs()[0]["job_id"]):
        with pytest.raises(NotFound, match="failed: ValueError: no"):
            asked.value(name)


def test_a_files_value_is_the_file(flow: Any, project: Project) -> None:
    run(flow.write("out.txt"))
    for name in ("-", "out.txt"):
        found = history().value(name)
        assert type(found).__name__ == "File" and found.read() == "hello"


@pytest.mark.parametrize("name", ["zz", "nothing.txt", "~5"])
def test_an_unknown_name_is_not_found(flow: Any, name: str) -> None:
    run(flow.add(1))
    for ask in (history().value, history().stored, history().arguments):
        with pytest.raises(NotFound):
            ask(name)


def test_a_task_has_calls_and_no_value(flow: Any) -> None:
    run(flow.add(1))
    with pytest.raises(NotFound, match="name a job or a call"):
        history().value(flow.add.hash.hex())


def test_the_calls_of_a_task_are_a_table(flow: Any) -> None:
    run([flow.add(1, z=0), flow.add(2.5, 2), flow.add("x", "y", status="t")])
    run(flow.add(1, z=0))
    frame = history().calls("add")
    assert list(frame["a"]) == [1, 2.5, "x", 1] and list(frame["b"]) == [1, 2, "y", 1]
    assert list(frame["status_"]) == ["s", "s", "t", "s"] and list(frame["result"]) == [2, 4.5, "xy", 2]
    assert list(frame["status"]) == ["done"] * 4 and list(frame["how"]) == ["computed"] * 3 + ["cached"]
    assert [each for each in frame["more"] if each] == [{"z": 0}, {"z": 0}]
    assert all(isinstance(each, datetime) for each in frame["queued_at"])
    assert frame.equals(history().calls(flow.add)) and len(history().calls("reading_flow.add", limit=2)) == 2
    assert list(history().calls("add", limit=1)["how"]) == ["cached"]
    assert len(history().calls("add", status="cached")) == 1
    with pytest.raises(NotFound, match=r"Did you mean add\?"):
        history().calls("ad")


def test_columns_of_numbers_are_numbers_and_others_are_what_they_were(flow: Any) -> None:
    run([flow.add(i, i) for i in range(3)])
    run([flow.give(kind) for kind in ("none", "list", "array", "dict", "frame")])
    assert history().calls("add")["a"].dtype == "int64" and history().calls("add")["result"].sum() == 6
    cells = list(history().calls("give")["result"])
    assert {type(cell).__name__ for cell in cells} == {"NoneType", "list", "ndarray", "dict", "DataFrame"}


def test_failed_calls_stand_in_the_table_with_their_arguments(flow: Any) -> None:
    for a in (1, [2]):
        with pytest.raises(ValueError):
            run(flow.fail(a, b=None))
    frame = history().calls("fail")
    assert list(frame["a"]) == [1, [2]] and list(frame["b"]) == [None, None] and list(frame["result"]) == [None, None]
    assert list(frame["error"]) == ["ValueError: no 1", "ValueError: no [2]"]


@pytest.mark.parametrize("expr", ["give", "nested"])
def test_large_values_are_read_when_they_are_wanted(flow: Any, expr: str) -> None:
    run(flow.give("large") if expr == "give" else flow.nested(1))
    [cell] = history().calls(expr, status="computed", limit=1)["result"]
    assert isinstance(cell, Stored) and repr(cell).startswith("<Stored ")
    assert "zeros" not in repr(cell) and cell.get() is not None
    [cell] = history().calls(expr, limit=1, large_bytes=1 << 40)["result"]
    assert not isinstance(cell, Stored)
    [small] = history().calls(expr, limit=1, large_bytes=0)["result"]
    assert isinstance(small, Stored)


def blobs(project: Project) -> list[Path]:
    return sorted(path for path in (project.path / ".rayflow" / "blobs").rglob("*") if path.is_file())


@pytest.mark.parametrize(("harm", "error"), [("gone", BlobMissing), ("damaged", BlobDamaged)])
@pytest.mark.parametrize("kind", ["large", "nested", "wide"])
def test_bytes_that_are_gone_are_told_and_leave_the_table_whole(
    flow: Any, project: Project, harm: str, error: type[Exception], kind: str
) -> None:
    run({"large": flow.give("large"), "nested": flow.nested(1), "wide": flow.wide(5_000)}[kind])
    for path in blobs(project):
        path.chmod(0o644)
        path.unlink() if harm == "gone" else path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(error, match=r"of (the result of )?.*(Run the call again|run again|computed again)"):
        history().value()
    frame = history().calls({"large": "give", "nested": "nested", "wide": "wide"}[kind], large_bytes=1 << 40)
    assert isinstance(frame["result"][0], Stored) and frame["result"][0].preview
    with pytest.raises(error):
        frame["result"][0].get()


@pytest.mark.parametrize("expr", ["give('point')", "give('task')", "nested(1)"])
def test_what_needs_a_module_that_is_not_there_says_so(flow: Any, project: Project, expr: str) -> None:
    run(eval(f"flow.{expr}", {"flow": flow}))
    (project.path / "reading_flow.py").unlink()
    code = f"""
        from rayflow import history
        from rayflow.errors import BadModule
        frame = history().calls({expr.partition("(")[0]!r}, large_bytes=1 << 40)
        print(type(frame["result"].iloc[-1]).__name__)
        try:
            history().value()
        except BadModule as error:
            print(error)
    """
    done = project.python("-c", "import textwrap; exec(textwrap.dedent(" + repr(code) + "))")
    assert done.stdout.startswith("Stored\n") and "cannot be read here" in done.stdout, done.stderr
    assert "import it first" in done.stdout and "recorded of it as text" in done.stdout


def test_a_class_that_has_changed_or_is_gone_is_told(flow: Any, project: Project) -> None:
    run(flow.give("point"))
    module = flow.Point.__module__
    del flow.Point
    with pytest.raises(BadModule, match=rf"{module}.Point.*cannot be read here"):
        history().value()


def test_a_secret_is_read_as_the_reference_that_it_is(flow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from rayflow import Secret

    monkeypatch.setenv("READING_TOKEN", "hidden text")
    run(flow.login(Secret("env:READING_TOKEN")))
    assert "hidden" not in repr(history().arguments()) and isinstance(history().arguments()["secret"], Secret)


def test_the_example_of_the_documents_gives_what_it_says(project: Project) -> None:
    readme = (REPOSITORY / "README.md").read_text()
    text = (REPOSITORY / "rayflow/docs/provenance-and-sql.md").read_text()
    flow = readme.split("```python\n# flow.py\n")[1].split("```")[0]
    [shown] = re.findall(r"```pycon\n(.*?)```", text, re.DOTALL)
    project.write("flow.py", flow)
    project.python("-c", "import flow, rayflow; rayflow.run(flow.main(), inline=True)")
    (project.path / "shown.txt").write_text(shown)
    options = "doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS"
    code = f"import doctest; print(doctest.testfile('shown.txt', module_relative=False, optionflags={options}))"
    done = project.python("-c", code)
    assert "failed=0" in done.stdout and "attempted=0" not in done.stdout, done.stdout + done.stderr
