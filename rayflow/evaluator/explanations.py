"""Jobs as text, and searches through the graph: what waits for what.

In: jobs and cells. Out: calls and warnings as text, cycles, whether a failure dooms an execution. Never: changes
anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rayflow.evaluator.cell_roles import CellRole
from rayflow.evaluator.forms import FORMS
from rayflow.evaluator.graph import Cell, Execution, Job
from rayflow.evaluator.job_states import ARGUMENTS, SHARED
from rayflow.lang.operations import is_shown
from rayflow.lang.terms.expressions import Expression, Term, render
from rayflow.values.encoding.previews import one_line

_SHOWN_AT_EACH_END = 20
"""This many calls are shown at each end of a long chain."""


def call_text(job: Job, limit: int = 120) -> str:
    """The call of a job as the user would write it: `step(n=3)`."""
    if job.work.bound:
        inside = ", ".join(f"{name}={render(value, 60)}" for name, value in _shown_arguments(job).items())
        text = f"{job.name}({inside})"
    else:
        text = render(job.work.call, limit) if job.work.call is not None else _without_arguments(job)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _without_arguments(job: Job) -> str:
    name = job.name
    return name if name.startswith("<") else f"{name}()"


def _shown_arguments(job: Job) -> Mapping[str, Term]:
    """The arguments of a job that are shown."""
    entry = job.entry
    if entry.shows_all_arguments:
        return job.work.bound
    return {name: value for name, value in job.work.bound.items() if is_shown(entry.name, name, render(value, 20))}


def name_of(job: Job) -> str:
    """The name under which a new job is shown: the label of its call; for a script also the name of the job whose task
    makes the call."""
    options = job.work.call._options if job.work.call is not None else None
    label = options.get("label") if options else None
    if type(label) is str:
        return label
    caller = _caller(job)
    return job.entry.name if caller is None else f"{caller.name}:{_short(job.entry.name)}"


def _caller(job: Job) -> Job | None:
    """The job whose task has made a call; None where no task of the user's has."""
    owner = job.parent
    while owner is not None and owner.state is ARGUMENTS:
        owner = owner.parent
    return None if owner is None or owner.name.startswith(("<", "rayflow.")) else owner


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def print_label(job: Job) -> str:
    """The text before each printed line of a script or a labelled call: the call that made it, and its name."""
    if not job.entry.is_named_after_caller:
        return job.name
    caller = _caller(job)
    if caller is None:
        return _short(job.name)
    own = _short(job.entry.name) if job.name.endswith(f":{_short(job.entry.name)}") else job.name
    inside = ", ".join(f"{name}={render(value, 24)}" for name, value in caller.work.bound.items())
    return f"{_short(caller.name)}{f'({one_line(inside, LABEL_CHARACTERS)})' if inside else ''}: {own}"


LABEL_CHARACTERS = 50


def nearest_recorded(job: Job) -> Job:
    """The job, or the nearest one above it that is recorded."""
    while not job.is_recorded and job.parent is not None:
        job = job.parent
    return job


def trail_of(job: Job) -> tuple[str, ...]:
    """The calls from the root to a job, root first; a long chain keeps its ends."""
    chain: list[Job] = []
    step: Job | None = job
    while step is not None:
        chain.append(step)
        step = step.parent
    chain.reverse()
    under = job.execution.under
    return (*under.trail, *_texts(chain)) if under is not None else tuple(_texts(chain))


def _texts(chain: list[Job]) -> list[str]:
    """The calls of jobs; a long chain keeps its ends, and only those are written out."""
    if len(chain) <= 2 * _SHOWN_AT_EACH_END:
        return [call_text(job) for job in chain]
    left_out = f"... {len(chain) - 2 * _SHOWN_AT_EACH_END} more calls ..."
    return [*map(call_text, chain[:_SHOWN_AT_EACH_END]), left_out, *map(call_text, chain[-_SHOWN_AT_EACH_END:])]


def users_place(job: Job) -> str | None:
    """The place of the user's task that made the term of a job. Tasks of rayflow, such as no_prov, are passed over."""
    step: Job | None = job
    while step is not None:
        if step.entry.place is not None and not step.entry.name.startswith(OURS):
            return step.entry.place
        step = step.parent
    return job.execution.under.place if job.execution.under is not None else None


OURS = "rayflow."
"""Before the names of the tasks that every program has."""


def made_text(expression: Expression, job: Job) -> str:
    """An operation or a form as text, with the place of the task that made it; its own place is not known."""
    place = users_place(job)
    return render(expression) if place is None else f"{render(expression)}  made by the task at {place}"


