"""sys.stdout, sys.stderr and sys.stdin as a body on a worker has them."""

from __future__ import annotations

import pytest
from streams import FLOW, WAYS, looked_at

from rayflow.api import Scheduler

pytestmark = pytest.mark.ray


def test_a_worker_s_streams_are_as_in_any_program(project, ray_cluster):
    flow = project.write("flow.py", FLOW) and project.load("flow")
    with Scheduler(store=str(project.path / ".rayflow"), address=ray_cluster) as scheduler:
        assert scheduler.run([flow.use(way) for way in WAYS]) == [[None, way] for way in WAYS]
        assert scheduler.run(flow.look()) == [looked_at("stdout"), looked_at("stderr")]
    found = project.sql("select text from logs where stream = 'stdout'")
    assert sorted(text for (text,) in found) == sorted(["abcab", *(text for _, text in WAYS.values())])
