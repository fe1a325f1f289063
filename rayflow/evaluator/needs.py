"""What is still needed: which open jobs, waits and cells lead to the root, and which to a clean-up.

In: the graph. Out: answers. Never: changes anything.

Every cell and job keeps its waiters. So what needs it is found on the way up. A race that has decided needs its winner
alone. The root of the execution, a thread, and a clean-up that has begun are needed by themselves.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

from rayflow.evaluator.cell_roles import BECOME_SLOT, RESULT_SLOT, CellRole
from rayflow.evaluator.graph import Cell, Execution, Job

Node = Cell | Job


def waiting_for(node: Node) -> list[Node]:
    """The open cells and jobs that wait for this one."""
    found: list[Node] = [target for target, slot in node.waiters if _is_live(target, slot)]
    if isinstance(node, Job) and node.work.followers:
        found.extend(follower for follower in node.work.followers if follower.is_open)
    return found


def _is_live(target: Node, slot: int) -> bool:
    if isinstance(target, Job):
        return target.is_open
    if target.settled:
        return False
    race = target.race
    return race is None or race.winner is None or slot in (BECOME_SLOT, race.winner)


def awaited_key(target: Node, slot: int) -> bytes | None:
    """The key of the expression that a body awaits, in which the term for this slot stands; None for other terms."""
    while True:
        if isinstance(target, Cell) and target.role is CellRole.AWAITED:
            key: bytes = target.expression[slot]
            return key
        if not target.waiters or (isinstance(target, Job) and slot == RESULT_SLOT):
            return None
        target, slot = target.waiters[0]


def is_cleaning(execution: Execution, node: Node) -> bool:
    """Whether something is needed for a clean-up that has begun."""
    if not execution.cleanups:
        return False
    seen: set[int] = set()
    waiting: list[Node] = [node]
    while waiting:
        each = waiting.pop()
        if id(each) in execution.cleanups:
            return True
        if id(each) not in seen:
            seen.add(id(each))
            waiting.extend(waiting_for(each))
    return False


def is_allowed(execution: Execution, node: Node, slot: int | None = None) -> bool:
    """Whether anything may begin for this cell or job: nothing that has lost, and in an execution that is stopped,
    clean-ups alone. slot: the one that is to be filled; None for any."""
    if not execution.is_restricted:
        return True
    if slot is not None and not _is_live(node, slot):
        return False
    return is_cleaning(execution, node) or (execution.wanted and not is_needless(execution, node))


def is_needless(execution: Execution, node: Node) -> bool:
    """Whether nothing needs a cell or job."""
    return any(each is node for each in needless(execution, [node]))


def needless(execution: Execution, candidates: Iterable[Node]) -> list[Node]:
    """Those of these cells and jobs, and of all that wait for them, that nothing needs. Each is there once."""
    nodes: dict[int, Node] = {}
    below: defaultdict[int, list[Node]] = defaultdict(list)
    waiting = deque(candidates)
    while waiting:
        node = waiting.popleft()
        if id(node) in nodes:
            continue
        nodes[id(node)] = node
        for target in waiting_for(node):
            below[id(target)].append(node)
            waiting.append(target)
    needed: set[int] = set()
    roots: list[Node] = [node for node in nodes.values() if _is_root(execution, node)]
    while roots:
        node = roots.pop()
        if id(node) not in needed:
            needed.add(id(node))
            roots.extend(below[id(node)])
    return [node for node in nodes.values() if id(node) not in needed]


def _is_root(execution: Execution, node: Node) -> bool:
    if isinstance(node, Job):
        return node is execution.root
    return node.role is CellRole.THREAD or id(node) in execution.cleanups
