"""SIGTERM and SIGHUP end a run as Ctrl-C does, and leave the user's own handlers alone."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from rayflow.runtime import signals

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers of before, put back after each test."""
    before = {number: signal.getsignal(number) for number in ALL}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", signals.ENDING)
def test_a_signal_raises_an_interruption_that_knows_it_and_the_old_handler_comes_back(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_DFL)
    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt) as caught, signals.raised((number,), seen.append):
        signal.raise_signal(number)
    assert isinstance(caught.value, signals.Stopped)
    assert signals.exit_code_of(caught.value) == 128 + number and seen == [number]
    assert signals.stopped_by(caught.value, "an id") == number.name and caught.value.execution_id == "an id"
    assert signal.getsignal(number) == signal.SIG_DFL


def test_ctrl_c_of_python_itself_counts_as_sigint() -> None:
    assert signals.stopped_by(KeyboardInterrupt(), "an id") == "SIGINT"
    assert signals.exit_code_of(KeyboardInterrupt()) == 130


@pytest.mark.parametrize("number", signals.ENDING)
@pytest.mark.parametrize("own", [lambda *_: None, signal.SIG_IGN], ids=["a function", "ignored"])
def test_a_handler_of_the_users_stays_where_it_is(number: signal.Signals, own: object) -> None:
    signal.signal(number, own)  # type: ignore[arg-type]
    with signals.exit_when_stopped(lambda text: None):
        assert signal.getsignal(number) is own
        signal.raise_signal(number)
    with pytest.raises(signals.Stopped), signals.exit_when_stopped(lambda text: None):
        raise signals.Stopped(number)  # as a handler around this one does: it knows what to do
    assert signal.getsignal(number) is own


@pytest.mark.parametrize("number", ALL)
def test_a_forked_child_ends_by_a_signal_as_any_process_does(number: signal.Signals) -> None:
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    seen: list[int] = []
    with signals.raised(ALL, seen.append, seen.append):
        child = os.fork()
        if child == 0:
            try:
                signal.raise_signal(number)
            except signals.Stopped:
                os._exit(1)
            except KeyboardInterrupt:
                os._exit(2)
            os._exit(3)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code == (2 if number == signal.SIGINT else -number)
        with pytest.raises(signals.Stopped):
            signal.raise_signal(number)
    assert seen == [number], "the parent still hears it"


def test_a_handler_that_ray_has_put_in_place_is_nobodys() -> None:
    def of_ray(*_: object) -> None:
        raise AssertionError

    of_ray.__module__ = "ray._private.worker"
    signal.signal(signal.SIGTERM, of_ray)
    with pytest.raises(signals.Stopped), signals.raised((signal.SIGTERM,)):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is of_ray


@pytest.mark.parametrize("number", signals.ENDING)
def test_a_run_of_the_users_process_ends_it_with_the_signals_exit_code_and_says_how_to_go_on(
    number: signal.Signals,
) -> None:
    told: list[str] = []

    def waits() -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt as error:
            signals.stopped_by(error, "01a2")
            raise

    # As result() stands in run(): only the outer one tells.
    outer, inner = signals.exit_when_stopped(told.append), signals.exit_when_stopped(told.append)
    with pytest.raises(SystemExit) as ended, outer, inner:
        waits()
    assert ended.value.code == 128 + number
    assert told == [f"stopped by {number.name}; what was finished is kept. Go on with: rayflow resume 01a2"]


def test_a_further_signal_of_any_kind_ends_the_process_after_the_last_words() -> None:
    last: list[int] = []

    class Ended(BaseException):
        pass

    def at_once(number: int) -> None:
        last.append(number)
        raise Ended  # in place of the end of this process

    def two() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            signal.raise_signal(signal.SIGHUP)

    with pytest.raises(Ended), signals.raised(ALL, again=at_once):
        two()
    assert last == [signal.SIGHUP]


def test_outside_the_main_thread_nothing_is_listened_to() -> None:
    heard: list[frozenset[int]] = []

    def listen() -> None:
        with signals.raised(ALL) as numbers, signals.undisturbed():
            heard.append(numbers)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert heard == [frozenset()]


def test_what_ray_does_while_it_starts_leaves_the_handler_and_waits_with_a_hang_up() -> None:
    def own(*_: object) -> None: ...

    signal.signal(signal.SIGTERM, own)
    came: list[int] = []
    signal.signal(signal.SIGHUP, lambda number, frame: came.append(number))
    with signals.undisturbed():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGHUP)
        assert not came
    assert came == [signal.SIGHUP] and signal.getsignal(signal.SIGTERM) is own
