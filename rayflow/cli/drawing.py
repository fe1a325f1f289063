"""An execution's graph as text for programs that draw, and as a page that needs none.

In: a `CallGraph`. Out: Mermaid, Graphviz' dot, or one HTML page with its drawing inside. Never: network, asks a store.

Solid arrows are results that went into calls, dotted ones say who called whom.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from rayflow.cli.style import counted, duration

if TYPE_CHECKING:
    from rayflow.store.answers import Box, CallGraph

LONGEST = 60
"""Longer lines in a box are shortened, in characters."""

COLOURS = {
    "failed": "#f8b4b4",
    "open": "#bfdbfe",
    "cancelled": "#fde68a",
    "computed": "#e5e7eb",
    "cached": "#bbf7d0",
    "shared": "#f3f4f6",
}
"""How calls ended -> what a box with such calls is filled with, the first that fits."""


def how_of(box: Box) -> str:
    """What a box's colour says: the first of COLOURS that any of its calls is."""
    return next((how for how in COLOURS if box.counts.get(how)), "shared")


def _lines(box: Box) -> list[str]:
    from rayflow.values.previews import shorten

    jobs = box.counts["jobs"]
    head = box.call or f"{box.task_name} x {jobs:,}"
    ends = counted({**box.counts, "jobs": 0}) if jobs > 1 else how_of(box)
    times = [ends, duration(box.seconds)]
    if jobs > 1 and box.body_seconds:
        times.append(f"{duration(box.body_seconds)} in bodies")
    return [shorten(head, LONGEST), ", ".join(each for each in times if each)]


def _title(graph: CallGraph) -> str:
    row = graph.execution
    return f"{row['arguments'] or ''}  {row['execution_id']}  {row['status']}".strip()


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
    """The text as Mermaid takes it in quotes: what has a meaning there by its entity, which begins with #."""
    return "".join(f"#{ord(letter)};" if letter in "#\"<>&`" else letter for letter in text)


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

_STYLE = """body{font:14px sans-serif;margin:2em;color:#111;background:#fff}
svg text{font:12px sans-serif}.call{stroke:#999;stroke-dasharray:3 3;fill:none}.flow{stroke:#1d4ed8;fill:none}
rect{stroke:#555}.legend span{padding:2px 8px;margin-right:6px;border:1px solid #555;border-radius:4px}"""


def html(graph: CallGraph) -> str:
    """The graph as one page, complete in itself: calls from left to right, those of one task from one place one box."""
    rows, columns = _placed(graph)
    width = (max(columns) + 1) * (_WIDTH + _ACROSS)
    height = (max(rows) + 1) * (_HEIGHT + _DOWN)
    legend = "".join(f'<span style="background:{colour}">{how}</span>' for how, colour in COLOURS.items())
    title = escape(_title(graph))
    parts = [
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        f"<style>{_STYLE}</style></head><body>\n<h1>{title}</h1>",
        f'<p class="legend">{legend} dotted: calls; blue: results that went into calls</p>',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">',
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
        whole = escape(f"{box.call or box.task_name}\n{counted(box.counts)}")
        parts.append(
            f'<g><title>{whole}</title><rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" '
            f'fill="{COLOURS[how_of(box)]}"/><text x="{x + 10}" y="{y + 18}">{escape(head)}</text>'
            f'<text x="{x + 10}" y="{y + 35}" fill="#444">{escape(ends)}</text></g>'
        )
    return "\n".join([*parts, "</svg></body></html>"]) + "\n"


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


FORMATS = {"mermaid": mermaid, "dot": dot, "html": html}
"""Name of a format -> who draws it."""
