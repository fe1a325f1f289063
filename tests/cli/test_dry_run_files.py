"""A dry run looks at files and follows what a change of them leads to. The oracle is the run that comes after it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Scheduler
from rayflow.runtime.planning.dry import DryRun
from rayflow.values.filesystems.filesystems import located

FLOW = """
from glob import glob

from rayflow import ContentFile, Dir, File, FileSet, get_context, script, task

@task
def size_of(f):
    return len(f.read())

@task
def upper(f):
    out = File("out/" + f.basename())
    out.write(f.read().upper())
    return out

@task
def lines_of(f):
    return script("wc -c < in.txt", inputs=[f.stage("in.txt")])

@task
def total(xs):
    return len(xs)

@task
def after(n):
    return n

@task
def by_glob():
    return after(total([size_of(File(path)) for path in sorted(glob("in/*.txt"))]))

@task
def by_content():
    return after(total([size_of(ContentFile(path)) for path in sorted(glob("in/*.txt"))]))

@task
def by_list(files):
    return after(total([size_of(f) for f in files]))

@task
def by_folder(folder):
    return after(total([size_of(f) for f in folder.files()]))

@task
def by_pattern(fs):
    return after(total([size_of(f) for f in fs]))

@task
def by_url(names):
    return after(total([size_of(File("memory://box/" + name)) for name in names]))

@task
def by_script():
    return after(total([lines_of(File(path)) for path in sorted(glob("in/*.txt"))]))

@task
def in_two_steps():
    return after(total([size_of(upper(File(path))) for path in sorted(glob("in/*.txt"))]))

@task
def reads_default(f=File("in/3.txt")):
    return f.read()

@task
def by_default():
    return after(reads_default())

@task
def reads_context(f=get_context("input")):
    return f.read()

@task
def by_context():
    return after(reads_context())

@task
def deep(path):
    return by_path(path)

@task
def by_path(path):
    return size_of(File(path))

@task
def several_levels():
    return [deep(path) for path in sorted(glob("in/*.txt"))]
