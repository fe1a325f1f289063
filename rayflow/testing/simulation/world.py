"""A world from a seed: a random program, a cluster that runs it, and a comparison with the meaning of the program.

In: one number. Out: untruths: the places where an execution differs from the meaning of its program. Never: a second
random generator; the same number gives the same conversation, word for word.

A trial evaluates a program, mostly in bad weather, and then perhaps once more: unchanged, with edited tasks, with
altered files, or without the cache. `python -m rayflow.testing.simulation.world SEED` plays one and prints the
conversation; `with_contexts`, `with_gaps`, `with_awaits`, `with_subruns` and `with_vectors` beside the number do what
they do for `play`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Set
from random import Random
from typing import Any

from rayflow.evaluator.ledger import CLEANS_UP
from rayflow.testing.simulation.cluster import SimulatedCluster
from rayflow.testing.simulation.contexts import in_contexts, in_gaps
from rayflow.testing.simulation.meaning import ROOT, Key, Meaning, TooLarge, is_made_whole, meaning_of
from rayflow.testing.simulation.normal_forms import Wrong
from rayflow.testing.simulation.program_awaits import does_await, in_awaits
from rayflow.testing.simulation.program_effects import has_effects, in_effects
from rayflow.testing.simulation.program_subruns import in_subruns
from rayflow.testing.simulation.program_vectors import in_vectors
from rayflow.testing.simulation.programs import Program, random_program
from rayflow.testing.simulation.shells import Maker, with_small_vectors
from rayflow.testing.simulation.weather import Report, Weather

MOST_CALLS = 80
"""The most calls of a trial's program, so that thousands of trials take seconds."""

UNKNOWN: Key = ("a call that was never run",)
"""The name for an eval_hash that no attempt has had."""

CALM = Weather()
WEATHERS = (
    CALM,
    Weather(repeated=0.3, noise=0.2),
    Weather(lost=0.3, late=0.5, repeated=0.1),
    Weather(crashed=0.08, committed=0.3),
    Weather(crashed=0.08, lost=0.1, late=0.5, repeated=0.1, noise=0.05, spread_seconds=0.1),
    Weather(cancelled=0.1, lost=0.1, repeated=0.1),
    Weather(cancelled=0.1),
    Weather(lost=0.1, late=0.5, repeated=0.1, noise=0.1, spread_seconds=5.0),
)
DURABLE_WEATHERS = (
    *WEATHERS,
    Weather(crashed=0.08, cancelled=0.1, committed=0.3),
    Weather(crashed=0.15, cancelled=0.05, committed=0.5, lost=0.1, late=0.5, repeated=0.1),
)
"""For programs with effects: what was cancelled stays so in the next life."""


def play(
    seed: int,
    make: Maker = with_small_vectors,
    talk: list[str] | None = None,
    *,
    with_contexts: bool = False,
    with_gaps: bool = False,
    with_awaits: bool = False,
    with_subruns: bool = False,
    with_vectors: bool = False,
    with_effects: bool = False,
) -> list[str]:
    """Play the trial of this seed. Gives the untruths: none, if all is well.

    make: makes the evaluator. talk: takes the conversation, line by line. with_contexts: the program uses contexts.
    with_gaps: below some of its calls nothing is recorded. with_awaits: the bodies of some of its tasks await.
    with_subruns: some of its terms are evaluated inside calls. with_vectors: many calls of one task stand together.
    with_effects: some tasks are effects, and some terms wait (without subruns and gaps, where these cannot stand).
    """
    random = Random(seed)
    changes = [in_vectors] * with_vectors + [in_awaits] * with_awaits + [in_subruns] * with_subruns
    program = _small_program(random, changes)
    if with_contexts:
        program = in_contexts(program, random)
    if with_gaps:
        program = in_gaps(program, random)
    if with_effects:
        program = in_effects(program, random)  # last: no other change may make a branch of a race fail
    cluster = SimulatedCluster(random, make)
    cluster.talk = talk
    weathers = DURABLE_WEATHERS if with_effects else WEATHERS
    untruths = _run(cluster, program, random.choice(weathers), "cold")
    if untruths or random.random() < 0.4:
        return untruths
    then = random.choice(("again", "again", "edited", "edited", "altered", "uncached"))
    if then == "edited":
        program = program.changed(random)
    if then == "altered":
        cluster.spoil(0.3)
    return _run(cluster, program, random.choice(weathers), then, cache=then != "uncached")


