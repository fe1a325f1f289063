"""The verbs of a service: what they print, as text and as JSON, and their exit codes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from projects import project_in
from services import RunningService, ledger
from waiting import until

FLOW = """
    from rayflow import ask, effect, flow, wait_for_event

    @effect
    def do(what: str) -> str:
        with open("ledger.txt", "a") as file:
            file.write(what + "\\n")
        return f"did {what}"

    @effect
    def breaks(what: str):
        do.func(what)
        raise LookupError(f"no {what}")

    @flow
    def does(what: str, to: str = "here"):
        return [do(what), do(f"tell {to}")]

    @flow
    def fails(what: str):
        return breaks(what)

    @flow
    def waits(key: str):
        return wait_for_event("news", key=key).data

    @flow
    def asks(what: str):
        return ask(f"is {what} fine?", bool)
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One service for the tests of this module."""
    project = project_in(tmp_path_factory.mktemp("verbs"), FLOW)
    made = RunningService(project).start()
    yield made
    made.close()


def said(kept: RunningService, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """What a verb prints."""
    address = kept.address
    done = kept.project.rayflow(*words, RAYFLOW_SERVICE=address.url, RAYFLOW_TOKEN=address.token)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def told(kept: RunningService, *words: str, code: int = 0) -> Any:
    """What a verb prints with --json."""
    return json.loads(said(kept, *words, "--json", code=code).stdout)


def start(kept: RunningService, *words: str) -> str:
    """Start a run; its id."""
    run_id: str = told(kept, "start", *words)["run_id"]
    return run_id


def test_runs_are_listed_by_what_they_are(kept: RunningService) -> None:
    waiting = start(kept, "waits", "--key", "list", "--tag", "of=list", "--tag", "n=1", "--id", "list-1")
    asking = start(kept, "asks", "--what", "listing", "--tag", "of=list", "--id", "list-2")
    until(lambda: {run["state"] for run in told(kept, "runs", "--tag", "of=list")} == {"waiting"})

    def listed(*words: str) -> list[str]:
        return [run["run_id"] for run in told(kept, "runs", *words)]

    assert listed("--tag", "of=list") == [asking, waiting]
    assert listed("--tag", "of=list", "--limit", "1") == [asking]
    assert listed("--tag", "of=list", "--tag", "n=1") == listed("--flow", "waits", "--id-prefix", "list-") == [waiting]
    assert listed("--text", "LISTING") == [asking]
    assert listed("--state", "waiting", "--state", "running", "--since", "1h") == [asking, waiting]
    assert listed("--until", "1h") == listed("--state", "failed", "--tag", "of=list") == []
    text = said(kept, "runs", "--tag", "of=list").stdout
    assert "list-1" in text
    assert "it waits for" in text
    assert said(kept, "runs", "--text", "nothing like this").stdout == "There are no runs.\n"
    assert "KEY=VALUE" in said(kept, "runs", "--tag", "alone", code=1).stderr
    assert "2h" in said(kept, "runs", "--since", "soon", code=1).stderr
    assert "'gone' is not one of" in said(kept, "runs", "--state", "gone", code=1).stderr
    said(kept, "answer", "list-2", "true")
    said(kept, "emit", "news", "1", "--key", "list")


def test_many_runs_are_cancelled_after_they_were_counted(kept: RunningService) -> None:
    made = {start(kept, "waits", "--key", "many", "--tag", "of=many") for _ in range(3)}
    refused = said(kept, "cancel", "--tag", "of=many", code=1)
    assert "3 runs" in refused.stderr
    assert "--yes" in refused.stderr
    assert {run["state"] for run in told(kept, "runs", "--tag", "of=many")} <= {"waiting", "running"}
    answer = told(kept, "cancel", "--tag", "of=many", "--reason", "too many", "--yes")
    assert (answer["count"], set(answer["run_ids"]), answer["refused"]) == (3, made, [])
    shown = told(kept, "runs", "show", made.pop())
    assert shown["state"] == "cancelled"
    assert shown["reason"].endswith("too many")
    assert said(kept, "cancel", "--tag", "of=many", "--yes").stdout == "0 runs cancelled\n"
    assert "not both" in said(kept, "cancel", "-", "--tag", "of=many", code=1).stderr
    assert "Name the execution" in said(kept, "cancel", code=1).stderr


def test_many_runs_are_retried_and_one_is_named(kept: RunningService) -> None:
    run = start(kept, "fails", "--what", "luck", "--tag", "of=retries")
    until(lambda: told(kept, "runs", "show", run)["state"] == "failed")
    assert said(kept, "retry", "--tag", "of=retries", "--yes").stdout == "1 run retried\n"
    until(lambda: ledger(kept.project)["luck"] == 2)
    until(lambda: told(kept, "runs", "show", run)["state"] == "failed")
    assert told(kept, "retry", run) == {"run_id": run, "retried": True}
    until(lambda: ledger(kept.project)["luck"] == 3)
    assert "Name the run" in said(kept, "retry", code=1).stderr


def test_a_run_is_forked_at_a_place_and_with_other_arguments(kept: RunningService) -> None:
    run = start(kept, "does", "--what", "forked", "--to", "fork-a", "--id", "to fork")
    until(lambda: told(kept, "runs", "show", run)["state"] == "done")
    other = said(kept, "fork", "to fork", "--to", "fork-b", "--tag", "n=2").stdout.strip()
    until(lambda: told(kept, "runs", "show", other)["state"] == "done")
    assert told(kept, "runs", "show", other)["tags"] == {"n": 2}
    again = told(kept, "fork", other, "--at", "do", "--id", "again")
    assert again["is_new"]
    until(lambda: told(kept, "runs", "show", "again")["state"] == "done")
    done = ledger(kept.project)
    assert (done["forked"], done["tell fork-a"], done["tell fork-b"]) == (2, 1, 2)
    shown = said(kept, "runs", "show", run).stdout
    place = next(line.split("[")[1][:12] for line in shown.splitlines() if "forked" in line and "[" in line)
    said(kept, "fork", run, "--at", place)
    assert "no place" in said(kept, "fork", run, "--at", "nothing", code=1).stderr
    assert "from where on" in said(kept, "fork", run, code=1).stderr


def test_the_statistics_are_printed(kept: RunningService) -> None:
    start(kept, "waits", "--key", "stats")
    found = until(lambda: (stats := told(kept, "stats"))["states"].get("waiting") and stats)
    text = said(kept, "stats").stdout
    assert "flow.waits" in text
    assert f"longest waiting: {found['oldest']['waiting']['run_id'][:8]}" in text
    assert "in the last hour" in text
