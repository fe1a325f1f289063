"""What is believed of the Rays that stay up between runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest

from rayflow.errors import ClusterUnavailable
from rayflow.runtime.on_ray.connection import local_ray

MINE = local_ray.LocalRay("/projects/mine", "127.0.0.1:1234", 7, "rayflow-secret")
OTHER = local_ray.LocalRay("/projects/other", "127.0.0.1:4321", 7, None)
GONE = local_ray.LocalRay("/projects/gone", "127.0.0.1:1111", 8, None)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the notes, with the notes of two Rays that run, and of one that does not."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(local_ray, "_is_alive", lambda pid: pid == 7)
    folder = tmp_path / f"rayflow-{os.getuid()}"
    folder.mkdir(mode=0o700)
    for each in (MINE, OTHER, GONE):
        note = local_ray._note(each.project)
        note.parent.mkdir()
        local_ray._write_privately(note, json.dumps(asdict(each)))
    return folder


def test_a_project_has_its_own_ray_and_no_other(place: Path) -> None:
    assert local_ray.running("/projects/mine") == MINE
    assert local_ray.running("/projects/other/../other") == OTHER
    assert local_ray.running("/projects") is None
    assert local_ray.running("/projects/gone") is None
    assert {each.project for each in local_ray.all_running()} == {MINE.project, OTHER.project}


@pytest.mark.parametrize("address", ["127.0.0.1:4321", "localhost:4321"])
def test_the_ray_of_another_project_is_known_by_its_address(place: Path, address: str) -> None:
    assert local_ray.running_at(address) == OTHER


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:1111", "10.0.0.5:4321", "auto", "local"])
def test_an_address_where_no_ray_of_ours_runs_is_somebody_elses(place: Path, address: str) -> None:
    assert local_ray.running_at(address) is None


def test_the_token_is_written_so_that_only_this_user_can_read_it(place: Path) -> None:
    for note in place.glob("*/up.json"):
        assert note.stat().st_mode & 0o777 == 0o600
    assert len(list(place.glob("*/up.json"))) == 3


def test_a_note_that_others_could_have_written_is_not_believed(place: Path) -> None:
    place.chmod(0o777)
    assert (local_ray.running(MINE.project), local_ray.running_at(MINE.address)) == (None, None)
    assert local_ray.all_running() == []
    with pytest.raises(ClusterUnavailable, match="others may write there"):
        local_ray.up(MINE.project)


def test_a_folder_behind_a_link_is_not_believed(place: Path) -> None:
    real = place.rename(place.with_name("elsewhere"))
    place.symlink_to(real)
    assert (local_ray.running(MINE.project), local_ray.all_running()) == (None, [])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": 7, "address": "127.0.0.1:1234"}'])
def test_a_note_that_is_damaged_or_of_another_version_is_none(place: Path, text: str) -> None:
    local_ray._note(MINE.project).write_text(text)
    assert local_ray.running(MINE.project) is None
    assert local_ray.all_running() == [OTHER]


STARTS = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
print("child", child.pid, "Ray runtime started" if sys.argv[1] == "comes" else "", flush=True)
time.sleep(100)  # instead of ray
"""


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ports of what `up` has started instead of Ray; it comes up."""
    ports: list[int] = []

    def command(folder: Path, port: int, num_cpus: int | None) -> list[str]:
        ports.append(port)
        return [sys.executable, "-c", STARTS, "comes"]

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(local_ray, "_command", command)
    return ports


def test_of_two_that_start_a_ray_for_a_project_at_the_same_time_one_joins_what_the_other_has_started(
    started: list[int],
) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = [asked.result() for asked in [pool.submit(local_ray.up, "/projects/mine") for _ in range(4)]]
    try:
        assert len(started) == 1 and set(found) == {local_ray.running("/projects/mine")}
    finally:
        for each in set(found):
            os.killpg(each.pid, signal.SIGKILL)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_ray_whose_start_is_interrupted_leaves_no_process_behind(
    started: list[int], monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    await_start = local_ray._await_start
    pids: list[int] = []

    def interrupted(process: subprocess.Popen[bytes], log: Path) -> None:
        await_start(process, log)
        pids.extend([process.pid, int(log.read_text().split()[1])])
        raise error

    monkeypatch.setattr(local_ray, "_await_start", interrupted)
    with pytest.raises(error):
        local_ray.up("/projects/mine")
    assert local_ray.running("/projects/mine") is None and len(pids) == 2
    end = time.monotonic() + 20
    while any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids):
        assert time.monotonic() < end, "it still runs"
