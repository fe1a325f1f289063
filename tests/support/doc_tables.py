"""The tables in the documents that are written from the code: task options, record tables, views.

In: the tables of the code. Out: Markdown, and the pages with it between their marks. Never: any other part of a page.

Run it as a program after a change of the code: it writes the pages again. A test compares them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PAGES = Path(__file__).resolve().parents[2] / "rayflow" / "docs"


def options() -> str:
    """The table of the task options."""
    from rayflow.lang.options.options import OPTIONS

    rows = ["| option | type | default | meaning |", "|---|---|---|---|"]
    for option in OPTIONS.values():
        default = "" if option.default is None else f"`{option.default!r}`"
        rows.append(f"| `{option.name}` | {option.kinds} | {default} | {option.meaning} |")
    return "\n".join(rows)


def _columns() -> dict[str, list[Any]]:
    """The columns of every table, view and function, as `rayflow sql --schema` lists them."""
    from rayflow.api import history

    asked = history(store=":memory:")
    found: dict[str, list[Any]] = {}
    for column in asked.schema():
        found.setdefault(column.table, []).append(column)
    return found


def tables() -> str:
    """Each table of the records: what a row is, and its columns as SQL shows them."""
    from rayflow.records import TABLES

    columns = _columns()
    parts = []
    for table in TABLES:
        meaning = re.sub(r"\s+", " ", table.row.__doc__ or "").strip()
        rows = [f"| `{each.column}` | {each.type} | {_cell(each.documentation)} |" for each in columns[table.name]]
        parts.append(
            "\n".join([f"### `{table.name}`", "", meaning, "", "| column | type | meaning |", "|---|---|---|", *rows])
        )
    return "\n\n".join(parts)


def views() -> str:
    """Each view and function: its columns, and what it shows."""
    from rayflow.records import TABLES

    own = {table.name for table in TABLES}
    rows = ["| view or function | columns | what it shows |", "|---|---|---|"]
    for name, columns in _columns().items():
        if name not in own:
            named = ", ".join(f"`{each.column}`" for each in columns)
            rows.append(f"| `{name}` | {named} | {_cell(columns[0].documentation)} |")
    return "\n".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


WRITTEN: Mapping[str, tuple[str, Callable[[], str]]] = {
    "options": ("options.md", options),
    "tables": ("provenance-and-sql.md", tables),
    "views": ("provenance-and-sql.md", views),
}
"""What stands between `<!-- begin NAME -->` and `<!-- end NAME -->`: in which page, and what writes it."""


def between(text: str, name: str) -> str:
    """What stands between the marks of a name."""
    return text.split(f"<!-- begin {name} -->\n")[1].split(f"<!-- end {name} -->")[0].strip("\n")


def without_written(text: str) -> str:
    """The text of a page without the tables that are written from the code."""
    return re.sub(r"<!-- begin (\w+) -->.*?<!-- end \1 -->\n?", "", text, flags=re.DOTALL)


def write() -> list[str]:
    """Write all pages again; the names of those that have changed."""
    changed = []
    for name, (page, make) in WRITTEN.items():
        path = PAGES / page
        before = path.read_text()
        old = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        after = old.sub(lambda marks, make=make: f"{marks[1]}\n{make()}\n\n{marks[2]}", before)
        if after != before:
            path.write_text(after)
            changed.append(page)
    return changed


if __name__ == "__main__":
    sys.path.insert(0, str(PAGES.parents[1]))
    print(*write() or ["nothing has changed"], sep="\n")
