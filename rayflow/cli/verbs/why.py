"""`rayflow why`: why a job ran, and what a task's code reaches."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from rayflow.cli.stores import history_of, json_option, print_json, store_option
from rayflow.cli.task_names import latest_jobs, task_named

if TYPE_CHECKING:
    from rayflow.lang.code_changes import Change
    from rayflow.store.answers import Record, Why
    from rayflow.store.history import History


@click.command("why")
@click.argument("what", nargs=-1, metavar="JOB|TASK")
@click.option("--code", is_flag=True, help="FILE TASK: what the task's code identity is made of.")
@json_option
@store_option
@click.pass_context
def command(context: click.Context, what: tuple[str, ...], code: bool, as_json: bool, store: str | None) -> None:
    """Say why a job ran: which code, argument or option differs from the nearest earlier evaluation of its task.

    \b
    rayflow why 3f2a9c                   a job, by the beginning of its id; - for the last execution's root
    rayflow why flow.train               the latest call of a task, by its full or short name
    rayflow why --code flow.py main      what a task's code reaches: a change of any of it runs the task again
    """
    if code:
        if len(what) not in (1, 2):
            raise click.UsageError("Name the file and the task: rayflow why --code flow.py main", context)
        _code(what[0], what[1] if len(what) == 2 else None, as_json)
        return
    if len(what) != 1:
        raise click.UsageError("Name one job; `rayflow log -` lists the last execution's.", context)
    history = history_of(store)
    found = history.why(_job_of(history, what[0]))
    changes = _changes(found)
    options = _options(history, found)
    if as_json:
        print_json(_as_json(found, changes, options))
        return
    for text in _told(found, changes, options):
        click.echo(text)


def _code(target: str, name: str | None, as_json: bool) -> None:
    from rayflow.cli.output import answer_alone
    from rayflow.lang.code_changes import describe
    from rayflow.lang.modules import load, pick
    from rayflow.lang.tasks import Task, tasks_of

    with answer_alone() as stdout:
        task: Task[..., Any] = pick(tasks_of(load(target)), name, where=target)
        identity = task.code
        version = task.definition_options.get("version")
        if as_json:
            from rayflow.cli.json_form import to_json

            made_of = [
                {
                    "name": each.name,
                    "kind": each.kind,
                    "hash": each.digest.hex(),
                    "reached_from": each.reached_from,
                    "place": each.place,
                    "source": each.source,
                }
                for each in identity.definitions
            ]
            answer: dict[str, Any] = {"task_name": task.fullname, "task_hash": task.hash.hex(), "version": version}
            answer |= {"definitions": made_of, "unresolved": identity.unresolved}
            stdout.write(to_json(answer) + "\n")
            return
        stdout.write(f"{task.fullname}  task hash {task.hash.hex()}\n")
        if version is not None:
            stdout.write(f"version={version!r} counts instead of the code below: set another one when it changes\n")
        stdout.write(describe(identity) + "\n")


def _job_of(history: History, text: str) -> str:
    """The id of the job that is meant; for a task its latest, for an execution its root's."""
    from rayflow.errors import NotFound

    name = task_named(history, text)
    jobs = latest_jobs(history, name, 1) if name is not None else []
    if jobs:
        return str(jobs[0]["job_id"])
    found = history.resolve(text, kinds=("job", "execution"))
    if found.kind == "job":
        return found.id
    row = history.one(
        "SELECT job_id FROM raw.jobs WHERE execution_id = $id AND parent_job_id IS NULL LIMIT 1", {"id": found.id}
    )
    if row is None:
        raise NotFound(f"Execution {found.id} has no job in the records yet.")
    return str(row["job_id"])


def _changes(found: Why) -> list[Change]:
    if not found.task_changed:
        return []
    from rayflow.lang.code_changes import diff

    return diff(map(_definition, found.earlier_definitions), map(_definition, found.definitions))


def _definition(row: Record) -> tuple[Any, ...]:
    digest = bytes.fromhex(row["definition_hash"])
    return row["name"], row["kind"], digest, row["reached_from"], row["place"], row["source"]


def _options(history: History, found: Why) -> dict[str, tuple[Any, Any]]:
    """Options of the two runs that differ: name -> (before, now)."""
    if found.earlier is None or found.earlier["execution_id"] == found.job["execution_id"]:
        return {}
    before, now = (_run_options(history, job["execution_id"]) for job in (found.earlier, found.job))
    names = sorted({*before, *now})
    return {name: (before.get(name), now.get(name)) for name in names if before.get(name) != now.get(name)}


