"""What processes write past Python is masked, in a forked process, too."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from rayflow.runtime.output import sieve
from rayflow.values.display import masking

SECRET = "correct-horse"
MASKED = "<Secret('env:KEY')>"


def _run() -> None:
    """What a run does that resolves a secret."""
    masking.mask(SECRET, "Secret('env:KEY')")
    sieve.SIEVE.cover()
    os.system(f"echo {SECRET}")
    sieve.SIEVE.uncover()


def _forked(pipe: int, *, generations: int) -> None:
    """A run in a child, which writes to this pipe: before it forks a child that does the same, and after that."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.dup2(pipe, 1)
            _run()
            if generations > 1:
                _forked(pipe, generations=generations - 1)
                _run()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("is_beginning", [False, True], ids=["nothing", "a run that begins in another thread"])
def test_a_run_in_a_forked_process_is_masked_as_in_the_first_one(
    is_beginning: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masking, "_masks", {})
    reading, writing = os.pipe()
    with sieve.SIEVE._lock if is_beginning else threading.Lock():
        other = threading.Thread(target=_forked, args=(writing,), kwargs={"generations": 2})
        other.start()
        other.join()
    os.close(writing)
    with open(reading) as stream:
        assert stream.read() == f"{MASKED}\n" * 3


def test_a_child_that_is_forked_while_its_parent_covers_writes_through_its_parents(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(masking, "_masks", {})
    masking.mask(SECRET, "Secret('env:KEY')")
    reading, writing = os.pipe()
    own = os.dup(1)
    os.dup2(writing, 1)
    one = sieve.Sieve()
    try:
        one.cover()
        child = os.fork()
        if child == 0:
            one.forked()
            one.cover()
            os._exit(0 if os.system(f"echo {SECRET}") == 0 and not one._is_covering else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        one.uncover()
    finally:
        os.dup2(own, 1)
        os.close(own)
    os.close(writing)
    assert one._process is not None and one._control is not None
    for each in one._pipes:
        os.close(each)
    one._control.close()
    one._process.wait()
    with open(reading) as stream:
        assert stream.read() == f"{MASKED}\n"


def test_what_is_written_goes_where_the_streams_lead_when_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(masking, "_masks", {})
    _run()
    assert capfd.readouterr().out == f"{MASKED}\n"
    for name in "ab":
        before, file = os.dup(1), os.open(tmp_path / name, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, 1)
        try:
            _run()
        finally:
            os.dup2(before, 1)
            os.close(before)
            os.close(file)
        assert (tmp_path / name).read_text() == f"{MASKED}\n"
    _run()
    assert capfd.readouterr().out == f"{MASKED}\n"
