"""What changed -> the sentence that `rayflow why` says of the call that ran again, and the dry run before it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from evaluations import Flow
from projects import Project
from why_flow import FLOW

from rayflow import Scheduler
from rayflow.__main__ import main
from rayflow.evaluator import hashes
from rayflow.runtime.driver import driver
from rayflow.runtime.protocol import execution_row


@dataclass
class Stage:
    """A project, and what a case does in it."""

    flow: Flow
    monkeypatch: pytest.MonkeyPatch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.flow.module, name)

    @property
    def path(self) -> Path:
        return self.flow.project.path

    def put(self, name: str, text: str, later: int = 0) -> None:
        """Write a file. later: seconds that its time lies later."""
        file = self.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        os.utime(file, (1_700_000_000 + later, 1_700_000_000 + later))

    def edit(self, old: str, new: str) -> None:
        self.flow.edit(old, new)


def _nothing(stage: Stage) -> None:
    """Nothing changes."""


@dataclass
class Case:
    """call: makes the expression. change: what is done between the two runs. says: of the second one's `task`."""

    task: str
    call: Callable[[Stage], Any]
    change: Callable[[Stage], Any]
    says: str
    before: Callable[[Stage], Any] = _nothing
    first: dict[str, Any] = field(default_factory=dict)
    second: dict[str, Any] = field(default_factory=dict)
    dry: str | None = None
    """What the dry run says of it in place of what `why` says."""


def _put(name: str, text: str, later: int = 0) -> Callable[[Stage], None]:
    return lambda stage: stage.put(name, text, later)


def _several(*steps: Callable[[Stage], Any]) -> Callable[[Stage], None]:
    def take(stage: Stage) -> None:
        for step in steps:
            step(stage)

    return take


def _remove(name: str) -> Callable[[Stage], None]:
    return lambda stage: (stage.path / name).unlink()


def _edit(old: str, new: str) -> Callable[[Stage], None]:
    return lambda stage: stage.edit(old, new)


def _older_meaning(stage: Stage) -> None:
    for module in (hashes, execution_row, driver):
        stage.monkeypatch.setattr(module, "MEANING", hashes.MEANING + b"+" if module is hashes else b"3+")


def _other_rayflow(stage: Stage) -> None:
    stage.monkeypatch.setattr(execution_row, "VERSION", "99.0")
    _older_meaning(stage)


EDIT_LEAF = _edit("def leaf(x=1):\n    return x", "def leaf(x=1):\n    return x + 0")
IN_TXT = _put("in.txt", "one")
MANY = _several(*(_put(f"many/{number}.txt", "x") for number in range(5)))
BREAK, MEND = _put("broken", ""), _remove("broken")

