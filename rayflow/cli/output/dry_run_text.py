"""The result of a dry run as text, for people and for programs.

In: a `DryRun`. Out: text. Never: evaluates.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

from rayflow.cli.output.style import duration, styled

if TYPE_CHECKING:
    from rayflow.runtime.planning.dry import DryRun, PlannedCall

_COLOURS = {"runs": "blue", "waits": "yellow", "perhaps": "yellow", "cached": "green"}


_PREDICTED = {"runs": "run", "perhaps": "may run", "cached": "cached"}
"""By the verdict, the word after the number of predicted calls that have it."""


def lines(found: DryRun, stream: TextIO) -> Iterator[str]:
    """A dry run as lines: the calls that run or wait, the predicted calls below each, and the sums."""
    for call in found.calls:
        yield from _lines_of(call, stream)
    if found.is_cut:
        yield "... and more that was not looked at"
    for failure in found.failures:
        yield f"{styled('fails', 'red', stream):8} {failure}"
    yield _sum(found)


def _lines_of(call: PlannedCall, stream: TextIO) -> Iterator[str]:
    indent = "  " * call.depth
    took = f"{duration(call.seconds)} last time" if call.seconds is not None else ""
    verdict = f"{call.verdict}{'?' if call.is_predicted else ''}"
    head = f"{styled(f'{verdict:8}', _COLOURS[call.verdict], stream)} {indent}{call.call}  {took}".rstrip()
    yield f"{head}  {call.reason}"
    if call.alike > 1:
        yield f"{'':8} {indent}... and {call.alike - 1:,} more {call.label or call.task_name} alike"


def _sum(found: DryRun) -> str:
    runs, waits, cached = (sum(row[name] for row in found.by_task.values()) for name in ("runs", "waits", "cached"))
    if found.is_cached:
        return f"nothing would run: {cached:,} {'call is' if cached == 1 else 'calls are'} cached"
    said = [f"{runs:,} would run"]
    if waits:
        said.append(f"{waits:,} wait for them")
    said.append(f"{cached:,} cached")
    predicted = sum(found.predicted.values())
    if predicted:
        told = [f"{found.predicted[name]:,} {word}" for name, word in _PREDICTED.items() if found.predicted.get(name)]
        said.append(f"{predicted:,} predicted beyond (?): {', '.join(told)}")
    took = f"; {duration(found.seconds)} in bodies last time" if found.seconds is not None else ""
    return f"dry run: {', '.join(said)}{took}"


def as_json(found: DryRun) -> dict[str, Any]:
    """A dry run for programs."""
    return {
        "would_run": found.would_run,
        "is_cached": found.is_cached,
        "seconds": found.seconds,
        "by_task": found.by_task,
        "calls": found.calls,
        "predicted": found.predicted,
        "failures": found.failures,
        "is_cut": found.is_cut,
    }
