"""`rayflow log`: show what happened: executions, their jobs, one job, files, tasks.

In: an id, a name or filters. Out: tables, trees and fields, or JSON. Never: writes to the store, evaluates.
"""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import fields as fields_of
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from rayflow.cli.file_uses import show_file
from rayflow.cli.following import follow
from rayflow.cli.job_lines import job_lines, show_task
from rayflow.cli.live_text import state_fields
from rayflow.cli.output.render import (
    block,
    environment_text,
    fields,
    how_text,
    moment,
    options_text,
    seconds_between,
    seconds_taken,
    sources_text,
    stages_text,
    table,
    tags_text,
    tree,
    waits_text,
)
from rayflow.cli.output.style import counted, duration, in_words, short_execution, size
from rayflow.cli.parsing import given_options
from rayflow.cli.parsing.completion import executions
from rayflow.cli.running_list import show_running
from rayflow.cli.stores import history_of, json_option, print_json, store_option
from rayflow.pasting import command as pasted
from rayflow.store.history.answer_types import JobDetail, JobTree, Record, shown_name

if TYPE_CHECKING:
    from rayflow.store.history.execution_status import ExecutionStatuses
    from rayflow.store.history.filters import Filter
    from rayflow.store.history.history import History

MOST_LINES = 400
"""The most lines of a tree. Further lines are only counted."""

SIBLINGS = 12
"""The most calls of one task by one job in a tree. The others are summed up. Failed calls come first."""


EXECUTIONS = ("running", "lost", "done", "failed", "cancelled")
JOBS = ("running", "done", "failed", "not_run", "cancelled", "computed", "cached", "shared")
STATUSES = tuple(dict.fromkeys((*EXECUTIONS, *JOBS)))


@click.command("log")
@click.argument("what", required=False, metavar="[ID|TASK]", shell_complete=executions)
@click.option("--running", "is_running", is_flag=True, help="What runs now: where, and how far it is.")
@click.option("--follow", "follows", is_flag=True, help="Watch an execution until it ends: counts, jobs as they end.")
@click.option("--jobs", "of_jobs", is_flag=True, help="List jobs: of all executions, or of the one that is named.")
@click.option("--task", metavar="NAME", help="Only calls of this task, or so labelled; of executions, their root's.")
@click.option("--status", type=click.Choice(STATUSES), help="Only what is so; jobs also by how they were answered.")
@click.option("--failed", is_flag=True, help="The same as --status failed.")
@click.option("--tag", "tags", multiple=True, metavar="KEY[=VALUE]", help="Only what has this tag.")
@click.option("--since", metavar="TIME", help="Only what began since: 2h, 7d, 2026-11-21, '2026-11-21 14:30'.")
@click.option("--until", metavar="TIME", help="Only what began before.")
@click.option("--arg", "arguments", multiple=True, metavar="NAME=VALUE", help="Only calls with this argument.")
@click.option("--result", metavar="VALUE", help="Only calls with this result: a literal, or the id of a value.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many to list.")
@json_option
@store_option
@click.pass_context
def command(
    context: click.Context,
    /,
    what: str | None,
    is_running: bool,
    follows: bool,
    of_jobs: bool,
    as_json: bool,
    store: str | None,
    limit: int,
    **given: Any,
) -> int | None:
    """Show what happened: the latest executions, one execution's tree of calls, or one job whole with what it printed.

    \b
    rayflow log              the latest executions
    rayflow log -            the last one's calls; ~1 for the one before
    rayflow log 3f2a9c       an execution, job, call, value, task or file, by the beginning of its id
    rayflow log flow.train   a task by its full or short name: its versions and its latest calls
    rayflow log --failed --since 2d --tag owner=ada    executions that fit
    rayflow log --jobs --task train --arg n=3          jobs that fit, of all executions
    rayflow log - --failed                             the jobs of the last execution that failed

    An execution is lost when its process on this machine is gone, or when it was not heard from for three of the
    intervals (a second; five in a store on a network) in which it says what it does. `rayflow resume ID` takes it up
    again.

    --follow ends with the exit code of the run that it watches: 130 when that was cancelled, 2 when it is lost.

    --json prints the records; the calls of an execution as {"execution": ..., "tags": [...], "jobs": [...]}, where the
    calls of one task by one job beyond the first few are one entry with their sums.
    """
    wanted = filter_of(**given)
    _check_now(what, is_running, follows, of_jobs, wanted)
    history = history_of(store)
    if is_running:
        show_running(history, limit, as_json)
        return None
    if follows:
        return follow(history, history.resolve(what or "-", kinds=("execution",)).id, as_json)
    if what is None:
        (_jobs if of_jobs else _executions)(history, wanted, limit, as_json)
        return None
    has_limit = context.get_parameter_source("limit") is click.core.ParameterSource.COMMANDLINE
    is_list = of_jobs or wanted != filter_of()
    name = history.task_named(what)
    if name is not None:
        if wanted.task is not None and history.task_named(wanted.task) != name:
            raise click.UsageError(f"{what} and --task {wanted.task} are two tasks: leave one out.")
        is_list = is_list or has_limit
        if is_list:
            _jobs(history, replace(wanted, task=name), limit, as_json)
        else:
            show_task(history, name, as_json)
        return None
    found = history.resolve(what)
    if has_limit and not is_list:
        whole = pasted("log", what, "--jobs", store=store)
        raise click.UsageError(f"{what} is shown whole: --limit is for lists, such as `{whole}`.")
    if not is_list:
        _SHOW[found.kind](history, found.id, as_json)
    elif found.kind == "execution":
        _jobs(history, replace(wanted, execution_id=found.id), limit, as_json)
    else:
        raise click.UsageError(f"{what} is a {found.kind}: only the jobs of an execution or of a task can be filtered.")
    return None