def dooms(job: Job) -> bool:
    """Whether the execution fails when this job does: nothing on one of the ways to the root can catch the failure.

    A search from each cell and job to those that wait for it; each is entered once.
    """
    root = job.execution.root
    seen: set[int] = set()
    waiting: list[Cell | Job] = [job]
    while waiting:
        item = waiting.pop()
        if item is root:
            return True
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Job):
            waiting.extend(item.work.followers or ())
        elif item.settled or not _passes_on(item):
            continue
        waiting.extend(target for target, _ in item.waiters)
    return False


def _passes_on(cell: Cell) -> bool:
    if cell.role is CellRole.FORM:
        return FORMS[cell.expression._name].passes_on
    return cell.role in (CellRole.CONTAINER, CellRole.ARGUMENTS, CellRole.OPERATION)


def find_cycle(execution: Execution) -> list[Job] | None:
    """Jobs that wait for each other in a circle; None if there are none. The first one is a follower of another job.

    The search goes depth-first from each cell and job to its waiters. It visits each one once.
    """
    done: set[int] = set()
    for start in execution.open.values():
        if start.state is not SHARED or id(start) in done:
            continue
        depth_of = {id(start): 0}
        path: list[tuple[Cell | Job, Iterator[Cell | Job]]] = [(start, iter(_waiting_for(start)))]
        while path:
            node, waiting = path[-1]
            for next_node in waiting:
                if id(next_node) in depth_of:
                    return _circle([entry[0] for entry in path[depth_of[id(next_node)] :]])
                if id(next_node) not in done:
                    depth_of[id(next_node)] = len(path)
                    path.append((next_node, iter(_waiting_for(next_node))))
                    break
            else:
                path.pop()
                del depth_of[id(node)]
                done.add(id(node))
    return None


def _circle(nodes: list[Cell | Job]) -> list[Job]:
    """The jobs of a circle in which each node waits for the one before it, from a follower on, backwards."""
    jobs = [node for node in nodes if isinstance(node, Job)]
    first = next(place for place, job in enumerate(jobs) if job.state is SHARED)
    jobs = [*jobs[first:], *jobs[:first]]
    return [jobs[0], *reversed(jobs[1:])]


def _waiting_for(node: Cell | Job) -> list[Cell | Job]:
    waiting: list[Cell | Job] = [target for target, _ in node.waiters]
    if isinstance(node, Job) and node.work.followers:
        waiting.extend(node.work.followers)
    return waiting


_LONGEST_ROUND = 20
"""The most tasks, calling each other in turn, that are recognised as a round."""


def round_of(job: Job) -> list[str]:
    """The last calls above a job, and at the end the job itself.

    If the tasks call each other in a cycle, it is one round of the cycle; else it is a few calls.
    """
    chain = [job]
    while chain[-1].parent is not None and len(chain) < 3 * _LONGEST_ROUND:
        chain.append(chain[-1].parent)
    names = [each.name for each in chain]
    lengths = range(1, _LONGEST_ROUND + 1)
    length = next((each for each in lengths if names[: 2 * each] == names[each : 3 * each]), 5)
    return [call_text(each) for each in reversed(chain[: length + 1])]


def deep_text(job: Job, most: int) -> str:
    """The warning, or the failure, for a very deep call. most: how many calls may be around a call."""
    way = " calls ".join(round_of(job))
    return (
        f"{job.depth:,} calls are nested in each other, the last of them: {way}. If this recursion has no end, give it "
        f"one. If it has one, allow more than {most:,} calls: max_depth=... is an option of its tasks and of the run "
        f"(--option max_depth={10 * most})."
    )


def wide_text(execution: Execution) -> str:
    """The warning for very many calls that are open at a time."""
    by_task = execution.tally.by_task
    by_name = sorted(((row["open"], name) for name, row in by_task.items() if row["open"]), reverse=True)
    most = ", ".join(f"{count:,} of {name}" for count, name in by_name[:3])
    return (
        f"{len(execution.open):,} calls are open at a time ({most}), and each takes a few kilobytes of memory. If "
        "tasks make ever more calls of each other, give that an end; else have one call do more of the work."
    )


def cycle_text(circle: list[Job]) -> str:
    """The error for jobs that wait for each other."""
    calls = _texts(circle)
    return (
        f"{calls[0]} needs its own result: {' -> '.join([*reversed(calls[1:]), calls[0]])}. Give the recursion an end "
        "that does not depend on itself."
    )
