"""`rayflow attach`: follow an execution that was submitted to a cluster.

In: the id of an execution. Out: what it prints, its answer, its exit code. Never: starts or stops anything.
"""

from __future__ import annotations

import click

from rayflow.cli.clusters import address_option, api_of
from rayflow.cli.job_following import follow_job
from rayflow.cli.output.output import answer_alone
from rayflow.cli.stores import config_of
from rayflow.submission.job_api import job_of


@click.command("attach")
@click.argument("execution", metavar="EXECUTION")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Leave out all but the last N lines.")
@address_option
def command(execution: str, tail: int | None, address: str | None) -> int:
    """Follow a submitted execution: what it prints, its progress and its result; also one that has ended.

    \b
    rayflow attach 0197a3c2-51f0 --address http://HEAD:8265      an id, or its beginning; - for the last one
    rayflow attach - --tail 20                                   what it has printed before is left out

    Ctrl-C ends only this command: the execution goes on.
    """
    api = api_of(address, config_of(None).address, verb="attach")
    with answer_alone() as stdout:
        return follow_job(api, job_of(api, execution), stdout, address=address, tail=tail)
