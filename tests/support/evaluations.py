"""Runs calls of a project's tasks in this process, as the project's files are now."""

from __future__ import annotations

import traceback
from types import ModuleType
from typing import Any

from projects import Project

from rayflow import Scheduler, config
from rayflow.runtime.protocol.reports import Silent, Summary


class Watching(Silent):
    """Keeps what a reporter is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []
        self.summaries: list[Summary] = []

    def printed(self, call: str, stream: str, text: str) -> None:
        self.lines.append(text)

    def warned(self, text: str) -> None:
        self.warnings.append(text)

    def ended(self, summary: Summary) -> None:
        self.summaries.append(summary)


class Flow:
    """A project with one module, `flow`, that is loaded anew whenever its text is given."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.watching = Watching()
        self.module: ModuleType | None = None

    def write(self, text: str, name: str = "flow") -> ModuleType:
        """Write a module and load it, as a fresh process would."""
        self.project.write(f"{name}.py", text)
        self.module = self.project.load(name)
        return self.module

    def edit(self, old: str, new: str) -> ModuleType:
        """Change the module and load it again."""
        self.project.edit("flow.py", old, new)
        self.module = self.project.load("flow")
        return self.module

    def run(self, expr: Any, **settings: Any) -> Any:
        """The value of an expression, in this process. settings: as Scheduler.run takes them."""
        store = str(self.project.path / ".rayflow")
        with Scheduler(store=store, inline=True, reporter=self.watching) as scheduler:
            return scheduler.run(expr, **settings)

    def configured(self, toml: str, expr: Any, **settings: Any) -> Any:
        """The value of an expression with this text as the project's configuration."""
        self.project.write("rayflow.toml", toml)
        loaded = config.load(str(self.project.path), inline=True)
        with Scheduler(config=loaded, reporter=self.watching) as scheduler:
            return scheduler.run(expr, **settings)

    def call(self, task: str, *args: Any, **kwargs: Any) -> Any:
        """The value of a call of one of the module's tasks."""
        return self.run(getattr(self.module, task)(*args, **kwargs))

    def computed(self, *, ago: int = 0) -> dict[str, int]:
        """How many bodies of each task ran in the latest execution, by the task's short name."""
        return self.counts("computed", ago=ago)

    def counts(self, how: str, *, ago: int = 0) -> dict[str, int]:
        """How many jobs of each task were computed, cached or shared in the latest execution."""
        found = self.project.counts(how, ago=ago)
        sums: dict[str, int] = {}
        for name, count in found.items():
            short = name.rpartition(".")[2]
            if name != "<expression>":
                sums[short] = sums.get(short, 0) + count
        return sums


def shown(error: BaseException) -> str:
    """What Python prints of an exception."""
    return "".join(traceback.format_exception(error))
