"""Which job of an execution gave which file: two that write one path would undo each other for ever.

In: a job and the term that its body returned, now or in the cache. Out: the failure of a job that has overwritten what
another one gave. Never: looks at a file; the states that travel with the values say enough.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from rayflow.evaluator.attempts import own_failure
from rayflow.evaluator.executions import Writer
from rayflow.evaluator.jobs import Job
from rayflow.evaluator.stories import call_text
from rayflow.lang.codec import witnesses_of
from rayflow.lang.expressions import Term
from rayflow.values.failures import Failure
from rayflow.values.nested import iter_leaves
from rayflow.values.refs import ValueRef
from rayflow.values.witnesses import OF_FILE, Witness

_BY_STATE = ("stat", "content", "dir")
"""How a file or directory is known whose states can be compared."""


def conflict(job: Job, packed: bytes, term: Term) -> Failure | None:
    """Take in the files that a job's body gave; a failure when another job of the execution gave one of them before,
    in another state. What a job was given and passes on, it may also have changed: that is told where it runs."""
    if not any(kind == OF_FILE for kind, _ in witnesses_of(packed)):
        return None
    given: set[str] | None = None
    for _, state in _files_in(term):
        how, path, _, _ = state
        if how not in _BY_STATE:
            continue
        project, writers = job.execution.project_dir, job.execution.writers
        place = _place(path, project)
        known = writers.get(place)
        if known is None:
            writers[place] = Writer(job.eval_hash, call_text(job), state)
            continue
        if known.state[2:] == state[2:] or known.state[0] != how or known.eval_hash == job.eval_hash:
            continue
        if given is None:
            files = (payload for value in job.bound.values() for _, payload in _files_in(value))
            given = {_place(payload[1], project) for payload in files}
        if place in given:
            writers[place] = Writer(job.eval_hash, call_text(job), state)
            continue
        written = path if known.state[1] == path else f"{path}, which is {known.state[1]}"
        return own_failure(
            "rayflow.errors.FileConflict",
            ("rayflow.errors.UserError", "rayflow.errors.RayflowError"),
            f"{known.call} and {call_text(job)} both wrote {written}: each would undo what the other made, in "
            "every run. Have them write to different paths, or pass the file of one as an argument to the other.",
        )
    return None


def _place(path: str, project: str) -> str:
    """Where a path leads, however it is written: `out.txt`, `./out.txt` and the whole path are one."""
    if "://" in path or path[:1] == "~":
        return path
    return posixpath.normpath(posixpath.join(project, path))


def _files_in(term: Term) -> Iterator[Witness]:
    """The files that are part of a value; those in calls that it makes are not."""
    for leaf in iter_leaves(term):
        if type(leaf) is ValueRef:
            yield from (each for each in leaf.witnesses if each[0] == OF_FILE)
