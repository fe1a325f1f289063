"""A worker's process that works for several projects in turn: each one's bodies run where that project is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import os, pickle, sys
from rayflow.runtime.on_ray import remote
from rayflow.runtime.protocol.attempts import WorkerContext

remote._get_object = lambda ref: ref  # in place of Ray's object store
store, *projects = sys.argv[1:]
around = [pickle.dumps(WorkerContext(project, (), store)) for project in projects]
for turn in map(int, sys.stdin.read().split()):
    remote.run_bundle(pickle.dumps(((projects[turn], ()), (), (False, "", [], [], (0.0, ())))), [around[turn]])
    print(os.getcwd())
    os.chdir("/")  # as a body may
"""


def _stood_in(tmp_path: Path, *projects: Path, turns: str) -> list[str]:
    from rayflow.store.open import open_store

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


LONG = """
import pickle, sys, threading
from rayflow.runtime.on_ray import remote
from rayflow.runtime.protocol.attempts import WorkerContext
from rayflow.values.process import waits

waits.SLOW_SECONDS = 0.02
remote._get_object = lambda ref: ref
told = threading.Event()
write = sys.__stdout__.write

class Out:
    def write(self, text):
        write(text)
        told.set()
    def flush(self):
        sys.stdout.flush()

sys.__stdout__ = Out()
store = sys.argv[1]
around = [pickle.dumps(WorkerContext(name, (), store, channel=channel)) for name, channel in (("/a", "1"), ("/b", "2"))]
for turn in (0, 1, 0):
    remote.run_bundle(pickle.dumps(((str(turn), ()), (), (False, "", [], [], (0.0, ())))), [around[turn]])
    told.clear()
    with waits.waiting(f"a bucket in turn {turn}", whom=str(told)):
        waits._reported_at.clear()
        assert told.wait(20)
"""


def test_what_a_worker_waits_for_is_told_in_the_channel_of_the_run_that_it_works_for(tmp_path):
    from rayflow.runtime.on_ray.remote import MARK, SEPARATOR
    from rayflow.store.open import open_store

    store = tmp_path / "store"
    open_store(str(store)).close()
    done = subprocess.run([sys.executable, "-c", LONG, str(store)], text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = [line.removeprefix(MARK).split(SEPARATOR) for line in done.stdout.split("\n") if line]
    assert [(channel, task, stream) for channel, task, stream, _ in lines] == [
        (channel, "rayflow", "stderr") for channel in "121"
    ]
    assert all(" s for a bucket in turn" in text and "a worker on" in text for *_, text in lines)


VECTOR = """
import pickle, sys
from rayflow.lang import tasks
from rayflow.lang.terms.codec import loads
from rayflow.runtime.on_ray import remote
from rayflow.runtime.protocol.attempts import Call, VectorCall, WorkerContext

project, store = sys.argv[1:]
sys.path.insert(0, project)
import flow
entry = flow.inc.entry()
remote._get_object = lambda ref: ref
around = [pickle.dumps(WorkerContext(project, (project,), store, {entry.name: entry}))]

def run(calls, *vectors, refs=around):
    # The real functions pickle their arguments, and so do these.
    bundle = (False, "", [tuple(each) for each in calls], [tuple(each) for each in vectors], (0.0, ()))
    packed = pickle.dumps((("key", ()), (), bundle))
    answer = remote.run_bundle(packed, refs)[0]
    return answer if answer == remote.LACKS_CONTEXT else remote.bundle_reply_in(answer)

def vector(first, *arguments):
    jobs = range(first, first + len(arguments))
    ids = b"".join(job.to_bytes(16, "big") for job in jobs)
    return VectorCall(jobs, ids, entry.name, entry.hash, ("n",), [(each,) for each in arguments])

def told(reply):
    columns = [(list(each.jobs), [loads(term) for term in each.terms]) for each in reply.vectors]
    others = [(each.job, each.failure.message if each.failure else loads(each.term)) for each in reply.each()]
    print((columns, others, list(reply.not_started)))

print(run([], vector(1, 1), refs=None) == remote.LACKS_CONTEXT)
call = Call(1, 1, b"c" * 16, entry.name, entry.hash, {"n": 1})
told(run([call], vector(10, 1, 2), vector(20, 5, -1, 7)))
remote.LONGEST_BUNDLE_SECONDS = -1
told(run([call], vector(10, 1, 2)))
told(run([], vector(10, 1, 2), vector(20, 5)))
"""


def test_a_bundle_answers_members_in_columns_others_alone_and_names_those_that_it_did_not_begin(tmp_path):
    from rayflow.store.open import open_store

    store = tmp_path / "store"
    open_store(str(store)).close()
    body = "def inc(n):\n    if n < 0:\n        raise ValueError('below')\n    return n + 1\n"
    (tmp_path / "flow.py").write_text(f"from rayflow import task\n\n@task\n{body}")
    done = subprocess.run(
        [sys.executable, "-c", VECTOR, str(tmp_path), str(store)], text=True, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "True",
        "([([10, 11], [2, 3]), ([20, 22], [6, 8])], [(1, 2), (21, 'below')], [])",
        "([([], [])], [(1, 2)], [10, 11])",
        "([([10], [2]), ([], [])], [], [11, 20])",
    ]