def _check_now(what: str | None, is_running: bool, follows: bool, of_jobs: bool, wanted: Filter) -> None:
    """Raise UsageError where --running or --follow stand beside what they cannot be combined with."""
    if is_running and (what is not None or follows or of_jobs or wanted != filter_of()):
        raise click.UsageError("--running lists all that runs: it takes no id, and no other filter.")
    if follows and (of_jobs or wanted != filter_of()):
        raise click.UsageError("--follow watches one whole execution: it takes no filter.")


def filter_of(
    task: str | None = None,
    status: str | None = None,
    failed: bool = False,
    tags: tuple[str, ...] = (),
    since: str | None = None,
    until: str | None = None,
    arguments: tuple[str, ...] = (),
    result: str | None = None,
) -> Filter:
    """The filter for these options. Raises UsageError for a text that cannot be read."""
    from rayflow.store.history.filters import Filter

    if failed and status not in (None, "failed"):
        raise click.UsageError(f"--failed and --status {status} contradict each other.")
    return Filter(
        task=task,
        status="failed" if failed else status,
        tags=tuple(map(given_options.tagged, tags)),
        since=given_options.moment_of(since) if since is not None else None,
        until=given_options.moment_of(until) if until is not None else None,
        arguments=tuple(map(given_options.argument_of, arguments)),
        result=given_options.value_of("result", result) if result is not None else None,
    )


def _jobs(history: History, wanted: Filter, limit: int, as_json: bool) -> None:
    if wanted.status == "lost":
        raise click.UsageError("A job has no status 'lost': its execution has. A job that did not end is running.")
    rows = history.jobs(wanted, limit=limit)
    if as_json:
        print_json([_job_for_json(row) for row in rows])
        return
    for text in job_lines(history, rows) or ("No job fits.",):
        click.echo(text)


def _executions(history: History, wanted: Filter, limit: int, as_json: bool) -> None:
    if wanted.status is not None and wanted.status not in EXECUTIONS:
        raise click.UsageError(f"An execution has no status {wanted.status!r}: its jobs have; add --jobs.")
    rows = history.executions_now(wanted, limit=limit)
    now = history.statuses()
    if as_json:
        print_json([_for_json(row, now) for row in rows])
        return
    if not rows:
        click.echo("No execution was recorded yet." if wanted == filter_of() else "No execution fits.")
        return
    heads = ("execution", "started", "status", "took", "what", "jobs")
    cells = [
        (
            short_execution(row["execution_id"]),
            moment(row["started_at"]),
            now.status(row),
            duration(seconds_between(row["started_at"], row["finished_at"])),
            row["arguments"],
            counted(row) if row["jobs"] is not None else "",
        )
        for row in rows
    ]
    click.echo(table(heads, cells, sys.stdout, right=("took",), flexible=("what", "jobs")), nl=False)
    for row in filter(now.is_lost, rows):
        click.echo(
            f"{short_execution(row['execution_id'])} is lost: {_how_lost(row)}. Go on with: "
            f"{how_to_go_on(row, history.url)}"
        )


def how_to_go_on(row: Record, store: str) -> str:
    """The command that takes up a lost execution of a store."""
    return pasted("resume", short_execution(row["execution_id"]), store=store)


def _how_lost(row: Record) -> str:
    """Why an execution is taken for lost."""
    return "its process is gone" if row["host"] == socket.gethostname() else f"{row['host']} is not heard from"


def _for_json(row: Record, now: ExecutionStatuses) -> Record:
    """An execution for JSON: without the packed term, which only rayflow can read, and with whether it is lost."""
    told = {name: value for name, value in row.items() if name != "root"}
    return {**told, "options": options_text(row["options"] or "{}"), "lost": now.is_lost(row)}


