"""`rayflow viz`: an execution as a drawing."""

from __future__ import annotations

import click

from rayflow.cli.stores import history_of, json_option, print_json, store_option

FORMATS = ("mermaid", "dot", "html")


@click.command("viz")
@click.argument("execution", default="-")
@click.option("--format", "form", type=click.Choice(FORMATS), help="mermaid by default, or what the file's name says.")
@click.option("--out", metavar="FILE", help="Write to a file, in place of stdout.")
@json_option
@store_option
def command(execution: str, form: str | None, out: str | None, as_json: bool, store: str | None) -> None:
    """Draw an execution: who called whom, whose results went where, what ran and how long it took.

    \b
    rayflow viz - --out run.html              a page complete in itself
    rayflow viz ~1 --format dot | dot -Tsvg > run.svg

    All calls of one task that were made from one place are one box, with their number.
    """
    history = history_of(store)
    graph = history.call_graph(history.resolve(execution, kinds=("execution",)).id)
    if as_json:
        from dataclasses import asdict

        boxes, flows = ([asdict(each) for each in items] for items in (graph.boxes, graph.flows))
        print_json({"execution": graph.execution["execution_id"], "boxes": boxes, "flows": flows})
        return
    from rayflow.cli import drawing

    text = drawing.FORMATS[form or _meant(out)](graph)
    if out is None:
        click.echo(text, nl=False)
        return
    _write(out, text)
    click.echo(f"drawn to {out}", err=True)


def _write(path: str, text: str) -> None:
    import os

    from rayflow.values.filesystems import filesystem

    fs, place = filesystem(os.path.expanduser(path))
    fs.write_bytes(place, text.encode())


def _meant(out: str | None) -> str:
    """The format that a file's name asks for."""
    ending = (out or "").rpartition(".")[2].lower()
    return {"html": "html", "htm": "html", "dot": "dot", "gv": "dot"}.get(ending, "mermaid")
