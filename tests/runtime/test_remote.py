"""A worker's process that works for several projects in turn: each one's bodies run where that project is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import os, pickle, sys
from rayflow.runtime import remote
from rayflow.runtime.calls import Surroundings

remote._got = lambda ref: ref  # in place of Ray's object store
store, *projects = sys.argv[1:]
around = [pickle.dumps(Surroundings(project, (), store)) for project in projects]
for turn in map(int, sys.stdin.read().split()):
    remote.run_bundle(pickle.dumps(((projects[turn], ()), [])), [around[turn]])
    print(os.getcwd())
    os.chdir("/")  # as a body may
"""


def _stood_in(tmp_path: Path, *projects: Path, turns: str) -> list[str]:
    from rayflow.store.store import open_store

    store = tmp_path / "store"
    open_store(str(store)).close()
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(store), *map(str, projects)],
        input=turns, text=True, capture_output=True, timeout=60, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_bodies_stand_in_their_own_project_after_those_of_another_one_or_who_went_elsewhere(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    assert _stood_in(tmp_path, one, other, turns="0 1 0 0") == [str(one), str(other), str(one), str(one)]


def test_where_a_project_is_not_on_this_machine_its_bodies_do_not_stand_in_another_one(tmp_path):
    one = tmp_path / "one"
    one.mkdir()
    stood = _stood_in(tmp_path, one, tmp_path / "absent", turns="0 1")
    assert stood == [str(one), os.path.realpath(tmp_path)]
