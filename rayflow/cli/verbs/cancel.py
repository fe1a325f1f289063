"""`rayflow cancel`: end an execution, from any machine that reaches its store or its cluster.

In: the id of an execution, and why. Out: how it ended. Never: signals a process.
"""

from __future__ import annotations

import socket
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from rayflow.cli.cancelling import LOOK_SECONDS, WAIT_SECONDS, CancelAnswer, cancel
from rayflow.cli.clusters import address_option, api_of
from rayflow.cli.output.progress import PlainReporter
from rayflow.cli.output.style import short_execution
from rayflow.cli.parsing.completion import executions
from rayflow.cli.run_filters import change_many, check_one_or_filter, filter_of, filter_options, yes_option
from rayflow.cli.services import client_of
from rayflow.cli.stores import json_option, open_for, print_json, store_option
from rayflow.errors import NotFound
from rayflow.pasting import command as pasted
from rayflow.runtime.protocol.execution_row import user

if TYPE_CHECKING:
    from rayflow.store.history.history import History
    from rayflow.store.store import Store


@click.command("cancel")
@click.argument("execution", metavar="[EXECUTION]", required=False, shell_complete=executions)
@filter_options
@click.option("--reason", metavar="TEXT", default="", help="Why: it is recorded with the execution.")
@yes_option
@store_option
@address_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    execution: str | None,
    reason: str,
    yes: bool,
    store: str | None,
    address: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """End an execution, wherever it runs: it starts no new calls, what runs is stopped, what is finished is kept.

    \b
    rayflow cancel 0197a3c2-51f0 --reason "wrong input"
    rayflow cancel --state waiting --flow checkout     runs of a service
    rayflow log --running              what there is to cancel
    rayflow cancel 0197a3c2-51f0 --address http://HEAD:8265      where only the cluster reaches the store

    The request goes through the store, so this works on any machine that can write to it. With --address, a job on the
    cluster writes it; this ends executions that `rayflow submit` has started. The run that is cancelled ends with exit
    code 130. To cancel twice does no harm. Exit code 1: the execution had ended otherwise, or is lost; 2: it has not
    ended within half a minute, but the request stands.

    A run that a service keeps is named by its own id, too; the service is asked to end it, with the clean-up that the
    run has for that. Without an id, --state, --flow and the other options choose the runs that the service is asked to
    end; it says how many, and asks first, unless --yes is given. Clean-ups that go on are left alone.
    """
    wanted = filter_of(options)
    check_one_or_filter(context, execution, wanted, "execution")
    by, why = f"{user() or 'somebody'}@{socket.gethostname()}", " ".join(reason.split())
    if address is not None and store is not None:
        raise click.UsageError("--store and --address are two ways to the same execution: leave one out.")
    if execution is None:
        if address is not None:
            raise click.UsageError("Runs that options choose are a service's: leave --address out.")
        said = f"{by}: {why}" if why else by
        with client_of(None, store) as client:
            return change_many(client.cancel_runs, wanted, "cancelled", reason=said, yes=yes, as_json=as_json)
    run_id = None
    if address is None:
        opened = open_for(store, read_only=False)
        run_id = _run_named(opened, execution)
        if run_id is not None:
            answer = _cancel_run(run_id, store, f"{by}: {why}" if why else by)
        else:
            answer = cancel(opened, _found(opened.history(), execution), by, why)
        url, follow = opened.url, pasted("log", short_execution(answer.execution_id), "--follow", store=opened.url)
    else:
        answer, url = _cancel_there(address, execution, by, why)
        follow = pasted("attach", short_execution(answer.execution_id), "--address", address)
    if as_json:
        print_json(asdict(answer))
    else:
        click.echo(_said(answer, url, follow, run_id is not None))
    return answer.exit_code


def _found(history: History, text: str) -> str:
    """The id of the execution that a text names. Raises NotFound."""
    try:
        return history.resolve(text, kinds=("execution",)).id
    except NotFound as error:
        there = pasted("cancel", text, "--address", "http://HEAD:8265")
        raise NotFound(
            f"{error} Only its cluster knows an execution that was submitted and has not begun: {there}"
        ) from None


def _run_named(opened: Store, text: str) -> str | None:
    """The run of a service with this id, with this beginning of it, or with this id of its starter's; None if there is
    none."""
    history = opened.history()
    wanted = history.resolve(text, kinds=("execution",)).id if text == "-" else text
    found = history.records(
        "SELECT run_id FROM runs WHERE id = $text OR starts_with(run_id, $text) "
        "ORDER BY id = $text DESC NULLS LAST, run_id = $text DESC, created_at DESC LIMIT 1",
        {"text": wanted},
    )
    return str(found[0]["run_id"]) if found else None


def _cancel_run(run_id: str, store: str | None, reason: str) -> CancelAnswer:
    """Have the service of the store end a run, and wait for half a minute at most until it has. Raises
    ServiceUnavailable."""
    with client_of(None, store) as client:
        run = client.get(run_id)
        was_open = run.cancel(reason)
        end = time.monotonic() + WAIT_SECONDS
        while True:
            told = run.describe()
            status = told["state"] if told["state"] in ("done", "failed", "cancelled") else "running"
            if status != "running" or time.monotonic() >= end:
                return CancelAnswer(run_id, status, "running" if was_open else status, told["error"])
            time.sleep(LOOK_SECONDS)


def _cancel_there(address: str, execution: str, by: str, reason: str) -> tuple[CancelAnswer, str]:
    """The answer of an execution that a job of a cluster evaluates, and the URL of its store."""
    from rayflow.submission.cancelling import CancelJob
    from rayflow.submission.job_api import job_of

    api = api_of(address, None, verb="cancel")
    reporter = PlainReporter(sys.stderr)
    asked = CancelJob(api, job_of(api, execution), lambda text: reporter.say(text, "dim"))
    return CancelAnswer(**asked.answer(by, reason)), asked.store


def _said(answer: CancelAnswer, store: str, follow: str, is_run: bool) -> str:
    name, status, before = short_execution(answer.execution_id), answer.status, answer.was
    resume = pasted("retry" if is_run else "resume", name, store=store)
    if status == "running":
        return f"{name} is asked to end, and has not ended yet; `{follow}` shows when it has"
    if status == "lost":
        return f"{name} is lost: nothing of it runs any more. `{resume}` would go on with it."
    if status == "cancelled":
        if before == "running":
            return f"{name} is cancelled; what was finished is kept. Go on with: {resume}"
        if before == status:
            return f"{name} was cancelled already"
        return f"{name} is cancelled: its job is stopped before the execution has begun"
    if before == status:
        return f"{name} has ended already: it is {status}"
    return f"{name} ended before the request reached it: it is {status}"
