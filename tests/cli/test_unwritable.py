"""A store that cannot be written: what is cached is answered all the same."""

from __future__ import annotations

from typing import Any

import pytest

from rayflow.store.folders import local


@pytest.fixture
def unwritable(rayflow: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A store that holds a run, on a disk that takes no more."""
    rayflow.run("main")

    def refuse(self: Any, path: str, parts: Any) -> None:
        raise local.unavailable(path, OSError(30, "Read-only file system"))

    monkeypatch.setattr(local.LocalFolder, "write", refuse)
    return rayflow


@pytest.mark.parametrize("words", [[], ["--inline"]])
def test_a_cached_run_answers_and_warns_once(unwritable: Any, words: list[str]) -> None:
    done = unwritable("run", *words, unwritable.file, "main")
    assert (done.code, done.out) == (0, "'Hello, World!'\n")
    assert done.err.count("not recorded") == 1 and "3 cached" in done.err
    assert unwritable.ids("select count(*) from executions") == ["1"]


def test_what_has_to_run_fails_with_the_stores_error(unwritable: Any) -> None:
    done = unwritable.run("main", "--greet", "Hi")
    assert (done.code, done.out) == (2, "")
    assert "Read-only file system" in done.err and done.err.count("error:") == 1


def test_rows_of_others_stay_where_a_commit_fails(unwritable: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from rayflow.errors import StoreUnavailable
    from rayflow.records import TagRow
    from rayflow.store.open import open_store

    store = open_store(unwritable.project.path / ".rayflow")
    mine, theirs = (TagRow("task", name, "k", "1", 1, False) for name in ("mine", "theirs"))
    store.append([theirs])
    with pytest.raises(StoreUnavailable):
        store.keep([mine])
    monkeypatch.undo()
    store.commit()
    assert [row["entity_id"] for row in store.history().tags(key="k")] == ["theirs"]
