"""What workers have to know, and how they learn more."""

from __future__ import annotations

import pickle

from rayflow.lang.parameters.signatures import Parameters
from rayflow.lang.task_table import TaskEntry
from rayflow.runtime.on_ray.shipped_context import ShippedContext
from rayflow.runtime.protocol.attempts import WorkerContext


def entry(name: str) -> TaskEntry:
    return TaskEntry(name, name.encode(), Parameters((), (), frozenset()))


def around(puts: list[bytes]) -> ShippedContext:
    def put(packed: bytes) -> bytes:
        puts.append(packed)
        return packed

    return ShippedContext(WorkerContext("/p", ("/p",), "/p/.rayflow", {"known": entry("known")}), put)


def names_of(travelling: object) -> set[str]:
    (_, chapters), refs = travelling  # type: ignore[misc]
    assert len(chapters) == len(refs) - 1
    return {each.name for ref in refs[1:] for each in pickle.loads(ref)}


def test_equal_surroundings_have_one_key_and_different_ones_two():
    assert around([]).key == around([]).key
    other = ShippedContext(WorkerContext("/q", (), "s"), lambda put: put)
    assert other.key != around([]).key


def test_tasks_that_were_learnt_travel_with_the_next_bundle():
    made = around([])
    assert names_of(made.travelling()) == set()
    made.learn([entry("a"), entry("known")])
    made.learn([entry("b"), entry("a")])
    assert names_of(made.travelling()) == {"a", "b"}
    assert made.travelling() is made.travelling()


def test_many_tasks_learnt_one_by_one_travel_in_few_pieces_and_are_written_few_times():
    puts: list[bytes] = []
    made = around(puts)
    for number in range(1000):
        made.learn([entry(f"t{number}")])
        travelling = made.travelling()
    assert len(names_of(travelling)) == 1000
    assert len(travelling[1]) <= 12
    assert sum(map(len, puts)) < 12 * 1000 * 400


def test_a_context_that_several_executions_have_is_put_once_and_what_one_learns_the_others_do_not_know():
    puts: list[bytes] = []
    shared = around(puts)
    one = shared.for_one()
    one.learn([entry("a")])
    assert one.for_one() is one
    assert names_of(one.travelling()) == {"a"}
    assert names_of(shared.travelling()) == names_of(shared.for_one().travelling()) == set()
    assert (shared.key, shared.ref) == (one.key, one.ref)
    assert len(puts) == 2
