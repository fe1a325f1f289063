"""Jobs of one execution that change the same state of a handle: one of them runs again in every run.

In: a job and the term that its body returned, now or in the cache. Out: a warning about two such jobs. Never: fails one
of them, since both have already run.

Both jobs receive the same state, and each makes a newer state from it. So each one makes the other's state invalid.

Changes: `Execution.advances`.
"""

from __future__ import annotations

from collections.abc import Iterator

from rayflow.evaluator.explanations import call_text
from rayflow.evaluator.graph import Job
from rayflow.evaluator.witnessed_changes import Advance
from rayflow.lang.terms.codec import may_have
from rayflow.lang.terms.expressions import Term
from rayflow.values.encoding.nested import iter_leaves
from rayflow.values.refs import ValueRef
from rayflow.values.witnesses import OF_HANDLE


def rival_text(job: Job, packed: bytes, term: Term) -> str | None:
    """Note the handles that a job's body has changed. Gives a warning when another job has changed one of the same
    states."""
    if not may_have(packed, OF_HANDLE):
        return None
    witnesses = [each for value in job.work.bound.values() for ref in _refs_in(value) for each in ref.witnesses]
    given = {payload[0] for kind, payload in witnesses if kind == OF_HANDLE}
    text = None
    for ref in _refs_in(term):
        for kind, payload in ref.witnesses:
            if kind != OF_HANDLE or payload[0] in given:
                continue
            made, changed = payload
            known = job.execution.advances.setdefault(changed, Advance(job.eval_hash, call_text(job), made))
            if known.eval_hash != job.eval_hash and known.state != made:
                handle = ref.preview.rpartition(" at ")[0] or ref.preview
                text = (
                    f"{known.call} and {call_text(job)} change one state of {handle}: each outdates what the other has "
                    "made, so that one of them runs again in every run. Let one take what the other returns, "
                    'second(first(handle)), or give each a branch of its own: first(handle.fork("a")), '
                    'second(handle.fork("b")).'
                )
    return text


def _refs_in(term: Term) -> Iterator[ValueRef]:
    return (leaf for leaf in iter_leaves(term) if type(leaf) is ValueRef)
