"""A module that ends the program when a worker imports it."""

from __future__ import annotations

import pytest

from rayflow.api import Scheduler
from rayflow.errors import BadModule

pytestmark = pytest.mark.ray

FLOW = """
    import sys
    from rayflow import task

    class Own(BaseException):
        pass

    if "default_worker" in sys.argv[0]:
        raise ERROR

    @task
    def one():
        return 1
"""


@pytest.mark.parametrize("error", ["SystemExit(4)", "Own('odd')", "GeneratorExit()"])
def test_a_module_that_ends_the_worker_fails_its_calls_and_no_worker_is_lost(project, ray_cluster, error):
    name = f"ending{len(error)}"
    module = project.write(f"{name}.py", FLOW.replace("ERROR", error)) and project.load(name)
    says = rf'(?s)The module {name} .*{name}.py", line 8.*{error.partition("(")[0]}'
    store = str(project.path / ".rayflow")
    with Scheduler(store=store, address=ray_cluster) as scheduler, pytest.raises(BadModule, match=says):
        scheduler.run(module.one())
    assert project.sql("select attempts from jobs where status = 'failed'") == [(1,)]
