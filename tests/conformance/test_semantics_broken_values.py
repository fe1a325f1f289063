"""Values whose own methods fail: the call that makes one fails, where it was made, and says so."""

from __future__ import annotations

import re

import pytest
from evaluations import Flow
from projects import Project

from rayflow import errors
from rayflow.values.failures import failure_from_exception
from rayflow.values.process.base_exceptions import Escaped

METHODS = [
    "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__eq__", "__hash__", "__repr__", "__str__",
    "__format__", "__len__", "__bool__", "__iter__", "__contains__", "__getattr__", "__deepcopy__", "__dir__",
]  # fmt: skip

HOWS = ["raises", "raises what is no Exception", "exits", "gives None", "gives a number"]

ODD = {
    "read by a function that raises": ("__reduce__", "(refuses, ())"),
    "read by a function that exits": ("__reduce__", "(sys.exit, (5,))"),
    "of a name that is not there": ("__reduce__", "'nowhere'"),
    "of too few parts": ("__reduce__", "(1,)"),
    "with a state of no use": ("__getstate__", "object()"),
    "with a lock in its state": ("__getstate__", "{'lock': threading.Lock()}"),
}

FLOW = """
    import sys, threading
    from rayflow import catch, task

    class NoException(BaseException):
        pass

    class Plain:
        def __init__(self, x=None):
            self.x = x

    def refuses(*_, **__):
        raise ValueError("refused")

    def escapes(*_, **__):
        raise NoException("escaped")

    def exits(*_, **__):
        sys.exit("exited")

    HOWS = {
        "raises": refuses,
        "raises what is no Exception": escapes,
        "exits": exits,
        "gives None": lambda *_, **__: None,
        "gives a number": lambda *_, **__: 7,
    }
    ODD = {ALL}

    def broken(method, how):
        name = f"Broken{abs(hash((method, how)))}"
        if name not in globals():
            given = ODD[how] if how in ODD else HOWS[how]
            globals()[name] = type(name, (Plain,), {method: given, "__module__": __name__})
        return globals()[name]()

    @task
    def use(x):
        return 1

    @task
    def result(method, how):
        return broken(method, how)

    @task
    def member(method, how):
        return [1, {"a": broken(method, how)}]

    @task
    def key(method, how):
        return {broken(method, how): 1}

    @task
    def inside(method, how):
        return Plain(broken(method, how))

    @task
    def argument(method, how):
        return use([broken(method, how)])

    @task
    def passed(method, how):
        return use(result(method, how))

    @task
    def captured(method, how):
        x = broken(method, how)
        return use(lambda: x)

    @task
    def of_error(method, how):
        raise LookupError(broken(method, how))

    @task
    def on_error(method, how):
        error = LookupError("raised")
        error.x = broken(method, how)
        raise error

    @task
    def recovered(error):
        return type(error).__name__

    @task
    def caught(method, how):
        return catch(on_error(method, how), LookupError, recovered)
""".replace("ALL", ", ".join(f"{how!r}: lambda *_: {given}" for how, (_, given) in ODD.items()))

VALUES = ["result", "member", "key", "inside", "argument", "passed", "captured"]


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(FLOW)
    return made


def outcomes(flow: Flow, method: str, how: str) -> dict[str, BaseException | None]:
    """What each way to use such a value ends with. Everything else (an exit, a mistake of ours) passes."""
    found: dict[str, BaseException | None] = {}
    for place in VALUES:
        try:
            flow.call(place, method, how)
            found[place] = None
        except Exception as error:
            found[place] = error
    for place in ("of_error", "on_error"):
        with pytest.raises((LookupError, errors.TaskFailed)) as raised:
            flow.call(place, method, how)
        assert isinstance(raised.value, LookupError) or re.search("^LookupError", str(raised.value)), raised.value
    assert flow.call("caught", method, how) in ("LookupError", "TaskFailed")
    return found


def check(found: dict[str, BaseException | None], flow: Flow) -> None:
    """All that failed did so where the value was made, with its class and its place, as the user's own fault."""
    for place, error in found.items():
        if error is None:
            continue
        if isinstance(error, errors.NotSerializable):
            assert "Broken" in str(error) or "lock" in str(error), error
        else:  # its own error, from the body that has made it a key
            assert place == "key", (place, error)
        assert failure_from_exception(error).fault == "user"
    failed = flow.project.sql("select distinct task_name from jobs where status = 'failed' and started_at is not null")
    assert ("flow.use",) not in failed, "it failed in the call that was to use it"


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("method", METHODS)
def test_a_value_with_a_broken_method_fails_where_it_was_made_or_works(flow: Flow, method: str, how: str) -> None:
    found = outcomes(flow, method, how)
    check(found, flow)
    is_kept_by = method in ("__reduce__", "__reduce_ex__", "__setstate__")
    if is_kept_by and (how.startswith(("raises", "exits")) or (method != "__setstate__")):
        assert all(found.values())
    if method in ("__repr__", "__str__", "__len__", "__bool__", "__format__", "__iter__", "__dir__"):
        assert not any(found.values())


@pytest.mark.parametrize("how", ODD)
def test_a_value_that_cannot_be_read_again_fails_where_it_was_made(flow: Flow, how: str) -> None:
    found = outcomes(flow, ODD[how][0], how)
    check(found, flow)
    assert all(found.values())


def test_a_result_that_this_process_cannot_read_is_no_mistake_of_rayflow_s(flow: Flow) -> None:
    module = flow.write("""
        from rayflow import task

        READS = [True]

        def again():
            if not READS[0]:
                raise ImportError("not here")
            return Late()

        class Late:
            def __reduce__(self):
                return again, ()

        @task
        def make():
            READS[0] = True
            return Late()

        @task
        def stop(x):
            READS[0] = False
            return 1

        @task
        def main():
            made = make()
            return [made, stop(1)]
    """)
    with pytest.raises(errors.NotSerializable, match=r"cannot be read in this process \(ImportError: not here\)"):
        flow.run(module.main())


def test_what_escapes_is_told_and_ctrl_c_is_not_held_back() -> None:
    from rayflow.values.process.base_exceptions import contained

    with pytest.raises(Escaped, match="raised SystemExit, which is no Exception: 3"), contained:
        raise SystemExit(3)
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), contained:
            raise error
