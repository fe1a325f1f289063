"""Broken evaluators: each differs from ours in one line, and each has to be found out.

A mutant is the whole package `rayflow.evaluator`, copied under another name with one piece of text replaced. It plays the
same seeds as ours; the first that goes wrong kills it. A mutant that lives says that something is not tested.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest

import rayflow.evaluator
from rayflow.evaluator import commands, events
from rayflow.testing.world import play

SOURCE = Path(rayflow.evaluator.__path__[0])
KEPT = ("commands", "events")
"""Modules that mutants share with the world outside them."""


@dataclass(frozen=True)
class Mutant:
    """One replacement. seeds: where to look for it first (found once by trying; any that kills it will do)."""

    claim: str
    file: str
    old: str
    new: str


MUTANTS = [
    Mutant("a repeated answer is taken twice", "evaluator", "or job.attempt != attempt:", "or False:"),
    Mutant("limits are not given back", "evaluator", "for waiting in self.capacity.give_back(job):", "for waiting in []:"),
    Mutant("limits may be overdrawn", "capacity", "<= self._declared.get(name, 1) + 1e-9", "<= self._declared.get(name, 1) + 1"),
    Mutant("one retry too few", "attempts", 'job.raised > options.get("retries", 0)', 'job.raised >= options.get("retries", 0)'),
    Mutant("one retry too many", "attempts", 'job.raised > options.get("retries", 0)', 'job.raised > options.get("retries", 0) + 1'),
    Mutant("one loss too few", "attempts", 'job.losses > job.options.get("max_worker_losses", 3)', 'job.losses > 1'),
    Mutant("equal calls are not shared", "evaluator", 'if scope_of(job.options) != "NONE":\n            twin', "if False:\n            twin"),
    Mutant("calls that must not be shared are", "evaluator", 'if scope_of(job.options) != "NONE":\n            twin', "if True:\n            twin"),
    Mutant("a stale full reduction counts", "executions", "return task_set <= self._current", "return True"),
    Mutant("an altered file does not matter", "lookups", "if not candidate.verdict:", "if False:"),
    Mutant("a changed task as a value does not matter", "lookups", "entry.hash != task_hash", "False"),
    Mutant("cache=False is not obeyed", "lookups", 'if scope == "BACKEND" and execution.cache:', 'if scope == "BACKEND":'),
    Mutant("CSE is looked up", "lookups", 'if scope == "BACKEND" and execution.cache:', 'if execution.cache:'),
    Mutant("the last failure wins", "cells", "for value in self.values:", "for value in reversed(self.values):"),
    Mutant("the first failure in time wins", "evaluator", "        if target.missing == 0:\n", "        if target.missing == 0 or (type(outcome).__name__ == 'Failure' and target.kind is not Kind.FORM):\n"),
    Mutant("failed calls are remembered whole", "evaluator", "job.clean = all(child.clean for child in job.children)", "job.clean = True"),
    Mutant("cond takes the wrong arm", "forms", "        if last:\n", "        if not last:\n"),
    Mutant("catch catches everything", "forms", "if any(name in outcome.classes for name in names):", "if True:"),
    Mutant("catch takes the last that fits", "forms", "strict=True):\n        if any(name", "strict=True)if 0 else reversed(list(zip(args[1::2], args[2::2], strict=True))):\n        if any(name"),
    Mutant("seq goes on after an error", "forms", "    if seen and isinstance(seen[-1], Failure):\n        return Fail(seen[-1])\n    if len", "    if len"),
    Mutant("arguments do not count for the key", "provenance", "        parts.append(identity(value))\n", ""),
    Mutant("code does not count for the key", "provenance", 'return digest("eval", job.entry.hash, job.args_hash)', 'return digest("eval", job.entry.name.encode(), job.args_hash)'),
    Mutant("positions do not count for ids", "evaluator", "return short_digest(step, path, position.to_bytes(4, \"little\"))", "return short_digest(step, path)"),
    Mutant("a result's calls look like those of its arguments", "evaluator", '_below(job.job_id, "result", 0)', "job.job_id"),
    Mutant("ids depend on which twin works", "evaluator", 'if job.eval_hash is None or scope_of(job.options) == "NONE":\n        return _below', "if True:\n        return _below"),
    Mutant("a shared expression is reduced twice", "evaluator", "                if term._shared:\n", "                if False:\n"),
    Mutant("a cancelled job goes on", "evaluator", "            job.wanted = False\n", "            pass\n"),
    Mutant("who waits for a limit is not dropped", "capacity", "self._waiting = [entry for entry in self._waiting if entry[2] is not job]", "pass"),
    Mutant("a replay forgets what it remembered", "lookups", "return remember_key(job) if execution.life else None", "return None"),
    Mutant("a replay takes what others remembered", "lookups", "if own_only and candidate.execution_id != execution.execution_id:", "if False:"),
    Mutant("nothing is remembered", "evaluator", "            commands.Remember(provenance.reduction_row(job, lookups.remember_key(job), event.term, event.at))\n", "            commands.Record(())\n"),
    Mutant("followers are forgotten", "evaluator", "        for follower in followers or ():\n", "        for follower in ():\n"),
]  # fmt: skip


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder from which mutants can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("mutant"):
            del sys.modules[name]


def made(mutant: Mutant | None, workshop: Path):
    """The Evaluator of a mutant (or of an unchanged copy)."""
    package = workshop / "mutant"
    shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("__pycache__"))
    for path in package.glob("*.py"):
        text = path.read_text()
        if mutant is not None and path.stem == mutant.file:
            assert text.count(mutant.old) == 1, f"{mutant.old!r} stands {text.count(mutant.old)} times in {path.name}"
            text = text.replace(mutant.old, mutant.new)
        text = text.replace("rayflow.evaluator", "mutant")
        path.write_text(text)
    importlib.invalidate_caches()
    importlib.import_module("mutant")
    # What crosses the door is the same classes on both sides.
    sys.modules["mutant.commands"], sys.modules["mutant.events"] = commands, events
    for name, module in zip(KEPT, (commands, events), strict=True):
        setattr(sys.modules["mutant"], name, module)
    return importlib.import_module("mutant.evaluator").Evaluator


def seeds() -> Iterator[int]:
    """The seeds that mutants are shown."""
    return chain(range(400), range(20_000, 20_600))


def killer(make) -> int | None:
    """The first seed that goes wrong, or None."""
    for seed in seeds():
        if play(seed, make):
            return seed
    return None


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.claim.replace(" ", "_"))
def test_a_mutant_is_found_out(mutant: Mutant, workshop: Path) -> None:
    assert killer(made(mutant, workshop)) is not None, f"nobody noticed that {mutant.claim}"


def test_an_unchanged_copy_is_not_found_out(workshop: Path) -> None:
    make = made(None, workshop)
    for seed in range(30):
        assert not play(seed, make)
