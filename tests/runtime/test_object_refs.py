"""Which object of Ray's holds which value, and for how long."""

from __future__ import annotations

from rayflow.runtime.on_ray.object_refs import ObjectRefs


def digest(number: int) -> bytes:
    return bytes([number]) * 20


def test_inputs_come_from_the_objects_that_hold_them_each_once():
    objects = ObjectRefs(1000)
    one, two = object(), object()
    objects.keep([(digest(1), 10), (digest(2), 10)], one)
    objects.keep([(digest(3), 10)], two)
    assert objects.refs_for([digest(2), digest(1), digest(9), digest(3)]) == [one, two]


def test_the_least_recently_used_value_is_let_go_of_first():
    objects = ObjectRefs(25)
    refs = [object() for _ in range(3)]
    objects.keep([(digest(0), 10)], refs[0])
    objects.keep([(digest(1), 10)], refs[1])
    objects.refs_for([digest(0)])
    objects.keep([(digest(2), 10)], refs[2])
    assert objects.refs_for([digest(0), digest(1), digest(2)]) == [refs[0], refs[2]]


def test_a_value_larger_than_all_room_is_not_kept():
    objects = ObjectRefs(5)
    objects.keep([(digest(0), 10)], object())
    assert objects.refs_for([digest(0)]) == []


def test_a_lost_object_is_asked_for_no_more_and_its_room_is_free():
    objects = ObjectRefs(20)
    lost, found = object(), object()
    objects.keep([(digest(0), 10), (digest(1), 10)], lost)
    objects.forget(lost)
    objects.keep([(digest(1), 10), (digest(2), 10)], found)
    assert objects.refs_for([digest(0), digest(1), digest(2)]) == [found]
