"""An evaluation inside a call: what it takes over from the one around it, and what it tells that one.

In: nothing. Out: plain data that travels to a worker and back. Never: logic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Under:
    """What an evaluation inside a call takes over.

    job_id: of the call, the parent of its root. path: where the call's term begins, and with it the ids of the jobs.
    trail: the calls that led to it. exports, is_recorded: what its root receives besides the context. limits:
    capacities. depth: how many such calls it stands in, this one included. held: what these hold of the limits. The
    rest as in `Submitted`, of the execution that it is a part of.
    """

    execution_id: str
    job_id: bytes
    path: bytes
    trail: tuple[str, ...]
    options: Mapping[str, Any]
    cache: bool
    life: int
    context: Mapping[str, Any]
    exports: Mapping[str, Any] | None
    is_recorded: bool
    profiles: Mapping[str, Mapping[str, Any]]
    limits: Mapping[str, float]
    depth: int = 1
    held: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Below:
    """What was below a call that an evaluation of its own has made.

    task_set: hashes of all tasks. reads: the context paths that were read. is_clean: whether nothing failed.
    counts, by_task: its jobs, as in `Finish`. witnesses: what its calls have relied on, packed.
    oldest: when the oldest record that was used was computed; None for nothing older.
    is_fleeting: whether a later execution has to ask anew for a call among them.
    is_torn: whether a part of it was lost.
    warnings: what is to be told to whoever watches.
    """

    task_set: frozenset[bytes] = frozenset()
    reads: frozenset[str] = frozenset()
    is_clean: bool = True
    counts: Mapping[str, int] = field(default_factory=dict)
    by_task: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    witnesses: bytes = b""
    oldest: int | None = None
    is_fleeting: bool = False
    is_torn: bool = False
    warnings: tuple[str, ...] = ()