"""

MANY = 24


def put(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    at = 1_700_000_000 + len(text)
    os.utime(path, (at, at))


def put_far(name: str, text: str) -> None:
    fs, place = located(f"memory://box/{name}")
    fs.write_bytes(place, text.encode())


class Shape(NamedTuple):
    """call: the expression. certain: tasks that the dry run has to say run, if one file has changed, with how many
    calls. said: what it says of the file."""

    call: Callable[[Any], Any]
    certain: dict[str, int]
    said: str = "in/3.txt has changed: 5 bytes, was 1"


SHAPES = {
    "by_glob": Shape(lambda m: m.by_glob(), {"by_glob": 1, "size_of": 1}),
    "by_content": Shape(lambda m: m.by_content(), {"by_content": 1, "size_of": 1}),
    "by_list": Shape(
        lambda m: m.by_list([m.File(f"in/{n}.txt") for n in range(MANY)]), {"by_list": 1, "size_of": 1}
    ),
    "by_folder": Shape(lambda m: m.by_folder(m.Dir("in")), {"by_folder": 1, "size_of": 1}),
    "by_pattern": Shape(lambda m: m.by_pattern(m.FileSet("in/*.txt")), {"by_pattern": 1, "size_of": 1}),
    "by_url": Shape(
        lambda m: m.by_url([f"{n}.txt" for n in range(MANY)]), {"by_url": 1, "size_of": 1},
        "memory://box/3.txt has changed: 5 bytes, was 1",
    ),
    "by_script": Shape(lambda m: m.by_script(), {"by_script": 1, "lines_of": 1, "script": 1}),
    "in_two_steps": Shape(lambda m: m.in_two_steps(), {"in_two_steps": 1, "upper": 1}),
    "by_default": Shape(lambda m: m.by_default(), {"reads_default": 1}),
    "by_context": Shape(lambda m: m.by_context(), {"reads_context": 1}),
    "several_levels": Shape(lambda m: m.several_levels(), {"by_path": 1, "size_of": 1}),
    "an expression": Shape(lambda m: m.after(m.size_of(m.File("in/3.txt"))), {"size_of": 1}),
}


@pytest.fixture
def flow(project: Project, monkeypatch: pytest.MonkeyPatch) -> Flow:
    monkeypatch.chdir(project.path)
    for number in range(MANY):
        put(project.path / f"in/{number}.txt", "x")
        put_far(f"{number}.txt", "x")
    flow = Flow(project)
    flow.write(FLOW)
    return flow


def planned(flow: Flow, shape: Shape) -> DryRun:
    with Scheduler(store=str(flow.project.path / ".rayflow"), inline=True, read_only=True) as scheduler:
        return scheduler.dry_run(shape.call(flow.module), **settings(flow))


def settings(flow: Flow) -> dict[str, Any]:
    assert flow.module is not None
    return {"context": {"input": flow.module.File("in/3.txt")}}


def counts(plan: DryRun, *verdicts: str) -> Counter[str]:
    """How many calls of each task have one of these verdicts."""
    found: Counter[str] = Counter()
    for call in plan.calls:
        if call.verdict in verdicts:
            found[call.task_name.rpartition(".")[2]] += call.alike
    return found


def change(flow: Flow) -> None:
    put(flow.project.path / "in/3.txt", "other")
    put_far("3.txt", "other")
    flow.edit("import glob\n", "import glob\n\nWHATEVER = 1\n")  # a fresh process, with the file as it is now


@pytest.mark.parametrize("name", SHAPES)
def test_one_changed_file_has_its_own_consequences(flow: Flow, name: str) -> None:
    shape = SHAPES[name]
    flow.run(shape.call(flow.module), **settings(flow))
    assert planned(flow, shape).is_cached
    change(flow)
    plan = planned(flow, shape)
    certain, possible = counts(plan, "runs"), counts(plan, "runs", "waits", "perhaps")
    assert certain == shape.certain
    assert any(shape.said in call.reason for call in plan.calls), [call.reason for call in plan.calls]
    flow.run(shape.call(flow.module), **settings(flow))
    ran = flow.computed()
    assert not Counter(shape.certain) - Counter(ran), "what it said runs has run"
    assert not Counter(ran) - possible, "nothing has run that it did not speak of"
    # What has nothing to do with the file is not said to run.
    spared = MANY - 1 if possible["total"] else 0
    if "size_of" in certain or "lines_of" in certain:
        cached = counts(plan, "cached")
        assert cached["size_of"] + cached["lines_of"] == spared


@pytest.mark.parametrize("how", ["altered", "deleted"])
def test_an_output_that_is_not_as_it_was_is_named(flow: Flow, how: str) -> None:
    shape = SHAPES["in_two_steps"]
    flow.run(shape.call(flow.module), **settings(flow))
    out = flow.project.path / "out/3.txt"
    if how == "deleted":
        out.unlink()
    else:
        put(out, "something else")
    plan = planned(flow, shape)
    assert counts(plan, "runs") == {"upper": 1}
    [reason] = [call.reason for call in plan.calls if call.verdict == "runs"]
    told = "is gone" if how == "deleted" else "has changed: 14 bytes, was 1"
    assert reason == f"its earlier result holds a file that is not as it was: out/3.txt {told}"
    assert counts(plan, "waits") == {"size_of": 1, "total": 1, "after": 1}
    flow.run(shape.call(flow.module), **settings(flow))
    assert not Counter(flow.computed()) - counts(plan, "runs", "waits", "perhaps")


def test_an_output_below_a_call_that_has_to_run_is_looked_at_too(flow: Flow) -> None:
    shape = SHAPES["in_two_steps"]
    flow.run(shape.call(flow.module), **settings(flow))
    (flow.project.path / "out/3.txt").unlink()
    flow.edit("return after(total([size_of(upper(", "return after(total(xs=[size_of(upper(")
    plan = planned(flow, shape)
    assert counts(plan, "runs") == {"in_two_steps": 1, "upper": 1}
    assert any("out/3.txt is gone" in call.reason and call.is_predicted for call in plan.calls)
    assert plan.predicted == {"runs": 1, "perhaps": 3, "cached": 2 * MANY - 2}


def test_a_file_that_is_gone_may_matter_and_a_new_one_cannot_be_known(flow: Flow) -> None:
    shape = SHAPES["by_folder"]
    flow.run(shape.call(flow.module), **settings(flow))
    (flow.project.path / "in/3.txt").unlink()
    put(flow.project.path / "in/new.txt", "x")
    plan = planned(flow, shape)
    assert counts(plan, "runs") == {"by_folder": 1}
    assert any(call.verdict == "perhaps" and call.reason == "f: in/3.txt is gone" for call in plan.calls)
    assert counts(plan, "perhaps") == {"size_of": 1, "total": 1, "after": 1}


def test_two_hundred_files_and_one_change(flow: Flow) -> None:
    for number in range(200):
        put(flow.project.path / f"in/{number}.txt", "x")
    shape = SHAPES["by_glob"]
    flow.run(shape.call(flow.module), **settings(flow))
    put(flow.project.path / "in/177.txt", "other")
    plan = planned(flow, shape)
    assert counts(plan, "runs") == {"by_glob": 1, "size_of": 1}
    assert plan.predicted == {"runs": 1, "perhaps": 2, "cached": 199} and not plan.is_cut
    assert any(call.reason == "f: in/177.txt has changed: 5 bytes, was 1" for call in plan.calls)
