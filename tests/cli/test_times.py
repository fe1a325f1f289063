"""One time, told alike: the closing line, the log, JSON and SQL; the start-up is told apart."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from rayflow.cli.output.progress import TOLD_STARTUP_SECONDS
from rayflow.cli.output.style import duration

FLOW = """
import time
from rayflow import task

time.sleep({importing})

@task
def main(fail: bool = False):
    time.sleep(0.2)
    if fail:
        raise ValueError("no")
    return 1
"""


@pytest.mark.parametrize("importing", [0.0, TOLD_STARTUP_SECONDS + 0.3])
@pytest.mark.parametrize("how", ["computed", "cached", "failed"])
def test_what_a_run_took_is_one_number(rayflow: Any, importing: float, how: str) -> None:
    rayflow.path.write_text(FLOW.format(importing=importing))
    words = ["main", "--fail"] if how == "failed" else ["main"]
    done = rayflow.run(*words)
    if how == "cached":
        done = rayflow("run", rayflow.file, *words)
    found = re.search(r"(done|failed) in (.*?): 1 job, 1 (\w+)(?:, after (.*?) to start up)?  \(", done.err)
    assert found and found[3] == how
    row = json.loads(rayflow("log", "-", "--json").out)["execution"]
    query = "select epoch(finished_at - started_at), startup_seconds from executions order by started_at desc limit 1"
    took, startup = (float(each) for each in rayflow("sql", query, "--csv").out.splitlines()[1].split(","))
    assert found[2] == duration(took)
    assert row["startup_seconds"] == pytest.approx(startup)
    log = rayflow("log", "-").out
    assert f"after {duration(took)}\n" in log and f"start-up   {duration(startup)} before that\n" in log
    if how == "computed" and importing:  # a module is imported once in a process
        assert found[4] == duration(startup) and importing < startup
    assert (found[4] is not None) == (startup >= TOLD_STARTUP_SECONDS)
    assert took < 0.2 if how == "cached" else took >= 0.2


def test_the_start_up_of_a_second_run_of_a_program_is_its_own(project: Any) -> None:
    from rayflow import Scheduler, task
    from rayflow.runtime.protocol.reports import Silent

    heard = []

    class Heard(Silent):
        def ended(self, summary: Any) -> None:
            heard.append(summary)

    @task
    def one() -> int:
        return 1

    with Scheduler(store=project.path / ".rayflow", inline=True, reporter=Heard()) as scheduler:
        scheduler.run(one())
        scheduler.run(one())
    assert all(0 <= each.startup_seconds < 2 for each in heard)
