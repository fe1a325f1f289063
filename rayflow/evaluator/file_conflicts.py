"""Jobs of one execution that write the same file: each would undo the other in every run.

In: a job and the term that its body returned, now or in the cache. Out: the failure of a job that has overwritten the
file of another. Never: looks at a file; the states that travel with the values are enough.

Changes: `Execution.writers`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from rayflow.errors import FileConflict
from rayflow.evaluator.explanations import call_text
from rayflow.evaluator.graph import Job
from rayflow.evaluator.witnessed_changes import Writer
from rayflow.lang.terms.codec import may_have
from rayflow.lang.terms.expressions import Term
from rayflow.values.encoding.nested import iter_leaves
from rayflow.values.failures import Failure, own_failure
from rayflow.values.refs import ValueRef
from rayflow.values.witnesses import OF_FILE, Witness

_BY_STATE = ("stat", "content", "tree")
"""The ways of knowing a file or directory whose states can be compared."""


def conflict(job: Job, packed: bytes, term: Term) -> Failure | None:
    """Note the files that a job's body has returned. Gives a failure if another job has returned one of them in another
    state. A file that the job received and passes on causes no conflict: the worker checks whether it has changed.
    """
    if not may_have(packed, OF_FILE):
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
            files = (payload for value in job.work.bound.values() for _, payload in _files_in(value))
            given = {_place(payload[1], project) for payload in files}
        if place in given:
            writers[place] = Writer(job.eval_hash, call_text(job), state)
            continue
        written = path if known.state[1] == path else f"{path}, which is {known.state[1]}"
        return own_failure(
            FileConflict,
            f"{known.call} and {call_text(job)} both wrote {written}: each would undo what the other made, in "
            "every run. Have them write to different paths, or pass the file of one as an argument to the other.",
        )
    return None


def _place(path: str, project: str) -> str:
    """The real path of a file. `out.txt`, `./out.txt` and the whole path give the same one."""
    if "://" in path or path[:1] == "~":
        return path
    return posixpath.normpath(posixpath.join(project, path))


def _files_in(term: Term) -> Iterator[Witness]:
    """The files that are part of a value, without those in calls that it makes."""
    for leaf in iter_leaves(term):
        if type(leaf) is ValueRef:
            yield from (each for each in leaf.witnesses if each[0] == OF_FILE)
