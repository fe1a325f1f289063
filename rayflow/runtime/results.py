"""What a body returned, on its way out of the worker.

In: the user's object. Out: its symbolic term, and rows about the parts of its values. Never: runs user code but for the
hooks of the values themselves.
"""

from __future__ import annotations

from rayflow.errors import FileMissing
from rayflow.evaluator.provenance import file_rows
from rayflow.lang.codec import SCALARS
from rayflow.lang.expressions import Term
from rayflow.lang.packing import Keep, pack
from rayflow.records import Row, ValuePartRow, ValueRow
from rayflow.values.hooks import leaving
from rayflow.values.nested import iter_leaves
from rayflow.values.refs import ValueRef
from rayflow.values.witnesses import OF_FILE, Noticed


def pack_result(result: Term, keep: Keep, reached: set[int]) -> tuple[Term, tuple[Row, ...]]:
    """The symbolic form of what a body returned, its values finished. Raises as `pack` does."""
    if type(result) in SCALARS:
        return pack(result, keep, reached=reached), ()
    with leaving(), Noticed() as noticed:
        symbolic = pack(result, keep, reached=reached)
    if noticed.found:
        _check_files(symbolic)
    return symbolic, part_rows(noticed, keep) if noticed.wholes else ()


def _check_files(symbolic: Term) -> None:
    """Raise FileMissing unless every File that is returned (not: passed on to a call) is there."""
    refs = [leaf for leaf in iter_leaves(symbolic) if type(leaf) is ValueRef]
    missing = {payload[1] for ref in refs for kind, payload in ref.witnesses if kind == OF_FILE and payload[2] is None}
    if missing:
        paths = sorted(missing)
        more = f" (and {len(paths) - 3} more)" if len(paths) > 3 else ""
        raise FileMissing(
            f"The task returned a file that is not there: {', '.join(map(str, paths[:3]))}{more}. Write it before you "
            "return it; a directory is returned as Dir(path)."
        )


def part_rows(noticed: Noticed, keep: Keep) -> tuple[Row, ...]:
    """Rows about the values that stand inside of what was encoded; large ones are kept by themselves, too."""
    rows: dict[Row, None] = {}
    for whole, parts in noticed.wholes:
        for position, (ref, encoded, value) in enumerate(parts):
            if ref.inline is None:
                keep(ref, encoded, value)
            rows[ValueRow(ref.digest, ref.kind, ref.format, ref.size, ref.inline, ref.preview)] = None
            rows.update(dict.fromkeys(file_rows(ref)))
            rows[ValuePartRow(whole, position, ref.digest)] = None
    return tuple(rows)
