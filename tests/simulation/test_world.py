"""Thousands of random programs on simulated clusters: what comes of them is what they mean.

TEST_SEEDS sets how many seeds are played (from TEST_FIRST_SEED on). A seed that went wrong once stays here, as a
file in `seeds/` whose name is the number, with what else `play` was told, and whose text says what it found.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from rayflow.evaluator.graph import Job
from rayflow.evaluator.job_states import MOVES, JobState
from rayflow.testing.simulation.cluster import SimulatedCluster
from rayflow.testing.simulation.meaning import meaning_of
from rayflow.testing.simulation.programs import random_program
from rayflow.testing.simulation.world import CALM, WEATHERS, explain, play

SEEDS = int(os.environ.get("TEST_SEEDS", "1000"))
FIRST = int(os.environ.get("TEST_FIRST_SEED", "0"))
PARTS = 8
CAMPAIGN_SEEDS = int(os.environ.get("TEST_SEEDS", "20000"))
WITH = ("with_contexts", "with_gaps", "with_awaits", "with_subruns", "with_vectors", "with_effects")
"""What `play` is told besides the seed."""
KEPT = sorted(path.stem for path in (Path(__file__).parent / "seeds").glob("*.txt"))


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[JobState, JobState]]:
    """Counts the moves of all jobs, by what stood at the door of each."""
    counted: Counter[tuple[JobState, JobState]] = Counter()
    move = Job.move

    def counting(job: Job, to: JobState) -> None:
        counted[job.state, to] += 1
        move(job, to)

    monkeypatch.setattr(Job, "move", counting)
    return counted


@pytest.mark.parametrize("part", range(PARTS))
def test_every_execution_comes_to_what_its_program_means(part: int) -> None:
    for seed in range(FIRST + part, FIRST + SEEDS, PARTS):
        untruths = play(seed)
        assert not untruths, explain(seed, untruths)


@pytest.mark.parametrize("part", range(PARTS))
def test_every_execution_under_contexts_comes_to_what_its_program_means(part: int) -> None:
    for seed in range(FIRST + part, FIRST + SEEDS, 4 * PARTS):
        untruths = play(seed, with_contexts=True)
        assert not untruths, explain(seed, untruths, with_contexts=True)


@pytest.mark.parametrize("more", [{}, {"with_contexts": True}], ids="".join)
def test_every_execution_with_gaps_in_its_records_comes_to_what_its_program_means(more: dict[str, bool]) -> None:
    for seed in range(FIRST, FIRST + SEEDS, 2 * PARTS):
        untruths = play(seed, with_gaps=True, **more)
        assert not untruths, explain(seed, untruths, with_gaps=True, **more)


@pytest.mark.parametrize("more", [{}, {"with_contexts": True}, {"with_awaits": True}, {"with_gaps": True}], ids="".join)
def test_every_execution_with_evaluations_in_calls_comes_to_what_its_program_means(more: dict[str, bool]) -> None:
    for seed in range(FIRST, FIRST + SEEDS, 20):
        untruths = play(seed, with_subruns=True, **more)
        assert not untruths, explain(seed, untruths, with_subruns=True, **more)


@pytest.mark.parametrize(
    "more", [{}, {"with_contexts": True}, {"with_awaits": True}, {"with_vectors": True}], ids="".join
)
def test_every_execution_with_effects_makes_each_once_and_comes_to_what_its_program_means(
    more: dict[str, bool],
) -> None:
    for seed in range(FIRST, FIRST + SEEDS, 12):
        untruths = play(seed, with_effects=True, **more)
        assert not untruths, explain(seed, untruths, with_effects=True, **more)


@pytest.mark.parametrize("more", [{}, {"with_contexts": True}, {"with_gaps": True}], ids="".join)
def test_every_execution_of_bodies_that_await_comes_to_what_its_program_means(more: dict[str, bool]) -> None:
    for seed in range(FIRST, FIRST + SEEDS, 12):
        untruths = play(seed, with_awaits=True, **more)
        assert not untruths, explain(seed, untruths, with_awaits=True, **more)


@pytest.mark.parametrize("more", [{}, *({each: True} for each in WITH[:4])], ids="".join)
def test_every_execution_with_vectors_comes_to_what_its_program_means(more: dict[str, bool]) -> None:
    for seed in range(FIRST, FIRST + SEEDS, 5):
        untruths = play(seed, with_vectors=True, **more)
        assert not untruths, explain(seed, untruths, with_vectors=True, **more)


@pytest.mark.campaign
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("more", [{}, *({each: True} for each in WITH)], ids="".join)
def test_every_execution_of_a_campaign_comes_to_what_its_program_means(more: dict[str, bool]) -> None:
    first = Random().randrange(1_000_000, 100_000_000)
    for seed in range(first, first + CAMPAIGN_SEEDS):
        untruths = play(seed, **more)
        assert not untruths, explain(seed, untruths, **more)


@pytest.mark.parametrize("kept", KEPT)
def test_a_seed_that_went_wrong_once_goes_well(kept: str) -> None:
    number, *words = kept.split()
    more = dict.fromkeys(words, True)
    untruths = play(int(number), **more)
    assert not untruths, explain(int(number), untruths, **more)


def test_the_same_seed_gives_the_same_conversation_word_for_word() -> None:
    for seed in range(20):
        first: list[str] = []
        second: list[str] = []
        play(seed, talk=first)
        play(seed, talk=second)
        assert first == second


def test_jobs_walk_every_allowed_move(walked: Counter[tuple[JobState, JobState]]) -> None:
    allowed = {(start, end) for start, ends in MOVES.items() for end in ends}
    # Too rare for these worlds: a body that awaits is held before it runs again, and is cancelled while a clean-up
    # below it is not done.
    allowed.remove((JobState.HELD, JobState.RESULT))
    for seed in range(10_000, 10_600):
        play(seed, with_contexts=seed % 2 == 0, with_awaits=seed % 3 == 0, with_gaps=seed % 5 == 0)
        if walked.keys() >= allowed:
            break
    missing = [f"{start.name} -> {end.name}" for start, end in allowed - walked.keys()]
    assert not missing, f"no job went {', '.join(missing)}: is the move still needed?"


def test_the_weather_does_not_change_what_a_call_leaves_behind() -> None:
    for seed in range(60):
        program = random_program(Random(seed))
        nodes = set()
        for weather in WEATHERS:
            if weather.cancelled or weather.crashed:
                continue
            report = SimulatedCluster(Random(seed + 1)).run(program, weather)
            (root,) = [row for row in report.rows.values() if row.parent_job_id is None]
            nodes.add(root.call_hash)
        assert len(nodes) == 1, f"program {seed} left different call nodes in different weather"


def test_a_warm_run_runs_nothing_but_what_must_not_be_cached() -> None:
    nothing_ran = 0
    for seed in range(200):
        program = random_program(Random(seed))
        cluster = SimulatedCluster(Random(seed + 1))
        cold = cluster.run(program, CALM)
        warm = cluster.run(program, CALM)
        assert warm.outcome == cold.outcome
        raised = set(meaning_of(program).runs) - meaning_of(program).returned
        for name, *_ in set(warm.runs()) - raised:
            options = program.definitions[name].options
            uncached = options.get("cache") is False or options.get("cache_scope") == "NONE"
            assert uncached, f"{name} ran again, seed {seed}"
        nothing_ran += not warm.runs()
    assert nothing_ran > 50
