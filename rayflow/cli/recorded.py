"""The user's modules behind what was recorded.

In: a history and the id of an execution. Out: its tasks' modules, loaded. Never: evaluates.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rayflow.store.history import History


def load_tasks(history: History, execution_id: str) -> None:
    """Load the user's modules that the execution's tasks are defined in. Raises NotFound when none can be told."""
    from rayflow.errors import NotFound
    from rayflow.lang.modules import load_file

    row = history.execution(execution_id)
    names = [row["task_name"]] if row["task_name"] else []
    jobs = history.records("SELECT DISTINCT task_name FROM raw.jobs WHERE execution_id = $id", {"id": execution_id})
    names.extend(job["task_name"] for job in jobs if job["task_name"] not in names)
    project = row["project_dir"] or os.getcwd()
    files = dict.fromkeys(file for name in names if (file := _file_of(history, name, project)) is not None)
    if not files:
        what = f"{names[0]} cannot be found in {project}" if names else "no task of it was recorded"
        raise NotFound(
            f"Execution {execution_id} cannot be taken up from here: {what}. In the program that started it, call "
            f"Scheduler().resume({execution_id!r}), or .rerun."
        )
    for file in files:
        load_file(file)


def _file_of(history: History, task_name: str, project: str) -> str | None:
    """The file that defines a task: where it was when it was recorded, else where its full name points to."""
    place: dict[str, Any] | None = history.one(
        'SELECT place FROM raw.tasks WHERE task_name = $name AND place IS NOT NULL ORDER BY tasks."at" DESC LIMIT 1',
        {"name": task_name},
    )
    if place is not None:
        file = Path(project, place["place"].rpartition(":")[0])
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
