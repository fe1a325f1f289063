"""Broken evaluators: each differs from ours in one line, and each has to be found out.

A mutant is the whole package `rayflow.evaluator`, copied under another name with one piece of text replaced. It plays
the same seeds as ours; the first that goes wrong kills it. A mutant that lives says that something is not tested.
"""
# ruff: noqa: E501  (the table reads best with a mutant on each line)

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import rayflow.evaluator
from rayflow.evaluator import commands, messages, timers
from rayflow.testing.simulation.world import play

SOURCE = Path(rayflow.evaluator.__path__[0])
KEPT = ("commands", "messages", "timers")
"""Modules that mutants share with the world outside them."""

WITH = ("with_contexts", "with_gaps", "with_awaits", "with_subruns", "with_vectors", "with_effects")
"""What `play` is told besides the seed."""

MOST_SEEDS = 1_500
"""How many seeds a mutant is shown."""


@dataclass(frozen=True)
class Mutant:
    """One replacement. hint: the seed to try first (it killed the mutant once; any other will do)."""

    claim: str
    file: str
    old: str
    new: str
    hint: int = 0
    with_contexts: bool = False
    with_gaps: bool = False
    with_awaits: bool = False
    with_subruns: bool = False
    with_vectors: bool = False
    with_effects: bool = False


