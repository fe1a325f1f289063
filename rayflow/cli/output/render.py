"""Records as text: tables, trees, fields. It is the same on a terminal and in a pipe, except for width and colours.

In: plain data. Out: text, or lines of it. Never: asks a store.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

from rayflow.cli.output.style import (
    STATUS_COLOURS,
    counted,
    duration,
    in_words,
    is_terminal,
    short_job,
    styled,
    visible,
    without_styles,
)
from rayflow.lang.operations import is_shown
from rayflow.lang.options.runtime_environments import shown_in
from rayflow.lang.options.tags import tag_text
from rayflow.values.encoding.previews import shorten
from rayflow.values.encoding.whole_numbers import json_text, number_of

_DEEPEST = 40
"""Deeper lines of a tree are not indented any further; they say how deep they are."""


def width_of(stream: TextIO) -> int | None:
    """How many characters fit on a line; None if the output is not a terminal, so that nothing has to be cut."""
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
    """Narrow the widest of these columns until a line fits, but none below a width of 8."""
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
    return visible(" ".join(str(cell).split()))


def moment(at: datetime | None) -> str:
    """A time as the user's clock shows it, to the second."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    """How long it took, in seconds; None when it has not ended."""
    return None if start is None or end is None else (end - start).total_seconds()


def seconds_taken(job: Mapping[str, Any]) -> float | None:
    """How long a job took, with all jobs below it, since its body began. The waiting before that does not count.

    If its body did not run, the time since the job was created.
    """
    whole = seconds_between(job["started_at"] or job["queued_at"], job["finished_at"])
    # The clock of a worker may be ahead of that of the scheduler.
    return whole if whole is None else max(whole, job["wall_seconds"] or 0.0)


SHORTEST_WAIT = 0.1
"""A shorter wait is not shown, in seconds: it tells of the machine alone."""


def waits_text(job: Mapping[str, Any]) -> str:
    """How long a job waited before its body began, and for what. Empty where no wait was long."""
    held = f"to be sent ({job['waited_on']})" if job["waited_on"] else "to be sent"
    waits = (
        (seconds_between(job["queued_at"], job["ready_at"]), "for its arguments"),
        (seconds_between(job["ready_at"], job["sent_at"]), held),
        (seconds_between(job["sent_at"], job["started_at"]), "for a worker"),
    )
    return ", ".join(f"{duration(wait)} {what}" for wait, what in waits if wait is not None and wait >= SHORTEST_WAIT)


def stages_text(job: Mapping[str, Any]) -> str:
    """How long reading the arguments and storing the result took a worker. Empty where neither was long."""
    stages = ((job["stage_in_seconds"], "reading arguments"), (job["stage_out_seconds"], "storing the result"))
    return ", ".join(f"{duration(took)} {what}" for took, what in stages if took is not None)


def options_text(recorded: str) -> str:
    """The recorded options of a run, as JSON, without the values of variables that earlier versions have recorded."""
    if "runtime_env" not in recorded:
        return recorded
    return json_text(shown_in(json.loads(recorded, parse_int=number_of)), default=str)


def environment_text(environment: Mapping[str, Any] | None) -> str | None:
    """What a job ran in, on one line; None where that is not known."""
    if environment is None:
        return None
    image = f"image {environment['image']}" if environment["image"] else None
    many = f"{len(environment['distributions']):,} distributions (environment {environment['environment'][:12]})"
    said = (f"Python {environment['python']}", environment["platform"], image, environment["accelerator"], many)
    return ", ".join(filter(None, said))


def fields(pairs: Iterable[tuple[str, Any]]) -> str:
    """Names and values below each other; those without a value are left out."""
    said = [(name, _one_line(value)) for name, value in pairs if value is not None and value != ""]
    width = max((len(name) for name, _ in said), default=0)
    return "".join(f"{name:{width}}  {value}\n" for name, value in said)


def block(title: str, text: str, stream: TextIO) -> str:
    """A text of several lines under a title."""
    inside = "\n".join(f"  {line}".rstrip() for line in text.rstrip("\n").split("\n"))
    return f"{styled(title, 'bold', stream)}\n{inside}\n"


def call_text(job: Mapping[str, Any], arguments: Iterable[Any], limit: int = 100) -> str:
    """The call of a job as its user would write it: `step(n=3)`."""

    task = job["task_name"]
    told = [(each.name, each.preview or "?") for each in arguments]
    inside = ", ".join(f"{name}={shorten(text, 40)}" for name, text in told if is_shown(task, name, text))
    return f"{job['label'] or task}({shorten(inside, limit)})"


def sources_text(sources: Sequence[tuple[str, str | None]], *, with_ids: int = 0, most: int = 4) -> str:
    """The calls that an argument came from, by their tasks: `load, 20,000 calls of score`. Up to `with_ids` calls are
    named with their ids."""
    if len(sources) <= with_ids:
        return ", ".join(f"{name or '?'} {call[:12]}" for call, name in sources)
    counts = Counter(name or "?" for _, name in sources)
    said = [name if count == 1 else f"{count:,} calls of {name}" for name, count in counts.most_common(most)]
    return ", ".join(said) + (f" and calls of {len(counts) - most} more tasks" if len(counts) > most else "")


def how_text(job: Any, stream: TextIO) -> str:
    """How a job ended: computed, cached or shared, if it is done; else its status."""
    said = job["how"] if job["status"] == "done" and job["how"] else job["status"]
    return styled(f"{in_words(said):8}", STATUS_COLOURS.get(said), stream)


def tries_text(job: Mapping[str, Any]) -> str:
    """In how many attempts a job ended, where they were several."""
    return f"  ({job['tries']} attempts)" if job.get("tries", 1) > 1 else ""


def tree(lines: Iterable[Any], stream: TextIO) -> Iterator[str]:
    """The jobs of an execution as indented lines: how, how long, the call, its result or error, its id.

    lines: `JobLine`s and `GroupLine`s of a history, parents before their children.
    """
    limit = width_of(stream)
    for line in lines:
        deep = f"({line.depth}) " if line.depth > _DEEPEST else ""
        indent = "  " * min(line.depth, _DEEPEST) + deep
        if hasattr(line, "sums"):
            sums = line.sums
            more = sums["jobs"] - line.shown
            took = duration(sums["wall_seconds"]) if sums["wall_seconds"] else "no time"
            name = line.label or line.task_name
            text = f"{'':20}{indent}... and {more:,} more {name}; all {counted(sums)}; {took} in bodies"
        else:
            job = line.job
            took = duration(seconds_taken(job))
            ends = f" = {shorten(line.result, 80)}" if line.result is not None else ""
            if job["status"] in ("failed", "not_run") and job["error"]:
                ends = f" ! {shorten(job['error'], 100)}"
            # A call that is not done has left no call node, and with it no arguments, but says what it was.
            call = job.get("call") or call_text(job, line.arguments)
            ends += tries_text(job)
            text = f"{how_text(job, stream)} {took:>10} {indent}{call}{ends}  {short_job(job['job_id'])}"
        yield text if limit is None else _fitted(text, limit)


def _fitted(text: str, limit: int) -> str:
    """The text shortened to one line of a terminal, with the job's id still at its end. Colours take no room."""
    text = visible(text)
    invisible = len(text) - len(without_styles(text))
    if len(text) - invisible <= limit:
        return text
    head, _, tail = text.rpartition("  ")
    kept = limit + invisible - len(tail) - 3
    return f"{head[:kept]}…  {tail}" if kept > 20 else text


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
    return ", ".join(f"{tag['key']}={tag_text(tag['value_json'])}" for tag in tags)
