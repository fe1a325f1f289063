"""`num_cpus="auto"` and `memory="auto"`: what is asked for, from what calls used; which calls wait for the records."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest

from rayflow.errors import BadOption
from rayflow.evaluator.commands import RunTask
from rayflow.evaluator.messages import Cost
from rayflow.evaluator.rows import requested_text
from rayflow.lang.options.options import check_options, parse_option
from rayflow.lang.parameters.signatures import Parameters
from rayflow.lang.task_table import TaskEntry
from rayflow.runtime.on_ray.actor.auto_calls import AutoCalls
from rayflow.runtime.on_ray.auto_sizes import MOST_CALLS, Most, TaskSizes, Used

MIB = 1 << 20
ENTRY = TaskEntry("lab.f", b"f", Parameters((), (), frozenset()))


def sizes(*used: tuple[float, float, int | None], most: Most = Most()) -> TaskSizes:  # noqa: B008  a named tuple
    made = TaskSizes(most)
    made.note([Used(*each) for each in used])
    return made


def test_nothing_is_asked_for_where_nothing_is_known() -> None:
    made = sizes()
    assert (made.num_cpus(), made.memory()) == (None, None)
    assert made.resolved({"num_cpus": "auto", "memory": "auto", "retries": 1}) == {"retries": 1}


def test_memory_is_what_nineteen_of_twenty_calls_used_and_a_quarter_more_in_steps() -> None:
    made = sizes(*[(1, 1, 100 * MIB)] * 95, *[(1, 1, 4000 * MIB)] * 5)
    assert made.memory() == 128 * MIB
    made = sizes(*[(1, 1, 100 * MIB)] * 94, *[(1, 1, 4000 * MIB)] * 6)
    assert made.memory() == 5056 * MIB


@pytest.mark.parametrize(
    ("share", "asked"),
    [(0.02, 0.25), (0.3, 0.5), (0.9, 1.0), (1.0, 1.0), (1.1, 1.0), (1.4, 2.0), (1.95, 2.0), (3.9, 4.0), (99, 8.0)],
)  # fmt: skip
def test_processors_are_parts_below_one_and_whole_ones_above(share: float, asked: float) -> None:
    assert sizes((2.0, 2.0 * share, None), most=Most(8, 1e12)).num_cpus() == asked


def test_calls_too_short_to_be_measured_tell_nothing_of_processors() -> None:
    assert sizes((0.01, 0.05, 10 * MIB)).num_cpus() is None


def test_the_latest_calls_count_and_old_ones_are_forgotten() -> None:
    made = sizes(*[(1, 1, 8000 * MIB)] * MOST_CALLS)
    made.note([Used(1, 1, 50 * MIB)] * MOST_CALLS)
    assert made.memory() == 64 * MIB


def test_after_a_call_has_run_out_of_memory_its_task_asks_for_twice_as_much_up_to_a_node() -> None:
    made = sizes((1, 1, 100 * MIB), most=Most(4, 900 * MIB))
    assert made.memory() == 128 * MIB
    assert [made.note_out_of_memory(made.memory()) for _ in range(2)] == [True, True]
    assert made.memory() == 512 * MIB
    assert made.note_out_of_memory(512 * MIB) and made.memory() == 900 * MIB
    assert not made.note_out_of_memory(900 * MIB), "a node has no more"
    assert not sizes().note_out_of_memory(None), "nothing is known that could be doubled"


def test_nothing_is_asked_for_that_no_node_has() -> None:
    made = sizes((1, 30, 5000 * MIB), most=Most(4, 1000 * MIB))
    assert (made.num_cpus(), made.memory()) == (4, 1000 * MIB)


@pytest.mark.parametrize(("name", "value"), [("num_cpus", "2"), ("num_cpus", "AUTO"), ("memory", "automatic")])
def test_only_the_word_itself_is_taken(name: str, value: str) -> None:
    with pytest.raises(BadOption):
        check_options({name: value}, where="f")
    assert parse_option(f"{name}=auto") == (name, "auto")


# --- the calls that wait for the records ------------------------------------------------------------------------------


class Reading:
    """Records that are read when they are told to be."""

    def __init__(self, *used: Used) -> None:
        self.used: Sequence[Used] = used
        self.begun: list[Callable[[], None]] = []
        self.asked: list[str] = []
        self.warned: list[tuple[str, str]] = []
        self.arrived = 0
        self.calls = AutoCalls(self.read, lambda *told: self.warned.append(told), self.note, self.begun.append)

    def read(self, task: str) -> tuple[Sequence[Used], Most]:
        self.asked.append(task)
        return self.used, Most(8, 1e12)

    def note(self) -> None:
        self.arrived += 1


def attempt(job: int, execution: str = "e", **options: object) -> RunTask:
    return RunTask(job, 1, execution, str(job).encode(), ENTRY, {}, options)


AUTO = {"num_cpus": "auto", "memory": "auto", "retries": 2}


def test_calls_wait_for_the_records_which_are_read_once_and_other_calls_do_not() -> None:
    reading = Reading(Used(1, 2, 100 * MIB))
    plain = attempt(1, num_cpus=2)
    assert reading.calls.ready([attempt(2, **AUTO), plain, attempt(3, **AUTO)]) == [plain]
    assert len(reading.calls) == 2 and reading.calls.take_waiting() == []
    [begin] = reading.begun
    begin()
    assert reading.arrived == 1 and reading.asked == ["lab.f"]
    found = reading.calls.take_waiting()
    assert [each.job for each in found] == [2, 3] and len(reading.calls) == 0
    assert found[0].options == {"num_cpus": 2.0, "memory": 128 * MIB, "retries": 2}
    (later,) = reading.calls.ready([attempt(4, **AUTO)])
    assert later.options == found[0].options and len(reading.begun) == 1 and reading.warned == []


def test_what_was_chosen_comes_back_with_the_cost_and_what_was_given_does_not() -> None:
    reading = Reading(Used(1, 2, 100 * MIB))
    reading.calls.ready([attempt(2, **AUTO)])
    reading.begun[0]()
    reading.calls.take_waiting()
    cost = reading.calls.note("lab.f", 2, Cost(0, 1.0, 2.0, 100 * MIB))
    assert json.loads(cost.requested or "") == {"num_cpus": 2.0, "memory": 128 * MIB}
    assert reading.calls.note("lab.f", 1, Cost(0, 1.0, 2.0)).requested is None


def test_the_first_calls_of_a_task_without_records_are_sent_as_by_default_and_that_is_said_once() -> None:
    reading = Reading()
    reading.calls.ready([attempt(n, **AUTO) for n in range(3)])
    reading.begun[0]()
    assert [each.options for each in reading.calls.take_waiting()] == [{"retries": 2}] * 3
    [(execution, text)] = reading.warned
    assert execution == "e" and "lab.f" in text and "as by default" in text
    assert reading.calls.note("lab.f", 0, Cost(0, 1.0, 3.0, 200 * MIB)).requested == ""
    (later,) = reading.calls.ready([attempt(4, **AUTO)])
    assert later.options == {"num_cpus": 3.0, "memory": 256 * MIB, "retries": 2}


def test_records_that_cannot_be_read_are_said_and_stop_no_call() -> None:
    reading = Reading()
    reading.read = None  # type: ignore[assignment, method-assign]
    reading.calls = AutoCalls(
        lambda task: (_ for _ in ()).throw(OSError("no disk")), lambda *told: reading.warned.append(told), reading.note,
        reading.begun.append,
    )  # fmt: skip
    reading.calls.ready([attempt(1, **AUTO)])
    reading.begun[0]()
    assert len(reading.calls.take_waiting()) == 1
    assert "cannot be read: no disk" in reading.warned[0][1]


def test_what_waits_can_be_stopped_and_forgotten() -> None:
    reading = Reading()
    reading.calls.ready([attempt(1, **AUTO), attempt(2, **AUTO), attempt(3, "other", **AUTO)])
    assert reading.calls.drop({(1, 1), (9, 1)}) == [(1, 1)]
    reading.calls.forget("other")
    reading.begun[0]()
    assert [each.job for each in reading.calls.take_waiting()] == [2]


def test_only_a_call_whose_memory_was_chosen_asks_for_more_after_it_ran_out() -> None:
    reading = Reading(Used(1, 1, 100 * MIB))
    reading.calls.ready([attempt(1, memory="auto"), attempt(2, num_cpus="auto")])
    reading.begun[0]()
    first, second = reading.calls.take_waiting()
    assert not reading.calls.note_out_of_memory(second, None)
    assert reading.calls.note_out_of_memory(first, 128 * MIB)
    (again,) = reading.calls.ready([attempt(1, memory="auto")])
    assert again.options == {"memory": 256 * MIB}


def test_a_size_that_was_never_chosen_is_recorded_as_the_word() -> None:
    assert requested_text({"memory": "auto"}) == '{"memory": "auto"}'
