"""`rayflow doctor`: look for what would fail a run on a cluster.

In: the address of a cluster. Out: a line for each thing that was looked at, with what to do. Never: runs a task of the
project.
"""

from __future__ import annotations

import dataclasses
import sys

import click

from rayflow.cli.output.style import styled
from rayflow.cli.stores import config_of, json_option, print_json, store_option

_COLOURS = {"ok": "green", "warning": "yellow", "failure": "red"}


@click.command("doctor")
@click.option("--address", metavar="ADDRESS", help="The Ray cluster that a run would join; as configured by default.")
@store_option
@json_option
def command(address: str | None, store: str | None, as_json: bool) -> None:
    """Look for what would fail or slow down a run: the cluster, its token, versions, the store from every node, clocks,
    shared memory, disks, settings, packages that the project imports and nodes lack.

    \b
    rayflow doctor --address 10.0.0.5:6379

    Each line says what was looked at; below what is wrong stands what to do. Without an address, a Ray of this machine
    is looked at, as for a run. The exit code is 1 if something would fail a run, else 0. The store is made if there is
    none.

    --json prints {"findings": [...], "nodes": [...]}.
    """
    from rayflow.config import check_address
    from rayflow.runtime.on_ray.doctor.asking import examined
    from rayflow.runtime.on_ray.doctor.findings import fails
    from rayflow.runtime.protocol.reports import Silent

    config = config_of(store, address=address)
    if config.address is not None and not config.address.startswith("ray://"):
        check_address(config.address)
    facts, findings = examined(config, Silent())
    if as_json:
        print_json({
            "findings": [dataclasses.asdict(each) for each in findings],
            "nodes": [
                {**dataclasses.asdict(node), "trial": node.trial._asdict() if node.trial is not None else None}
                for node in facts.nodes
            ],
        })  # fmt: skip
    else:
        for each in findings:
            level = styled(f"{each.level:7}", _COLOURS[each.level], sys.stdout)
            click.echo(f"{level}  {each.subject}: {each.text}")
            if each.advice is not None:
                click.echo(f"         {each.advice}")
    if fails(findings):
        sys.exit(1)
