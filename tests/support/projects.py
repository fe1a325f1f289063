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

from warm_python import WARM, can_be_warm

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

    def python(
        self,
        *arguments: str,
        is_warm: bool = True,
        redirected: Mapping[int, str | None] | None = None,
        is_merged: bool = False,
        encoding: str = "utf-8",
        timeout: float = 120,
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run Python in the project's directory.

        is_warm: fork a process that has rayflow imported already, in a tenth of the time; else start an interpreter,
        as is always done where one is needed (see `warm_python`). redirected: the file that a stream (0, 1, 2) writes
        to or reads; None: it is closed. is_merged: stderr goes to stdout, in its order. encoding: of what is printed.
        """
        full = self.full_environment(environment)
        redirected = redirected or {}
        if is_warm and can_be_warm(arguments, full):
            return WARM.run(
                arguments, directory=self.path, environment=full, timeout=timeout, redirected=redirected,
                is_merged=is_merged, encoding=encoding,
            )  # fmt: skip
        behind = [f"{number}{'>' if number else '<'}{file or '&-'}" for number, file in redirected.items()]
        return subprocess.run(
            ["bash", "-c", f'exec "$@" {" ".join(behind)}', "bash", sys.executable, *arguments],
            cwd=self.path,
            env=full,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if is_merged else subprocess.PIPE,
            encoding=encoding,
            timeout=timeout,
        )

    def rayflow(self, *words: str, **how: Any) -> subprocess.CompletedProcess[str]:
        """Run the command line in the project's directory. how: as `python` takes it."""
        return self.python("-m", "rayflow", *words, **how)

    def full_environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """What a process of the project has in its environment; the tests' own commands are on its path."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "NO_COLOR": "1", **self.environment, **(more or {})}

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


def project_in(folder: Path, flow: str) -> Project:
    """A new project in the folder `project` of a folder, with this text as its flow.py."""
    path = folder / "project"
    path.mkdir()
    project = Project(path)
    project.write("rayflow.toml", "")
    project.write("flow.py", flow)
    return project
