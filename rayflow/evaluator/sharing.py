"""Equal calls of one execution: one job does the work, and the others share its result.

In: jobs whose arguments are values, jobs whose body has returned. Out: look-ups, attempts, jobs that follow others.
Never: walks a term.

Equal calls under one context are one piece of work. Under several contexts the body runs once, and the term that it
returned is reduced once for each context, unless all context values that were read are known to be equal. It is the
same if the first of equal calls is not recorded: the first recorded one reduces the term again, and records the calls
below. So the records do not depend on the order of the calls.

Reads the graph. Changes the job, its followers and how it is answered; shared of the execution; out of the State; and
the demands that reduce a result.
"""

from __future__ import annotations

from typing import cast

from rayflow.evaluator import commands, lookups, witnessing
from rayflow.evaluator.attempts import start
from rayflow.evaluator.cell_roles import RESULT_SLOT
from rayflow.evaluator.closing import fail, follow
from rayflow.evaluator.file_conflicts import conflict
from rayflow.evaluator.graph import Job, UnrecordedReturn, Vector
from rayflow.evaluator.handle_conflicts import rival_text
from rayflow.evaluator.hashes import args_hash_of, eval_hash_of
from rayflow.evaluator.job_states import DONE, HELD, IN_FLIGHT, LOOKUP, RESULT, SHARED
from rayflow.evaluator.ledger import Standing
from rayflow.evaluator.members import twin_in
from rayflow.evaluator.open_terms import is_value
from rayflow.evaluator.paths import result_path
from rayflow.evaluator.places import own_path, term_row
from rayflow.evaluator.state import State, demand, move, record, warn
from rayflow.lang.options.options import scope_of
from rayflow.lang.terms.codec import WITH_WITNESSES, loads
from rayflow.lang.terms.expressions import Term
from rayflow.values.digests import digest
from rayflow.values.failures import Failure


def identify(state: State, job: Job) -> None:
    """All arguments are values: form the hashes, and go on."""
    job.work.args_hash = args_hash_of(job)
    job.eval_hash = eval_hash_of(job)
    go_on(state, job)


def go_on(state: State, job: Job) -> None:
    """The hashes are known: share with an equal job, ask the cache, or run."""
    eval_hash = job.eval_hash
    assert eval_hash is not None
    job.work.ready_at = state.now
    if scope_of(job.options) != "NONE":
        twin = _twin_of(job, eval_hash)
        if twin is not job:
            _divide(state, job, twin_in(state, twin, eval_hash) if isinstance(twin, Vector) else twin)
            return
    key = lookups.key_of(job)
    if key is None:
        job.work.missed = lookups.missed_unasked(job)
        move(state, job, HELD)
        start(state, job)
    else:
        _look_up(state, job, key)


def _twin_of(job: Job, key: bytes) -> Job | Vector:
    """The equal call that is there already; the job itself if there is none, or only one that is cancelled."""
    shared = job.execution.shared
    twin = shared.setdefault(key, job)
    if type(twin) is Job and twin is not job and _is_cancelled(twin):
        twin = shared[key] = job
        _give_own_path(job)  # calls in the term may be there already, below the other one
    return twin


def _give_own_path(job: Job) -> None:
    if job.standing is None:
        job.standing = Standing()
    job.standing.path = own_path(job)


def _is_cancelled(job: Job) -> bool:
    if job.is_open:
        return not job.work.wanted
    return isinstance(job.outcome, Failure) and job.outcome.is_cancelled


def _look_up(state: State, job: Job, key: bytes) -> None:
    move(state, job, LOOKUP)
    state.out.append(commands.LookUp(job.number, key, job.entry.hash, lookups.is_shallow(job)))


def _divide(state: State, job: Job, first: Job) -> None:
    """Let an earlier equal job do the work for this one, too, or a part of the work."""
    assert job.eval_hash is not None
    if is_effectful(first):
        go_alone(state, job)
        return
    key, shared, twin = job.eval_hash, job.execution.shared, first
    if not (first.hands_down is job.hands_down or first.hands_down.has_context_of(job.hands_down)):
        is_alike = first.state is DONE and first.clean and job.hands_down.agrees(lookups.context_read(first))
        if not (is_alike and _serves(first, job)):
            key = digest("shared", job.eval_hash, job.hands_down.digest)
            # Only calls of one context are together in a vector, so under this key there is none.
            twin = cast(Job, _twin_of(job, key))
            if is_effectful(twin):
                go_alone(state, job)
                return
    if twin is not job and _serves(twin, job):
        share(state, job, twin)
    else:
        shared[key] = job
        _share_body(state, job, first if twin is job else twin)


