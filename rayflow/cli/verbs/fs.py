"""`rayflow fs`: list and copy files at any URL that a workflow can name.

In: paths and URLs. Out: a listing, or copies. Never: leaves half a copy, deletes a file.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from functools import partial

import click

from rayflow.cli.output.render import table
from rayflow.cli.output.style import size
from rayflow.cli.stores import json_option, print_json
from rayflow.errors import FileConflict, FileMissing
from rayflow.values.files.copying import copy_file, copy_tree
from rayflow.values.filesystems.directory_entry import DirectoryEntry
from rayflow.values.filesystems.filesystems import is_url, located
from rayflow.values.process.parallel import at_once


@click.group("fs")
def command() -> None:
    """List and copy files here and at any URL that a File can name (s3://, gs://, https://, ...).

    \b
    rayflow fs ls s3://bucket/reads
    rayflow fs cp s3://bucket/reads/a.fastq.gz .
    """


@command.command("ls")
@click.argument("url", default=".")
@click.option("-r", "--recursive", is_flag=True, help="List the files at any depth.")
@json_option
def ls(url: str, recursive: bool, as_json: bool) -> None:
    """List a directory, or one file.

    \b
    rayflow fs ls s3://bucket/reads -r
    """
    entries = _entries(_given(url), recursive)
    if as_json:
        print_json(
            [{"path": name, "size": e.size, "modified_ns": e.modified_ns, "is_dir": e.is_dir} for name, e in entries]
        )
        return
    rows = [
        (
            "" if entry.is_dir else size(entry.size),
            datetime.fromtimestamp(entry.modified_ns / 1e9, UTC) if entry.modified_ns else None,
            f"{name}/" if entry.is_dir else f"{name} -> {entry.version}" if entry.leads_nowhere else name,
        )
        for name, entry in entries
    ]
    click.echo(table(("size", "modified", "name"), rows, sys.stdout, right=("size",), flexible=("name",)), nl=False)


@command.command("cp")
@click.argument("sources", nargs=-1, required=True, metavar="SRC ...")
@click.argument("target", metavar="DST")
@click.option("-r", "--recursive", is_flag=True, help="Copy directories with all that is in them.")
@click.pass_context
def cp(context: click.Context, sources: tuple[str, ...], target: str, recursive: bool) -> None:
    """Copy files between any two places; each appears whole or not at all, and several are copied at a time.

    \b
    rayflow fs cp s3://bucket/reads/a.fastq.gz .
    rayflow fs cp -r results gs://bucket/results

    As with cp, into DST when it is a directory, or ends with a slash. It has to be one for several SRC.
    """
    to = _given(target)
    into = target.endswith("/") or _is_dir(to)
    if len(sources) > 1 and not into:
        raise click.UsageError(f"{target} is not a directory: end it with a slash to have it made.", context)
    files, trees = [], []
    for source in map(_given, sources):
        end = f"{to.rstrip('/')}/{source.rstrip('/').rpartition('/')[2]}" if into else to
        if not _stat(source).is_dir:
            files.append(partial(_copy_file, source, end))
        elif recursive:
            trees.append(partial(copy_tree, source, end))
        else:
            raise click.UsageError(f"{source} is a directory: add -r to copy all that is in it.", context)
    at_once(files)
    copied = len(files) + sum(tree() for tree in trees)
    click.echo(f"copied {copied:,} {'file' if copied == 1 else 'files'}", err=True)


def _given(text: str) -> str:
    """A path or URL as it was written: a relative path is relative to where the user is."""
    return text if is_url(text) else os.path.abspath(os.path.expanduser(text))


def _stat(url: str) -> DirectoryEntry:
    fs, path = located(url)
    try:
        return fs.stat(path)
    except FileNotFoundError:
        raise FileMissing(f"There is nothing at {url}.") from None


def _is_dir(url: str) -> bool:
    try:
        return _stat(url).is_dir
    except FileMissing:
        return False


def _copy_file(source: str, target: str) -> None:
    if located(source) == located(target):
        raise FileConflict(f"{source} and {target} are the same file.")
    copy_file(source, target)


def _entries(url: str, recursive: bool) -> list[tuple[str, DirectoryEntry]]:
    """The names and entries of a directory, or the name and entry of one file."""
    found = _stat(url)
    if not found.is_dir:
        return [(url.rpartition("/")[2], found)]
    fs, path = located(url)
    entries = fs.find(path) or [] if recursive else fs.ls(path)
    start = len(path.rstrip("/")) + 1
    return [(entry.path[start:], entry) for entry in entries]