def _job_for_json(row: Record) -> Record:
    """A job for JSON: without packed arguments, which only rayflow can read."""
    return {name: value for name, value in row.items() if name != "packed_arguments"}


# --- an execution -----------------------------------------------------------------------------------------------------


def _execution(history: History, execution_id: str, as_json: bool) -> None:
    if as_json:
        found = history.job_tree(execution_id, siblings=SIBLINGS)
        tags = history.tags("execution", execution_id)
        lines = [_json_line(line) for line in found.lines]
        print_json({"execution": _for_json(found.execution, history.statuses()), "tags": tags, "jobs": lines})
        return
    found = history.job_tree(execution_id, siblings=SIBLINGS, most=MOST_LINES, with_sources=False)
    tags = history.tags("execution", execution_id)
    click.echo(_execution_head(found.execution, tags, history), nl=False)
    _tree(found, history.url)


def _json_line(line: Any) -> dict[str, Any]:
    if hasattr(line, "sums"):
        names = {"task_name": line.task_name, "label": line.label}
        return {"depth": line.depth, **names, "shown": line.shown, "all": line.sums}
    return {"depth": line.depth, **_job_for_json(line.job), "arguments": line.arguments, "result": line.result}


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _execution_head(row: Record, tags: list[Record], history: History) -> str:
    now = history.statuses()
    took = duration(seconds_between(row["started_at"], row["finished_at"]))
    versions = [f"rayflow {row['rayflow_version']}", f"Python {row['python_version']}"]
    if row["ray_version"]:
        versions.append(f"Ray {row['ray_version']}")
    return fields(
        [
            ("execution", row["execution_id"] + (f" (taken up {_times(row['life'])})" if row["life"] else "")),
            ("command", _command(row["command"])),
            ("status", now.status(row) + (f" after {took}" if took else "")),
            ("go on with", how_to_go_on(row, history.url) if now.is_lost(row) else None),
            *(state_fields(state) if (state := now.state(row)) is not None else ()),
            ("start-up", f"{duration(startup)} before that" if (startup := row["startup_seconds"]) else None),
            ("started", f"{moment(row['started_at'])} by {row['user'] or '?'} on {row['host'] or '?'}"),
            ("jobs", counted(row) if row["jobs"] is not None else None),
            ("project", row["project_dir"]),
            ("commit", row["git_commit"]),
            ("options", options_text(row["options"]) if row["options"] not in (None, "{}") else None),
            ("versions", ", ".join(versions)),
            ("tags", tags_text(tags)),
            ("error", row["error"]),
        ]
    )


def _command(command: str | None) -> str | None:
    if not command:
        return None
    program, _, rest = command.partition(" ")
    name = os.path.basename(program)
    return f"{'rayflow' if name == '__main__.py' else name} {rest}".rstrip()


def _tree(found: JobTree, store: str) -> None:
    if not found.lines:
        click.echo("\nno job was recorded yet")
        return
    click.echo()
    for text in tree(found.lines, sys.stdout):
        click.echo(text)
    if found.left:
        one = pasted("log", "JOB", store=store)
        whole = pasted("log", found.execution["execution_id"], "--json", store=store)
        click.echo(f"... and {found.left:,} more lines; `{one}` shows one job, `{whole}` all")


# --- a job ------------------------------------------------------------------------------------------------------------


def _job(history: History, job_id: str, as_json: bool) -> None:
    found = history.job(job_id)
    if as_json:
        execution = _for_json(found.execution, history.statuses()) if found.execution else None
        names = ("parent", "arguments", "result", "children", "attempts", "logs", "tags", "task", "environment")
        parts = {name: getattr(found, name) for name in names}
        print_json({"execution": execution, "job": _job_for_json(found.job), **parts})
        return
    click.echo(_job_head(found), nl=False)
    for title, text in _job_blocks(found):
        click.echo("\n" + block(title, text, sys.stdout), nl=False)


