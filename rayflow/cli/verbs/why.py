"""`rayflow why`: say why a job ran, and what a task's code consists of.

In: a job, a task or a file. Out: the reasons as text or JSON. Never: evaluates; --code imports the user's file.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from rayflow.cli.job_lines import latest_jobs
from rayflow.cli.output.output import answer_alone, write_json
from rayflow.cli.output.render import diff_text, moment, sources_text
from rayflow.cli.output.style import short_execution, short_job
from rayflow.cli.parsing.completion import executions
from rayflow.cli.stores import history_of, json_option, print_json, store_option, store_url
from rayflow.errors import NotFound
from rayflow.lang.code.counted_distributions import definitions_of
from rayflow.lang.code.diff import Change, describe, diff
from rayflow.lang.modules import load, pick
from rayflow.lang.options.runtime_environments import shown_in
from rayflow.lang.tasks import Task, tasks_of
from rayflow.pasting import command as pasted
from rayflow.store.history.answer_types import Record, Why, shown_name
from rayflow.store.history.why import reasons
from rayflow.store.history.why.reasons import phrases, since
from rayflow.values.encoding.previews import few
from rayflow.values.encoding.whole_numbers import number_of

if TYPE_CHECKING:
    from rayflow.store.history.history import History


@click.command("why")
@click.argument("what", nargs=-1, metavar="JOB|TASK", shell_complete=executions)
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
        if store is not None:
            raise click.UsageError("--code looks at a file, and at no store: leave out --store.", context)
        if len(what) not in (1, 2):
            offer = pasted("why", "--code", "flow.py", "main")
            raise click.UsageError(f"Name the file and the task: {offer}", context)
        _code(what[0], what[1] if len(what) == 2 else None, as_json)
        return
    if len(what) != 1:
        listing = pasted("log", "-", store=store_url(store))
        raise click.UsageError(f"Name one job; `{listing}` lists the last execution's.", context)
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
    with answer_alone() as stdout:
        module = load(target)
        task: Task[..., Any] = pick(tasks_of(module), name, where=target, own=tasks_of(module, imported=False))
        identity = replace(task.code, definitions=(*task.code.definitions, *definitions_of(task.counted_versions())))
        version = task.definition_options.get("version")
        if as_json:
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
            answer |= {"definitions": made_of, "unresolved": identity.unresolved, "missing": identity.missing}
            write_json(stdout, answer)
            return
        stdout.write(f"{task.fullname}  task hash {task.hash.hex()}\n")
        if version is not None:
            stdout.write(f"version={version!r} counts instead of the code below: set another one when it changes\n")
        elif not task.definition_options.get("track_helpers", True):
            stdout.write("track_helpers=False: only what stands below counts, and not what that calls\n")
        stdout.write(describe(identity) + "\n")


def _job_of(history: History, text: str) -> str:
    """The id of the job that is meant: of an execution its root; of a task the latest job of its latest execution, and
    rather one that ran than one that the cache answered."""
    from rayflow.store.history.filters import Filter

    name = history.task_named(text)
    jobs = latest_jobs(history, name, 1) if name is not None else []
    if jobs and jobs[0]["how"] in ("cached", "shared"):
        ran = Filter(task=name, status="computed", execution_id=jobs[0]["execution_id"])
        jobs = history.jobs(ran, limit=1) or jobs
    if jobs:
        return str(jobs[0]["job_id"])
    found = history.resolve(text, kinds=("job", "execution"))
    if found.kind == "job":
        return found.id
    return str(history.root_job(found.id)["job_id"])


def _changes(found: Why) -> list[Change]:
    if not found.task_changed:
        return []
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
    changed = [name for name in names if before.get(name) != now.get(name)]
    told_before, told_now = shown_in(before), shown_in(now)
    return {name: (told_before.get(name), told_now.get(name)) for name in changed}


def _run_options(history: History, execution_id: str) -> dict[str, Any]:
    try:
        kept = history.execution(execution_id)["options"] or "{}"
        options: dict[str, Any] = json.loads(kept, parse_int=number_of)
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
        "missed": found.missed,
        "reasons": () if _told_instead(found) is not None else phrases(found),
        "reduction": found.reduction,
    }


# --- the story --------------------------------------------------------------------------------------------------------


def _told(found: Why, changes: list[Change], options: dict[str, tuple[Any, Any]]) -> list[str]:
    job = found.job
    lines = [f"{shown_name(job)}  job {short_job(job['job_id'])} of execution {short_execution(job['execution_id'])}"]
    instead = _told_instead(found)
    if instead is not None:
        return [*lines, instead]
    earlier = found.earlier
    if earlier is not None:
        ended = "" if earlier["status"] == "done" else f", {_ENDED.get(earlier['status'], earlier['status'])}"
        lines.append(
            f"Compared with job {short_job(earlier['job_id'])} of {moment(earlier['queued_at'])} "
            f"(execution {short_execution(earlier['execution_id'])}{ended}):"
        )
    lines.extend(_told_reasons(found, changes))
    if job["status"] == "cancelled":
        lines.append("It was sent to a worker, and was stopped with its execution before it ended.")
    for option, (was, now) in options.items():
        lines.append(f"The run's option {option} was {was!r} and is {now!r}. Options alone run nothing again.")
    return lines


_ENDED = {
    "failed": "which failed", "not_run": "which never ran", "cancelled": "which was stopped",
    "open": "which did not end",
}  # fmt: skip


def _told_instead(found: Why) -> str | None:
    """The sentence about a job whose body did not run; None for a job whose body ran."""
    job = found.job
    failed = f" What it returned has failed since: {job['error']}" if job["status"] == "failed" else ""
    if job["how"] == "cached":
        recorded = found.reduction
        where = (
            f": it was computed at {moment(recorded['recorded_at'])} by execution "
            f"{short_execution(recorded['execution_id'])}"
            if recorded
            else ""
        )
        ran = f" Among the calls that it made, {few(found.ran_below)} ran anew." if found.ran_below else ""
        return f"It did not run. The cache had its result{where}.{ran}{failed}"
    if job["how"] == "shared" and found.twin is not None and found.twin["job_id"] == job["job_id"]:
        began = moment(found.twin["started_at"] or found.twin["queued_at"])
        ran = f"It ran before this execution was resumed, at {began}"
        return f"{ran}, and did not run again: its result was kept.{failed}"
    if job["how"] == "shared":
        which = f": job {short_job(found.twin['job_id'])}" if found.twin is not None else ""
        what = f"the work, and failed: {job['error']}" if failed else f"had the result{which}."
        return f"It did not run. An equal call of the same execution {'did ' if failed else ''}{what}"
    if job["status"] == "not_run" or (job["status"] == "failed" and not job["attempts"]):
        return f"It did not run, because what it needs has failed: {job['error']}"
    if job["status"] == "cancelled" and not job["attempts"]:
        return "It did not run: the execution was stopped before its turn came."
    return None


def _told_reasons(found: Why, changes: list[Change]) -> list[str]:
    earlier = found.earlier
    lines = [f"It ran because {miss.phrase()}." for miss in found.missed]
    if earlier is None:
        return lines or ["It ran because this store has no earlier evaluation of this task."]
    code = reasons.code_phrase(found) if found.task_changed else None
    if found.is_outdated:
        lines.append(f"It ran because {reasons.outdated_phrase(found)}.")
    if code is not None and reasons.has_changed_text(found):
        lines.extend(_told_code(found, changes))
    elif code is not None:
        lines.append(f"It ran because {code}.")
    if found.arguments_changed:
        lines.extend(_told_arguments(found, is_first=not lines))
    if not lines:
        lines.append(_sentence(found, reasons.phrases(found)[0]))
    return lines


def _sentence(found: Why, phrase: str) -> str:
    if found.forgotten_at is not None:
        return f"It ran because the earlier result was forgotten at {moment(found.forgotten_at)}."
    return f"It ran because {phrase}."


def _told_code(found: Why, changes: list[Change]) -> list[str]:
    lines = [f"It ran because its code has changed{since(found.earlier)}."]
    for change in changes:
        way = f", reached by {' -> '.join(change.path)}" if len(change.path) > 1 else ""
        lines.append(f"\n{change.kind} {change.name} was {change.what}{way}  {change.place or ''}".rstrip())
        if change.text:
            lines.append(diff_text(change.text, sys.stdout))
    return lines


def _told_arguments(found: Why, *, is_first: bool) -> list[str]:
    after = since(found.earlier)
    lines = [f"It ran because its arguments differ{after}." if is_first else f"\nIts arguments differ{after}, too."]
    if not found.arguments_known:
        return [*lines, "Which of them is not known: those of one of the two calls were not kept."]
    for change in found.changes:
        sources = sources_text(change.new.sources) if change.new else ""
        lines.append(f"  {change.text()}{f'  (from {sources})' if sources else ''}")
    return lines
