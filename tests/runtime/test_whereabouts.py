"""A worker notes where its long runs are, and nothing of the short ones."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from rayflow.runtime.on_ray import whereabouts


class Notes(dict[bytes, bytes]):
    """The cluster's key-value store. written: set when something was noted."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def put(self, key: bytes, value: bytes, namespace: bytes) -> None:
        self[key] = value
        self.written.set()


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Notes:
    kept = Notes()
    monkeypatch.setattr("ray.experimental.internal_kv._internal_kv_put", kept.put)
    monkeypatch.setattr("ray.experimental.internal_kv._internal_kv_get", lambda key, namespace: kept.get(key))
    monkeypatch.setattr("ray.experimental.internal_kv._internal_kv_del", lambda key, namespace: kept.pop(key, None))
    monkeypatch.setattr("ray.get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "node-a"))
    monkeypatch.setattr(whereabouts, "TURN_SECONDS", 0.005)
    monkeypatch.setattr(whereabouts, "NOTED_SECONDS", 0.05)
    return kept


def test_only_a_run_that_lasts_is_noted_and_forgotten_when_it_is_over(notes: Notes) -> None:
    for number in range(100):
        with whereabouts.running(f"short {number}"):
            pass
    assert not notes
    with whereabouts.running("long"):
        assert notes.written.wait(20)
        assert whereabouts.node_of("long") == "node-a"
    assert whereabouts.node_of("long") is None and not notes
    notes.written.clear()

    def fails() -> None:
        with whereabouts.running("fails"):
            assert notes.written.wait(20)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert not notes


def test_what_nobody_asks_for_is_not_noted(notes: Notes) -> None:
    with whereabouts.running(""):
        assert not notes.written.wait(0.1)