MUTANTS = [
    Mutant("a repeated answer is taken twice", "attempts", "job is not None and job.work.attempt == attempt", "job is not None", hint=21),
    Mutant("limits are not given back", "attempts", "for waiting in state.capacity.give_back(job):", "for waiting in []:", hint=2),
    Mutant("limits may be overdrawn", "capacity", "<= self.declared.get(name, 1) + 1e-9", "<= self.declared.get(name, 1) + 1", hint=1),
    Mutant("one retry too few", "retries", 'job.work.raised > options.get("retries", 0)', 'job.work.raised >= options.get("retries", 0)', hint=4),
    Mutant("one retry too many", "retries", 'job.work.raised > options.get("retries", 0)', 'job.work.raised > options.get("retries", 0) + 1', hint=80),
    Mutant("one loss too few", "retries", 'job.work.losses > job.options.get("max_worker_losses", 3)', 'job.work.losses > 1', hint=8),
    Mutant("equal calls are not shared", "sharing", 'if scope_of(job.options) != "NONE":\n        twin', "if False:\n        twin", hint=1),
    Mutant("calls that must not be shared are", "sharing", 'if scope_of(job.options) != "NONE":\n        twin', "if True:\n        twin", hint=18),
    Mutant("a stale full reduction counts", "task_book", "return not self.lacking_of(task_set)", "return True", hint=852),
    Mutant("an altered file does not matter", "lookups", "if not candidate.verdict:", "if False:", hint=28),
    Mutant("a changed task as a value does not matter", "lookups", "entry.hash != task_hash", "False", hint=47),
    Mutant("a run without cache takes what others remembered", "lookups", 'own_only = scope_of(job.options) != "BACKEND" or not execution.cache', "own_only = False", hint=33),
    Mutant("the last failure wins", "graph", "for value in self.values:", "for value in reversed(self.values):", hint=29),
    Mutant("the first failure in time wins", "reduction", "    elif target.missing == 0:\n", "    elif target.missing == 0 or (type(outcome).__name__ == 'Failure' and target.role is not CellRole.FORM):\n", hint=1),
    Mutant("failed calls are remembered whole", "results", "job.clean = all(child.clean for child in job.work.children)", "job.clean = True", hint=1033),
    Mutant("cond takes the wrong arm", "forms", "        if last:\n", "        if not last:\n", hint=3),
    Mutant("catch catches everything", "forms", "if any(name in failure.classes for name in names):", "if True:", hint=29),
    Mutant("catch takes the last that fits", "forms", "strict=True):\n        if any(name", "strict=True)if 0 else reversed(list(zip(args[1::2], args[2::2], strict=True))):\n        if any(name", hint=490),
    Mutant("seq goes on after an error", "forms", "    if seen and isinstance(seen[-1], Failure):\n        return Fail(seen[-1])\n    if len", "    if len", hint=1),
    Mutant("arguments do not count for the key", "hashes", "        parts.append(identity(value))\n", "", hint=1),
    Mutant("code does not count for the key", "hashes", 'return digest("eval", MEANING, job.entry.hash, args_hash)', 'return digest("eval", MEANING, job.entry.name.encode(), args_hash)', hint=54),
    Mutant("positions do not count for ids", "paths", "return short_digest(step, path, position.to_bytes(4, \"little\"))", "return short_digest(step, path)", hint=4),
    Mutant("a result's calls look like those of its arguments", "paths", 'scope_of(job.options) == "NONE":\n        return child_path(job.job_id, "result", 0)', 'scope_of(job.options) == "NONE":\n        return job.job_id', hint=18),
    Mutant("ids depend on which twin works", "paths", 'if job.eval_hash is None or job.entry.is_effect or scope_of(job.options) == "NONE":\n        return child_path', "if True:\n        return child_path", hint=29),
    Mutant("a shared expression is reduced twice", "reduction", "        if term._shared and scope.is_open:", "        if False:", hint=1),
    Mutant("a cancelled job goes on", "closing", "            continue\n        job.work.wanted = False\n", "            continue\n", hint=8),
    Mutant("who waits for a limit is not dropped", "capacity", "kind = self._waiting.pop(job.number, None)\n", "kind = None\n", hint=150),
    Mutant("a replay forgets what it remembered", "lookups", "return remember_key(job) if execution.life else None", "return None", hint=62),
    Mutant("a replay takes what others remembered", "lookups", "if own_only and candidate.execution_id != execution.execution_id:", "if False:", hint=33),
    Mutant("nothing is remembered", "evaluator", "            state.out.append(commands.Remember(row))\n", "            pass\n", hint=6),
    Mutant("followers are forgotten", "closing", "    for follower in job.work.followers or ():\n", "    for follower in ():\n", hint=1),
    Mutant("calls under several contexts are one", "sharing", "if not (first.hands_down is job.hands_down or first.hands_down.has_context_of(job.hands_down)):", "if False:", with_contexts=True),
    Mutant("what was read of the context does not matter to a twin", "sharing", "job.hands_down.agrees(lookups.context_read(first))", "True", with_contexts=True),
    Mutant("a body runs once for each context", "sharing", "    elif not job.entry.is_nested and (\n", "    elif False and (\n", with_contexts=True),
    Mutant("a subrun fails with an equal one under another context", "sharing", "elif not job.entry.is_nested and (", "elif (", with_contexts=True, with_subruns=True, hint=3644),
    Mutant("nobody takes the term up under another context", "sharing", "        has_context = each.hands_down.has_context_of(job.hands_down)\n", "        has_context = True\n", with_contexts=True),
    Mutant("a full reduction counts under any context", "lookups", "if candidate.context is not None and not job.hands_down.agrees(candidate.context):", "if False:", with_contexts=True),
    Mutant("what is read below is not noted above", "results", "        if child.reads is not None:\n", "        if False:\n", with_contexts=True, hint=215),
    Mutant("a default is reduced under the caller's context", "calls", "scope if is_given else own_scope", "scope", with_contexts=True),
    Mutant("an argument is reduced under the call's own context", "calls", "scope if is_given else own_scope", "own_scope", with_contexts=True),
    Mutant("ids below do not depend on the context", "paths", "if job.hands_down is execution.inherited or job.hands_down.has_context_of(execution.inherited):", "if True:", with_contexts=True),
    Mutant("who follows an unrecorded call leaves no call", "rows", "(reduced_itself or is_left_to_follower)", "reduced_itself", with_gaps=True, with_awaits=True),
    Mutant("call nodes that nobody has recorded are named", "rows", "in work.children if child.is_recorded for", "in work.children for", with_gaps=True),
    Mutant("call nodes below the default of an unrecorded call are named", "rows", "in work.children if child.is_recorded for", "in work.children if job.hands_down.is_recorded for", with_gaps=True, with_contexts=True, hint=50239),
    Mutant("who is recorded shares a call that is not", "sharing", "return is_alike and (twin.is_recorded or not job.is_recorded)", "return True", with_gaps=True),
    Mutant("what an unrecorded body has returned is not kept for who is recorded", "sharing", "        state.out.append(commands.Remember(unrecorded.reduction))\n", "        pass\n", with_gaps=True),
    Mutant("a context hides all of the one above", "inheritance", "merge_context(self.context, context) if context else self.context", "(context or self.context)", with_contexts=True),
    Mutant("catch_all forgives an error that nothing fits", "forms", "        if recover is None:\n            return Fail(failure)\n        recovers", "        if recover is None:\n            continue\n        recovers", hint=17),
    Mutant("catch_all recovers as the last error says", "forms", '(*recovers[0], (settled,), {})', '(*recovers[-1], (settled,), {})', hint=58),
    Mutant("catch_all leaves out what failed", "forms", "return error_term(outcome) if isinstance(outcome, Failure) else outcome", "return None if isinstance(outcome, Failure) else outcome", hint=40),
    Mutant("map_ waits for items that are lazy", "forms", "return Need((function,) if _is_open(name, values) else (function, values))", "return Need((function, values))", hint=1),
    Mutant("a rule sees the last outcomes first", "forms", "        outcomes.extend(seen[place : place + count])\n", "        outcomes.extend(reversed(seen[place : place + count]))\n", hint=132),
    Mutant("a rule passes on another failure", "forms", "return Fail(outcomes[answer[1]])", "return Fail(next(each for each in outcomes if isinstance(each, Failure)))", hint=141),
    Mutant("an execution does not wait for its threads", "closing", "if job is execution.root and not execution.threads:", "if job is execution.root:", hint=6),
    Mutant("an execution whose threads end last never ends", "closing", "if not execution.threads and root is not None and not root.is_open:", "if False:", hint=6),
    Mutant("a thread is not begun before it is joined", "form_steps", "    job = meet(state, answer.call, scope.execution, scope, child_path(cell.path, \"begun\", 0), is_begun=True)\n", "    demand(state, answer.term, scope, cell.path, cell, BECOME_SLOT)\n    return\n", hint=6),
    Mutant("a body is not told what it has awaited", "attempts", "job.work.awaits.outcomes if job.work.awaits is not None else None", "None", with_awaits=True),
    Mutant("outcomes of earlier rounds are forgotten", "attempts", "    known.update(zip(", "    known.clear()\n    known.update(zip(", with_awaits=True),
    Mutant("outcomes go to other expressions", "attempts", "zip(cell.expression, cell.values, strict=True)", "zip(cell.expression, cell.values[::-1], strict=True)", with_awaits=True, hint=8),
    Mutant("the body is entered again when the first of all is known", "reduction", "    elif target.missing == 0:\n", "    elif target.missing == 0 or (target.role is CellRole.AWAITED and target.missing == 1):\n", with_awaits=True, hint=1),
    Mutant("a body that awaits keeps its limits", "evaluator", "    release(state, job)\n    record(state, job, message.rows)\n", "    if type(message) is not messages.Paused:\n        release(state, job)\n    record(state, job, message.rows)\n", with_awaits=True, hint=1),
    Mutant("a body that awaited is remembered by its term", "evaluator", "if below is None and job.work.awaits is None and not job.entry.is_effect:", "if below is None and not job.entry.is_effect:", with_awaits=True, hint=32),
    Mutant("an error that a body passes on is tried again", "evaluator", "elif job.work.awaits is not None and job.work.awaits.passes_on(failure):", "elif False:", with_awaits=True, hint=21),
    Mutant("a body that awaited is never taken from the cache", "lookups", "shallow or candidate.kind == CHECKED_VALUE", "shallow", with_awaits=True, hint=1),
    Mutant("a body that awaited hides calls that are made anew", "lookups", "if is_asked_for or job.fleeting:", "if is_asked_for:", with_awaits=True),
    Mutant("a call that is made anew is seen only by who calls it", "lookups", "return job.fleeting and not is_shallow(job)", "return False", with_awaits=True, hint=415),
    Mutant("all that a body awaits has one id", "paths", 'result_path(job), key)', 'result_path(job), b"")', with_awaits=True),
    Mutant("ids of what is awaited depend on which twin works", "paths", '"awaited", result_path(job)', '"awaited", job.job_id', with_awaits=True, hint=250),
    Mutant("a body that was cancelled is entered again", "attempts", "        return\n    if not job.work.wanted:\n        fail(state, job, own_failures.cancelled())\n        return\n    assert job.work.awaits", "        return\n    assert job.work.awaits", with_awaits=True, hint=9),
    Mutant("a thread that a body has begun is begun only once", "evaluator", "    if below is not None:\n        job.work.below", "    job.work.below = below\n    if below is not None:\n        job.work.below", with_awaits=True, hint=249),
    Mutant("what a body awaits counts under any context", "evaluator", "        part(state, job)  # there the body may await other expressions\n", "        pass\n", with_awaits=True, with_contexts=True, hint=400),
    Mutant("a call fails with a body under another context", "sharing", "(first.state in IN_FLIGHT and first.work.awaits is None)", "first.state in IN_FLIGHT", with_awaits=True, with_contexts=True, hint=20728),
    Mutant("what is in the arguments of a subrun's expression does not count", "nested_executions", "jobs = [root, *beside]", "jobs = [root]", with_subruns=True, hint=877),
    Mutant("a follower of a thread has begun none", "closing", "job.clean = twin.clean and (job.work.below is None or job.work.below.is_clean)", "job.clean = twin.clean", with_subruns=True, hint=366),
    Mutant("a subrun that is sent again begins anew", "nested_executions", "execution.life + job.work.attempt,", "0,", with_subruns=True, hint=23),
    Mutant("a failure that was caught in a subrun is kept", "results", " and (job.work.below is None or job.work.below.is_clean)\n    job.fl", "\n    job.fl", with_subruns=True, hint=24),
    Mutant("the tasks in a subrun do not count", "graph", "        if work.below is not None:\n            below[id(work.below)]", "        if False:\n            below[id(work.below)]", with_subruns=True, hint=43),
    Mutant("what a subrun has read of the context does not count", "evaluator", "        if below.reads:\n", "        if False:\n", with_subruns=True, with_contexts=True, hint=332),
    Mutant("a subrun has no context", "nested_executions", "        context=job.hands_down.context,\n", "        context={},\n", with_subruns=True, with_contexts=True),
    Mutant("the jobs of a subrun are not counted", "evaluator", "        _count_nested(job.execution, below)\n        _warn_all", "        _warn_all", with_subruns=True),
    Mutant("the jobs of a subrun that failed are not counted", "evaluator", "    if delay is None and below is not None:\n", "    if False:\n", with_subruns=True),
    Mutant("a timer that fires twice sets two timers", "opening_rows", "if not state.opening_set or timer.number != state.openings:", "if False:"),
    Mutant("a subrun of which nothing is recorded leaves open jobs", "opening_rows", "not job.work.listed and job.is_recorded:", "not job.work.listed:", with_subruns=True, with_gaps=True),
    Mutant("what a scheduler that was lost has left open stays open", "graph", "self.is_torn = submitted.life > 0", "self.is_torn = False", with_contexts=True, hint=504),
    Mutant("what a lost subrun has left open stays open", "evaluator", "    if job.entry.is_nested:\n        job.execution.is_torn", "    if False:\n        job.execution.is_torn", with_subruns=True, hint=36),
    Mutant("a member that has left is still its vector's", "members", "if execution.shared.get(job.eval_hash) is vector:", "if False:", with_vectors=True, hint=4),
    Mutant("a job that has left is answered before its turn", "vectors", "        if place not in later:\n            alone", "        if True:\n            alone", with_vectors=True, hint=12),
    Mutant("a member is answered before its turn", "vectors", "vector.in_state(LOOKUP) if place not in later]", "vector.in_state(LOOKUP)]", with_vectors=True, hint=5),
    Mutant("members that are answered run all the same", "vectors", "missing = [place for place in waiting if place not in found] if found else waiting", "missing = waiting", with_vectors=True, hint=2),
    Mutant("a container does not wait for its last member", "vectors", "cell.missing -= count - 1", "cell.missing -= count", with_vectors=True, hint=1),
    Mutant("a record that is not valid any more answers a member", "vectors", "if candidate.kind != SINGLE or not candidate.verdict or is_foreign:", "if candidate.kind != SINGLE or is_foreign:", with_vectors=True, hint=236),
    Mutant("equal calls that stand together both run", "vectors", "            if key in self._repeated or key in execution.shared:\n                return False\n", "", with_vectors=True),
    Mutant("equal calls are not seen when all calls are plain", "vectors", "if self._repeated or not shared.keys().isdisjoint(keys):", "if False:", with_vectors=True, hint=4),
    Mutant("members do not hear of the end", "closing", "    leave_all(state, execution)\n", "", with_vectors=True, hint=56),
    Mutant("a call that may not be cached is not found after a crash", "lookups", 'if scope_of(vector.options) == "NONE":', "if False:", with_vectors=True, hint=172),
    Mutant("tasks with limits are plain", "vectors", "if not PLAIN_OPTIONS.issuperset(options) or hands_down is not received:", "if hands_down is not received:", with_vectors=True, hint=11),
    Mutant("an expression in two places is two calls", "vectors", "or call._options or call._shared:", "or call._options:", with_vectors=True),
    Mutant("equal effects are shared", "effects", "if pin is None and not job.entry.is_effect and not is_moved:", "if pin is None and not is_moved:", with_effects=True),
    Mutant("equal callers of an effect are one", "sharing", "return job.standing is not None and job.standing.is_pinned", "return False", with_effects=True),
    Mutant("callers that have shared before the effect was met share it", "pinning", "    for follower in followers:\n", "    for follower in ():\n", with_effects=True),
    Mutant("the outcomes of effects are not pinned", "closing", "        row = outcome_row(job, state.now)\n", "        row = None\n", with_effects=True),
    Mutant("the starts of effects are not pinned", "attempts", "        state.out.append(Record((started_row(job, explanations.call_text(job), state.now),)))\n", "", with_effects=True),
    Mutant("the terms of callers are not pinned", "pinning", "rows: list[Row] = [term_row(job, state.now)]", "rows: list[Row] = []", with_effects=True),
    Mutant("a place is not found by its path", "ledger", "return self.by_path.get((parent, path))", "return None", with_effects=True),
    Mutant("a decision is made anew in each life", "races", "if known is not None and known.decision is not None:", "if False:", with_effects=True),
    Mutant("two pinned terms have one path", "paths", "if job.execution.ledger is not None and path in job.execution.ledger.term_paths:", "if False:", with_effects=True, hint=223),
    Mutant("a caller of an effect is remembered whole", "results", "    if job.standing is not None and (job.standing.is_pinned or job.entry.is_effect):\n", "    if False:\n", with_effects=True, with_awaits=True),
    Mutant("a clean-up is left out after a failure", "forms", "    if len(seen) < len(args):\n        return Need((args[len(seen)],))\n    outcome, cleaned = seen", "    if len(seen) < len(args) and not (seen and isinstance(seen[0], Failure)):\n        return Need((args[len(seen)],))\n    outcome, cleaned = (*seen, None)[:2]", with_effects=True),
    Mutant("a call in a vector is made again though it is pinned", "vectors", "return ledger is not None and bool(ledger.by_path) and pinned_caller(scope) is not None", "return False", with_effects=True, with_vectors=True),
    Mutant("an effect whose end is unknown has failed", "effects", "    if not pin.is_open:\n", "    if pin.is_open:\n        fail(state, job, own_failures.outcome_unknown(job, ''))\n        return\n    if not pin.is_open:\n", with_effects=True),
    Mutant("a retry makes again what has gone well", "pinning", "if pin.outcome is not None and _is_same(unpack_outcome(pin.outcome), failure):", "if pin.outcome is not None:", with_effects=True),
    Mutant("equal calls that are made again after a retry are not shared", "effects", "    if pin.term_path is not None:\n", "    if True:\n", with_effects=True, hint=72),
    Mutant("all open waits are closed when one race is over", "races", "        if id(cell) in ids:\n            del execution.waits", "        if True:\n            del execution.waits", with_effects=True),
    Mutant("an execution with open waits is taken for a circle", "evaluator", "while execution.in_flight == 0 and not waits.hopes(execution) and", "while execution.in_flight == 0 and", with_effects=True),
    Mutant("the clean-ups of what has lost in an earlier life are forgotten", "races", "if count > 1 and above.place in ledger_of(cell.scope.execution).unclean:", "if False:", with_effects=True, hint=22),
    Mutant("nothing waits for the clean-up of a loser", "races", "*(node for node in lost if _cleans_up(node))", "*()", with_effects=True, hint=63),
    Mutant("an equal call is answered by one that was cancelled", "sharing", "if type(twin) is Job and twin is not job and _is_cancelled(twin):", "if False:", with_effects=True, hint=22),
    Mutant("a clean-up behind a wait is not found after a cancel", "waits", "    if packed is not None:\n        _settle(state, cell, packed)  # there", "    if packed is not None and may_begin:\n        _settle(state, cell, packed)  # there", with_effects=True, hint=66),
    Mutant("what leads to a loser, too, may begin nothing", "needs", "    return any(each is node for each in needless(execution, [node]))", "    return bool(needless(execution, [node]))", with_effects=True, with_awaits=True, hint=903),
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
    assert mutant is None or (SOURCE / f"{mutant.file}.py").exists(), f"there is no {mutant.file}.py to change"
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
    for name, module in zip(KEPT, (commands, messages, timers), strict=True):
        sys.modules[f"mutant.{name}"] = module
        setattr(sys.modules["mutant"], name, module)
    return partial(importlib.import_module("mutant.evaluator").Evaluator, fewest=2)


def killer(mutant: Mutant, make) -> int | None:
    """The first seed that goes wrong, or None."""
    for seed in (mutant.hint, *range(MOST_SEEDS)):
        if play(seed, make, **{each: getattr(mutant, each) for each in WITH}):
            return seed
    return None


@pytest.mark.slow
def _altered() -> set[str]:
    """The modules of the evaluator that differ from the last commit."""
    words = ["git", "-C", str(SOURCE), "diff", "--name-only", "--relative", "HEAD", "--", "."]
    listed = subprocess.run(words, capture_output=True, text=True)
    return {Path(name).stem for name in listed.stdout.splitlines()}


def _params() -> list[Any]:
    """All mutants are for the campaign, but for one in five and for those of modules that have been altered."""
    altered = _altered()
    return [
        pytest.param(
            mutant,
            id=mutant.claim.replace(" ", "_"),
            marks=() if number % 5 == 0 or mutant.file in altered else pytest.mark.campaign,
        )
        for number, mutant in enumerate(MUTANTS)
    ]


@pytest.mark.parametrize("mutant", _params())
def test_a_mutant_is_found_out(mutant: Mutant, workshop: Path) -> None:
    assert killer(mutant, made(mutant, workshop)) is not None, f"nobody noticed that {mutant.claim}"


def test_an_unchanged_copy_is_not_found_out(workshop: Path) -> None:
    make = made(None, workshop)
    for seed in range(30):
        assert not play(seed, make)


def test_each_mutant_can_be_made() -> None:
    texts = {path.stem: path.read_text() for path in SOURCE.glob("*.py")}
    found = {mutant.claim: texts[mutant.file].count(mutant.old) for mutant in MUTANTS}
    assert [claim for claim, count in found.items() if count != 1] == []
