"""`rayflow config`: show the settings that apply here, and where each was set.

In: nothing but the directory and the environment. Out: a table or JSON. Never: changes a setting, shows a secret.
"""

from __future__ import annotations

import json
import sys
from dataclasses import fields

import click

from rayflow.cli.output.render import table
from rayflow.cli.stores import json_option, print_json, store_option, store_url
from rayflow.config import load_with_sources
from rayflow.lang.options.runtime_environments import shown, shown_in


@click.group("config")
def command() -> None:
    """Settings: what counts in this project, and where it was set.

    \b
    rayflow config show
    """


@command.command("show")
@store_option
@click.option("--address", metavar="ADDRESS", help="The Ray cluster to join, as for a run.")
@json_option
def show(store: str | None, address: str | None, as_json: bool) -> None:
    """Show each setting, and whether a file, an environment variable or a flag has set it.

    \b
    rayflow config show --json
    """
    config, sources = load_with_sources(store=store_url(store), address=address)
    # Of variables of a runtime environment the names alone: their values may be secrets.
    values = {item.name: getattr(config, item.name) for item in fields(config)}
    values["environment"] = shown(config.environment)
    values["options"] = shown_in(config.options)
    values["profiles"] = {name: shown_in(options) for name, options in config.profiles.items()}
    rows = [(name, value, sources.get(name, "default")) for name, value in values.items()]
    if as_json:
        print_json({name: {"value": value, "source": source} for name, value, source in rows})
        return
    lines = [(name, "" if value in (None, {}) else _text(value), source) for name, value, source in rows]
    click.echo(table(("setting", "value", "set by"), lines, sys.stdout, flexible=("value",)), nl=False)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
