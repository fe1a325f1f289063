"""Where an effect or a wait cannot stand, since nothing there is recorded, or nothing waits for its end.

In: a job. Out: a failure that says what to do, or None. Never: changes anything.
"""

from __future__ import annotations

from rayflow.errors import EffectMisplaced
from rayflow.evaluator import lookups
from rayflow.evaluator.graph import Job
from rayflow.evaluator.places import caller_of
from rayflow.values.failures import Failure, own_failure


def misplaced(job: Job) -> Failure | None:
    """The failure of an effect or a wait that cannot be kept where it stands. job: the effect, or the wait's job."""
    if job.execution.under is not None:
        return _misplaced("in a subrun, which is one call of the run and leaves no pins. Return the expression itself")
    each: Job | None = job
    while each is not None and not (each.standing is not None and each.standing.is_pinned):
        if not each.hands_down.is_recorded or not each.is_recorded:
            return _misplaced(f"below {each.name}, which is called with prov=False and leaves no records. Drop that")
        if lookups.is_shallow(each):
            return _misplaced(f'below {each.name}, which has check_valid="shallow": its value is kept whole. Drop that')
        if each.standing is not None and each.standing.is_begun:
            return _misplaced("in a thread, whose end nothing waits for. Call it in the term itself")
        each = caller_of(each.parent)
    return None


def _misplaced(where: str) -> Failure:
    return own_failure(EffectMisplaced, f"an effect or a wait stands {where}.")
