"""What was in directories goes along with the executions that speak of it, however the directories are known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from evaluations import Flow
from projects import Project

from rayflow.store.exchange.transfer import transfer
from rayflow.store.open import Store, open_store

FLOW = """
    from rayflow import ContentDir, Dir, FileSet, task

    @task
    def taken(given):
        pass

    @task
    def fails(given={make}):
        raise ValueError("fails")

    @task
    def gives():
        return {make}
"""

MAKING = {
    "tree": 'Dir("data")',
    "glob": 'FileSet("data/*.txt")',
    "names of a tree": 'Dir("data", immutable=True)',
    "names of a glob": 'FileSet("data/*.txt", immutable=True)',
    "content tree": 'ContentDir("data")',
    "content glob": 'FileSet("data/*.txt")',
}


@pytest.fixture
def other(tmp_path: Any) -> Iterator[Store]:
    store = open_store(tmp_path / "other")
    yield store
    store.close()


def copied(project: Project, other: Store) -> list[str]:
    """The listings that come along with the latest execution."""
    source = open_store(project.path / ".rayflow")
    ((latest,),) = source.history().sql("select max(execution_id) from executions").fetchall()
    transfer(source, other, [latest])
    source.close()
    return [listing for (listing,) in other.history().sql("select listing from listings").fetchall()]


@pytest.mark.parametrize("way", ["argument", "failed", "refused"])
@pytest.mark.parametrize("kind", MAKING)
def test_listings_come_along(project: Project, other: Store, kind: str, way: str) -> None:
    flow = Flow(project)
    flow.write(FLOW.replace("{make}", MAKING[kind]))
    toml = 'files = "content"\n' if kind == "content glob" else ""
    project.write("data/a.txt", "a")
    module: Any = flow.module

    def run() -> None:
        calls = {"refused": module.gives, "failed": module.fails, "argument": lambda: module.taken(module.gives())}
        flow.configured(toml, calls[way]())

    def seen() -> set[str]:
        if way == "failed":
            with pytest.raises(ValueError, match="fails"):
                run()
        else:
            run()
        return {listing for (listing,) in project.sql("select listing from listings")}

    before = seen()
    if way == "refused":
        project.write("data/b.txt", "b")
        both = seen()
        assert len(both) > len(before)
        before = both
    assert before and set(copied(project, other)) == before
