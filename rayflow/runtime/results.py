"""What a body returned on its way out of the worker, and what a user wants evaluated on its way in.

In: the user's object. Out: its symbolic term, and rows about the parts of its values. Never: runs user code but for the
hooks of the values themselves.
"""

from __future__ import annotations

import os
import socket
import time

from rayflow.errors import FileMissing
from rayflow.evaluator.provenance import file_rows
from rayflow.lang.codec import SCALARS, loads, witnesses_of
from rayflow.lang.entries import TaskEntry
from rayflow.lang.expressions import Term
from rayflow.lang.packing import Keep, pack
from rayflow.records import HandleRow, Row, ValuePartRow, ValueRow
from rayflow.runtime.calls import Call
from rayflow.values import handles
from rayflow.values.digests import digest
from rayflow.values.filesystems import local_path
from rayflow.values.hooks import leaving
from rayflow.values.identity import identity
from rayflow.values.nested import iter_leaves, map_leaves
from rayflow.values.refs import ValueRef
from rayflow.values.states import is_there
from rayflow.values.validity import still_as_recorded
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


def with_states(result: Term, call: Call, entry: TaskEntry | None) -> tuple[Term, tuple[Row, ...]]:
    """The result with a new state of each handle that is returned (not: passed on to a call), and rows about these.

    entry: of the call's task, where it is known. Parameters that do not count for a call do not count for the state.
    """
    if type(result) in SCALARS or not handles.are_there():
        return result, ()
    if not any(isinstance(leaf, handles.Handle) for leaf in iter_leaves(result)):
        return result, ()
    arguments = call.arguments if isinstance(call.arguments, dict) else loads(call.arguments)
    ignored = (entry.options.get("config_args") or ()) if entry is not None else ()
    counting = {name: value for name, value in arguments.items() if name not in ignored}
    key = digest("call", call.task_hash, identity(counting))
    at = time.time_ns() // 1000
    rows: dict[bytes, Row] = {}

    def change(leaf: Term) -> Term:
        if not isinstance(leaf, handles.Handle):
            return leaf
        made = handles.advanced(leaf, key)
        before, after = handles.lineage_of(leaf), handles.lineage_of(made)
        rows[after.state] = HandleRow(
            after.handle, after.state, before.state, before.after, leaf.preview()[:200], call.task, at
        )
        return made

    return map_leaves(result, change), tuple(rows.values())


def _check_files(symbolic: Term) -> None:
    """Raise FileMissing unless every File that is returned (not: passed on to a call) is there."""
    refs = [leaf for leaf in iter_leaves(symbolic) if type(leaf) is ValueRef]
    missing = {payload[1] for ref in refs for kind, payload in ref.witnesses if kind == OF_FILE and payload[2] is None}
    if missing:
        paths = sorted(map(str, missing))
        where = f" (looked for on {socket.gethostname()})" if any(_here(path) is not None for path in paths) else ""
        raise FileMissing(
            f"The task returned a file that is not there: {_shown(paths)}{where}. Write it before you return it; a "
            "directory is returned as Dir(path)."
        )


def altered_text(arguments: bytes, task: str) -> str:
    """What to tell of a call whose input files are not as they were when the call was made; empty when they are. They
    may be gone for this machine alone.

    Only files of this machine are looked at. The call's result counts for the inputs as they were, and whoever made
    the call is out of date with them: so it is right now, and the call is made anew in the next run.
    """
    states = [state for kind, state in witnesses_of(arguments) if kind == OF_FILE and _here(state[1]) is not None]
    changed = [state for state, holds in zip(states, still_as_recorded(states), strict=True) if not holds]
    gone = [state[1] for state in changed if is_there(state) and not os.path.exists(_here(state[1]) or "")]
    altered = [state[1] for state in changed if state[1] not in gone]
    told = ""
    if altered:
        told = (
            f"rayflow: {task} has altered its own input {_shown(altered)} (or something else did meanwhile), so it "
            "will run again in every run. A task reads its inputs and writes other files: pass it the path of what it "
            "is to write as text.\n"
        )
    if gone:
        told += (
            f"rayflow: {_shown(gone)}, which {task} was given, is not on {socket.gethostname()}. Was it removed "
            "meanwhile? Or has this machine no share of that disk: then keep the file in a folder that all machines "
            "reach, or at a URL (s3://bucket/...).\n"
        )
    return told


def _here(path: str) -> str | None:
    """Where a file is on this machine; None where it cannot be here."""
    try:
        return local_path(path)
    except FileMissing:  # relative to a project that this machine does not have: who reads it, is told
        return None


def _shown(paths: list[str]) -> str:
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def pack_expression(expr: Term, keep: Keep) -> tuple[Term, tuple[Row, ...]]:
    """The symbolic form of what a user wants evaluated. Raises as `pack` does."""
    with Noticed() as noticed:
        symbolic = pack(expr, keep, root="the expression")
    return symbolic, part_rows(noticed, keep)


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
