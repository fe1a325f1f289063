"""The objects that a process keeps: loaded once, bounded, never taken from a body that has one."""

from __future__ import annotations

from typing import Any

import pytest

from rayflow.runtime.worker.kept_objects import KeptObjects, KeptUser, told_bytes


class Model:
    def __init__(self, size: int = 0) -> None:
        self.nbytes = size
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


def got(kept: KeptObjects, key: bytes, size: int = 0, user: KeptUser | None = None) -> Model:
    model: Model = kept.get(key, lambda: Model(size), user or KeptUser())
    return model


def test_an_object_is_loaded_once_and_the_one_used_longest_ago_is_closed_first() -> None:
    kept = KeptObjects(2, 1e9)
    first, second = got(kept, b"1"), got(kept, b"2")
    assert got(kept, b"1") is first
    third = got(kept, b"3")
    assert [each.is_closed for each in (first, second, third)] == [False, True, False]
    assert got(kept, b"1") is first and got(kept, b"2") is not second


def test_room_is_made_before_another_one_is_loaded() -> None:
    kept = KeptObjects(1, 1e9)
    first = got(kept, b"1")

    def load() -> Model:
        assert first.is_closed
        return Model()

    kept.get(b"2", load, KeptUser())
    assert len(kept) == 1


def test_objects_that_tell_their_size_are_bounded_by_it_and_the_others_are_not_let_go_for_it() -> None:
    kept = KeptObjects(9, 100)
    large, silent, other = got(kept, b"1", 60), got(kept, b"2"), got(kept, b"3", 30)
    newest = got(kept, b"4", 70)
    assert [each.is_closed for each in (large, silent, other, newest)] == [True, False, False, False]
    assert got(kept, b"5", 1000).is_closed is False, "one that is larger than the bound serves its calls all the same"


def test_an_object_that_a_body_has_stays_until_the_body_has_ended() -> None:
    kept, body = KeptObjects(1, 1e9), KeptUser()
    held = got(kept, b"1", user=body)
    got(kept, b"2")
    assert not held.is_closed and got(kept, b"1") is held
    del body
    got(kept, b"3")
    assert held.is_closed


def test_a_loader_that_fails_leaves_nothing_and_is_asked_again() -> None:
    kept = KeptObjects(2, 1e9)

    def fails() -> Any:
        raise OSError("no model")

    for _ in range(2):
        with pytest.raises(OSError, match="no model"):
            kept.get(b"1", fails, KeptUser())
    assert len(kept) == 0


def test_an_object_that_cannot_be_closed_warns_and_fails_no_call() -> None:
    class Broken:
        def close(self) -> None:
            raise OSError("busy")

    kept = KeptObjects(1, 1e9)
    kept.get(b"1", Broken, KeptUser())
    with pytest.warns(match="could not be closed: OSError: busy"):
        got(kept, b"2")


@pytest.mark.parametrize(("told", "size"), [(7, 7), (lambda: 8, 8), ("much", 0), (-1, 0), (None, 0)])
def test_a_size_is_taken_only_where_it_is_one(told: Any, size: int) -> None:
    model = Model()
    model.nbytes = told
    assert told_bytes(model) == size
    assert told_bytes(object()) == 0