def _job_head(found: JobDetail) -> str:
    from rayflow.store.history.database import tries_of

    job = found.job
    place = found.task["place"] if found.task else None
    parent = f"{shown_name(found.parent)}  {found.parent['job_id'][:12]}" if found.parent else None
    failed = {each["attempt"] for each in found.attempts}
    tries = tries_of(job["attempts"] or 0, failed)
    where = job["node"] and f"{job['node']}, process {job['pid']}"
    return fields(
        [
            ("job", job["job_id"]),
            ("task", f"{job['task_name']}  {place or ''}".rstrip()),
            ("label", job["label"]),
            ("call", job["call"]),
            ("status", how_text(job, sys.stdout)),
            ("execution", short_execution(job["execution_id"])),
            ("called by", parent),
            ("queued", moment(job["queued_at"])),
            ("waited", waits_text(job)),
            ("began", moment(job["started_at"])),
            ("took", duration(seconds_taken(job))),
            ("in its body", duration(job["wall_seconds"])),
            ("of that", stages_text(job)),
            ("processor", duration(job["cpu_seconds"])),
            ("peak memory", size(job["peak_memory_bytes"])),
            ("asked for", job["requested"]),
            ("attempts", f"{tries}, of which {len(failed)} failed" if tries > 1 else None),
            ("ran on", where),
            ("ran in", environment_text(found.environment)),
            ("tags", tags_text(found.tags)),
            ("error", job["error"]),
        ]
    )


def _job_blocks(found: JobDetail) -> list[tuple[str, str]]:
    job = found.job
    blocks = []
    if found.arguments:
        blocks.append(("arguments", "\n".join(_argument(each) for each in found.arguments)))
    if found.result:
        result = found.result
        about = f"{result['type']}, {size(result['size_bytes'])}, {result['value_hash'][:12]}"
        blocks.append(("result", f"{result['preview']}\n({about})"))
    if found.children:
        calls = [
            f"{child['jobs']:,} x {shown_name(child)}  {child['how'] or in_words(child['status'])}  "
            f"{duration(child['wall_seconds'])}".rstrip()
            for child in found.children
        ]
        blocks.append(("calls", "\n".join(calls)))
    if found.attempts:
        ends = [
            f"{each['attempt']}: {each['ended']} at {moment(each['recorded_at'])}{_after(each)}: {each['error']}"
            for each in found.attempts
        ]
        blocks.append(("attempts that failed", "\n".join(ends)))
    many = len({log["attempt"] for log in found.logs}) > 1
    for log in found.logs:
        which = f" of attempt {log['attempt']}" if many else ""
        blocks.append((f"{log['stream']}{which}", log["text"] or ""))
    blocks.extend((name, job[name]) for name in ("traceback", "story") if job[name])
    return blocks


def _after(attempt: Record) -> str:
    took = seconds_between(attempt["started_at"], attempt["recorded_at"])
    return f" after {duration(took)}" if took is not None and took >= 0 else ""


def _argument(argument: Any) -> str:
    sources = sources_text(argument.sources, with_ids=4)
    return f"{argument.name} = {argument.preview}{f'  from {sources}' if sources else ''}"


# --- all else ---------------------------------------------------------------------------------------------------------


def _call(history: History, call_hash: str, as_json: bool) -> None:
    _detail(history.call(call_hash), "call", as_json, history.tags("call", call_hash))


def _value(history: History, value_hash: str, as_json: bool) -> None:
    found = history.value_detail(value_hash)
    _detail(found, "value" if found.value else "file", as_json, history.tags("value", value_hash))


def _task(history: History, task_hash: str, as_json: bool) -> None:
    row = history.task(task_hash)
    definitions = history.definitions(task_hash)
    tags = history.tags("task", task_hash)
    if as_json:
        print_json({"task": row, "tags": tags, "definitions": definitions})
        return
    known = row or {}
    columns = [(name, value) for name, value in known.items() if name != "source"]
    click.echo(fields([*columns, ("tags", tags_text(tags))]), nl=False)
    if known.get("source"):
        click.echo("\n" + block("source", known["source"], sys.stdout), nl=False)
    if definitions:
        reached = "\n".join(f"{each['kind']} {each['name']}  {each['place'] or ''}".rstrip() for each in definitions)
        click.echo("\n" + block("made of", reached, sys.stdout), nl=False)


def _detail(found: Any, main: str, as_json: bool, tags: list[Record]) -> None:
    """A record with lists of records beside it: its columns, then one block for each list."""
    if as_json:
        print_json({**{field.name: getattr(found, field.name) for field in fields_of(found)}, "tags": tags})
        return
    click.echo(fields([*(getattr(found, main) or {}).items(), ("tags", tags_text(tags))]), nl=False)
    for field in fields_of(found):
        rows = getattr(found, field.name)
        if field.name == main or not rows:
            continue
        if isinstance(rows, dict):
            rows = (rows,)
        lines = [_argument(row) if not isinstance(row, dict) else _record(row) for row in rows]
        click.echo("\n" + block(field.name.replace("_", " "), "\n".join(lines), sys.stdout), nl=False)


def _record(row: Record) -> str:
    return "  ".join(f"{name}={value}" for name, value in row.items() if value is not None)


_SHOW = {"execution": _execution, "job": _job, "call": _call, "value": _value, "task": _task, "file": show_file}
"""The function that shows a thing, by the kind of the thing."""
