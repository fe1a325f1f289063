"""A service is killed again and again, at random moments: every run ends right, and no effect is done in vain."""

from __future__ import annotations

import os

import pytest
from projects import Project
from service_crashes import CrashDrive
from services import RunningService


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
