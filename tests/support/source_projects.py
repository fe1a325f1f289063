"""Small projects whose code identities are compared."""

from __future__ import annotations

import importlib
import itertools
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

from rayflow.lang.code.code_graph import CodeIdentity
from rayflow.lang.code.identity import code_identity


def is_task(value: object) -> str | None:
    """The projects below mark tasks with a class of their own."""
    return value.fullname if type(value).__name__ == "Task" else None  # type: ignore[attr-defined,no-any-return]


class Projects:
    """Writes projects, each into a folder of its own, and loads them as a fresh process would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = itertools.count()
        self.loaded: list[str] = []
        self.paths: list[str] = []

    def load(self, files: dict[str, str], entry: str = "flow") -> Any:
        root = self.folder / f"project{next(self.count)}"
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        self.forget()
        self.paths = [str(root), str(root / "lib" / "site-packages")]
        sys.path[:0] = self.paths
        importlib.invalidate_caches()
        before = set(sys.modules)
        try:
            return importlib.import_module(entry)
        finally:
            self.loaded = [name for name in sys.modules if name not in before]
            self.root = str(root)

    def forget(self) -> None:
        for name in list(sys.modules):
            module = sys.modules.get(name)
            if str(self.folder) in str(getattr(module, "__file__", "")) or (
                name in self.loaded and name in ("pkg", "space")
            ):
                sys.modules.pop(name, None)
        self.loaded = []
        for path in self.paths:
            sys.path.remove(path)
        self.paths = []

    def identity(self, files: dict[str, str], **options: Any) -> CodeIdentity:
        main = self.load(files).main
        return code_identity(getattr(main, "func", main), project_dir=self.root, is_task=is_task, **options)


class Case(NamedTuple):
    claim: str
    before: str | dict[str, str]
    after: str | dict[str, str]
    same: bool
