"""Several nodes on one machine: labels, shapes that no node has, a node that leaves, values that survive it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from projects import Project

pytestmark = pytest.mark.ray

FLOW = """
    import os, time
    import numpy
    from rayflow import task

    def own_node():
        import ray
        return ray.get_runtime_context().get_node_id()

    @task
    def node(n):
        return own_node()

    @task
    def add(a, b):
        return a + b

    @task
    def large(n):
        return {"node": own_node(), "array": numpy.arange(n, dtype=numpy.int64)}

    @task
    def made_on(value):
        return value["node"]

    @task
    def total(value, n=0):
        return int(value["array"].sum()) + n

    @task
    def long(folder, n):
        open(f"{folder}/{n}", "w").close()
        while not os.path.exists(f"{folder}/go"):
            time.sleep(0.05)
        return n

    @task
    def noted(folder, n):
        with open(f"{folder}/on {own_node()}", "a") as file:
            file.write(f"{n}\\n")
        time.sleep(0.002)
        return n

    @task(resources={"island": 1})
    def long_there(folder, n):
        open(f"{folder}/{n}", "w").close()
        while not os.path.exists(f"{folder}/go"):
            time.sleep(0.05)
        return n
"""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What was seen in each scene of several_nodes.py."""
    folder = tmp_path_factory.mktemp("nodes")
    project = Project(folder)
    (folder / "rayflow.toml").write_text("")
    project.write("flow.py", FLOW)
    marks = folder / "marks"
    marks.mkdir()
    script = Path(__file__).with_name("several_nodes.py")
    place = tempfile.mkdtemp(prefix="rf", dir="/tmp")
    environment = project.full_environment({"RAY_TMPDIR": place})
    support = Path(__file__).parents[1] / "support"
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (folder, support, environment["PYTHONPATH"])))
    process = subprocess.Popen(
        [sys.executable, str(script), str(marks)], cwd=folder, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        told, complaints = process.communicate(timeout=300)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(place, ignore_errors=True)
    assert process.returncode == 0, complaints[-4000:]
    seen = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    return {each["scene"]: each for each in seen}


def test_a_label_selector_leads_to_the_nodes_that_fit(scenes):
    assert scenes["labels"]["there"]
    assert scenes["labels"]["here"]


def test_the_doctor_asks_every_node_and_leaves_nothing_behind(scenes):
    told = {subject: (level, text) for level, subject, text in scenes["doctor"]["findings"]}
    assert told["reachable"][0] == "ok" and told["reachable"][1].endswith("2 nodes")
    for subject in ("versions", "store", "clocks"):
        assert told[subject][0] == "ok", told
    assert told["keep-alive"][0] == "warning"
    lacking = [text for level, subject, text in scenes["doctor"]["lacking"] if level == "failure"]
    assert len(lacking) == 1 and lacking[0].endswith("lacks what the project imports: no_such_library")
    assert not [name for name in scenes["doctor"]["left"] if name.startswith("doctor-")]


def test_a_scheduler_sits_on_the_node_of_its_driver(scenes):
    assert scenes["scheduler"]["nodes"] == [scenes["scheduler"]["own"]] * 4


def test_a_shape_and_a_label_that_no_node_has_are_named_after_ten_seconds(scenes):
    warnings = scenes["infeasible"]["warnings"]
    told = {text: seconds for seconds, text in warnings}
    (moon,) = [text for text in told if "moon" in text]
    (zone,) = [text for text in told if "zone" in text]
    assert "flow.node cannot start: it asks for CPU=1, moon=1; the most that a node has is CPU=2, moon=0." in moon
    assert "flow.node cannot start: it asks for a node with the labels {'zone': 'c'}; no node has them." in zone
    assert all(9.5 < seconds < 20 for seconds in told.values()), told
    assert scenes["infeasible"]["waiting"] == [False, False]


def test_a_large_value_survives_the_node_that_made_it(scenes):
    assert scenes["large"]["made_there"]
    assert scenes["survives"]["total"] == sum(range(3_000_000)) + 1


def test_a_call_whose_node_leaves_runs_again_on_another_and_the_others_do_not(scenes):
    assert scenes["node left"]["second"] == 2
    assert scenes["node left"]["first"] == [sum(range(3_000_000)), 1]
    assert scenes["attempts"]["attempts"] == [["flow.long_there", 2]]
    # Ray hears of the process before it hears of the node, or the other way round.
    (reason,) = [reason for task, ended, reason in scenes["attempts"]["reasons"] if task == "flow.long_there"]
    assert re.match(r"its node \S+ left the cluster|its process died", reason)


def test_a_call_whose_node_is_drained_and_taken_away_runs_elsewhere_and_loses_nothing_by_it(scenes):
    assert scenes["preempted"]["values"] == [5]


def test_after_all_that_a_mistake_in_a_task_is_still_the_tasks_own(scenes):
    assert "/nowhere" in scenes["mistake"]["error"]
    assert not scenes["mistake"]["error"].startswith("lost")


def test_the_calls_of_a_fan_out_that_were_on_a_node_that_leaves_run_elsewhere_and_no_others_run_twice(scenes):
    seen = scenes["members"]
    assert seen["is_right"]
    assert seen["rows"] == [[3000, 3000, 3000]]
    here, there = seen["ran"]
    assert set(here) | set(there) == set(range(3000))
    assert len(here) == len(set(here)) and len(there) == len(set(there)), "only the lost node's calls run again"
    assert len(set(here) & set(there)) <= 500
