"""Why things are as they are, as text, and who waits for whom.

In: jobs and cells. Out: sentences and cycles. Never: changes anything.
"""

from __future__ import annotations

from collections.abc import Iterator

from rayflow.evaluator.cells import Cell, Kind
from rayflow.evaluator.executions import Execution
from rayflow.evaluator.jobs import SHARED, Job
from rayflow.lang.expressions import Expression, render

_ENDS = 20
"""So many calls are shown of each end of a long chain."""


def call_text(job: Job, limit: int = 120) -> str:
    """The call of a job as the user would write it: `step(n=3)`."""
    if job.bound:
        inside = ", ".join(f"{name}={render(value, 60)}" for name, value in job.bound.items())
        text = f"{job.entry.name}({inside})"
    else:
        text = render(job.call, limit) if job.call is not None else _without_arguments(job)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _without_arguments(job: Job) -> str:
    name = job.entry.name
    return name if name.startswith("<") else f"{name}()"


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
    if len(chain) <= 2 * _ENDS:
        return [call_text(job) for job in chain]
    left_out = f"... {len(chain) - 2 * _ENDS} more calls ..."
    return [*map(call_text, chain[:_ENDS]), left_out, *map(call_text, chain[-_ENDS:])]


def made_text(expression: Expression, job: Job) -> str:
    """An operation or a form in the term of a job, and where its task is defined: that is not known of itself."""
    place = job.entry.place
    return render(expression) if place is None else f"{render(expression)}  made by the task at {place}"


_PASSES_ON = frozenset({"cond", "seq", "map_", "starmap", "get_context", "apply_tags"})
"""Forms that fail when what they need does; any other may make something of it."""


def dooms(job: Job) -> bool:
    """Whether the execution fails when this job does: nothing on one of the ways to its root can catch the failure.

    A search along "who waits for this", each cell and job entered once.
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
            waiting.extend(item.followers or ())
        elif item.settled or not _passes_on(item):
            continue
        waiting.extend(target for target, _ in item.waiters)
    return False


def _passes_on(cell: Cell) -> bool:
    if cell.kind is Kind.FORM:
        return cell.expression._name in _PASSES_ON
    return cell.kind in (Kind.CONTAINER, Kind.ARGUMENTS, Kind.OPERATION)


def find_cycle(execution: Execution) -> list[Job] | None:
    """Jobs that wait for each other in a circle, first one a follower that closes it; None when there are none.

    A depth-first search along "who waits for this", each cell and job entered once.
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
    if isinstance(node, Job) and node.followers:
        waiting.extend(node.followers)
    return waiting


def cycle_text(circle: list[Job]) -> str:
    """The error for jobs that wait for each other."""
    calls = _texts(circle)
    return (
        f"{calls[0]} needs its own result: {' -> '.join([*reversed(calls[1:]), calls[0]])}. Give the recursion an end "
        "that does not depend on itself."
    )
