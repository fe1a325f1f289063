"""The workflows of this process, by name.

In: definitions, as they are made. Out: the definition with a name. Never: runs one.
"""

from __future__ import annotations

from typing import Any, Protocol

from rayflow.compat.redflow.errors import UnknownWorkflowError
from rayflow.compat.redflow.types import DefineWorkflowOptions
from rayflow.errors import NoSuchTask
from rayflow.lang.registry import find_task, forget_named
from rayflow.lang.tasks import Task

NAMESPACE = "redflow"
"""The tasks behind the workflows have this namespace."""


class RegisteredWorkflow(Protocol):
    """A workflow: its settings, and the flow behind it."""

    @property
    def options(self) -> DefineWorkflowOptions: ...

    @property
    def flow(self) -> Task[..., Any]: ...


class WorkflowRegistry:
    """Workflows by name. There is one in each process."""

    def __init__(self) -> None:
        self._workflows: dict[str, RegisteredWorkflow] = {}

    def register(self, definition: RegisteredWorkflow) -> None:
        """Add a workflow. One that has its name is replaced."""
        self._workflows[definition.options.name] = definition

    def get(self, name: str) -> RegisteredWorkflow | None:
        """The workflow of this name; None if there is none."""
        return self._workflows.get(name)

    def list(self) -> list[RegisteredWorkflow]:
        """All workflows, in the order of their definition."""
        return list(self._workflows.values())

    def clear(self) -> None:
        """Forget all workflows, and the flows behind them."""
        forget_named(each.flow.fullname for each in self._workflows.values())
        self._workflows.clear()


_registry = WorkflowRegistry()


def get_default_registry() -> WorkflowRegistry:
    """The workflows of this process."""
    return _registry


def __unstable_reset_default_registry_for_tests() -> None:
    """Forget the workflows of this process, so that a test begins without any."""
    _registry.clear()


def _is_plain(letter: str) -> bool:
    return letter.isascii() and (letter.isalnum() or letter == "_")


def task_name(workflow: str) -> str:
    """The name of the task behind a workflow, without its namespace: what a task's name cannot have is written as
    `<hexadecimal>`."""
    first, rest = workflow[:1], workflow[1:]
    written = "".join(each if _is_plain(each) or each == "-" else f"<{ord(each):x}>" for each in rest)
    return (first if _is_plain(first) and not first.isdigit() else f"_<{ord(first):x}>") + written if first else "_"


def flow_of(workflow: Any) -> Task[..., Any]:
    """The flow behind a workflow, which is given as its definition or by its name. Raises UnknownWorkflowError."""
    if not isinstance(workflow, str):
        flow: Task[..., Any] = workflow.flow
        return flow
    known = _registry.get(workflow)
    if known is not None:
        return known.flow
    try:
        found: Task[..., Any] = find_task(f"{NAMESPACE}.{task_name(workflow)}")  # a worker that has no module of it
    except NoSuchTask:
        raise UnknownWorkflowError(workflow) from None
    return found


def subscribers_of(event: str) -> list[str]:
    """The flows that an event starts a run of, by full name, sorted."""
    return sorted(
        each.flow.fullname for each in _registry.list() if any(trigger.name == event for trigger in each.options.event)
    )
