"""Effects: calls that are made once at their place, and calls that an earlier life has pinned.

In: calls whose arguments are values. Out: attempts of effects, rows of what was pinned; ordinary calls go on in
sharing.py. Never: looks an effect up, or shares it.

The start of each attempt is recorded in the turn in which it is sent, and the shell commits it before that. The end is
recorded in the turn in which anything follows from it. So an attempt that has started and has no end is *unknown*: the
option `on_unknown` says whether it is made again.

Changes: the job and its standing; out of the State.
"""

from __future__ import annotations

from rayflow.evaluator import own_failures, retries, sharing
from rayflow.evaluator.attempts import start, start_later
from rayflow.evaluator.awaiting import Awaits
from rayflow.evaluator.changed_effects import begin_new
from rayflow.evaluator.closing import fail, leave_to_clean_up
from rayflow.evaluator.graph import Job
from rayflow.evaluator.hashes import args_hash_of, eval_hash_of
from rayflow.evaluator.job_states import HELD, RESULT
from rayflow.evaluator.ledger import Pin, Standing
from rayflow.evaluator.misplaced import misplaced
from rayflow.evaluator.needs import awaited_key
from rayflow.evaluator.paths import result_path
from rayflow.evaluator.pinning import answer, stand
from rayflow.evaluator.places import caller_of, ledger_of, may_lead_to_clean_up, pinned_caller, place_of
from rayflow.evaluator.state import State, move
from rayflow.lang.terms.codec import loads
from rayflow.lang.terms.outcomes import unpack_outcome
from rayflow.values.digests import digest


def identify(state: State, job: Job) -> None:
    """All arguments of a call are values: go on with it, as an effect, from its pin, or in the usual way."""
    pin = job.standing.pin if job.standing is not None else None
    is_moved = pin is None and _may_be_moved(job)
    if pin is None and not job.entry.is_effect and not is_moved:
        sharing.identify(state, job)
        return
    job.work.args_hash = args_hash_of(job)
    job.eval_hash = eval_hash_of(job)
    job.work.ready_at = state.now
    if is_moved and not job.entry.is_effect:
        above = pinned_caller(job.parent)
        ledger = job.execution.ledger
        assert above is not None
        assert ledger is not None
        pin = ledger.pins.get(place_of(job, above))
        if pin is None:
            sharing.go_on(state, job)
            return
        if answered_by(state, job, pin):
            return
    if job.entry.is_effect:
        _begin(state, job)
    elif pin is not None and pin.term is not None:
        go_on_from_term(state, job, pin)
    elif job.parent is None and pin is not None and not pin.awaited:
        sharing.go_on(state, job)  # only its arguments were met
    else:
        assert pin is not None
        _enter_again(state, job, pin)


def has_term(job: Job) -> bool:
    """Whether an earlier life has pinned the term of a call, so that its body is not run."""
    pin = job.standing.pin if job.standing is not None else None
    return pin is not None and pin.term is not None


def goes_on_to_clean_up(state: State, job: Job) -> bool:
    """Whether a call that nothing needs goes on all the same: an earlier life has entered a form with a clean-up below
    it or in its arguments, and not evaluated that. Its body is entered again if it awaits."""
    pin = job.standing.pin if job.standing is not None else None
    if pin is None:
        return may_lead_to_clean_up(job.parent)
    if pin.place not in ledger_of(job.execution).unclean:
        return False
    if pin.term is None:
        assert job.standing is not None
        job.standing.cleans = True
        leave_to_clean_up(job)
    return True


def is_only_to_be_met(job: Job) -> bool:
    """Whether nothing needs a call, and it leads to no clean-up, unless one is in its arguments."""
    return not (job.work.wanted or has_term(job) or job.is_cleaning_up)


def _may_be_moved(job: Job) -> bool:
    """Whether a call may have been recorded at another path: its caller is a body that awaits, and was edited; or the
    run is a fork."""
    caller, ledger = caller_of(job.parent), job.execution.ledger
    if caller is None or caller.standing is None or ledger is None:
        return False
    return ledger.may_move(caller.standing)


