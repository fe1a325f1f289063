"""`rayflow viz`: draw an execution.

In: the id of an execution. Out: a drawing as text, SVG or HTML, on stdout or in a file. Never:
needs the network; runs a program, but Graphviz for png and pdf.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import asdict

import click

from rayflow.cli.output import drawing
from rayflow.cli.output.style import is_terminal
from rayflow.cli.parsing.completion import executions
from rayflow.cli.stores import history_of, json_option, print_json, store_option
from rayflow.store.history.answer_types import CallGraph
from rayflow.values.filesystems.filesystems import filesystem

ENDINGS = {
    "mmd": "mermaid", "mermaid": "mermaid", "txt": "mermaid", "md": "markdown", "dot": "dot", "gv": "dot",
    "svg": "svg", "html": "html", "htm": "html", "png": "png", "pdf": "pdf",
}  # fmt: skip
"""The format by the end of a file's name."""

IMAGES = ("png", "pdf")
"""Formats that Graphviz draws."""

FORMATS = tuple(dict.fromkeys(ENDINGS.values()))


@click.command("viz")
@click.argument("execution", default="-", shell_complete=executions)
@click.option("--format", "form", type=click.Choice(FORMATS), help="mermaid by default, or what the file's name says.")
@click.option("--out", metavar="FILE", help="Write to a file, in place of stdout.")
@json_option
@store_option
def command(execution: str, form: str | None, out: str | None, as_json: bool, store: str | None) -> None:
    """Draw an execution: who called whom, whose results went where, what ran and how long it took.

    \b
    rayflow viz - --out run.html              a page complete in itself
    rayflow viz - --out run.svg               a drawing; run.png and run.pdf need Graphviz
    rayflow viz ~1 --format mermaid           text for other programs, as dot is, too

    All calls of one task that were made from one place are one box, with their number.
    """
    if as_json and (form or out):
        other = "--format" if form else "--out"
        raise click.UsageError(f"--json prints the graph itself, to stdout: leave out {other}.")
    meant = _meant(form, out)
    history = history_of(store)
    graph = history.call_graph(history.resolve(execution, kinds=("execution",)).id)
    if as_json:
        boxes, flows = ([asdict(each) for each in items] for items in (graph.boxes, graph.flows))
        print_json({"execution": graph.execution["execution_id"], "boxes": boxes, "flows": flows})
        return
    if out is None:
        if meant in IMAGES and is_terminal(sys.stdout):
            raise click.UsageError(f"A {meant} is no text for a terminal: add --out run.{meant}, or a pipe.")
        content = _drawn(graph, meant)
        click.echo(content if meant in IMAGES else content.decode(), nl=False)
        return
    _write(out, _drawn(graph, meant))
    click.echo(f"drawn to {out}", err=True)


def _drawn(graph: CallGraph, meant: str) -> bytes:
    if meant not in IMAGES:
        return drawing.FORMATS[meant](graph).encode()
    program = shutil.which("dot")
    if program is None:
        raise click.UsageError(
            f"A {meant} is drawn by Graphviz, and its program dot is not found: install Graphviz, or draw one of "
            f"{', '.join(name for name in FORMATS if name not in IMAGES)}."
        )
    done = subprocess.run([program, f"-T{meant}"], input=drawing.dot(graph).encode(), capture_output=True, check=False)
    if done.returncode or not done.stdout:
        said = done.stderr.decode(errors="replace").strip()
        raise click.ClickException(
            f"Graphviz could not draw the {meant} ({program} ended with {done.returncode}): {said}"
        )
    return done.stdout


def _write(path: str, content: bytes) -> None:
    fs, place = filesystem(os.path.expanduser(path))
    fs.write_bytes(place, content)


def _meant(form: str | None, out: str | None) -> str:
    """The format: the named one, or the one by the end of the file's name. Raises UsageError if they contradict."""
    ending = os.path.splitext(out or "")[1].lower().removeprefix(".")
    named = ENDINGS.get(ending)
    if ending and named is None and form is None:
        raise click.UsageError(
            f"No drawing is called .{ending}: the file's name ends with one of "
            f"{', '.join('.' + each for each in ENDINGS)}, or --format says what it is to be."
        )
    is_image = named in ("svg", "html", *IMAGES)
    if form is not None and named is not None and form != named and (is_image or form in IMAGES):
        raise click.UsageError(f"--format {form} and the file's name {out} contradict each other.")
    return form or named or "mermaid"
