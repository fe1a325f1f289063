"""A user's project in a temporary folder: its files, its processes, its store."""

from __future__ import annotations

import importlib
import linecache
import os
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class Project:
    """A user's project in a folder of its own, with a store of its own.

    environment: what its processes get beside the tests' own environment.
    """

    path: Path
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project; the text is dedented."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip("\n"))
        return file

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace the one place where `old` stands in a file."""
        file = self.path / name
        text = file.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
        before = file.stat().st_mtime
        file.write_text(text.replace(old, new))
        # Python takes a .pyc for current when the second and the size of its source are the same.
        os.utime(file, (before + 2, before + 2))

    def load(self, name: str) -> ModuleType:
        """Import a module of the project into this process as it is now, also when it was imported before."""
        from rayflow.lang import modules

        self.forget()
        importlib.invalidate_caches()
        linecache.checkcache()
        # A file that was written twice in one second may have a .pyc of its first content.
        for compiled in self.path.rglob("__pycache__"):
            shutil.rmtree(compiled)
        return modules.load_file(self.path / f"{name}.py")

    def forget(self) -> None:
        """Unload the project's modules, and their tasks with them."""
        from rayflow.lang.registry import forget_tasks

        mine = [
            name
            for name, module in sys.modules.items()
            if str(getattr(module, "__file__", None) or "").startswith(f"{self.path}{os.sep}")
        ]
        forget_tasks(mine)
        for name in mine:
            del sys.modules[name]

    def python(self, *arguments: str, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the project's directory."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.path,
            env=self._environment(environment),
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def rayflow(self, *words: str, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command line in the project's directory."""
        return self.python("-m", "rayflow", *words, timeout=timeout, **environment)

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        return {**os.environ, "NO_COLOR": "1", **self.environment, **more}

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """The rows that a query over the project's store gives."""
        from rayflow.api import history

        return list(history(store=str(self.path / ".rayflow")).sql(query).fetchall())

    def counts(self, how: str, *, ago: int = 0) -> Counter[str]:
        """How many jobs of each task were computed, cached or shared in the latest execution, or in an earlier one."""
        return Counter(
            dict(
                self.sql(f"""
                    select task_name, count(*) from jobs
                    where how = '{how}' and execution_id = (
                        select execution_id from executions order by execution_id desc limit 1 offset {ago})
                    group by task_name
                """)
            )
        )
