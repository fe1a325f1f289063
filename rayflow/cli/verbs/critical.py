"""`rayflow critical`: say what an execution waited for, from its beginning to its end.

In: the id of an execution. Out: text or JSON. Never: evaluates.
"""

from __future__ import annotations

import sys

import click

from rayflow.cli.output.render import table
from rayflow.cli.output.style import duration, many, short_job
from rayflow.cli.parsing.completion import executions
from rayflow.cli.stores import history_of, json_option, print_json, store_option
from rayflow.store.history.answer_types import CriticalPath

SHORTEST_SHARE = 0.005
"""Spans that take less of the execution than this share are summed up in one line, unless --all is given."""


@click.command("critical")
@click.argument("execution", default="-", shell_complete=executions)
@click.option("--all", "all_spans", is_flag=True, help="Also the shortest spans.")
@json_option
@store_option
def command(execution: str, all_spans: bool, as_json: bool, store: str | None) -> None:
    """Say what an execution waited for at each moment: the calls to make faster first.

    \b
    rayflow critical -                       of the last execution
    rayflow critical 0197a3c2 --all

    The path goes back from the end. A call ended when the last call below it had; it began when its last argument was
    there. Of an execution that runs, the path goes to what it waits for now.
    """
    history = history_of(store)
    found = history.critical_path(history.resolve(execution, kinds=("execution",)).id)
    if as_json:
        print_json(_as_json(found))
        return
    click.echo(f"{duration(found.seconds)} in {many(len(found.spans), 'span')}, one after the other")
    click.echo(_spans(found, all_spans))
    click.echo("\nby task (the most that the execution can gain, if its calls took no time)")
    rows = [
        (name, duration(sum(phases.values())), _phases(phases))
        for name, phases in found.by_task()
        if all_spans or sum(phases.values()) >= SHORTEST_SHARE * found.seconds
    ]
    click.echo(
        table(("task", "seconds", "phases"), rows, sys.stdout, right=("seconds",), flexible=("phases",)), nl=False
    )


def _spans(found: CriticalPath, all_spans: bool) -> str:
    least = 0.0 if all_spans else SHORTEST_SHARE * found.seconds
    shown = [span for span in found.spans if span.seconds >= least]
    begin = found.spans[0].begin_us if found.spans else 0
    rows = [
        (
            f"+{duration((span.begin_us - begin) / 1e6)}",
            duration(span.seconds),
            span.phase,
            span.name,
            short_job(span.job_id),
        )
        for span in shown
    ]
    text = table(("at", "takes", "what", "call of", "job"), rows, sys.stdout, right=("at", "takes"))
    left = len(found.spans) - len(shown)
    if left:
        rest = sum([span.seconds for span in found.spans if span.seconds < least])
        text += f"and {many(left, 'shorter span')}, {duration(rest)} together: --all lists them\n"
    return text.removesuffix("\n")


def _phases(phases: dict[str, float]) -> str:
    ordered = sorted(phases.items(), key=lambda item: -item[1])
    return ", ".join([f"{phase} {duration(seconds)}" for phase, seconds in ordered])


def _as_json(found: CriticalPath) -> dict[str, object]:
    spans = [{**span._asdict(), "job_id": span.job_id or None, "seconds": span.seconds} for span in found.spans]
    tasks = [{"task": name, "seconds": sum(phases.values()), "phases": phases} for name, phases in found.by_task()]
    return {
        "execution_id": found.execution["execution_id"],
        "seconds": found.seconds,
        "spans": spans,
        "tasks": tasks,
    }
