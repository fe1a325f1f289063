"""The end of jobs and of executions.

In: a job that has an outcome, or that nothing wants any more. Out: rows of what happened, outcomes for all that wait,
`Stop` and `Finish`. Never: starts a job.

Reads the graph. Changes: the job that ends and those that follow it; of the execution the open jobs, counts, failures
and whether it is wanted; of the State jobs, fills, executions, out, and the waiting jobs of capacity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rayflow.evaluator import commands, explanations, lookups, witnessing
from rayflow.evaluator.cell_roles import CellRole
from rayflow.evaluator.graph import Cell, Execution, Job
from rayflow.evaluator.hashes import call_hash_of, hash_of
from rayflow.evaluator.job_states import (
    DONE,
    FAILED,
    HELD,
    IN_FLIGHT,
    LOOKUP,
    RESULT,
    RUNNING,
    SHARED,
    JobState,
    Left,
)
from rayflow.evaluator.members import forget, leave_all
from rayflow.evaluator.needs import Node, is_cleaning
from rayflow.evaluator.nested_executions import nested_end
from rayflow.evaluator.own_failures import cancelled
from rayflow.evaluator.places import outcome_row
from rayflow.evaluator.rows import closing_record, full_reduction_row, status_of
from rayflow.evaluator.state import State, demand, move, settle
from rayflow.lang.terms.expressions import Expression, Term
from rayflow.values.failures import Failure

MOST_FAILURES = 1_000
"""This many failures of an execution are listed when it ends; the records have all of them."""


def fail(state: State, job: Job, failure: Failure, own: bool = True) -> None:
    """End a job with a failure. own: it happened in this job; otherwise the job only passes it on."""
    execution = job.execution
    if job.is_settled:
        return
    if own:
        failure = located(failure, job)
    if execution.fatal is not None and job is execution.root:
        failure = execution.fatal  # a job that was cancelled because of it may come first by position
    job.outcome = failure
    job.clean = False
    is_fatal = execution.fail_fast and execution.wanted and explanations.dooms(job)
    close(state, job, FAILED)
    if is_fatal and execution.wanted:  # an equal job may have stopped it by now
        execution.fatal = failure
        stop(state, execution)


def located(failure: Failure, job: Job, expression: Expression | None = None) -> Failure:
    """A failure in this job, with the calls that led to it. Adds it to the failures of the execution.

    expression: the operation or form in the job's term that failed; None if the task itself failed.
    """
    if not failure.trail:
        trail = explanations.trail_of(job)
        if expression is not None:
            trail = (*trail, explanations.made_text(expression, job))
        failure = replace(failure, trail=trail, origin=job.job_id)
    if not failure.is_cancelled and len(job.execution.failures) < MOST_FAILURES:
        # Without the exception itself: nothing raises the failures that were caught.
        listed = failure if failure.pickled is None else replace(failure, pickled=None)
        job.execution.failures.append((job, listed))
    return failure


def stop(state: State, execution: Execution) -> None:
    """Stop an execution that nothing needs any more: start nothing, and end its running calls. Clean-ups go on."""
    execution.wanted = False
    execution.is_restricted = True
    _cancel_known_outcome(execution.root)
    leave_all(state, execution)
    for place, cell in list(execution.waits.items()):
        if not is_cleaning(execution, cell):
            del execution.waits[place]
            state.out.append(commands.CloseWait(execution.execution_id, place))
            settle(state, cell, cancelled(), ())
    for job in list(execution.open.values()):
        if is_cleaning(execution, job):
            continue
        job.work.wanted = False
        if job.is_cleaning_up:
            continue
        if job.state is RUNNING:
            # The job closes when any answer to it comes.
            state.out.append(commands.Stop(job.number, job.work.attempt))
        elif job.state is HELD:
            state.capacity.drop(job)
            fail(state, job, cancelled())
        elif job.number in execution.lacking:
            fail(state, job, cancelled())


def _cancel_known_outcome(root: Job | None) -> None:
    """A root that has stayed open for a clean-up ends as cancelled, although its outcome was known."""
    left = root.work.left if root is not None and root.is_open else None
    if root is not None and left is not None and left.ending is not None:
        left.ending = FAILED, False, False
        root.outcome, root.value_hash, root.call_hash, root.clean = cancelled(), None, None, False


def close(
    state: State, job: Job, to: JobState, is_left_to_follower: bool = False, *, tells_value: bool = False
) -> None:
    """End a job: record it, pass its outcome on, and forget the data that only an open job needs. It ends later if
    something below it still has to come to its clean-up.

    is_left_to_follower: the job followed a job that recorded no call node. So it records one itself. tells_value:
    whether its call node may answer shallow calls.
    """
    execution, left = job.execution, job.work.left
    if left is not None and left.count:
        left.ending = to, is_left_to_follower, tells_value
        if job.state in IN_FLIGHT:
            move(state, job, RESULT)
        return
    move(state, job, to)
    execution.open.pop(job.number, None)
    execution.lacking.pop(job.number, None)
    state.jobs.pop(job.number, None)
    tally = execution.tally
    if execution.ledger is not None:
        row = outcome_row(job, state.now)
        if row is not None:
            state.out.append(commands.Record((row,)))
    if job.standing is not None and job.standing.is_answered:
        tally.totals["recorded"] += 1  # by an earlier life
    elif job.is_recorded:
        state.out.append(closing_record(job, state.now, is_left_to_follower, tells_value=tells_value))
        tally.totals["recorded"] += 1
    how = status_of(job) if to is FAILED else job.how or "computed"
    tally.totals[how] += 1
    tally.count(job.name, "open", -1)
    tally.count(job.name, how)
    for target, slot in job.waiters:
        state.fills.append((target, slot, job.outcome, (job,)))
    for follower in job.work.followers or ():
        if follower.is_open:
            follow(state, follower, job)
    job.let_go()
    if job is execution.root and not execution.threads:
        finish(state, execution, job)
    elif execution.left:
        has_cleaned_up(state, job)


def leave_to_clean_up(node: Node) -> None:
    """Let the calls around a cell or job stay open until it has come to its clean-up, though nothing may need it."""
    execution = node.execution if isinstance(node, Job) else node.scope.execution
    if id(node) in execution.left:
        return
    execution.left[id(node)] = node
    for job in _around(node):
        if job.work.left is None:
            job.work.left = Left()
        job.work.left.count += 1


def enter_lost(state: State, scope: Job, path: bytes, terms: Sequence[tuple[bytes, Term]]) -> None:
    """Reduce terms that nothing needs, each at its path, only to come to the clean-ups in them. path: of all."""
    if not terms:
        return
    scope.execution.is_restricted = True
    cell = Cell(CellRole.LOST, None, scope, path, len(terms))
    leave_to_clean_up(cell)
    for slot, (place, term) in enumerate(terms):
        demand(state, term, scope, place, cell, slot)


def has_cleaned_up(state: State, node: Node) -> None:
    """A cell or job has come to its clean-up, if it had to: end the calls around it that have stayed open for it."""
    execution = node.execution if isinstance(node, Job) else node.scope.execution
    if execution.left.pop(id(node), None) is None:
        return
    for job in _around(node):
        left = job.work.left
        if left is None:
            continue
        left.count -= 1
        if not left.count and left.ending is not None:
            to, is_left_to_follower, tells_value = left.ending
            close(state, job, to, is_left_to_follower, tells_value=tells_value)


def _around(node: Node) -> Iterator[Job]:
    """The open calls around a cell or job."""
    job = node.parent if isinstance(node, Job) else node.scope
    while job is not None:
        above = job.parent
        if job.is_open:
            yield job
        job = above


def follow(state: State, job: Job, twin: Job) -> None:
    """End a job as its twin has ended."""
    if isinstance(twin.outcome, Failure):
        fail(state, job, twin.outcome, own=False)
        return
    job.value_hash = twin.value_hash or hash_of(twin.outcome)
    job.task_set = twin.task_set
    # A job that was given other files than its twin, of equal content, is a call of its own in the records.
    job.call_hash = call_hash_of(job) if job.entry.sees_staged_alone else twin.call_hash
    # The reads and calls of its own arguments belong to itself.
    job.clean = twin.clean and (job.work.below is None or job.work.below.is_clean)
    job.fleeting = twin.fleeting
    if twin.reads is not None:
        job.note_reads(twin.reads)
    if twin.seen is not None:
        job.seen = witnessing.joined(job.seen, twin.seen)
    job.oldest = twin.queued_at if twin.oldest is None else twin.oldest
    job.outcome = twin.outcome
    if job.is_recorded and not twin.is_recorded and job.clean and not job.fleeting:
        remember_whole(state, job)
    close(state, job, DONE, is_left_to_follower=not twin.is_recorded or job.call_hash != twin.call_hash)


def remember_whole(state: State, job: Job) -> None:
    """Record the final value of a job, unless it relies on more than can be listed."""
    witnesses = witnessing.collected(job.seen, lookups.is_shallow(job))
    if witnesses is not None:
        key, read = lookups.remember_key(job), lookups.context_read(job)
        state.out.append(commands.Remember(full_reduction_row(job, key, read, witnesses, state.now)))


# --- the end of an execution ------------------------------------------------------------------------------------------


def end_thread(state: State, execution: Execution) -> None:
    """A call that was begun for its own sake has ended; the execution may have waited for it alone."""
    execution.threads -= 1
    root = execution.root
    if not execution.threads and root is not None and not root.is_open:
        finish(state, execution, root)


def finish(state: State, execution: Execution, root: Job) -> None:
    """End an execution whose root and threads have ended. What is still open has lost a race, and nothing needs it."""
    for job in list(execution.open.values()):
        if job.state is RUNNING:
            state.freed.extend(state.capacity.give_back(job))
        job.outcome, job.work.left = cancelled(), None
        close(state, job, FAILED)
    drop(state, execution)
    outcome = root.outcome
    if isinstance(outcome, Failure):
        _list_first(execution, root, outcome)
        if outcome.is_cancelled and execution.cancelled_by:
            outcome = cancelled(execution.cancelled_by)
    state.out.extend(commands.CloseWait(execution.execution_id, place) for place in execution.waits)
    failures = [(explanations.nearest_recorded(job).job_id, job.name, failure) for job, failure in execution.failures]
    state.out.append(
        commands.Finish(
            execution_id=execution.execution_id,
            outcome=outcome,
            failures=tuple(failures),
            counts=execution.tally.totals,
            by_task=execution.tally.by_task,
            value_hash=root.value_hash,
            below=nested_end(execution, root) if execution.under is not None else None,
            is_torn=execution.is_torn,
        )
    )


def end_job_for_nothing(state: State, job: Job) -> None:
    """End a job that nothing needs any more. An effect that runs is left, unless its options say otherwise.

    A job whose arguments or result are being reduced ends with what is below it: there may be a clean-up.
    """
    if job.is_settled:
        return
    if job.state is RUNNING and job.entry.is_effect and job.options.get("on_cancel") != "kill":
        assert job.standing is not None
        job.standing.is_late = True
        _let_nobody_wait(state, job)
        return
    was_wanted, job.work.wanted = job.work.wanted, False
    if job.is_cleaning_up:
        return
    if job.state is RUNNING or job.state is LOOKUP:
        if job.state is RUNNING and was_wanted:
            state.out.append(commands.Stop(job.number, job.work.attempt))
        _let_nobody_wait(state, job)  # its answer is on its way
    elif job.state is HELD:
        state.capacity.drop(job)
        fail(state, job, cancelled())
    elif job.state is SHARED or job.number in job.execution.lacking:
        fail(state, job, cancelled())


def _let_nobody_wait(state: State, job: Job) -> None:
    """For those that wait for a job it is cancelled now, though it is still to end."""
    waiters, job.waiters = job.waiters, []
    for target, slot in waiters:
        state.fills.append((target, slot, cancelled(), ()))


def drop(state: State, execution: Execution) -> None:
    """Forget an execution, with all that is open in it."""
    del state.executions[execution.execution_id]
    execution.demands.clear()
    for job in execution.open.values():
        state.jobs.pop(job.number, None)
        state.capacity.drop(job)
    for vector in list(execution.vectors.values()):
        forget(state, vector)


def _list_first(execution: Execution, root: Job, last: Failure) -> None:
    """List the failure that an execution ends with before those that were caught."""
    failures = execution.failures
    own = ((last.digest, last.trail) == (failure.digest, failure.trail) for _, failure in failures)
    place = next((place for place, is_own in enumerate(own) if is_own), None)
    if place is not None:
        failures.insert(0, (failures.pop(place)[0], replace(last, pickled=None)))
    elif len(failures) == MOST_FAILURES:  # it was left out
        failures.insert(0, (root, replace(last, pickled=None)))
