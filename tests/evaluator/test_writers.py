"""Two jobs of an execution that give one file in two states: the later one fails, and both are named."""

from __future__ import annotations

import pytest

from rayflow.evaluator.evaluator import Evaluator
from rayflow.testing.patterns import Like, Placeholder, unordered
from rayflow.testing.playbook import (
    Playbook,
    call,
    candidate,
    fails,
    finishes,
    found,
    looks_up,
    returned,
    runs,
    submitted,
    task,
)
from rayflow.values.digests import digest
from rayflow.values.refs import ValueRef

F, G = task("lab.f", "x"), task("lab.g", "x")


def file(path: str, modified: int, how: str = "stat") -> ValueRef:
    state = (how, path, 3, modified)
    name = digest("file", repr(state).encode())
    return ValueRef(name, "rayflow.values.files.File", 9, "pickle5", b"x", (("file", state),), f"File({path!r})")


def both(first: object, second: object) -> Playbook:
    """lab.f(1) gives the first, then lab.g(2) the second."""
    f, g = Placeholder("f"), Placeholder("g")
    return (
        Playbook(Evaluator())
        >> submitted([call("lab.f", 1), call("lab.g", 2)], F, G, project_dir="/project")
        << unordered(looks_up("lab.f", asker=f), looks_up("lab.g", asker=g))
        >> found(f)
        << runs("lab.f")
        >> found(g)
        << runs("lab.g")
        >> returned(f, first)
        >> returned(g, second)
    )


@pytest.mark.parametrize("second", [file("out", 2), [1, {"deep": file("out", 2)}]], ids=["alone", "deep"])
def test_a_file_in_another_state_fails_the_later_job_and_names_both(second: object) -> None:
    book = both([file("out", 1)], second) << finishes(fails("FileConflict", "out"))
    assert book


@pytest.mark.parametrize("path", ["./out", "deep/../out", "/project/out", "/project//out"])
def test_a_path_is_the_same_however_it_is_written(path: str) -> None:
    assert both(file("out", 1), file(path, 2)) << finishes(fails("FileConflict", f"wrote {path}, which is out:"))


def test_a_directory_in_another_state_is_a_conflict_too() -> None:
    assert both(file("out", 1, "tree"), file("out", 2, "tree")) << finishes(fails("FileConflict", "out"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (file("out", 1), file("out", 1)),
        (file("out", 1), file("./out", 1)),
        (file("s3://out", 1), file("/project/s3:/out", 2)),
        (file("out", 1), file("other", 2)),
        (file("out", 1), file("out", 2, "content")),
        (file("out", 1, "glob"), file("out", 2, "glob")),
    ],
    ids=["the same state", "the same state, written otherwise", "a URL", "another path", "known otherwise", "a set"],
)
def test_other_files_do_not(first: ValueRef, second: ValueRef) -> None:
    assert both(first, second) << finishes(Like(list))


def test_a_file_from_the_cache_counts_too() -> None:
    f, g = Placeholder("f"), Placeholder("g")
    book = (
        Playbook(Evaluator())
        >> submitted([call("lab.f", 1), call("lab.g", 2)], F, G)
        << unordered(looks_up("lab.f", asker=f), looks_up("lab.g", asker=g))
        >> found(f, candidate(file("out", 1)))
        >> found(g)
        << runs("lab.g")
        >> returned(g, file("out", 2))
        << finishes(fails("FileConflict", "lab.f(x=1)"))
    )
    assert book


def test_a_job_may_change_the_file_that_it_was_given() -> None:
    f, g = Placeholder("f"), Placeholder("g")
    book = (
        Playbook(Evaluator())
        >> submitted(call("lab.g", call("lab.f", 1)), F, G)
        << looks_up("lab.f", asker=f)
        >> found(f)
        << runs("lab.f")
        >> returned(f, file("out", 1))
        << looks_up("lab.g", asker=g)
        >> found(g)
        << runs("lab.g")
        >> returned(g, file("out", 2))
        << finishes(file("out", 2))
    )
    assert book
