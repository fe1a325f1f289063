"""Explains Ray's errors.

In: an error that ended a Ray task. Out: the fate of its worker, for people, and whether another attempt is useless.
Never: decides.

User code never raises through Ray (the worker catches it), so each of these errors comes from the world or
from rayflow.
"""

from __future__ import annotations

import re

from ray import exceptions

from rayflow.errors import TaskTimeout
from rayflow.runtime.on_ray.environment_trouble import installer_lines
from rayflow.values.failures import Failure, own_failure


def is_lost_input(error: BaseException) -> bool:
    """Whether a task did not run because an object that it reads is gone."""
    return isinstance(error, exceptions.ObjectLostError) or (
        isinstance(error, exceptions.RayTaskError) and isinstance(error.cause, exceptions.ObjectLostError)
    )


def is_cancelled(error: BaseException) -> bool:
    """Whether a task was cancelled, or its body raised KeyboardInterrupt: Ray does not tell these apart."""
    cause = error.cause if isinstance(error, exceptions.RayTaskError) else error
    return isinstance(cause, exceptions.TaskCancelledError)


def reason_of(error: BaseException) -> tuple[str, bool]:
    """The fate of the worker as a text for people, and whether another attempt is useless."""
    lines = str(error).strip().splitlines()
    first = lines[0][:300] if lines else ""
    if isinstance(error, exceptions.OutOfMemoryError):
        return "killed because its node ran out of memory", False
    if isinstance(error, exceptions.NodeDiedError):
        return f"its {lost_node(error)} left the cluster", False
    if isinstance(error, exceptions.WorkerCrashedError):
        return "its process died (killed, crashed in C code, or ended itself)", False
    if is_cancelled(error):
        return "cancelled from outside", False
    if isinstance(error, exceptions.RuntimeEnvSetupError):
        return f"its runtime environment cannot be set up: {installer_lines(str(error))}", True
    if isinstance(error, exceptions.TaskUnschedulableError):
        return f"no node can run it: {first}", True
    if isinstance(error, exceptions.RayTaskError):
        if lacks_rayflow(str(error)):
            return "its node cannot import rayflow: install it on every node of the cluster, in the same version", True
        return f"rayflow failed on the worker: {lines[-1][:500] if lines else type(error).__name__}", False
    return f"{type(error).__name__}: {first}", False


def lost_node(error: BaseException) -> str:
    """The node that left the cluster with a task that ran there, for people."""
    found = re.search(r"Node IP: ([^\s,]+)", str(error))
    return f"node {found[1]}" if found else "node"


def lost_node_id(error: BaseException) -> str | None:
    """The id of the node that left the cluster with a task that ran there; None where the error does not tell."""
    found = re.search(r"node ID: ([0-9a-f]+)", str(error))
    return found[1] if found else None


def lacks_rayflow(text: str) -> bool:
    """Whether an error text says that rayflow is not installed where it was needed."""
    return "No module named 'rayflow" in text


def timed_out(name: str, timeout: float) -> Failure:
    """The failure of a call that could not be interrupted when its timeout (in seconds) was over."""
    message = (
        f"{name} ran longer than its timeout of {timeout:g} s, and could not be interrupted (it was in C code, or "
        "caught the interruption): its process was ended."
    )
    return own_failure(TaskTimeout, message)
