"""An execution's graph as text for drawing programs, and as a page that needs no such program.

In: a `CallGraph`. Out: Mermaid, Graphviz' dot, an SVG drawing, or one HTML page with it inside. Never: network, asks a
store, runs a program.

A solid arrow is a result that went into a call. A dotted arrow goes from a call to a call that it made.
"""

from __future__ import annotations

from html import escape

from rayflow.cli.output.style import counted, duration, in_words, visible
from rayflow.store.history.answer_types import Box, CallGraph
from rayflow.values.encoding.previews import shorten

LONGEST = 60
"""Longer lines in a box are shortened, in characters."""

COLOURS = {
    "failed": "#f8b4b4",
    "not_run": "#fcd9b6",
    "open": "#bfdbfe",
    "cancelled": "#fde68a",
    "computed": "#e5e7eb",
    "cached": "#bbf7d0",
    "shared": "#f3f4f6",
}
"""How calls ended -> the colour of a box with such calls. The first that fits is taken."""


def how_of(box: Box) -> str:
    """The meaning of a box's colour: the first entry of COLOURS that one of its calls fits."""
    return next((how for how in COLOURS if box.counts.get(how)), "shared")


def _lines(box: Box) -> list[str]:
    jobs = box.counts["jobs"]
    head = box.call or f"{box.label or box.task_name} x {jobs:,}"
    ends = counted({**box.counts, "jobs": 0}) if jobs > 1 else in_words(how_of(box))
    times = [ends, duration(box.seconds)]
    if jobs > 1 and box.body_seconds:
        times.append(f"{duration(box.body_seconds)} in bodies")
    return [shorten(_on_one_line(head), LONGEST), ", ".join(each for each in times if each)]


def _on_one_line(text: str) -> str:
    return visible(" ".join(text.split()))


def _title(graph: CallGraph) -> str:
    row = graph.execution
    return _on_one_line(f"{row['arguments'] or ''}  {row['execution_id']}  {row['status']}")


# --- for programs that draw -------------------------------------------------------------------------------------------


def mermaid(graph: CallGraph) -> str:
    """The graph for Mermaid, as Markdown pages of many sites show it."""
    lines = ["flowchart TD"]
    for box in graph.boxes:
        text = "<br/>".join(map(_coded, _lines(box)))
        lines.append(f'    b{box.number}["{text}"]:::{how_of(box)}')
    for box in graph.boxes:
        if box.parent is not None:
            lines.append(f"    b{box.parent} -.-> b{box.number}")
    lines.extend(f"    b{flow.source} --> b{flow.target}" for flow in graph.flows)
    used = dict.fromkeys(map(how_of, graph.boxes))
    lines.extend(f"    classDef {how} fill:{COLOURS[how]},stroke:#555,color:#111" for how in used)
    return "\n".join(lines) + "\n"


def _coded(text: str) -> str:
    """The text for quotes in Mermaid. Special characters are written as entities, which begin with #. (A backslash may
    begin a new line, two dollars a formula, a percent sign a directive, a backquote Markdown.)"""
    return "".join(f"#{ord(letter)};" if letter in '#"<>&`\\$%;' else letter for letter in text)


def markdown(graph: CallGraph) -> str:
    """The graph for Mermaid as a block of Markdown."""
    return f"```mermaid\n{mermaid(graph)}```\n"


def dot(graph: CallGraph) -> str:
    """The graph for Graphviz: `rayflow viz - --format dot | dot -Tsvg`."""
    lines = [
        "digraph execution {",
        f'    label="{_quoted(_title(graph))}"; rankdir=TB;',
        '    node [shape=box, style="rounded,filled", fontname="sans-serif", fontsize=10];',
    ]
    for box in graph.boxes:
        text = "\\n".join(map(_quoted, _lines(box)))
        lines.append(f'    b{box.number} [label="{text}", fillcolor="{COLOURS[how_of(box)]}"];')
    for box in graph.boxes:
        if box.parent is not None:
            lines.append(f'    b{box.parent} -> b{box.number} [style=dotted, color="#888888"];')
    lines.extend(f"    b{flow.source} -> b{flow.target};" for flow in graph.flows)
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