def explain(seed: int, untruths: Iterable[str], **more: bool) -> str:
    """The text for an assertion: the untruths, and how to play the seed again. more: the other arguments of `play`."""
    lines = "\n  ".join(untruths)
    words = " ".join([str(seed), *more])
    return f"seed {words} went wrong:\n  {lines}\nplay it again: python -m rayflow.testing.simulation.world {words}"


def _small_program(random: Random, changes: Iterable[Callable[[Program, Random], Program]]) -> Program:
    while True:
        program = random_program(random)
        for change in changes:
            program = change(program, random)
        try:
            meaning_of(program, most_calls=MOST_CALLS)
        except TooLarge:
            continue
        return program


def _run(cluster: SimulatedCluster, program: Program, weather: Weather, title: str, cache: bool = True) -> list[str]:
    """Run the program once, and compare the result with its meaning."""
    remembered, has_kept = cluster.remembered(), bool(cluster.committed.reductions)
    try:
        meaning = meaning_of(program, remembered, cache=cache, most_calls=4 * MOST_CALLS)
    except TooLarge:
        return []
    if cluster.talk is not None:
        cluster.talk.append(f"-- {title}: {weather}")
    try:
        report = cluster.run(program, weather, cache=cache)
    except Exception as error:  # an error inside the evaluator is what a trial looks for
        return [f"{title}: {type(error).__name__}: {error}"]
    if has_effects(program):
        untruths = report.untruths + list(_effects_wrong(program, report, meaning))
        if not untruths and isinstance(report.outcome, Wrong) and not report.was_cancelled:
            # What has failed fails again, and nothing else is made again.
            cluster.retry(program, weather, report, cache=cache)
            untruths = report.untruths + list(_effects_wrong(program, report, meaning))
        return [f"{title}: {untruth}" for untruth in untruths]
    options = [each.options for each in program.definitions.values()]
    shallow = program.has_gaps or any(each.get("check_valid") == "shallow" for each in options)
    exact = not (shallow and has_kept and cache)
    counted = program.context is None and not program.has_gaps and not meaning.is_spread
    untruths = report.untruths + list(_differences(cluster, program, report, meaning, exact, counted))
    if not report.was_cancelled:
        if program.has_gaps:
            untruths += _forgotten(cluster, program, _recorded(cluster, report))
        elif exact:
            untruths += _forgotten(cluster, program, meaning.returned)
    return [f"{title}: {untruth}" for untruth in untruths]


def _effects_wrong(program: Program, report: Report, meaning: Meaning) -> Iterable[str]:
    """Where the effects of a run differ from the meaning: each is made once, and no more often done than it was hit.

    A clean-up that was entered is evaluated, unless a body that awaits has to come to it again in the next life: such
    bodies stumble here.
    """
    for key, count in report.done.items():
        if count > 1 + report.hits[key]:
            yield f"an effect was done {count} times, and hit {report.hits[key]} times: {key.hex()}"
    outcomes = Counter(
        (row.place, row.generation) for row in report.places if row.kind in ("outcome", "late", "decision")
    )
    if any(count > 1 for count in outcomes.values()):
        yield "a place has two outcomes, or two decisions"
    cleaned = {row.place for row in report.places if row.kind == "cleaned"}
    entered = {row.place: row.job_id for row in report.places if row.name == CLEANS_UP and row.kind == "started"}
    may_stumble = report.lives > 1 and any(map(does_await, program.definitions.values()))
    if not entered.keys() <= cleaned and not may_stumble:
        yield f"clean-ups that were not evaluated: {[entered[place] for place in entered.keys() - cleaned]}"
    if report.was_cancelled:
        return
    if report.outcome != meaning.outcome:
        yield f"the outcome is {report.outcome}, and means {meaning.outcome}"
    ended = {row.place: row.job_id for row in report.places if row.is_effect and row.kind in ("outcome", "late")}
    made = Counter(report.keys[job_id] for job_id in ended.values() if job_id in report.keys)
    started = {row.place: row.job_id for row in report.places if row.is_effect and row.kind == "started"}
    begun = Counter(report.keys[job_id] for job_id in started.values() if job_id in report.keys)
    if begun - made - meaning.perhaps:
        yield f"effects that were begun at a place and have no outcome there: {dict(begun - made - meaning.perhaps)}"
    if meaning.effects - made:
        yield f"effects that were not made: {dict(meaning.effects - made)}"
    if made - meaning.effects - meaning.perhaps:
        yield f"effects that were made too often: {dict(made - meaning.effects - meaning.perhaps)}"


