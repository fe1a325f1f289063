"""Packs the result of a body on its way out of the worker, and the user's expression on its way in.

In: the user's object. Out: its symbolic term, and rows about the parts of its values. Never: runs user code, except for
the hooks of the values themselves.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence

from rayflow.errors import FileMissing, RayflowError
from rayflow.evaluator.rows import file_rows, value_row
from rayflow.lang.packing.pack import Keep, pack
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.codec import loads, witnesses_of
from rayflow.lang.terms.expressions import Term
from rayflow.records import HandleRow, Row, ValuePartRow
from rayflow.runtime.listing_rows import listing_rows
from rayflow.runtime.protocol.attempts import Call
from rayflow.values import handles
from rayflow.values.digests import digest
from rayflow.values.display.masking import masked
from rayflow.values.encoding.identity import identity
from rayflow.values.encoding.nested import iter_leaves, map_leaves
from rayflow.values.encoding.previews import few
from rayflow.values.files.file_states import State, current, is_there
from rayflow.values.files.validity import still_as_recorded
from rayflow.values.filesystems.filesystems import local_path
from rayflow.values.native import SCALARS
from rayflow.values.objects.hooks import leaving
from rayflow.values.refs import ValueRef
from rayflow.values.witnesses import OF_FILE, WitnessCollector


def pack_result(result: Term, keep: Keep, reached: set[int]) -> tuple[Term, tuple[Row, ...]]:
    """The symbolic form of a body's result, after the hooks of its values, and rows. Raises as `pack` does."""
    if type(result) in SCALARS:
        return pack(result, keep, reached=reached), ()
    with leaving(), WitnessCollector() as noticed:
        symbolic = pack(result, keep, reached=reached)
    if noticed.found:
        _check_files(symbolic)
    rows = part_rows(noticed, keep) if noticed.wholes else ()
    return symbolic, (*rows, *listing_rows(noticed.found)) if noticed.found else rows


def with_states(result: Term, call: Call, entry: TaskEntry | None) -> tuple[Term, tuple[Row, ...]]:
    """The result with a new state of each handle in it (but not of those passed on to a call), and rows about these.

    entry: of the call's task, where it is known. A parameter that is not part of the call's hash is not part of the
    state either.
    """
    if type(result) in SCALARS or not handles.are_there():
        return result, ()
    if not any(isinstance(leaf, handles.Handle) for leaf in iter_leaves(result)):
        return result, ()
    arguments = call.arguments if isinstance(call.arguments, dict) else loads(call.arguments)
    ignored = entry.ignored_arguments if entry is not None else ()
    counting = {name: value for name, value in arguments.items() if name not in ignored}
    key = digest("call", call.task_hash, identity(counting))
    at = time.time_ns() // 1000
    rows: dict[bytes, Row] = {}

    def change(leaf: Term) -> Term:
        if not isinstance(leaf, handles.Handle):
            return leaf
        advanced = handles.advanced(leaf, key)
        before, after = handles.lineage_of(leaf), handles.lineage_of(advanced)
        rows[after.state] = HandleRow(
            handle=after.handle,
            state=after.state,
            parent=before.state,
            after=before.after,
            preview=masked(leaf.preview())[:200],
            task_name=call.task,
            at=at,
        )
        return advanced

    return map_leaves(result, change), tuple(rows.values())


def _check_files(symbolic: Term) -> None:
    """Raise FileMissing unless every File in the result (but not those passed on to a call) exists."""
    refs = [leaf for leaf in iter_leaves(symbolic) if type(leaf) is ValueRef]
    missing = {payload[1] for ref in refs for kind, payload in ref.witnesses if kind == OF_FILE and payload[2] is None}
    if missing:
        paths = sorted(map(str, missing))
        where = f" (looked for on {socket.gethostname()})" if any(_here(path) is not None for path in paths) else ""
        raise FileMissing(
            f"The task returned a file that is not there: {few(paths)}{where}. Write it before you return it; a "
            "directory is returned as Dir(path)."
        )


def input_states(arguments: bytes) -> list[State]:
    """The states that a call's input files have on this machine now. A copy of a file, such as one of a project that
    was sent to each node, has another state than the file that the call was given."""
    recorded = _local_inputs(arguments)
    return [
        state if holds else _state_now(state)
        for state, holds in zip(recorded, still_as_recorded(recorded), strict=True)
    ]


def altered_text(arguments: bytes, task: str, before: Sequence[State] | None) -> str:
    """Message for a call whose input files have changed while it ran, or are missing; empty when none has.

    before: their states when the body began; None where it began in an earlier attempt: then those that were given
    count. Only files of this machine are looked at, and one may be missing on this machine alone. The call's result is
    that of the inputs as they were. The next run finds the changed inputs, and makes the call anew.
    """
    given = _local_inputs(arguments)
    before = given if before is None else before
    altered: list[str] = []
    gone: list[str] = []
    for first, state, holds in zip(given, before, still_as_recorded(before), strict=True):
        if holds and state == first:
            continue
        if is_there(first) and not os.path.exists(_here(first[1]) or ""):
            gone.append(first[1])
        elif not holds:
            altered.append(first[1])
    text = ""
    if altered:
        text = (
            f"rayflow: {task} has altered its own input {few(altered)} (or something else did meanwhile), so it "
            "will run again in every run. A task reads its inputs and writes other files: pass it the path of what it "
            "is to write as text.\n"
        )
    if gone:
        text += (
            f"rayflow: {few(gone)}, which {task} was given, is not on {socket.gethostname()}. Was it removed "
            "meanwhile? Or has this machine no share of that disk: then keep the file in a folder that all machines "
            "reach, or at a URL (s3://bucket/...).\n"
        )
    return text


def _local_inputs(arguments: bytes) -> list[State]:
    """The states with which a call was given files that are on this machine, or would be."""
    return [state for kind, state in witnesses_of(arguments) if kind == OF_FILE and _here(state[1]) is not None]


def _state_now(state: State) -> State:
    """The present state of a file; the given one where it cannot be asked."""
    how, path, *_ = state
    try:
        return current(how, path)
    except (RayflowError, OSError):
        return state


def _here(path: str) -> str | None:
    """The place of a file on this machine; None where it cannot be on it."""
    try:
        return local_path(path)
    except FileMissing:  # relative to a project that this machine does not have: a task that reads it gets the error
        return None


def pack_expression(expr: Term, keep: Keep) -> tuple[Term, tuple[Row, ...]]:
    """The symbolic form of a user's expression, and rows. Raises as `pack` does."""
    with WitnessCollector() as noticed:
        symbolic = pack(expr, keep, root="the expression")
    return symbolic, (*part_rows(noticed, keep), *listing_rows(noticed.found))


def part_rows(noticed: WitnessCollector, keep: Keep) -> tuple[Row, ...]:
    """Rows about the values inside the encoded ones. Large inner values are stored by themselves, too."""
    rows: dict[Row, None] = {}
    for whole, parts in noticed.wholes:
        for position, (ref, encoded, value) in enumerate(parts):
            if ref.inline is None:
                keep(ref, encoded, value)
            rows[value_row(ref, ref.digest)] = None
            rows.update(dict.fromkeys(file_rows(ref)))
            rows[ValuePartRow(whole, position, ref.digest)] = None
    return tuple(rows)
