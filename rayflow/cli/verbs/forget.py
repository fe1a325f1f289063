"""`rayflow forget`: make recorded results invalid, so that the next run computes them anew.

In: the name of a task, or the id of a job. Out: how many results are invalid now. Never: deletes records or files.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from rayflow.cli.stores import json_option, open_for, print_json, store_option
from rayflow.errors import NotFound
from rayflow.pasting import command as pasted
from rayflow.store.history.answer_types import shown_name

if TYPE_CHECKING:
    from rayflow.store.history.history import History


@click.command("forget")
@click.argument("what", metavar="TASK|JOB")
@store_option
@json_option
def command(what: str, store: str | None, as_json: bool) -> None:
    """Let what a task, or the call of one job, has computed count no more; the next run computes it anew.

    \b
    rayflow forget flow.train      all results of a task, by its full or short name
    rayflow forget 3f2a9c          the result of the call that this job made

    Nothing is deleted: what happened stays in the history.
    """
    opened = open_for(store, read_only=False)
    history = opened.history()
    name = history.task_named(what)
    now = time.time_ns() // 1000
    if name is not None:
        meant, count = f"task {name}", opened.forget(at=now, task_name=name)
    else:
        meant, count = _forget_call(history, what, lambda key: opened.forget(at=now, eval_hash=key))
    opened.close()
    if as_json:
        print_json({"forgotten": meant, "results": count})
    else:
        click.echo(f"{meant}: {count:,} {'result counts' if count == 1 else 'results count'} no more.")


def _forget_call(history: History, what: str, forget: Callable[[bytes], int]) -> tuple[str, int]:
    try:
        found = history.resolve(what, kinds=("job",))
    except NotFound:
        listing = pasted("log", "--jobs", store=history.url)
        raise NotFound(f"The store knows no task and no job {what!r}; `{listing}` lists what it knows.") from None
    job = history.find_job(found.id)
    if job is None or job["eval_hash"] is None:
        raise NotFound(f"Job {found.id} has no result that could be forgotten.")
    return f"the call of job {found.id[:12]} ({shown_name(job)})", forget(bytes.fromhex(job["eval_hash"]))
