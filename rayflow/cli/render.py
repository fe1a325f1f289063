"""Records as text: tables, trees, fields. The same on a terminal and in a pipe, but for width and colours.

In: plain data. Out: text, or lines of it. Never: asks a store.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

from rayflow.cli.style import STATUS_COLOURS, counted, duration, is_terminal, short_job, styled

_DEEPEST = 40
"""Deeper lines of a tree are not indented any further; they say how deep they are."""


def width_of(stream: TextIO) -> int | None:
    """How many characters fit on a line; None where nobody looks and nothing has to be cut."""
    return shutil.get_terminal_size().columns if is_terminal(stream) else None


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[Any]],
    stream: TextIO,
    *,
    right: Sequence[str] = (),
    flexible: Sequence[str] = (),
) -> str:
    """Rows in columns under their heads; on a terminal, cells are shortened until a line fits.

    right: heads of the columns that are aligned to the right. flexible: heads of those that are shortened first. A cell
    that is a known status gets its colour.
    """
    cells = [[_one_line(cell) for cell in row] for row in rows]
    widths = [max([len(head), *(len(row[number]) for row in cells)]) for number, head in enumerate(heads)]
    limit = width_of(stream)
    if limit is not None:
        first = [number for number, head in enumerate(heads) if head in flexible]
        for columns in (first, range(len(heads))):
            widths = _narrowed(widths, limit, columns)
    lines = [styled(_line(heads, heads, widths, right), "dim", stream)]
    for row in cells:
        line = _line(heads, [_cut(cell, width) for cell, width in zip(row, widths, strict=True)], widths, right)
        for cell in row:
            if cell in STATUS_COLOURS:
                line = line.replace(cell, styled(cell, STATUS_COLOURS[cell], stream), 1)
        lines.append(line)
    return "\n".join(lines) + "\n"


def _line(heads: Sequence[str], cells: Sequence[str], widths: Sequence[int], right: Sequence[str]) -> str:
    padded = [
        f"{cell:>{width}}" if head in right else f"{cell:{width}}"
        for head, cell, width in zip(heads, cells, widths, strict=True)
    ]
    return "  ".join(padded).rstrip()


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[: max(width - 1, 0)] + "…"


def _narrowed(widths: list[int], limit: int, columns: Sequence[int]) -> list[int]:
    """The widths with the widest of these columns made narrower until a line fits; none gets narrower than 8."""
    narrowed = list(widths)
    while columns and sum(narrowed) + 2 * (len(narrowed) - 1) > limit:
        widest = max(columns, key=lambda number: narrowed[number])
        if narrowed[widest] <= 8:
            break
        narrowed[widest] -= 1
    return narrowed


def _one_line(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, datetime):
        return moment(cell)
    if isinstance(cell, float):
        return f"{cell:.6g}"
    if isinstance(cell, bytes):
        return cell.hex()
    return " ".join(str(cell).split())


def moment(at: datetime | None) -> str:
    """A time as the user's clock shows it, to the second."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    """How long it took, in seconds; None when it has not ended."""
    return None if start is None or end is None else (end - start).total_seconds()


def seconds_taken(job: Mapping[str, Any]) -> float | None:
    """How long a job took, with all below it, from when its body began: before, it waited for its arguments or a place.

    From when it was met, for one whose body did not run.
    """
    whole = seconds_between(job["started_at"] or job["queued_at"], job["finished_at"])
    # The clock of a worker may be ahead of that of the scheduler.
    return whole if whole is None else max(whole, job["wall_seconds"] or 0.0)


def fields(pairs: Iterable[tuple[str, Any]]) -> str:
    """Names and values below each other; those without a value are left out."""
    said = [(name, _one_line(value)) for name, value in pairs if value is not None and value != ""]
    width = max((len(name) for name, _ in said), default=0)
    return "".join(f"{name:{width}}  {value}\n" for name, value in said)


def block(title: str, text: str, stream: TextIO) -> str:
    """A text of several lines under a title."""
    inside = "\n".join(f"  {line}".rstrip() for line in text.rstrip("\n").split("\n"))
    return f"{styled(title, 'bold', stream)}\n{inside}\n"


def call_text(task_name: str, arguments: Iterable[Any], limit: int = 100) -> str:
    """A call as its user would write it: `step(n=3)`."""
    from rayflow.values.previews import shorten

    inside = ", ".join(f"{each.name}={shorten(each.preview or '?', 40)}" for each in arguments)
    return f"{task_name}({shorten(inside, limit)})"


def how_text(job: Any, stream: TextIO) -> str:
    """How a job ended: computed, cached or shared, if it is done; else its status."""
    said = job["how"] if job["status"] == "done" and job["how"] else job["status"]
    return styled(f"{said:8}", STATUS_COLOURS.get(said), stream)


def tree(lines: Iterable[Any], stream: TextIO) -> Iterator[str]:
    """The jobs of an execution as indented lines: how, how long, the call, its result or error, its id.

    lines: `JobLine`s and `GroupLine`s of a history, parents before their children.
    """
    from rayflow.values.previews import shorten

    limit = width_of(stream)
    for line in lines:
        deep = f"({line.depth}) " if line.depth > _DEEPEST else ""
        indent = "  " * min(line.depth, _DEEPEST) + deep
        if hasattr(line, "sums"):
            sums = line.sums
            more = sums["jobs"] - line.shown
            took = duration(sums["wall_seconds"]) if sums["wall_seconds"] else "no time"
            text = f"{'':20}{indent}... and {more:,} more {line.task_name}; all {counted(sums)}; {took} in bodies"
        else:
            job = line.job
            took = duration(seconds_taken(job))
            ends = f" = {shorten(line.result, 80)}" if line.result is not None else ""
            if job["status"] == "failed" and job["error"]:
                ends = f" ! {shorten(job['error'], 100)}"
            # A call that is not done has left no call node, and with it no arguments, but says what it was.
            call = job.get("call") or call_text(job["task_name"], line.arguments)
            text = f"{how_text(job, stream)} {took:>10} {indent}{call}{ends}  {short_job(job['job_id'])}"
        yield text if limit is None else _fitted(text, limit)


def _fitted(text: str, limit: int) -> str:
    """The text on one line of a terminal, the job's id at its end kept; colours take no room."""
    invisible = text.count("\x1b") and len(text) - len(_without_colours(text))
    if len(text) - invisible <= limit:
        return text
    head, _, tail = text.rpartition("  ")
    kept = limit + invisible - len(tail) - 3
    return f"{head[:kept]}…  {tail}" if kept > 20 else text


def _without_colours(text: str) -> str:
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def diff_text(text: str, stream: TextIO) -> str:
    """A unified diff with its lines in colours."""
    styles = {"+": "green", "-": "red", "@": "blue"}
    lines = [
        styled(line, None if line.startswith(("+++", "---")) else styles.get(line[:1]), stream)
        for line in text.split("\n")
    ]
    return "\n".join(lines)


def tags_text(tags: Iterable[Any]) -> str:
    """Tags on one line: `owner=ada, n=3`."""
    from rayflow.cli.asked import tag_text

    return ", ".join(f"{tag['key']}={tag_text(tag['value'])}" for tag in tags)