CASES = {
    # --- code
    "its own code": Case(
        "leaf", lambda s: s.leaf(), EDIT_LEAF,
        "It ran because its code has changed.\n\nfunction flow.leaf was changed",
        dry="its code has changed (flow.leaf)",
    ),
    "a helper": Case(
        "helped", lambda s: s.helped(), _edit("def helper(x):\n    return x + 1", "def helper(x):\n    return x + 2"),
        "function flow.helper was changed, reached by flow.helped -> flow.helper",
        dry="its code has changed (flow.helper)",
    ),
    "a constant": Case(
        "limited", lambda s: s.limited(), _edit("LIMIT = 3", "LIMIT = 4"),
        "constant flow.LIMIT was changed, reached by flow.limited -> flow.LIMIT",
        dry="its code has changed (flow.LIMIT)",
    ),
    "its version": Case(
        "versioned", lambda s: s.versioned(), _edit('version="1"', 'version="2"'),
        "It ran because its version was '1' and is '2'.",
    ),
    "a version is given": Case(
        "leaf", lambda s: s.leaf(), _edit("@task\ndef leaf", "@task(version='2')\ndef leaf"),
        "It ran because its version was None and is '2'.",
    ),
    "an option that counts": Case(
        "leaf", lambda s: s.leaf(), _edit("@task\ndef leaf", "@task(hash_includes=['a'])\ndef leaf"),
        "It ran because its code has changed: no definition differs, but its options that count (hash_includes",
    ),
    "the code of a class in an argument": Case(
        "takes_point", lambda s: s.takes_point(s.gives_point()), _edit("self.x + 1", "self.x + 2"),
        "It ran because the code of the class flow.Point, whose instances it has used, has changed.",
        dry="its argument p comes from calls that run",
    ),
    "a task that its result calls is gone": Case(
        "calls_old", lambda s: s.calls_old(),
        _several(
            _edit("def old_leaf(x=1)", "def renamed(x=1)"),
            _edit("return x * 9\n", "return x * 9\n\nold_leaf = renamed\n"),
        ),
        "It ran because its earlier result calls flow.old_leaf, and there is no such task now.",
    ),
    "a task that its result calls takes other arguments": Case(
        "calls_old", lambda s: s.calls_old(), _edit("def old_leaf(x=1)", "def old_leaf(*, x=1)"),
        "calls flow.old_leaf with arguments that this does not take any more", second={"tolerant": True},
    ),
    "a task that its result holds": Case(
        "gives_task", lambda s: s.gives_task(), _edit("return x * 9\n", "return x * 8\n"),
        "It ran because its earlier result holds the task flow.old_leaf, whose code has changed.",
    ),
    # --- arguments
    "an argument": Case(
        "leaf", lambda s: s.leaf(1), lambda s: setattr(s, "call", lambda s: s.leaf(2)),
        "It ran because its arguments differ.\n  x was 1 and is 2", dry="x was 1 and is 2",
    ),
    # --- files that it reads
    "the size of a file": Case(
        "read", lambda s: s.read(s.File("in.txt")), _put("in.txt", "longer"),
        "f: in.txt has changed: 6 bytes, was 3", before=IN_TXT,
    ),
    "the time of a file": Case(
        "read", lambda s: s.read(s.File("in.txt")), _put("in.txt", "two", 5),
        "f: in.txt has changed: modified 2023-11-14", before=IN_TXT,
    ),
    "the content of a file": Case(
        "read", lambda s: s.read(s.ContentFile("in.txt")), _put("in.txt", "two", 5),
        "f: in.txt has changed: its content differs; its size is the same (3 bytes)", before=IN_TXT,
    ),
    "a file that is a default": Case(
        "read_default", lambda s: s.read_default(), _several(_put("in.txt", "longer"), _edit("= 3", "= 4")),
        "f: in.txt has changed: 6 bytes, was 3", before=IN_TXT,
    ),
    "a file in the context": Case(
        "read_context", lambda s: s.read_context(), _put("in.txt", "longer"),
        "f: in.txt has changed: 6 bytes, was 3", before=IN_TXT,
        first={"context": {"input": "FILE"}}, second={"context": {"input": "FILE"}},
    ),
    "a staged input of a script": Case(
        "scripted", lambda s: s.scripted(s.File("in.txt")), _put("in.txt", "longer"),
        "f: in.txt has changed: 6 bytes, was 3", before=IN_TXT,
    ),
    "one of the files in a list": Case(
        "read_many", lambda s: s.read_many([s.File(f"many/{n}.txt") for n in range(5)]), _put("many/3.txt", "xyz"),
        "fs: many/3.txt has changed: 3 bytes, was 1", before=MANY,
    ),
    "a list of files is another": Case(
        "read_many", lambda s: s.read_many(s.FileSet("many/*.txt").files()),
        _several(_put("many/7.txt", "x"), _remove("many/0.txt")),
        "fs: many/7.txt has come in addition; many/0.txt is not among them now", before=MANY,
        dry="fs: many/7.txt has come in addition; many/0.txt is not among them now",
    ),
    "a file in a FileSet": Case(
        "leaf", lambda s: s.leaf(s.FileSet("many/*.txt")), _put("many/7.txt", "x"),
        "x: many/*.txt has changed: 6 files, were 5 (many/7.txt is new)", before=MANY,
    ),
    "a file in a Dir": Case(
        "leaf", lambda s: s.leaf(s.Dir("many")), _put("many/3.txt", "xyz"),
        "x: many has changed: as many files as before (5), with other names or states (many/3.txt has changed: 3 "
        "bytes, was 1)", before=MANY,
    ),
    "many files in a Dir": Case(
        "leaf", lambda s: s.leaf(s.Dir("many")),
        _several(*(_put(f"many/{n}.txt", "xyz") for n in range(3)), _remove("many/3.txt"), _put("many/9.txt", "x")),
        "(many/0.txt has changed: 3 bytes, was 1; many/1.txt has changed: 3 bytes, was 1; many/2.txt has changed: 3 "
        "bytes, was 1, and 2 more)", before=MANY,
    ),
    "the names in an immutable Dir": Case(
        "leaf", lambda s: s.leaf(s.Dir("many", immutable=True)),
        _several(_put("many/9.txt", "x"), _remove("many/3.txt")),
        "x: many has changed: as many files as before (5), with other names or states (many/9.txt is new; many/3.txt "
        "is gone)", before=MANY,
    ),
    # --- files that it wrote
    "an output is deleted": Case(
        "write", lambda s: s.write(), _remove("out.txt"),
        "It ran because its earlier result holds a file that is not as it was: out.txt is gone.",
    ),
    "an output is altered": Case(
        "write", lambda s: s.write(), _put("out.txt", "another text"),
        "its earlier result holds a file that is not as it was: out.txt has changed: 12 bytes, was 4.",
    ),
    "a file in an output folder": Case(
        "write_folder", lambda s: s.write_folder(), _put("made/c.txt", "c"),
        "its earlier result holds a file that is not as it was: made has changed: 3 files, were 2 (made/c.txt is new).",
    ),
    # --- other values
    "a value says that it does not hold": Case(
        "flagged", lambda s: s.flagged(), _put("invalid", ""),
        "It ran because a value in its earlier result says of itself that it does not hold any more (is_valid).",
    ),
    "a handle has gone on": Case(
        "fill", lambda s: s.fill(s.fill(s.Database("d"), 1), 2),
        lambda s: s.flow.run(s.fill(s.Database("d"), 3)),
        "It ran because a handle in its earlier result has gone on to another state since.",
    ),
    "the bytes are gone": Case(
        "large", lambda s: s.large(), lambda s: [each.unlink() for each in s.path.glob(".rayflow/blobs/*/*")],
        "It ran because the bytes of its earlier result are gone from the store, or damaged.",
    ),
    # --- what went wrong before
    "its code since it failed": Case(
        "fragile", lambda s: s.fragile(),
        _several(BREAK, _edit("return x\n\n@task\ndef takes_point", "return 0 + x\n\n@task\ndef takes_point"),
                 lambda s: s.fail("fragile"), MEND,
                 _edit("return 0 + x\n\n@task\ndef takes_point", "return 9\n\n@task\ndef takes_point")),
        "It ran because its code has changed since it failed.",
        dry="its code has changed since it failed (flow.fragile)",
    ),
    "nothing since it failed": Case(
        "fragile", lambda s: s.fragile(), MEND,
        "It ran because it failed before, and is tried again: failures are not kept.", before=BREAK,
    ),
    "an argument since it failed": Case(
        "fragile", lambda s: s.fragile(1), _several(MEND, lambda s: setattr(s, "call", lambda s: s.fragile(2))),
        "It ran because its arguments differ since it failed.\n  x was 1 and is 2", before=BREAK,
        dry="x was 1 and is 2 (since it failed)",
    ),
    "a file since it failed": Case(
        "fragile", lambda s: s.fragile(s.File("in.txt")), _several(MEND, _put("in.txt", "longer")),
        "It ran because its arguments differ since it failed.\n  x: in.txt has changed: 6 bytes, was 3",
        before=_several(BREAK, IN_TXT), dry="x: in.txt has changed: 6 bytes, was 3 (since it failed)",
    ),
    # --- the cache
    "a run without the cache": Case(
        "leaf", lambda s: s.leaf(), _nothing,
        "It ran because the run was told not to use the cache (--no-cache, cache=False).", second={"cache": False},
    ),
    "cache=False": Case(
        "uncached", lambda s: s.uncached(), _nothing,
        "It ran because its option cache=False keeps it from using earlier results.",
    ),
    "cache_scope": Case(
        "never_cached", lambda s: s.never_cached(), _nothing,
        "It ran because its option cache_scope='none' keeps it from using earlier results.",
    ),
    "an option of the run": Case(
        "leaf", lambda s: s.leaf(), _nothing,
        "It ran because its option cache=False keeps it from using earlier results.",
        second={"options": {"cache": False}},
    ),
    "too old": Case(
        "short_lived", lambda s: s.short_lived(), _nothing,
        "is older than its option cache_for=0.0 allows.", second={"options": {"cache_for": 0.0}},
    ),
    "forgotten": Case(
        "leaf", lambda s: s.leaf(), lambda s: main(["forget", "flow.leaf"]),
        "It ran because the earlier result was forgotten at", dry="its earlier result was forgotten",
    ),
    "the context that is read below": Case(
        "awaits_context", lambda s: s.awaits_context(), _nothing,
        "It ran because the context that it reads differs: host.",
        first={"context": {"host": "a"}}, second={"context": {"host": "b"}},
    ),
    "the code of what is awaited": Case(
        "awaits_leaf", lambda s: s.awaits_leaf(), EDIT_LEAF,
        "It ran because the code of flow.leaf, which was called below it, has changed.",
    ),
    "the code of what is not recorded": Case(
        "aside", lambda s: s.aside(), EDIT_LEAF,
        "The cache had its result",
        dry="",
    ),
    # --- rayflow itself
    "an older identity": Case(
        "leaf", lambda s: s.leaf(), _older_meaning,
        "It ran because its earlier result was recorded by another version of rayflow, whose records do not count "
        "here.",
    ),
    "an older identity, and the code": Case(
        "leaf", lambda s: s.leaf(), _several(_older_meaning, EDIT_LEAF),
        "here.\nIt ran because its code has changed.\n\nfunction flow.leaf was changed",
        dry="whose records do not count here; its code has changed (flow.leaf)",
    ),
    "an older rayflow": Case(
        "leaf", lambda s: s.leaf(), _other_rayflow,
        "It ran because its earlier result was recorded by rayflow",
    ),
    # --- what did not run
    "nothing": Case("leaf", lambda s: s.leaf(), _nothing, "It did not run. The cache had its result", dry=""),
    "never": Case(
        "leaf", lambda s: s.limited(), lambda s: setattr(s, "call", lambda s: s.leaf()),
        "It ran because this store has no earlier evaluation of this task.", dry="it was never evaluated here",
    ),
    "another run's option that does not count": Case(
        "leaf", lambda s: s.leaf(), _nothing, "It did not run.", second={"options": {"retries": 3}}, dry="",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_changed_is_named(
    project: Project, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    monkeypatch.chdir(project.path)
    flow = Flow(project)
    flow.write(FLOW)
    stage = Stage(flow, monkeypatch)
    stage.__dict__["fail"] = lambda task: _tolerant(lambda: flow.call(task))
    stage.__dict__["call"] = case.call
    case.before(stage)

    def settings(given: dict[str, Any]) -> dict[str, Any]:
        if given.get("context") == {"input": "FILE"}:
            return {"context": {"input": stage.File("in.txt")}}
        return given

    is_tolerant = case.second.pop("tolerant", False)
    _tolerant(lambda: flow.run(case.call(stage), **settings(case.first)))
    case.change(stage)
    call = stage.__dict__["call"]
    store = str(project.path / ".rayflow")
    with Scheduler(store=store, inline=True, read_only=True) as scheduler:
        plan = scheduler.dry_run(call(stage), **settings(case.second))
    with contextlib.suppress(TypeError) if is_tolerant else contextlib.nullcontext():
        flow.run(call(stage), **settings(case.second))
    capsys.readouterr()
    assert main(["why", f"flow.{case.task}"]) == 0
    told = capsys.readouterr().out
    assert case.says in told, told
    reasons = [each.reason for each in plan.calls if each.task_name == f"flow.{case.task}"]
    if case.dry == "":
        assert not reasons, reasons
    else:
        expected = case.dry or case.says.removeprefix("It ran because ").removesuffix(".")
        assert any(expected in reason for reason in reasons), reasons


def _tolerant(run: Callable[[], Any]) -> None:
    with contextlib.suppress(ValueError):
        run()
