"""Runs that are submitted to a cluster: they print, end and are recorded as runs here."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from relays import HOST, https_gate, proxy, self_made
from waiting import until

from rayflow.submission.frames import FrameReader, JobAnswer, JobBegun, JobEnded
from rayflow.submission.job_api import PREFIX

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ID = "0197a3c2-51f0-7000-8000-0000000000{:02d}"


def started(laptop, *words: str) -> subprocess.Popen[str]:
    """A command in a process of its own, whose stderr is a file."""
    with (laptop.project.path.parent / "err").open("w") as err:
        return subprocess.Popen(
            [sys.executable, "-m", "rayflow", *words], cwd=laptop.project.path, text=True, stdout=subprocess.PIPE,
            stderr=err, env=laptop.project.full_environment(),
        )  # fmt: skip


def told(laptop) -> str:
    return (laptop.project.path.parent / "err").read_text()


def test_what_was_computed_here_is_cached_there_and_the_other_way_round(laptop, bucket, monkeypatch):
    laptop.store = f"{bucket}/results"
    laptop.project.write("rayflow.toml", f'store = "{laptop.store}"\n')
    laptop.project.write(".gitignore", "*.csv\n")
    laptop.project.write("data.csv", "1\n")
    monkeypatch.chdir(laptop.project.path / "flows")
    assert laptop("run", "--inline", "steps.py", "main", "--n", "2")[:2] == (0, "[0, 2]\n")
    code, out, err = laptop.submit("steps.py", "main", "--n", "3", "--json", "--tag", "owner=ada")
    assert (code, out) == (0, "[0, 2, 4]\n"), err
    assert "[double(n=2)] doubling 2" in err and "doubling 1" not in err
    assert "4 jobs, 2 computed, 2 cached" in err
    code, out, err = laptop("run", "--inline", "steps.py", "main", "--n", "3")
    assert (code, out) == (0, "[0, 2, 4]\n")
    assert "4 jobs, 4 cached" in err
    # It is recorded as the user has typed it, and found by the id that was printed.
    submitted = "select command, execution_id, project from executions where command like 'rayflow submit%'"
    [(command, execution, name)] = laptop.sql(submitted)
    assert name == laptop.project.path.name
    assert command.startswith("rayflow submit steps.py main --n 3")
    assert laptop.sql(f"select value from tags where key = 'owner' and entity_id = '{execution}'")
    # The cluster's own Python was found, although PATH does not name it.
    job = laptop.cluster.api.job(f"{PREFIX}{execution}")
    words = list(FrameReader(execution).read(laptop.cluster.api.log(job)))
    [begun] = [word for word in words if isinstance(word, JobBegun)]
    assert begun.facts["executable"] == str(laptop.cluster.python)
    # The log tells the end, so that nobody has to wait until Ray has noticed it.
    assert words[-2:] == [JobAnswer("[0, 2, 4]\n"), JobEnded(0)]
    # The commands that are offered are for here, where the configuration names the store.
    assert "--store" not in err


def test_a_killed_command_leaves_the_job_and_it_starts_once_and_can_be_followed(laptop, tmp_path):
    sign, execution = tmp_path / "sign", ID.format(1)
    words = ["flows/steps.py", "until", "--path", str(sign), "--execution-id", execution]
    first = started(laptop, "submit", "--address", laptop.cluster.address, *words)
    until(lambda: "submitted as" in told(laptop))
    first.kill()
    first.wait()
    # The same request again starts nothing; Ctrl-C ends only the command.
    again = started(laptop, "submit", "--address", laptop.cluster.address, *words)
    until(lambda: "starting the scheduler" in told(laptop))
    assert "submitted before as" in told(laptop)
    again.send_signal(signal.SIGINT)
    assert again.wait(20) == 130
    assert f"the job runs on. Come back with: rayflow attach {execution[:18]}" in told(laptop)
    follower = started(laptop, "attach", execution[:12], "--address", laptop.cluster.address)
    until(lambda: "starting the scheduler" in told(laptop))
    sign.touch()
    assert follower.communicate(timeout=60)[0] == "'seen'\n"
    assert follower.returncode == 0
    assert "done in" in told(laptop)
    # It has ended, and can still be read; another request may not take its id.
    code, out, err = laptop("attach", execution, "--address", laptop.cluster.address, "--tail", "1")
    assert (code, out) == (0, "'seen'\n")
    assert "done in" in err and "starting" not in err
    code, _, err = laptop.submit("flows/steps.py", "main", "--execution-id", execution)
    assert code == 1 and "was submitted before, with other arguments" in err
    assert laptop.sql("select count(*) from executions") == [(1,)]


def test_a_stopped_job_says_so_and_detach_does_not_wait(laptop, tmp_path):
    sign = tmp_path / "never"
    code, out, err = laptop.submit("flows/steps.py", "until", "--path", str(sign), "--detach")
    execution = out.strip()
    assert code == 0 and f"rayflow attach {execution[:18]}" in err
    follower = started(laptop, "attach", "-", "--address", laptop.cluster.address)
    until(sign.with_suffix(".begun").exists)
    subprocess.run(  # as `ray job stop` does
        [
            sys.executable, "-c",
            "import sys; from ray.job_submission import JobSubmissionClient as Jobs;"
            "Jobs(sys.argv[1], headers={'Authorization': 'Bearer ' + sys.argv[2]}).stop_job(sys.argv[3])",
            laptop.cluster.address, laptop.cluster.token_file.read_text(), f"{PREFIX}{execution}",
        ],
        check=True, timeout=60,
    )  # fmt: skip
    assert follower.wait(40) == 143
    assert "stopped" in told(laptop)
    assert laptop.sql("select status from executions") == [("cancelled",)]


def test_an_execution_is_cancelled_by_its_cluster_alone_as_by_its_store(laptop, tmp_path, monkeypatch):
    sign = tmp_path / "never"
    follower = started(
        laptop, "submit", "--address", laptop.cluster.address, "flows/steps.py", "until", "--path", str(sign)
    )
    until(sign.with_suffix(".begun").exists)
    execution = told(laptop).partition(PREFIX)[2].split()[0]
    monkeypatch.chdir("/tmp")  # no project, and so no store
    words = ["cancel", execution[:18], "--address", laptop.cluster.address]
    code, out, err = laptop(*words, "--reason", "wrong input")
    assert code == 0, err
    assert (
        f"{execution[:18]} is cancelled; what was finished is kept. Go on with: rayflow resume {execution[:18]} --sto"
        in out
    )
    assert follower.wait(40) == 130
    [(status, error)] = laptop.sql("select status, error from executions")
    assert status == "cancelled" and error.endswith(": wrong input")
    code, out, err = laptop(*words)
    assert (code, out) == (0, f"{execution[:18]} was cancelled already\n"), err
    # The jobs that asked are none that one follows.
    assert laptop("attach", "-", "--address", laptop.cluster.address)[0] == 130
    code, _, err = laptop(*words, "--store", laptop.store)
    assert code == 1 and "two ways to the same execution: leave one out" in err


def test_an_execution_that_has_not_begun_is_cancelled_all_the_same(laptop, tmp_path):
    sign = tmp_path / "never"
    execution = laptop.submit("flows/steps.py", "until", "--path", str(sign), "--detach")[1].strip()
    code, out, err = laptop("cancel", execution, "--address", laptop.cluster.address)
    assert code == 0 and f"{execution[:18]} is cancelled" in out, err
    assert laptop.cluster.api.job(f"{PREFIX}{execution}").has_ended


def test_a_gate_that_speaks_https_and_a_proxy_lead_to_a_cluster(laptop, tmp_path, monkeypatch):
    certificate = self_made(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    port = int(laptop.cluster.address.rpartition(":")[2])
    with https_gate(port, certificate) as gate, proxy(gate) as (url, asked):
        monkeypatch.setenv("HTTPS_PROXY", url)
        monkeypatch.setenv("NO_PROXY", "other.test")
        code, out, err = laptop("submit", "flows/steps.py", "main", "--address", f"https://{HOST}")
    assert (code, out) == (0, "[0, 2]\n"), err
    assert "[double(n=1)] doubling 1" in err
    assert set(asked) == {f"CONNECT {HOST}:443 HTTP/1.0"}


def test_a_cluster_without_rayflow_says_so_before_anything_runs_and_it_can_be_sent_along(laptop):
    with laptop.cluster.without_rayflow():
        code, _, err = laptop.submit("flows/steps.py", "main")
        assert code == 2
        assert f"{laptop.cluster.python} on" in err and "has no rayflow: install rayflow-evaluator==" in err
        assert "--ship-rayflow" in err
        assert not laptop.sql("select 1 from executions")
        code, out, err = laptop.submit("--ship-rayflow", "flows/steps.py", "fail")
    # It runs, and a failure is shown and ends as it does here.
    assert (code, out) == (1, "")
    assert "flows.steps.fail failed: ValueError: no planet" in err
    assert 'raise ValueError("no planet")' in err
    assert "rayflow/" not in err.partition("Traceback")[2].replace("rayflow log", "")


def test_a_store_that_only_the_submitting_machine_has_is_refused_before_anything_runs(laptop, monkeypatch):
    from rayflow.submission import submitting

    # The cluster is on this machine, and sees all of its folders. So it looks for a beacon that nobody has left.
    monkeypatch.setattr(submitting, "leave_job_beacon", lambda store, execution: "tmp/submitted-elsewhere")
    Path(laptop.store).mkdir()
    code, _, err = laptop.submit("flows/steps.py", "main")
    assert code == 2
    assert f"The store {laptop.store} is a folder of the machine that has submitted; on" in err
    assert "it is another folder. Name one that both reach" in err


def test_the_ports_of_a_cluster_and_a_wrong_token_are_told_within_seconds(laptop, monkeypatch):
    begun = time.monotonic()
    dashboard = laptop.cluster.address.removeprefix("http://")
    code, err = laptop.in_new_process("run", "flows/steps.py", "main", "--address", dashboard)
    assert code == 2
    assert f"{dashboard} is the dashboard of a Ray cluster" in err
    code, _, err = laptop("run", "flows/steps.py", "main", "--address", laptop.cluster.address)
    assert code == 1 and f"use `rayflow submit --address {laptop.cluster.address}`" in err
    code, _, err = laptop("submit", "flows/steps.py", "main", "--address", f"http://{laptop.cluster.control}")
    assert code == 2 and "does not speak HTTP" in err
    monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 64)
    code, _, err = laptop.submit("flows/steps.py", "main")
    assert code == 2 and "wants another token" in err
    assert time.monotonic() - begun < 40


def run_in_job(laptop, entrypoint: str) -> tuple[str, str]:
    """The state and the log of a job that a user has submitted by Ray's own means."""
    from rayflow.submission.packages import project_package
    from rayflow.submission.project_files import files_of

    api, name = laptop.cluster.api, f"by-hand-{time.time_ns()}"
    package = project_package(files_of(str(laptop.project.path)))
    if not api.has_package(package.uri):
        path = laptop.project.path.parent / "package.zip"
        package.write(str(path))
        api.send_package(package.uri, str(path))
    assert api.submit(name, entrypoint, {"working_dir": package.uri}, {})
    until(lambda: api.job(name).has_ended)
    return api.job(name).state, api.log(api.job(name)).decode()


def test_a_run_in_a_job_of_rays_own_needs_a_store_that_outlives_the_job(laptop):
    python = laptop.cluster.python
    laptop.project.write("rayflow.toml", "")
    both = f"{python} -m rayflow run flows/steps.py main --n 4; {python} flows/steps.py"
    _, log = run_in_job(laptop, both)
    assert log.count("in the copy of the project that Ray has made for this job and throws away") == 2
    assert "Name a store that stays and that all nodes reach" in log
    laptop.project.write("rayflow.toml", f'store = "{laptop.store}"\n')
    state, log = run_in_job(laptop, both)
    assert state == "SUCCEEDED", log
    assert log.count("[0, 2, 4, 6]\n") == 2
    assert "5 jobs, 5 cached" in laptop("run", "--inline", "flows/steps.py", "main", "--n", "4")[2]
