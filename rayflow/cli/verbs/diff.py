"""`rayflow diff`: compare two executions, call by call.

In: the ids of two executions. Out: text or JSON. Never: evaluates.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict

import click

from rayflow.cli.output.render import table
from rayflow.cli.output.style import many, short_execution, short_job
from rayflow.cli.parsing.completion import executions
from rayflow.cli.stores import history_of, json_option, print_json, store_option
from rayflow.store.history.answer_types import CallDifference, ExecutionDifference, Record

FEW = 20
"""So many calls of each section are listed, unless --all is given."""

_KINDS = {"options": "other resources", "environment": "another environment", "status": "ended otherwise"}


@click.command("diff")
@click.argument("first", metavar="EXECUTION", default="~1", shell_complete=executions)
@click.argument("second", metavar="[OTHER]", default="-", shell_complete=executions)
@click.option("--all", "show_all", is_flag=True, help="Every call that differs.")
@json_option
@store_option
def command(first: str, second: str, show_all: bool, as_json: bool, store: str | None) -> None:
    """Compare two executions, call by call: where they begin to differ, and where that goes no further.

    \b
    rayflow diff                        the last execution with the one before it
    rayflow diff 0197a3c2 0197b001
    rayflow diff ~5 -                   the last one with the fifth before it

    Calls are aligned from the root: by their tasks, then by their arguments, then by their order. Calls that both
    executions have, with the same code, arguments, result and calls below, are only counted.
    """
    history = history_of(store)
    one, other = (history.resolve(text, kinds=("execution",)).id for text in (first, second))
    found = history.diff(one, other)
    if as_json:
        print_json(_as_json(found))
        return
    for line in _told(found, None if show_all else FEW):
        click.echo(line)


def _told(found: ExecutionDifference, most: int | None) -> Iterator[str]:
    for sign, row in (("-", found.execution), ("+", found.other)):
        yield f"{sign} {short_execution(row['execution_id'])}  {_root(row)}  {row['status']}"
    for what, was, now in found.settings:
        yield f"  {what}: {_or_none(was)} -> {_or_none(now)}"
    same = sum([task.other_same for task in found.tasks])
    counts = f"{many(same, 'call')} the same"
    differing = sum([call.times for call in found.calls])
    lone = [sum([each.side == side for each in found.alone]) for side in (0, 1)]
    yield f"{counts}, {many(differing, 'call')} differ, {lone[0]:,} only in -, {lone[1]:,} only in +"
    ends = [call for call in found.ends if call.cause]
    follows = [call for call in found.calls if call.cause and not call.ends]
    yield from _section("begins here", found.beginnings, most)
    yield from _section("ends here: the result is the same", ends, most)
    yield from _section("follows", follows, most)
    for sign, side in (("-", 0), ("+", 1)):
        calls = [each for each in found.alone if each.side == side]
        yield from _listed(
            f"only in {sign}", [(f"{each.name}  {_job(each.job_id)}".rstrip(),) for each in calls], most, "  ".join
        )
    changed = [each for each in found.tasks if each.same < each.jobs or each.other_same < each.other_jobs]
    if changed:
        yield "\nby task"
        rows = [(each.name, f"{each.jobs:,}", f"{each.other_jobs:,}", f"{each.other_same:,}") for each in changed]
        yield table(("task", "in -", "in +", "same"), rows, sys.stdout, right=("in -", "in +", "same")).rstrip("\n")
    if found.left:
        yield f"{many(found.left, 'more call')} that only one execution has: they are counted by task, and not aligned"


def _section(title: str, calls: Sequence[CallDifference], most: int | None) -> Iterator[str]:
    yield from _listed(title, [tuple(_lines(call)) for call in calls], most, "\n".join)


def _listed(
    title: str, entries: Sequence[tuple[str, ...]], most: int | None, joined: Callable[[Iterable[str]], str]
) -> Iterator[str]:
    if not entries:
        return
    yield f"\n{title}"
    for lines in entries[:most]:
        yield joined([f"  {line}" for line in lines])
    if most is not None and len(entries) > most:
        yield f"  and {len(entries) - most:,} more: --all lists them"


def _lines(call: CallDifference) -> Iterator[str]:
    jobs = f"{_job(call.job_id)} -> {_job(call.other_job_id)}".strip(" ->")
    times = f" x{call.times:,}" if call.times > 1 else ""
    yield f"{call.name}{times}  {jobs}".rstrip()
    if "code" in call.kinds:
        yield f"  code: {', '.join(call.code) if call.code else 'another version'}"
    origins = dict(call.origins)
    for change in call.arguments:
        origin = f" (from {origins[change.name]})" if change.name in origins else ""
        yield f"  argument {change.text()}{origin}"
    if "arguments" in call.kinds and not call.arguments:
        yield "  other arguments"
    yield from [f"  {words}" for kind, words in _KINDS.items() if kind in call.kinds]
    if "calls" in call.kinds:
        yield "  calls below it differ"
    if "result" in call.kinds:
        yield f"  result {_or_none(call.result)} -> {_or_none(call.other_result)}"
    else:
        yield f"  the same result {_or_none(call.result)}"


def _root(row: Record) -> str:
    return str(row["arguments"] or row["task_name"] or "an expression")


def _or_none(text: str | None) -> str:
    return "none" if text is None else text


def _job(job_id: str | None) -> str:
    return "" if job_id is None else short_job(job_id)


def _as_json(found: ExecutionDifference) -> dict[str, object]:
    return {
        "execution_id": found.execution["execution_id"],
        "other_execution_id": found.other["execution_id"],
        "settings": [{"what": what, "was": was, "now": now} for what, was, now in found.settings],
        "calls": [{**asdict(call), "origins": dict(call.origins)} for call in found.calls],
        "alone": [asdict(call) for call in found.alone],
        "tasks": [asdict(task) for task in found.tasks],
        "left": found.left,
    }