def is_effectful(job: Job) -> bool:
    """Whether an effect, a wait or a decision was met below a job, so that each equal call is a caller of its own."""
    return job.standing is not None and job.standing.is_pinned


def go_alone(state: State, job: Job) -> None:
    """Reduce a call under its own place, though an equal call is there: its body's term is recorded, or it runs."""
    _give_own_path(job)
    _look_up(state, job, lookups.remember_key(job))


def _share_body(state: State, job: Job, first: Job) -> None:
    """Reduce the term that an equal job's body has returned here, too, as soon as it is there."""
    if first.unrecorded is not None:
        _reduce_here(state, job, first, first.unrecorded)
    elif _is_whole(first) and first.hands_down.has_context_of(job.hands_down):
        share(state, job, first)
    elif not job.entry.is_nested and (
        RESULT not in first.trail or (first.state in IN_FLIGHT and first.work.awaits is None)
    ):
        share(state, job, first)  # until its body has returned, or awaits; if that fails, this job fails alike
    else:
        _look_up(state, job, lookups.remember_key(job))


def part(state: State, job: Job) -> None:
    """The body of a job has returned, or awaits: the followers that shared only the body go on by themselves."""
    followers = job.work.followers or ()
    job.work.followers = []
    for each in followers:
        has_context = each.hands_down.has_context_of(job.hands_down)
        if has_context and (_serves(job, each) or _is_whole(job)):
            job.work.followers.append(each)
        elif each.is_open and job.unrecorded is not None:
            _reduce_here(state, each, job, job.unrecorded)
        elif each.is_open:
            _look_up(state, each, lookups.remember_key(each))


def _reduce_here(state: State, job: Job, first: Job, unrecorded: UnrecordedReturn) -> None:
    """Go on with the term that the body of an equal job has returned."""
    term = unrecorded.reduction.term
    assert term is not None
    job.how = "shared"
    move(state, job, RESULT)
    if job.is_recorded and not first.is_recorded:
        state.out.append(commands.Remember(unrecorded.reduction))
        record(state, job, unrecorded.rows)
    if not job.hands_down.is_recorded:
        job.unrecorded = unrecorded
    if job.work.followers:
        part(state, job)
    reduce_result(state, job, term, loads(term, result_path(job)))


def reduce_result(state: State, job: Job, packed: bytes, term: Term) -> None:
    """Reduce the term that a body returned, unless the body has overwritten a file of another job."""
    if packed[:1] == WITH_WITNESSES:
        work = job.work
        if work.awaits is None and work.below is None and job.task_set is None:  # else it is a value of jobs below
            rivals = rival_text(job, packed, term)
            if rivals is not None:
                warn(state, job.execution, rivals)
        failure = conflict(job, packed, term)
        if failure is not None:
            fail(state, job, failure)
            return
        job.seen = witnessing.in_term(job.seen, packed)
    job.work.packed = packed
    if job.standing is not None or job.entry.is_effect:
        _pin_term(state, job, term)
    demand(state, term, job, result_path(job), job, RESULT_SLOT)


def _pin_term(state: State, job: Job, term: Term) -> None:
    """Record the term of a pinned call, or of an effect that is not done with what its body returned."""
    standing = job.standing
    assert standing is not None
    if job.entry.is_effect and not standing.is_pinned and not is_value(term):
        standing.path = result_path(job)
        standing.is_pinned = True
    if standing.is_pinned and (standing.pin is None or standing.pin.term is None):
        state.out.append(commands.Record((term_row(job, state.now),)))


def share(state: State, job: Job, twin: Job) -> None:
    """Let a job have the outcome of an equal one, which may have ended."""
    job.how = "shared"
    if twin.is_open:
        move(state, job, SHARED)
        if twin.work.followers is None:
            twin.work.followers = []
        twin.work.followers.append(job)
    else:
        follow(state, job, twin)


def _serves(twin: Job, job: Job) -> bool:
    """Whether an equal job makes all records that this job has to make: its own, and those of the calls below."""
    is_alike = twin.hands_down.is_recorded or not job.hands_down.is_recorded
    return is_alike and (twin.is_recorded or not job.is_recorded)


def _is_whole(job: Job) -> bool:
    """Whether an equal job can take only the final value of this one, because its term does not contain the calls that
    the body has awaited, or has evaluated as a nested execution."""
    has_returned = job.how == "computed" and RESULT in job.trail
    return job.entry.is_nested or (has_returned and job.unrecorded is None)
