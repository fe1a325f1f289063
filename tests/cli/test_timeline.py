"""`rayflow timeline` writes a trace of an execution, whole or not at all."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from typing import Any

from trace_format import broken_rules


def test_a_timeline_has_each_call_of_an_execution_and_keeps_the_rules_of_its_format(rayflow: Any) -> None:
    assert rayflow.run("main").code == 0
    told = rayflow("timeline", "-", "-o", "run.json")
    assert told.code == 0 and told.out.startswith("run.json: ") and "ui.perfetto.dev" in told.out
    trace = json.loads((rayflow.project.path / "run.json").read_text())
    assert broken_rules(trace) == []
    ran = Counter(each["name"] for each in trace["traceEvents"] if each.get("cat") == "computed")
    assert ran == {f"{rayflow.namespace}.{name}": 1 for name in ("main", "greeter", "get_planet")}
    assert rayflow.run("main").code == 0
    cached = json.loads(rayflow("timeline", "-", "-o", "-").out)
    assert broken_rules(cached) == []
    assert Counter(each.get("cat") for each in cached["traceEvents"])["cached"] == 3
    assert rayflow("timeline", "~1", "-o", "packed.json.gz").code == 0
    assert json.loads(gzip.decompress((rayflow.project.path / "packed.json.gz").read_bytes())) == trace


def test_a_timeline_shows_failures_and_retries(rayflow: Any) -> None:
    assert rayflow.run("several", "--n", "2", "--option", "retries=1").code == 1
    trace = json.loads(rayflow("timeline", "-o", "-").out)
    assert broken_rules(trace) == []
    cats = Counter(each.get("cat") for each in trace["traceEvents"])
    assert cats["failed"] >= 2 and cats["attempt raised"] == 2


def test_a_file_that_cannot_be_written_is_named_and_nothing_is_left(rayflow: Any) -> None:
    rayflow.run("main")
    (rayflow.project.path / "there").write_text("")
    told = rayflow("timeline", "-", "-o", "there/run.json")
    assert told.code == 2 and "there/run.json cannot be written" in told.err
    assert rayflow("timeline", "nonsense").code == 1
    assert not list(rayflow.project.path.glob("timeline*"))
