"""Errors as data: type, message and way survive, whatever the exception's class does."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

from rayflow.errors import Bug, NotSerializable, TaskFailed, WorkerLost
from rayflow.values.failures import (
    LONGEST_MESSAGE,
    MOST_PICKLED_BYTES,
    Failure,
    Related,
    exception_from_failure,
    failure_from_exception,
    raised_while_handling,
    render,
)

HERE = Path(__file__).resolve()


class Picky(Exception):
    """Pickle would call it with one argument."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{reason} ({code})")
        self.code = code


class Unpicklable(Exception):
    """Its text needs what cannot be pickled."""

    def __init__(self, *words: str) -> None:
        self.words = (word for word in words)

    def __str__(self) -> str:
        return "what happened" if not self.words.gi_running else ""


class Stubborn(Exception):
    def __reduce__(self) -> Any:
        raise RuntimeError("not me")

    def __new__(cls, one: object, other: object) -> Stubborn:
        return super().__new__(cls, one)

    def __init__(self, one: object, other: object) -> None:
        self.args = (one,)


class Mumbling(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def caught(error: BaseException, **options: Any) -> Failure:
    def inner() -> None:
        raise error

    try:
        inner()
    except BaseException as raised:
        return failure_from_exception(raised, **options)
    raise AssertionError("nothing was raised")


def test_an_exception_comes_back_as_the_same_type_with_message_and_attributes() -> None:
    failure = caught(FileNotFoundError(2, "gone", "a.txt"))
    raised = exception_from_failure(failure)
    assert type(raised) is FileNotFoundError and raised.filename == "a.txt"
    assert failure.type_name == "builtins.FileNotFoundError"
    assert failure.classes == (
        "builtins.FileNotFoundError",
        "builtins.OSError",
        "builtins.Exception",
        "builtins.BaseException",
    )
    assert failure.summary == "FileNotFoundError: [Errno 2] gone: 'a.txt'"


def test_a_class_with_a_constructor_of_its_own_comes_back() -> None:
    raised = exception_from_failure(caught(Picky(7, "bad")))
    assert type(raised) is Picky and str(raised) == "bad (7)" and raised.code == 7


def test_a_class_whose_own_pickling_and_construction_fail_comes_back() -> None:
    raised = exception_from_failure(caught(Stubborn("what happened", 2)))
    assert type(raised) is Stubborn and raised.args == ("what happened",)


def test_a_class_that_cannot_be_pickled_keeps_type_name_message_and_frames() -> None:
    failure = caught(Unpicklable("what", "happened"))
    assert failure.pickled is None
    raised = exception_from_failure(failure)
    assert type(raised) is TaskFailed
    assert "Unpicklable: what happened" in str(raised)
    assert failure.frames[-1].function.endswith("inner")
    assert failure.classes[0].endswith(".Unpicklable")


def test_arguments_that_cannot_be_pickled_do_not_lose_the_message() -> None:
    failure = caught(ValueError("text", (number for number in [1])))
    assert failure.pickled is None and failure.message.startswith("('text', <generator")
    assert type(exception_from_failure(failure)) is TaskFailed


def test_a_message_that_raises_is_told() -> None:
    assert "ValueError" in caught(Mumbling()).message


def test_an_exception_that_carries_bulk_data_travels_by_its_message() -> None:
    failure = caught(ValueError("x" * MOST_PICKLED_BYTES))
    assert failure.pickled is None


def test_a_class_that_is_not_there_any_more_becomes_task_failed() -> None:
    failure = caught(ValueError("a"))
    lost = Failure(**{name: getattr(failure, name) for name in Failure.__slots__} | {"pickled": b"pbroken"})
    raised = exception_from_failure(lost)
    assert type(raised) is TaskFailed and str(raised) == "ValueError: a"


def test_identity_is_type_and_arguments_and_not_the_place() -> None:
    one = caught(ValueError("a", {1, 2}))
    two = failure_from_exception(ValueError("a", {2, 1}))
    assert one.digest == two.digest and one.frames != two.frames
    assert caught(ValueError("b")).digest != caught(ValueError("c")).digest
    assert caught(ValueError("a")).digest != caught(TypeError("a")).digest
    assert len(caught(ValueError(number for number in [1])).digest) == 20


def test_frames_are_the_users_own_with_place_and_text() -> None:
    failure = caught(ValueError("a"), project_dir=str(HERE.parent))
    assert [frame.function for frame in failure.frames] == ["caught", "caught.<locals>.inner"]
    assert failure.frames[-1].file == "test_failures.py"
    assert failure.frames[-1].text == "raise error"


def test_our_own_frames_are_left_out() -> None:
    from rayflow.values.encoding.encoding import encode

    with pytest.raises(NotSerializable) as caught_error:
        encode(number for number in [1])
    failure = failure_from_exception(caught_error.value)
    assert [Path(frame.file).name for frame in failure.frames] == ["test_failures.py"]
    everything = failure_from_exception(caught_error.value, hide=lambda file: False)
    assert len(everything.frames) > 1


def test_causes_and_notes_are_kept() -> None:
    try:
        try:
            raise KeyError("k")
        except KeyError as cause:
            cause.add_note("and here")
            error = ValueError("v")
            error.add_note("look here")
            raise error from cause
    except ValueError as raised:
        failure = failure_from_exception(raised)
    assert failure.notes == ("look here",)
    again = exception_from_failure(failure)
    assert again.__notes__ == ["look here"]
    cause = again.__cause__
    assert type(cause) is KeyError and cause.args == ("k",) and cause.__notes__ == ["and here"]
    lines = render(failure).splitlines()
    assert lines.index("KeyError: 'k'") < lines.index(
        "The above exception was the direct cause of the following exception:"
    )
    assert lines[-2:] == ["ValueError: v", "look here"]


def test_an_error_that_another_one_was_handled_by_is_its_context_unless_it_says_from_none() -> None:
    def failed(handle: Any) -> Failure:
        try:
            try:
                raise KeyError("k")
            except KeyError:
                handle()
        except ValueError as raised:
            return failure_from_exception(raised)
        raise AssertionError

    def bare() -> None:
        raise ValueError("v")

    def from_none() -> None:
        raise ValueError("v") from None

    told, hidden = failed(bare), failed(from_none)
    assert type(exception_from_failure(told).__context__) is KeyError
    assert "During handling of the above exception, another exception occurred:" in render(told)
    assert hidden.related == () and exception_from_failure(hidden).__context__ is None
    assert "KeyError" not in render(hidden)


def test_causes_in_a_ring_come_to_an_end() -> None:
    one, two = ValueError("1"), ValueError("2")
    one.__cause__, two.__cause__ = two, one
    (other,) = failure_from_exception(one).related
    assert (other.relation, other.summary, other.related) == ("cause", "ValueError: 2", ())


def test_of_a_long_chain_of_causes_a_part_is_kept() -> None:
    error = ValueError("0")
    for number in range(1, 1000):
        later = ValueError(str(number))
        later.__cause__ = error
        error = later
    failure = failure_from_exception(error)
    assert 20 < render(failure).count("The above exception was the direct cause") < 100
    assert len(pickle.dumps(failure)) < 100_000


def test_a_failure_of_what_recovers_begins_where_its_own_chain_of_causes_does() -> None:
    first, last = caught(ValueError("first")), caught(KeyError("last"))
    whole = raised_while_handling(last, first)
    assert [each.summary for each in whole.related] == ["ValueError: first"]
    error = KeyError("last")
    error.__cause__ = OSError("between")
    whole = raised_while_handling(caught(error), first)
    assert [(each.summary, [inner.summary for inner in each.related]) for each in whole.related] == [
        ("OSError: between", ["ValueError: first"])
    ]
    error.__cause__ = ValueError("first")  # raise ... from error
    whole = raised_while_handling(caught(error), first)
    assert [(each.summary, each.related) for each in whole.related] == [("ValueError: first", ())]


def test_fault_follows_the_class() -> None:
    faults = [failure_from_exception(error).fault for error in (ValueError(), WorkerLost("w"), Bug("b"))]
    assert faults == ["user", "world", "bug"]


def test_the_text_for_the_user_reads_like_a_python_traceback_over_tasks() -> None:
    failure = caught(ValueError("a"), project_dir=str(HERE.parent))
    whole = Failure(
        **{name: getattr(failure, name) for name in Failure.__slots__} | {"trail": ("main(n=3)", "step(x=1)")}
    )
    lines = render(whole).splitlines()
    assert lines[:4] == [
        "Task calls (outermost first):",
        "  main(n=3)",
        "  step(x=1)",
        "Traceback (most recent call last):",
    ]
    assert '  File "test_failures.py", line' in lines[4]
    assert lines[-1] == "ValueError: a"


@pytest.mark.slow
def test_a_failure_travels_to_a_process_that_lacks_the_class() -> None:
    failure = failure_from_exception(Picky(7, "bad"))
    code = (
        "import pickle, sys\n"
        "from rayflow.values.failures import exception_from_failure\n"
        "error = exception_from_failure(pickle.loads(sys.stdin.buffer.read()))\n"
        "print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(failure),
        capture_output=True,
        cwd=HERE.parents[2],
        timeout=60,
        check=True,
    )
    assert b"bad (7)" in done.stdout


def test_the_errors_of_a_group_are_kept_and_shown_with_their_depth() -> None:
    inner = ExceptionGroup("inner", [KeyError("k"), OSError("disk")])
    failure = failure_from_exception(ExceptionGroup("several", [ValueError("one"), inner]))
    assert render(failure).splitlines() == [
        failure.summary,
        "  +---------------- 1 ----------------",
        "  | ValueError: one",
        "  +---------------- 2 ----------------",
        "  | ExceptionGroup: inner (2 sub-exceptions)",
        "  |   +---------------- 1 ----------------",
        "  |   | KeyError: 'k'",
        "  |   +---------------- 2 ----------------",
        "  |   | OSError: disk",
        "  |   +-----------------------------------",
        "  +-----------------------------------",
    ]
    raised = exception_from_failure(failure)
    assert isinstance(raised, ExceptionGroup) and not hasattr(raised, "__notes__")


def test_the_errors_of_a_group_come_back_with_their_own_frames_notes_and_causes() -> None:
    def member() -> Exception:
        try:
            try:
                raise KeyError("cause")
            except KeyError as cause:
                raise OSError("member") from cause
        except OSError as error:
            error.add_note("a note")
            return error

    failure = failure_from_exception(ExceptionGroup("outer", [ExceptionGroup("inner", [member()]), ValueError("v")]))
    raised = exception_from_failure(failure)
    assert isinstance(raised, ExceptionGroup)
    again = raised.exceptions[0].exceptions[0]
    assert type(again) is OSError and again.__notes__ == ["a note"] and type(again.__cause__) is KeyError
    told = "".join(traceback.format_exception(raised))
    assert 'raise OSError("member") from cause' in told and 'raise KeyError("cause")' in told
    assert 'raise OSError("member") from cause' in render(failure) and 'raise KeyError("cause")' in render(failure)


def test_one_error_twice_in_a_group_is_told_once() -> None:
    error = ValueError("twice")
    failure = failure_from_exception(ExceptionGroup("group", [error, error, KeyError("k")]))
    told = [each.summary for each in failure.related]
    assert told == ["ValueError: twice", "ValueError: shown above", "KeyError: 'k'"]


def test_the_errors_of_a_group_that_cannot_be_pickled_are_told_as_a_note() -> None:
    raised = exception_from_failure(caught(ExceptionGroup("group", [Unpicklable("a"), KeyError("k")])))
    assert type(raised) is TaskFailed and "KeyError: 'k'" in raised.__notes__[0]


def test_a_large_group_of_errors_is_shown_in_part() -> None:
    failure = failure_from_exception(ExceptionGroup("many", [ValueError(str(number)) for number in range(1000)]))
    assert [each.summary for each in failure.related[-2:]] == ["ValueError: 14", "and 985 more"]
    assert isinstance(failure.related[0], Related) and "and 985 more" in render(failure)


@pytest.mark.parametrize("message", ["x" * 100_000, "\n".join(map(str, range(10_000))), ("y" * 1000 + "\n") * 1000])
def test_a_huge_message_is_whole_in_the_record_and_shortened_where_something_shows_all_of_it(message: str) -> None:
    failure = caught(ValueError(message))
    assert message in render(failure)
    short = render(failure, whole="look there")
    assert "more characters" in short and ": look there]" in short and len(short) < 2 * LONGEST_MESSAGE
    assert str(exception_from_failure(failure)) == (message if failure.pickled else f"ValueError: {message}")


class Answered(OSError):
    """As HTTP clients do it: the message apart from the attributes, one of which is an open connection."""

    def __init__(self, code: int, url: str) -> None:
        self.code, self.filename = code, url
        self.connection = open(os.devnull)  # noqa: SIM115

    def __str__(self) -> str:
        return f"answered {self.code}"


def test_what_cannot_be_pickled_is_left_behind_and_the_rest_of_the_exception_comes_along() -> None:
    raised = exception_from_failure(caught(Answered(404, "http://a/b")))
    assert type(raised) is Answered
    assert (raised.code, raised.filename, str(raised)) == (404, "http://a/b", "answered 404")
    assert "TextIOWrapper" in repr(raised.connection)
    with pytest.raises(AttributeError, match="could not be pickled, so it stayed where the exception was raised"):
        raised.connection.read()
