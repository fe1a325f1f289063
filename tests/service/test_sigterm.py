"""SIGTERM: what runs may end and is recorded; what was not sent is neither done nor recorded as begun."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from crash_flows import SOURCE, doings_in
from processes import end, marked
from projects import Project
from services import RunningService
from waiting import until

PLACES = [pytest.param("inline"), pytest.param("ray", marks=pytest.mark.ray)]


@pytest.fixture
def kept(request: pytest.FixtureRequest, project: Project) -> Iterator[RunningService]:
    """A service whose effects take seconds, where the test says."""
    project.write("flow.py", SOURCE)
    project.edit("flow.py", 'do(f"{name} 1", 0.02), sleep(0.15)', 'do(f"{name} 1", 2.0), sleep(0.5)')
    mark = f"{project.path}-service"
    project.environment["RAYFLOW_TEST_SERVICE"] = mark
    where = ("--inline",) if request.param == "inline" else ("--address", request.getfixturevalue("ray_cluster"))
    made = RunningService(project, flags=(*where, "--grace", "20"))
    yield made
    made.close()
    end(marked("RAYFLOW_TEST_SERVICE", mark))


@pytest.mark.parametrize("kept", PLACES, indirect=True)
def test_an_effect_that_runs_at_sigterm_ends_and_is_recorded_and_the_next_one_is_not_begun(
    kept: RunningService,
) -> None:
    ledger = kept.project.path / "ledger.jsonl"
    run = kept.start().client.start("chain", {"name": "a"})
    other = kept.client.start("hears", {"name": "b"})
    until(lambda: "a 1" in doings_in(ledger), pause_seconds=0.01)
    assert kept.stop() == 0
    stopped = {what: len(lines) for what, lines in doings_in(ledger).items()}
    assert stopped["a 1"] == 1
    assert "a 2" not in stopped
    recorded = kept.project.sql("SELECT kind, count(*) FROM places WHERE is_effect GROUP BY kind")
    assert dict(recorded) == {"started": len(stopped), "outcome": len(stopped)}

    kept.start()
    kept.client.emit("go", "for b", key="b")
    assert kept.client.get(run.id).result(60)[0] == "did a 1"
    assert kept.client.get(other.id).result(60)[2] == "did b after"
    assert all(len(lines) == 1 for lines in doings_in(ledger).values())


@pytest.mark.parametrize("kept", PLACES, indirect=True)
def test_a_second_signal_ends_the_service_at_once_and_loses_nothing(kept: RunningService) -> None:
    ledger = kept.project.path / "ledger.jsonl"
    kept.project.edit("flow.py", 'do(f"{name} 1", 2.0)', 'do(f"{name} 1", 5.0)')
    run = kept.start().client.start("chain", {"name": "a"})
    until(lambda: "a 1" in doings_in(ledger), pause_seconds=0.01)
    process = kept.process
    assert process is not None
    process.terminate()
    until(lambda: "stopping" in kept.log.read_text())
    process.terminate()
    assert process.wait(10) == 128 + 15
    kept.process = None
    kept.start()
    assert kept.client.get(run.id).result(60)[0] == "did a 1"
    assert len(doings_in(ledger)["a 1"]) == 2  # the first one's end was not waited for
