"""`rayflow tag`: list and write the tags of executions, jobs, calls, values, files and tasks.

In: what is tagged, keys and values. Out: new tag records, or a list of tags. Never: deletes a record; an earlier value
stays in the history.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from rayflow.cli.output.render import table, tags_text
from rayflow.cli.parsing.given_options import tag_of, tagged, tags_of, written
from rayflow.cli.stores import history_of, json_option, open_for, print_json, store_option, store_url
from rayflow.errors import NotFound
from rayflow.lang.options.tags import tag_text
from rayflow.pasting import command as pasted
from rayflow.records import TagRow
from rayflow.store.history.answer_types import Entity, Record

if TYPE_CHECKING:
    from rayflow.store.history.history import History


@click.group("tag")
def command() -> None:
    """List, add, update or remove tags: of an execution, job, call, value, file or task.

    \b
    rayflow tag add - reviewed=yes

    What has tags is named as for `rayflow log`: by the beginning of its id, - for the last execution and ~1 for the one
    before, a task by its name (its latest version is meant), a file by its path (its latest state). Nothing is ever
    overwritten: `rayflow tag list ID --history` shows what was set and removed when.
    """


@command.command("list")
@click.argument("what", required=False, metavar="[ID]")
@click.option("--key", metavar="KEY[=VALUE]", help="Only tags with this key.")
@click.option("--history", "with_history", is_flag=True, help="Also what was removed, and when.")
@store_option
@json_option
def list_(what: str | None, key: str | None, with_history: bool, store: str | None, as_json: bool) -> None:
    """List the tags of something, or all tags.

    \b
    rayflow tag list - --history
    """
    history = history_of(store)
    if what is None and with_history:
        offer = pasted("tag", "list", "ID", "--history", store=store_url(store))
        raise click.UsageError(f"Name what the history is wanted of: {offer}")
    meant = meant_by(history, what) if what is not None else None
    asked = tagged(key) if key is not None else None
    name = asked.key if asked else None
    if meant is not None and with_history:
        rows = history.tag_history(meant.kind, meant.id, name)
    elif meant is not None:
        rows = history.tags(meant.kind, meant.id, name)
    else:
        rows = history.tags(key=name)
    if asked is not None and asked.values:
        rows = [row for row in rows if row["value_json"] in asked.values]
    if as_json:
        print_json(rows)
    else:
        _show(rows, with_entity=meant is None, with_history=with_history)


@command.command("add")
@click.argument("what", metavar="ID")
@click.argument("tags", nargs=-1, required=True, metavar="KEY=VALUE...")
@store_option
def add(what: str, tags: tuple[str, ...], store: str | None) -> None:
    """Add tags; a key may have several values.

    \b
    rayflow tag add - reviewed=yes reviewer=ada
    """
    _change(store, what, tags_of(tags), alone=False)


@command.command("update")
@click.argument("what", metavar="ID")
@click.argument("tags", nargs=-1, required=True, metavar="KEY=VALUE...")
@store_option
def update(what: str, tags: tuple[str, ...], store: str | None) -> None:
    """Set tags: the values that their keys had before are removed.

    \b
    rayflow tag update 3f2a9c reviewed=no
    """
    _change(store, what, tags_of(tags), alone=True)


@command.command("rm")
@click.argument("what", metavar="ID")
@click.argument("tags", nargs=-1, required=True, metavar="KEY[=VALUE]...")
@store_option
def remove(what: str, tags: tuple[str, ...], store: str | None) -> None:
    """Remove tags: all values of a key, or one. The history keeps them.

    \b
    rayflow tag rm - reviewed
    """
    opened = open_for(store, read_only=False)
    history = opened.history()
    meant = meant_by(history, what)
    now = time.time_ns() // 1000
    rows: list[TagRow] = []
    for text in tags:
        asked = tagged(text)
        known = history.tags(meant.kind, meant.id, asked.key)
        there = [row["value_json"] for row in known]
        exact = written(tag_of(text)[1])  # 1 is the number where both are set, the text 1 where only that is
        fitting = [exact] if asked.values and exact in there else there
        fitting = [value for value in fitting if not asked.values or value in asked.values]
        if not fitting:
            raise NotFound(f"{meant.kind} {meant.id} has no tag {text}.")
        rows.extend(
            TagRow(entity=meant.kind, entity_id=meant.id, key=asked.key, value=value, at=now, removed=True)
            for value in fitting
        )
    opened.append(rows)
    opened.close()
    _say(history, meant)


def meant_by(history: History, text: str) -> Entity:
    """Find what is tagged by an id, the beginning of one, a task's name, or a file's path. Raises NotFound."""
    name = history.task_named(text)
    if name is not None:
        task_hash = history.latest_task_hash(name)
        if task_hash is None:
            raise NotFound(f"The store knows calls of {name}, but not the task itself: give the id of a job.")
        return Entity("task", task_hash)
    found = history.resolve(text)
    return Entity("value", history.files(found.id)[0]["value_hash"]) if found.kind == "file" else found


def _change(store: str | None, what: str, tags: Iterable[tuple[str, object]], *, alone: bool) -> None:
    """Record tags. alone: other values of their keys are removed."""
    opened = open_for(store, read_only=False)
    history = opened.history()
    meant = meant_by(history, what)
    now = time.time_ns() // 1000
    rows: list[TagRow] = []
    wanted: dict[str, dict[str, None]] = {}
    for key, value in tags:
        wanted.setdefault(key, {})[written(value)] = None
    for key, texts in wanted.items():
        known = [row["value_json"] for row in history.tags(meant.kind, meant.id, key)]
        if alone:
            rows.extend(
                TagRow(entity=meant.kind, entity_id=meant.id, key=key, value=each, at=now, removed=True)
                for each in known
                if each not in texts
            )
        rows.extend(
            TagRow(entity=meant.kind, entity_id=meant.id, key=key, value=text, at=now, removed=False)
            for text in texts
            if text not in known
        )
    opened.append(rows)
    opened.close()
    _say(history, meant)


def _say(history: History, meant: Entity) -> None:
    """Print the tags that are set now."""
    tags = history.tags(meant.kind, meant.id)
    click.echo(f"{meant.kind} {meant.id[:18]}: {tags_text(tags) or 'no tags'}")


def _show(rows: list[Record], *, with_entity: bool, with_history: bool) -> None:
    if not rows:
        click.echo("There are no such tags." if with_entity else "It has no such tags.")
        return
    heads = [*(("of", "id") if with_entity else ()), "key", "value", "at"]
    heads += ["what"] if with_history else []
    cells = [
        [
            *((row["entity"], row["entity_id"][:18]) if with_entity else ()),
            row["key"],
            tag_text(row["value_json"]),
            row["recorded_at"],
            *(("removed" if row["removed"] else "set",) if with_history else ()),
        ]
        for row in rows
    ]
    click.echo(table(heads, cells, sys.stdout, flexible=("value",)), nl=False)
