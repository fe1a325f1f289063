"""From task options to Ray's words."""

from __future__ import annotations

import pytest

from rayflow.errors import BadOption
from rayflow.runtime.on_ray.lowering import FREE_CPUS, missing_from, shape_of
from rayflow.values.encoding.encoding import make_ref

NODES = [
    {"Alive": True, "Resources": {"CPU": 4.0, "memory": 1e9}, "Labels": {"zone": "a"}},
    {"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0, "memory": 1e9}, "Labels": {"zone": "b"}},
    {"Alive": False, "Resources": {"CPU": 64.0, "moon": 1.0}, "Labels": {"zone": "c"}},
]

LABELS = "asks for a node with the labels"


def test_rays_own_retries_are_off_and_no_processor_is_a_small_part_of_one():
    assert shape_of({}).ray_options() == {"num_cpus": 1.0, "max_retries": 0}
    assert shape_of({"num_cpus": 0}).ray_options()["num_cpus"] == FREE_CPUS


def test_every_option_that_is_meant_for_ray_arrives_there():
    options = {
        "num_cpus": 2,
        "num_gpus": 0.5,
        "memory": "1GiB",
        "resources": {"moon": 2},
        "accelerator_type": "A100",
        "label_selector": {"zone": "in(a,b)"},
        "runtime_env": {"env_vars": {"A": "1"}},
        "scheduling_strategy": "SPREAD",
    }
    assert shape_of({**options, "retries": 3, "timeout": 5}).ray_options() == {
        **options,
        "memory": 1 << 30,
        "max_retries": 0,
    }


def test_equal_options_make_one_shape_whatever_their_order():
    one = shape_of({"resources": {"a": 1, "b": 2}, "num_cpus": 1})
    other = shape_of({"num_cpus": 1, "resources": {"b": 2, "a": 1}})
    assert one == other and hash(one) == hash(other)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"num_cpus": 4}, None),
        ({"num_cpus": 5}, "asks for CPU=5; the most that a node has is CPU=4"),
        ({"num_cpus": 4, "num_gpus": 1}, "asks for CPU=4, GPU=1; the most that a node has is CPU=4, GPU=1"),
        ({"resources": {"moon": 1}}, "asks for CPU=1, moon=1; the most that a node has is CPU=4, moon=0"),
        ({"label_selector": {"zone": "c"}}, f"{LABELS} {{'zone': 'c'}}; no node has them"),
        ({"label_selector": {"zone": "in(c, b)"}}, None),
        ({"label_selector": {"zone": "!in(a,b)"}}, f"{LABELS} {{'zone': '!in(a,b)'}}; no node has them"),
        ({"label_selector": {"zone": "a"}, "num_gpus": 1}, f"{LABELS} {{'zone': 'a'}}; no node has them"),
        ({"label_selector": {"zone": "!a"}, "num_gpus": 1}, None),
        (
            {"accelerator_type": "A100"},
            "asks for CPU=1, accelerator_type:A100=0.001; the most that a node has is CPU=4, accelerator_type:A100=0",
        ),
    ],
)
def test_what_no_node_alive_has_is_said(options, why):
    assert missing_from(shape_of(options), NODES) == why


def test_a_value_that_is_not_plain_data_is_a_bad_option():
    with pytest.raises(BadOption, match="runtime_env"):
        shape_of({"runtime_env": {"env_vars": object()}})


def test_a_strategy_that_travelled_in_a_term_must_be_one_of_rays():
    class Mine:
        pass

    ref, _ = make_ref({"not": Mine})
    with pytest.raises(BadOption, match="scheduling_strategy"):
        shape_of({"scheduling_strategy": ref}).ray_options()
