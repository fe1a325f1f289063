"""What a body returned, on its way out of the worker.

In: the user's object. Out: its symbolic term, and rows about the parts of its values. Never: runs user code but for the
hooks of the values themselves.
"""

from __future__ import annotations

from rayflow.lang.codec import SCALARS
from rayflow.lang.expressions import Term
from rayflow.lang.packing import Keep, pack
from rayflow.records import Row, ValuePartRow, ValueRow
from rayflow.values.hooks import leaving
from rayflow.values.witnesses import Noticed


def pack_result(result: Term, keep: Keep, reached: set[int]) -> tuple[Term, tuple[Row, ...]]:
    """The symbolic form of what a body returned, its values finished. Raises as `pack` does."""
    if type(result) in SCALARS:
        return pack(result, keep, reached=reached), ()
    with leaving(), Noticed() as noticed:
        symbolic = pack(result, keep, reached=reached)
    return symbolic, part_rows(noticed, keep) if noticed.wholes else ()


def part_rows(noticed: Noticed, keep: Keep) -> tuple[Row, ...]:
    """Rows about the values that stand inside of what was encoded; large ones are kept by themselves, too."""
    rows: dict[Row, None] = {}
    for whole, parts in noticed.wholes:
        for position, (ref, encoded, value) in enumerate(parts):
            if ref.inline is None:
                keep(ref, encoded, value)
            rows[ValueRow(ref.digest, ref.kind, ref.format, ref.size, ref.inline, ref.preview)] = None
            rows[ValuePartRow(whole, position, ref.digest)] = None
    return tuple(rows)
