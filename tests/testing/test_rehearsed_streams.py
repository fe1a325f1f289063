"""A rehearsal reads the streams of its runs; what a reader keeps is right wherever the service is killed."""

from __future__ import annotations

from collections import defaultdict

from rayflow import effect, flow, gather, stream, task, wait_for_event
from rayflow.client.wire import StreamItem
from rayflow.testing import Rehearsal, RehearsedRun
from rayflow.testing.fixtures import rehearsal

__all__ = ["rehearsal"]

FAILURES: list[str] = []
"""What shall fail once."""


@effect(namespace="streamed")
def says(text: str) -> str:
    for word in text.split():
        stream("words").write(word)
    if text in FAILURES:
        FAILURES.remove(text)
        raise OSError("not yet")
    return text.upper()


@task(namespace="streamed")
def spells(word: str) -> str:
    for letter in word:
        stream("letters").write(letter)
    return word


@flow(namespace="streamed")
async def talk() -> str:
    stream("words").write("first:")
    one = await gather(says("to be"))
    await gather(wait_for_event("more"))
    stream("words").write("then:")
    two, three = await gather(says("or not to be"), spells("that"))
    return f"{one} {two} {three}"


@flow(namespace="streamed")
async def brief() -> str:
    stream("words").write("first:")
    await gather(says("to be"))
    stream("words").write("then:")
    return await gather(says("or not"))


def more(rehearsal: Rehearsal, run: RehearsedRun) -> None:
    rehearsal.emit("more")


def kept(items: list[StreamItem]) -> dict[str, list[object]]:
    """What a reader keeps, by task: an item with the number 1 makes void what its job has written before."""
    by_job: defaultdict[tuple[str, str], list[object]] = defaultdict(list)
    for item in items:
        if item.item == 1:
            by_job[item.job_id, item.task].clear()
        by_job[item.job_id, item.task].append(item.value)
        assert len(by_job[item.job_id, item.task]) == item.item
    found: dict[str, list[object]] = defaultdict(list)
    for (_, name), values in by_job.items():
        found[name] += values
    return found


def test_a_rehearsal_reads_what_has_been_written_so_far(rehearsal: Rehearsal) -> None:
    run = rehearsal.start(talk())
    assert [(item.number, item.value) for item in run.stream("words")] == [(1, "first:"), (2, "to"), (3, "be")]
    more(rehearsal, run)
    assert run.result() == "TO BE OR NOT TO BE that"
    assert [item.value for item in rehearsal.stream(run, "words")[3:]] == ["then:", "or", "not", "to", "be"]
    assert [item.value for item in run.stream("letters", after=2)] == ["a", "t"]
    assert run.stream("other") == []


def test_a_retry_of_a_run_writes_behind_what_it_has_written(rehearsal: Rehearsal) -> None:
    FAILURES.append("to be")
    run = rehearsal.start(talk())
    assert run.state() == "failed"
    before = run.stream("words")
    run.retry()
    assert run.stream("words")[: len(before)] == before
    again = run.stream("words", after=before[-1].number)
    assert [(item.value, item.attempt, item.item) for item in again][-2:] == [("to", 2, 1), ("be", 2, 2)]
    numbers = [item.number for item in run.stream("words")]
    assert numbers == sorted(set(numbers))


def test_wherever_the_service_is_killed_a_reader_keeps_each_word_of_the_last_attempt(rehearsal: Rehearsal) -> None:
    def script(rehearsal: Rehearsal, run: RehearsedRun) -> None:
        run.result()
        items = run.stream("words")
        assert [item.number for item in items] == sorted({item.number for item in items})
        assert kept(items) == {
            "streamed.brief": ["first:", "then:"],
            "streamed.says": ["to", "be", "or", "not"],
        }

    assert rehearsal.crash_everywhere(brief(), script) > 5