# --- a page -----------------------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT, _ACROSS, _DOWN = 400, 44, 90, 18
"""Size of a box, and the room between boxes, in pixels."""

_PAGE_STYLE = """body{font:14px sans-serif;margin:2em;color:#111;background:#fff}
.legend span{padding:2px 8px;margin-right:6px;border:1px solid #555;border-radius:4px}"""

_STYLE = """text{font:12px sans-serif}.call{stroke:#999;stroke-dasharray:3 3;fill:none}.flow{stroke:#1d4ed8;fill:none}
rect{stroke:#555}"""


def html(graph: CallGraph) -> str:
    """The graph as one page, complete in itself."""
    legend = "".join(f'<span style="background:{colour}">{in_words(how)}</span>' for how, colour in COLOURS.items())
    title = escape(_title(graph))
    parts = [
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        f"<style>{_PAGE_STYLE}</style></head><body>\n<h1>{title}</h1>",
        f'<p class="legend">{legend} dotted: calls; blue: results that went into calls</p>',
        svg(graph) + "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def svg(graph: CallGraph) -> str:
    """The graph as a drawing, from left to right. The calls of one task from one place are one box."""
    rows, columns = _placed(graph)
    width = (max(columns) + 1) * (_WIDTH + _ACROSS)
    height = (max(rows) + 1) * (_HEIGHT + _DOWN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">',
        f"<title>{escape(_title(graph))}</title><style>{_STYLE}</style>",
        '<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#1d4ed8"/></marker></defs>',
    ]
    lefts = [column * (_WIDTH + _ACROSS) for column in columns]
    tops = [row * (_HEIGHT + _DOWN) for row in rows]
    half = _HEIGHT // 2
    for box in graph.boxes:
        if box.parent is not None:
            x, y = lefts[box.parent] + _WIDTH, tops[box.parent] + half
            u, v = lefts[box.number], tops[box.number] + half
            parts.append(f'<path class="call" d="M{x} {y}C{x + 45} {y} {u - 45} {v} {u} {v}"/>')
    for flow in graph.flows:
        x, y = lefts[flow.source] + _WIDTH, tops[flow.source] + half + 8
        u, v = lefts[flow.target] + _WIDTH, tops[flow.target] + half - 8
        bend = max(x, u) + 60
        parts.append(
            f'<path class="flow" marker-end="url(#end)" d="M{x} {y}C{bend} {y} {bend} {v} {u} {v}">'
            f"<title>{flow.calls:,} results</title></path>"
        )
    for box in graph.boxes:
        x, y = lefts[box.number], tops[box.number]
        head, ends = _lines(box)
        whole = escape(visible(f"{box.call or box.label or box.task_name}\n{counted(box.counts)}"))
        parts.append(
            f'<g><title>{whole}</title><rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" '
            f'fill="{COLOURS[how_of(box)]}"/><text x="{x + 10}" y="{y + 18}">{escape(head)}</text>'
            f'<text x="{x + 10}" y="{y + 35}" fill="#444">{escape(ends)}</text></g>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _placed(graph: CallGraph) -> tuple[list[int], list[int]]:
    """The row and the column of each box: a caller stands beside the first box that it calls."""
    below: dict[int | None, list[int]] = {}
    columns: list[int] = []
    for box in graph.boxes:
        below.setdefault(box.parent, []).append(box.number)
        columns.append(0 if box.parent is None else columns[box.parent] + 1)
    rows = [0] * len(graph.boxes)
    row = -1
    waiting = [(number, True) for number in reversed(below[None])]
    while waiting:
        number, is_new_row = waiting.pop()
        row += is_new_row
        rows[number] = row
        called = below.get(number, [])
        waiting.extend((each, place > 0) for place, each in reversed(list(enumerate(called))))
    return rows, columns


FORMATS = {"mermaid": mermaid, "markdown": markdown, "dot": dot, "svg": svg, "html": html}
"""Name of a format -> the function that draws it."""
