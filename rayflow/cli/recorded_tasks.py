"""The user's modules with the tasks of a recorded execution.

In: a history and the id of an execution. Out: its tasks' modules, loaded. Never: evaluates.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayflow.errors import NotFound

if TYPE_CHECKING:
    from rayflow.store.history.answer_types import Entity
    from rayflow.store.history.history import History


def load_tasks(history: History, execution_id: str) -> None:
    """Load the user's modules that the execution's tasks are defined in: none for tasks that every program has. Those
    of an execution that was submitted are looked for in the project around the current directory.

    Raises NotFound when it has others, and none can be found."""
    from rayflow.lang.modules import load_file

    row = history.execution(execution_id)
    names = [row["task_name"]] if row["task_name"] else []
    names.extend(name for name in history.task_names_in(execution_id) if name not in names)
    project = _project_of(row)
    own = [name for name in names if not name.startswith(("<", "rayflow."))]
    if names and not own:
        return
    files = dict.fromkeys(file for name in own if (file := _file_of(history, name, project, row)) is not None)
    if not files:
        what = f"{own[0]} cannot be found in {project}" if names else "no task of it was recorded"
        raise NotFound(
            f"Execution {execution_id} cannot be taken up from here: {what}. Type the command in the directory of its "
            f"project. If a program has started it, call Scheduler().resume({execution_id!r}), or .rerun, in that."
        )
    for file in files:
        load_file(file)


def _project_of(row: Mapping[str, Any]) -> str:
    """The directory of an execution's project: the recorded one, or that of the current directory where the recorded
    one is not on this machine, or was the copy for a job, which has the code of then."""
    from rayflow.lang.modules import project_of
    from rayflow.runtime.protocol.execution_row import is_in_job_copy

    recorded: str | None = row["project_dir"]
    if recorded and os.path.isdir(recorded) and not is_in_job_copy(recorded):
        return recorded
    return project_of(os.getcwd())


def task_of(history: History, found: Entity) -> Any:
    """The task that an execution's root, or a job, was a call of, as it is now; None when there is none of its name."""
    from rayflow.lang.registry import registered

    row = history.execution(found.id) if found.kind == "execution" else history.job_row(found.id)
    return registered().get(row["task_name"])


def _file_of(history: History, task_name: str, project: str, row: Mapping[str, Any]) -> str | None:
    """The file that defines a task: where it was in the project when it was recorded, else where its full name points
    to."""
    place = history.latest_task_place(task_name)
    if place is not None:
        file = Path(project, _in_project(place.rpartition(":")[0], row["project_dir"]))
        if file.is_file():
            return str(file)
    parts = task_name.split(".")[:-1]
    while parts:
        for start in ("", "src"):
            module = Path(project, start, *parts)
            for candidate in (module.with_suffix(".py"), module / "__init__.py"):
                if candidate.is_file():
                    return str(candidate)
        parts.pop()
    return None


def _in_project(file: str, recorded: str | None) -> Path:
    """The path of a recorded file in its project; the path itself of one that was in no project."""
    from rayflow.lang.modules import JOB_COPIES

    path = Path(file)
    for place in range(len(path.parts) - len(JOB_COPIES)):
        if path.parts[place : place + len(JOB_COPIES)] == JOB_COPIES:
            return Path(*path.parts[place + len(JOB_COPIES) + 1 :])
    return path.relative_to(recorded) if recorded and path.is_relative_to(recorded) else path