def _run_options(history: History, execution_id: str) -> dict[str, Any]:
    from rayflow.errors import NotFound

    try:
        options: dict[str, Any] = json.loads(history.execution(execution_id)["options"] or "{}")
    except NotFound:  # its rows came without it from another store
        return {}
    return options


def _as_json(found: Why, changes: list[Change], options: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    return {
        "job": found.job,
        "earlier": found.earlier,
        "code_changed": found.task_changed,
        "code_changes": changes,
        "arguments_changed": found.arguments_changed,
        "argument_changes": found.changes,
        "option_changes": {name: {"before": was, "now": now} for name, (was, now) in options.items()},
        "forgotten_at": found.forgotten_at,
        "context_changes": found.context_changes,
        "reduction": found.reduction,
    }


# --- the story --------------------------------------------------------------------------------------------------------


def _told(found: Why, changes: list[Change], options: dict[str, tuple[Any, Any]]) -> list[str]:
    from rayflow.cli.render import moment
    from rayflow.cli.style import short_execution, short_job

    job = found.job
    name = job["task_name"]
    lines = [f"{name}  job {short_job(job['job_id'])} of execution {short_execution(job['execution_id'])}"]
    if job["how"] == "cached":
        recorded = found.reduction
        where = (
            f": it was computed at {moment(recorded['recorded_at'])} by execution "
            f"{short_execution(recorded['execution_id'])}"
            if recorded
            else ""
        )
        return [*lines, f"It did not run. The cache had its result{where}."]
    if job["how"] == "shared":
        return [*lines, "It did not run. An equal call of the same execution had the result."]
    if job["status"] == "failed" and not job["attempts"]:
        return [*lines, f"It did not run, because what it needs has failed: {job['error']}"]
    earlier = found.earlier
    if earlier is None:
        return [*lines, "It ran because this store has no earlier evaluation of this task."]
    lines.append(
        f"Compared with job {short_job(earlier['job_id'])} of {moment(earlier['queued_at'])} "
        f"(execution {short_execution(earlier['execution_id'])}):"
    )
    if found.task_changed:
        lines.extend(_told_code(found, changes))
    if found.arguments_changed:
        lines.extend(_told_arguments(found))
    if found.forgotten_at is not None:
        lines.append(f"It ran because the earlier result was forgotten at {moment(found.forgotten_at)}.")
    elif not found.task_changed and not found.arguments_changed:
        lines.append(_told_otherwise(earlier, found.context_changes))
    for option, (was, now) in options.items():
        lines.append(f"The run's option {option} was {was!r} and is {now!r}.")
    return lines


def _told_otherwise(earlier: Record, context_changes: tuple[str, ...]) -> str:
    if context_changes:
        return f"It ran because the context differs that it reads: {', '.join(context_changes)}."
    if earlier["status"] == "failed":
        return "Code and arguments are the same, but the earlier call failed, and failures are not kept."
    if earlier["status"] != "done":
        return f"Code and arguments are the same, but the earlier call did not end: it is {earlier['status']}."
    return (
        "Code and arguments are the same. Its earlier result did not count: the run, the task, or a call that its body "
        "awaits, asked not to use the cache, the result was too old (cache_for), or something in it is no longer as it "
        "was: a file, a task that it calls, or the code of a class whose instances it was given."
    )


def _told_code(found: Why, changes: list[Change]) -> list[str]:
    from rayflow.cli.render import diff_text

    lines = ["It ran because its code has changed."]
    for change in changes:
        way = f", reached by {' -> '.join(change.path)}" if len(change.path) > 1 else ""
        lines.append(f"\n{change.kind} {change.name} was {change.what}{way}  {change.place or ''}".rstrip())
        if change.text:
            lines.append(diff_text(change.text, sys.stdout))
    if not changes:
        versions = [(task or {}).get("version") for task in (found.earlier_task, found.task)]
        if versions[0] != versions[1]:
            lines.append(f"Its version was {versions[0]!r} and is {versions[1]!r}.")
        else:
            lines.append("No definition differs: the task's hash_includes do, or the way by which it reaches one.")
    return lines


def _told_arguments(found: Why) -> list[str]:
    if not found.arguments_known:
        return ["Its arguments differ; which, is not known of a call that has not ended well."]
    lines = ["It ran because its arguments differ." if not found.task_changed else "\nIts arguments differ, too."]
    for change in found.changes:
        was = "was not there" if change.old is None else f"was {change.old.preview}"
        now = "is not there now" if change.new is None else f"is {change.new.preview}"
        sources = ", ".join(name or "?" for _, name in change.new.sources) if change.new else ""
        lines.append(f"  {change.name} {was} and {now}{f'  (from {sources})' if sources else ''}")
    return lines
