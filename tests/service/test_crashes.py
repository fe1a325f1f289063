"""A service is killed again and again, at random moments: every run ends right, and no effect is done in vain."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from processes import end, marked
from projects import Project
from service_crashes import CrashDrive
from services import RunningService
from waiting import until


def test_runs_of_every_form_end_right_though_their_service_is_killed_eight_times(
    project: Project, service: RunningService
) -> None:
    drive = CrashDrive(service, seed=1)
    drive.play(kills=8)
    drive.check()


@pytest.mark.campaign
@pytest.mark.timeout(7200)
def test_two_hundred_kills(project: Project, service: RunningService) -> None:
    drive = CrashDrive(service, seed=int(os.environ.get("TEST_SEEDS", "2")))
    drive.play(kills=int(os.environ.get("TEST_KILLS", "200")), runs_per_kill=2)
    drive.check()
    print(f"{len(drive.kills)} kills, {len(drive.started)} runs started, {drive.again()} doings again")
    assert drive.again() > 0, "no kill has hit an effect between its start and its commit"


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_runs_on_ray_end_right_though_workers_the_service_and_all_of_ray_are_killed(project: Project) -> None:
    _drive_on_ray(project, seed=3, kills=3)


@pytest.mark.ray
@pytest.mark.campaign
@pytest.mark.timeout(7200)
def test_many_kills_of_workers_of_the_service_and_of_all_of_ray(project: Project) -> None:
    kills = int(os.environ.get("TEST_KILLS", "200"))
    drive = _drive_on_ray(project, seed=int(os.environ.get("TEST_SEEDS", "4")), kills=kills)
    print(f"{len(drive.kills)} kills, {len(drive.started)} runs started, {drive.again()} doings again")


def _drive_on_ray(project: Project, seed: int, kills: int) -> CrashDrive:
    """Kill by turns a worker, the service, and all of the service's own Ray."""
    mark = str(project.path)
    project.environment["RAYFLOW_TEST_SERVICE"] = mark
    service = RunningService(project, flags=("--grace", "1"))

    def own(*, all_of_ray: bool) -> list[int]:
        """The processes of the service's own Ray, or those of its workers."""
        found = marked("RAYFLOW_TEST_SERVICE", mark)
        names = {process: _command_of(process) for process in found}
        return [
            process for process, name in names.items()
            if name.startswith("ray::") or (all_of_ray and ("raylet" in name or "gcs_server" in name))
        ]  # fmt: skip

    turns = itertools.cycle(["worker", "service", "ray"])

    def kill() -> None:
        turn = next(turns)
        if turn == "service":
            service.kill()
        elif turn == "worker":
            end(own(all_of_ray=False)[:1])
        else:
            until(service.is_up, 300)  # before that there may be no Ray, and the service would go on
            end(own(all_of_ray=True))
            assert service.process is not None
            service.process.wait(120)  # it ends with an error that says so: a supervisor starts it again
            service.process = None

    try:
        drive = CrashDrive(service, seed=seed, kill=kill)
        drive.play(kills=kills, runs_per_kill=2)
        drive.check()
        return drive
    finally:
        service.close()
        end(marked("RAYFLOW_TEST_SERVICE", mark))


def _command_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""  # it has ended
