"""Rename what workflows take from redun: `python port.py FILE ...` changes the files, and says what needs a look.

Only names are renamed, in place: imports, `redun.name`, and the variable `redun_namespace`. All else stays as it is.
"""

import ast
import re
import sys
from pathlib import Path

import rayflow

LOOK = {
    "scheduler_task": "write a rule with @form instead: see examples/11_own_form",
    "get_current_scheduler": "a body knows no scheduler; run() what it needs beside the workflow",
    "merge_handles": "hand the states to one task, which returns the handle",
    "IFile": "write File(path, immutable=True)",
    "IDir": "write Dir(path, immutable=True)",
    "ContentDir": "write a list of ContentFile",
    "PartialTask": "a partial is a Task",
    "eval_": "make it the body of a task",
    "copy_file": "write file.copy_to(path), which a task returns",
    "Staging": "a staged file is what file.stage(name) gives: for script(inputs=, outputs=)",
    "ProxyValue": "write a Handler, and register_handler(cls, handler)",
    "get_task_registry": "tasks are found by their names in their modules",
}
"""Names that mean something else here, or nothing, and what to do about them."""


def port(text: str) -> tuple[str, list[str]]:
    """The text with the names of rayflow, and notes: "line: what to look at"."""
    notes: list[str] = []
    edits: list[tuple[int, int, int, str]] = []
    lines = text.splitlines(keepends=True)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "redun":
            match = re.search(r"\bredun[\w.]*", lines[node.lineno - 1])
            assert match is not None
            edits.append((node.lineno, match.start(), match.end(), "rayflow"))
            notes += [_note(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "redun":
                    start = alias.col_offset
                    edits.append((alias.lineno, start, start + len(alias.name), "rayflow"))
        elif isinstance(node, ast.Name) and node.id in ("redun", "redun_namespace"):
            edits.append((node.lineno, node.col_offset, node.col_offset + 5, "rayflow"))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "redun":
            notes.append(_note(node.lineno, node.attr))
    for number, start, end, new in sorted(edits, reverse=True):
        # Columns of a syntax tree count bytes.
        line = lines[number - 1].encode()
        lines[number - 1] = (line[:start] + new.encode() + line[end:]).decode()
    return "".join(lines), [note for note in notes if note]


def _note(number: int, name: str) -> str:
    if name in rayflow.__all__ or name == "*":
        return ""
    return f"{number}: {name}: {LOOK.get(name, 'rayflow has no such name')}"


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        file = Path(argument)
        text, notes = port(file.read_text())
        file.write_text(text)
        print("\n".join(f"{file}:{note}" for note in notes) or f"{file}: ported")