def _differences(
    cluster: SimulatedCluster, program: Program, report: Report, meaning: Meaning, exact: bool, counted: bool
) -> Iterable[str]:
    """Where a run differs from the meaning.

    exact: no final value from the store may have hidden calls. counted: the jobs can be compared one by one. They
    cannot where the program has gaps, contexts, or equal calls in several evaluations: then the order of answers
    decides which equal call is reduced where.
    """
    if report.was_cancelled:
        return
    if report.outcome != meaning.outcome:
        yield f"the outcome is {report.outcome}, and means {meaning.outcome}"
    ran = report.runs()
    # Which of equal calls does the work in an evaluation that is made again is chance; and the term of a call that is
    # not recorded cannot be taken up under another context.
    if ran - meaning.runs and not report.is_unsure and not (program.context is not None and program.has_gaps):
        yield f"ran too often: {dict(ran - meaning.runs)}"
    everywhere = {report.keys[job_id] for life in report.ran for job_id in life}
    raised = set(meaning.runs) - meaning.returned
    if not raised <= everywhere:
        yield f"failed calls were not tried again: {raised - everywhere}"
    if not exact:
        return
    if everywhere != set(meaning.runs):
        yield f"ran: {everywhere - set(meaning.runs)}; should have run: {set(meaning.runs) - everywhere}"
    if not counted:
        return
    jobs = _jobs_of(cluster, report)
    if jobs != meaning.jobs:
        yield f"jobs too many: {dict(jobs - meaning.jobs)}; missing: {dict(meaning.jobs - jobs)}"
    if report.lives == 1 and not report.is_unsure:
        yield from _differences_of_one_life(cluster, report, meaning, ran)


def _differences_of_one_life(
    cluster: SimulatedCluster, report: Report, meaning: Meaning, ran: Counter[Key]
) -> Iterable[str]:
    if ran != meaning.runs:
        yield f"ran too seldom: {dict(meaning.runs - ran)}"
    cached_rows = [row for row in report.rows.values() if row.how == "cached"]
    cached = Counter(cluster.known.get(row.eval_hash or b"", UNKNOWN) for row in cached_rows)
    if cached != meaning.cached:
        yield f"cached: {dict(cached)}, should be {dict(meaning.cached)}"


def _recorded(cluster: SimulatedCluster, report: Report) -> set[Key]:
    """The calls that some job has recorded as done."""
    done = [row.eval_hash for row in report.rows.values() if row.status == "done" and row.how in ("computed", "shared")]
    return {cluster.known[eval_hash] for eval_hash in done if eval_hash is not None and eval_hash in cluster.known}


def _forgotten(cluster: SimulatedCluster, program: Program, returned: Set[Key]) -> Iterable[str]:
    """The calls whose body returned a term that is not in the store. (Bodies that await, or that are nested executions,
    are left out: their value is recorded only under conditions.)"""
    for key in returned - cluster.remembered().keys():
        definition = program.definitions[key[0]]
        if definition.options.get("cache_scope") != "NONE" and not is_made_whole(definition):
            yield f"the store lacks what {key} returned"


def _jobs_of(cluster: SimulatedCluster, report: Report) -> Counter[tuple[Key | None, Key, bool]]:
    """The jobs' rows in the words of the oracle."""
    keys: dict[bytes, Key] = {}
    for row in report.rows.values():
        if row.task_name == "<expression>":
            keys[row.job_id] = ROOT
        elif row.eval_hash is None:
            keys[row.job_id] = (row.task_name,)
        else:
            keys[row.job_id] = cluster.known.get(row.eval_hash, UNKNOWN)
    return Counter(
        (keys.get(row.parent_job_id, UNKNOWN) if row.parent_job_id else None, keys[row.job_id], row.status == "done")
        for row in report.rows.values()
    )


def main(arguments: list[str]) -> int:
    """Play these seeds and print their conversations. Gives 1 when there were untruths."""
    more: dict[str, Any] = {each: True for each in arguments if each.startswith("with_")}
    wrong = 0
    for seed in [int(each) for each in arguments if each not in more]:
        talk: list[str] = []
        untruths = play(seed, talk=talk, **more)
        print("\n".join(talk))
        print(explain(seed, untruths, **more) if untruths else f"seed {seed} went well")
        wrong += bool(untruths)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