def note_awaited_key(job: Job) -> None:
    """Note in an effect the expression that its caller's body awaits, and in which it stands."""
    caller, target = caller_of(job.parent), job.execution.target
    if caller is not None and caller.work.awaits is not None and target is not None:
        if job.standing is None:
            job.standing = Standing()
        job.standing.key = awaited_key(*target)


def answered_by(state: State, job: Job, pin: Pin, *, needs_task: bool = True) -> bool:
    """Whether a new call goes on without its arguments, by what earlier lives have pinned.

    needs_task: whether its task can be called. If it is gone, or takes other arguments, a pinned term is enough.
    """
    if pin.outcome is not None:
        answer(state, job, pin)
        return True
    standing = job.standing = Standing(pin.place, pin.term_path)
    standing.key = pin.key
    if pin.term_path is not None:
        standing.pin, standing.is_pinned = pin, True
    standing.generation, standing.known_failures = pin.generation, pin.known_failures
    standing.is_edited = standing.is_pinned and pin.term is None and pin.task_hash != job.entry.hash
    pin.taken_at = job.job_id
    if needs_task or pin.term is None:
        return False
    go_on_from_term(state, job, pin)
    return True


def go_on_from_term(state: State, job: Job, pin: Pin) -> None:
    """Reduce the term that was pinned for a call, whatever its code is now."""
    assert pin.term is not None
    if job.work.args_hash is None:  # its task is gone, or takes other arguments: the term is enough
        job.work.args_hash = digest("args")
        job.eval_hash = digest("eval", b"gone", job.entry.hash, pin.place)
    job.how = "shared"
    move(state, job, RESULT)
    sharing.reduce_result(state, job, pin.term, loads(pin.term, result_path(job)))


def _enter_again(state: State, job: Job, pin: Pin) -> None:
    """Enter a body that awaits with all outcomes that it has awaited in earlier lives."""
    job.work.awaits = Awaits()
    job.work.awaits.outcomes.update({key: unpack_outcome(packed) for key, packed in pin.awaited.items()})
    move(state, job, HELD)
    start(state, job)


def _begin(state: State, job: Job) -> None:
    """Send an effect, unless its pin says that it has returned, or that nobody knows whether it has."""
    failure = misplaced(job)
    if failure is not None:
        fail(state, job, failure)
        return
    standing = stand(state, job)
    assert standing.place is not None
    ledger = job.execution.ledger
    assert ledger is not None
    first = ledger.effects.setdefault(standing.place, job)
    if first is not job:
        _share_key(state, job, first)
        return
    pin = ledger.pins.get(standing.place)
    if pin is None:
        begin_new(state, job)
        return
    standing.generation, standing.known_failures = pin.generation, pin.known_failures
    if pin.outcome is not None:
        answer(state, job, pin)
    elif pin.term is not None:
        standing.pin, standing.path, standing.is_pinned = pin, pin.term_path, True
        go_on_from_term(state, job, pin)
    else:
        _go_on(state, job, pin)


def _share_key(state: State, job: Job, first: Job) -> None:
    """Two calls of one caller have the same `key`: they are one effect, if they are equal."""
    if job.eval_hash != first.eval_hash:
        fail(state, job, own_failures.key_taken(job))
        return
    sharing.share(state, job, first)


def _go_on(state: State, job: Job, pin: Pin) -> None:
    """Go on with an effect of which an earlier life has started attempts."""
    work = job.work
    work.attempt, work.raised, work.losses = pin.attempts, pin.raised, pin.losses
    move(state, job, HELD)
    if not pin.is_open:
        start_later(state, job, max(0.0, (pin.due_at - state.now) / 1_000_000))
        return
    reason = "the execution was stopped or lost while it ran"
    if job.options.get("on_unknown") == "fail":
        fail(state, job, own_failures.outcome_unknown(job, reason))
        return
    work.losses += 1
    if retries.loss_delay(job, False) is None:
        fail(state, job, own_failures.worker_lost(job, reason, False))
        return
    start(state, job)
