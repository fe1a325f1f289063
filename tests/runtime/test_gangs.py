"""Gangs: from the options to what Ray is asked for, and which nodes can hold one."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from rayflow import get_gang
from rayflow.errors import BadOption, NotFound
from rayflow.evaluator.rows import requested_text
from rayflow.lang.options.options import check_options
from rayflow.runtime.on_ray.lowering import missing_from, shape_of, whole_node

NODES = [
    {"Alive": True, "Resources": {"CPU": 4.0, "memory": 8e9}, "Labels": {"zone": "a"}},
    {"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0, "memory": 8e9}, "Labels": {"zone": "b"}},
    {"Alive": False, "Resources": {"CPU": 64.0}, "Labels": {"zone": "c"}},
]


@pytest.mark.parametrize(
    ("gang", "strategy", "why"),
    [
        ([{"CPU": 2}] * 3, None, None),
        ([{"CPU": 2}, {"CPU": 4}], "SPREAD", None),
        ([{"CPU": 2}, {"CPU": 4}], "STRICT_SPREAD", None),
        ([{"CPU": 2}] * 2, "STRICT_PACK", None),
        (
            [{"CPU": 1, "GPU": 1}, {"CPU": 5}],
            None,
            "1 bundle of CPU=1, GPU=1, 1 of CPU=5; the most that a node has is CPU=4",
        ),
        ([{"moon": 1}], None, "1 bundle of moon=1; the most that a node has is moon=0"),
        ([{"CPU": 2}] * 3, "STRICT_PACK", "3 bundles of CPU=2, all on one node; the most that a node has is CPU=4"),
        ([{"CPU": 1}] * 3, "STRICT_SPREAD", "3 bundles of CPU=1, each on a node of its own; there are 2 nodes"),
        ([{"CPU": 1}] * 7, None, "7 bundles of CPU=1; the nodes together have CPU=6"),
        ([{"CPU": 3}] * 2, None, "2 bundles of CPU=3; the nodes do not have that in such parts"),
        (
            [{"CPU": 3}] * 2,
            "STRICT_SPREAD",
            "2 bundles of CPU=3, each on a node of its own; the nodes do not have that in such parts",
        ),
        (
            [{"CPU": 1, "memory": "6GiB"}] * 3,
            None,
            "3 bundles of CPU=1, memory=6GiB; the nodes together have CPU=6, memory=14.9GiB",
        ),
    ],
)
def test_a_gang_that_no_nodes_can_hold_is_said_with_what_they_have(gang, strategy, why) -> None:
    options = check_options({"gang": gang} | ({"strategy": strategy} if strategy else {}), where="f")
    told = missing_from(shape_of(options), NODES)
    assert told == (why and f"asks for a gang of {why}")


def test_only_nodes_with_its_labels_can_hold_a_gang() -> None:
    options: dict[str, Any] = {"gang": [{"CPU": 2}] * 2, "label_selector": {"zone": "!a"}}
    told = missing_from(shape_of(options), NODES)
    assert told == (
        "asks for a gang of 2 bundles of CPU=2; the nodes together have CPU=2, among the nodes with the labels "
        "{'zone': '!a'}"
    )
    assert missing_from(shape_of({**options, "label_selector": {"zone": "a"}}), NODES) is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"gang": []}, "from 1 to 10,000 bundles, not 0"),
        ({"gang": {"CPU": 1}}, "takes list or tuple"),
        ({"gang": [{}]}, "a dict of amounts"),
        ({"gang": [{"num_cpus": 1}]}, "calls it CPU, not num_cpus"),
        ({"gang": [{"cpu": 1}]}, "calls it CPU, not cpu"),
        ({"gang": [{"CPU": 0}]}, "is 0: leave it out"),
        ({"gang": [{"CPU": "two"}]}, "takes a number"),
        ({"gang": [{"GPU": 1.5}]}, "whole number"),
        ({"gang": [{"memory": 4}]}, "Give the unit"),
        ({"gang": [{"Memory": "4GiB"}]}, "calls it memory, not Memory"),
        ({"gang": [{"moon": 0.00001}]}, "smallest part"),
        ({"gang": [{"CPU": 1}], "strategy": "WIDE"}, "one of 'PACK', 'SPREAD'"),
        ({"strategy": "SPREAD"}, "there is no gang"),
        ({"gang": [{"CPU": 1}], "scheduling_strategy": "SPREAD"}, "contradict each other"),
    ],
)
def test_a_gang_that_makes_no_sense_is_refused_where_it_is_written(options, says) -> None:
    with pytest.raises(BadOption, match=says):
        check_options(options, where="f")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"strategy": "SPREAD"}, "there is no gang"),
        ({"gang": [{"CPU": 1}], "scheduling_strategy": "SPREAD"}, "contradict each other"),
        ({"gang": [{"CPU": 1}, {"CPU": 4}], "num_cpus": 2}, "asks for CPU=2 of it, which has CPU=1"),
        ({"gang": [{"CPU": 1}], "memory": "1GiB"}, "asks for memory="),
    ],
)
def test_options_of_several_places_that_contradict_a_gang_fail_the_call(options, says) -> None:
    with pytest.raises(BadOption, match=says):
        shape_of(options)


def test_the_body_takes_nothing_of_its_gang_unless_it_asks_for_it() -> None:
    gang = [{"CPU": 2, "memory": "1GiB"}] * 2
    assert shape_of({"gang": gang}).ray_options() == {"num_cpus": 0, "max_retries": 0}
    assert shape_of({"gang": gang, "num_cpus": 2}).ray_options()["num_cpus"] == 2
    held = shape_of({"gang": gang}).gang
    assert held is not None and held.given() == [{"CPU": 2.0, "memory": float(1 << 30)}] * 2
    assert held.strategy == "PACK"


def test_equal_gangs_make_one_shape_and_a_larger_node_makes_no_other() -> None:
    one, other = (shape_of({"gang": gang}) for gang in ([{"CPU": 2, "GPU": 1}], [{"GPU": 1, "CPU": 2.0}]))
    assert one == other and hash(one) == hash(other)
    assert one != shape_of({"gang": [{"CPU": 2, "GPU": 1}], "strategy": "SPREAD"})
    assert whole_node(one, NODES) == one


def test_what_a_call_holds_is_recorded_as_requested() -> None:
    text = requested_text({"gang": [{"CPU": 2}], "strategy": "SPREAD"})
    assert text == '{"gang": [{"CPU": 2}], "strategy": "SPREAD"}'


def test_outside_of_a_gang_the_error_says_how_to_have_one() -> None:
    with pytest.raises(NotFound, match=r"@task\(gang="):
        get_gang()


@pytest.mark.slow
def test_a_workflow_that_asks_for_its_gang_does_not_import_ray() -> None:
    code = "import sys, rayflow; rayflow.get_gang; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
