"""What travels between a scheduler and its workers.

In: nothing. Out: plain data: calls, replies, surroundings. Never: logic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rayflow.evaluator.events import Cost
from rayflow.evaluator.subruns import Below, Under
from rayflow.lang.codec import SCALARS, blobs_of, dumps
from rayflow.lang.entries import TaskEntry
from rayflow.lang.expressions import Term
from rayflow.records import Row
from rayflow.values.failures import Failure, Outcome
from rayflow.values.main_module import Script


class Call(NamedTuple):
    """One attempt, as it travels to a worker.

    arguments: bound arguments by name when all are scalars, else their packed form.
    known: what the body has awaited when it was entered before: packed values by key, and failures by key.
    under: for a call whose body is an evaluation of its own, what that takes over.
    """

    job: int
    attempt: int
    job_id: bytes
    task: str
    task_hash: bytes
    arguments: dict[str, Any] | bytes
    timeout: float | None = None
    known: tuple[bytes, dict[bytes, Failure]] | None = None
    under: Under | None = None

    def blobs(self) -> list[bytes]:
        """Digests of the large values that the call needs."""
        found = list(blobs_of(self.arguments)) if isinstance(self.arguments, bytes) else []
        if self.known is not None:
            found.extend(blobs_of(self.known[0]))
        return found


class Reply(NamedTuple):
    """What became of a call. Exactly one of `term` and `failure` is set.

    is_paused: the term is not the result: it holds the expressions that the body awaits.
    below: what the body has evaluated by itself.
    """

    job: int
    attempt: int
    term: bytes | None
    failure: Failure | None
    cost: Cost
    entries: tuple[TaskEntry, ...] = ()
    rows: tuple[Row, ...] = ()
    is_paused: bool = False
    below: Below | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a worker process has to know before it can run a project's tasks.

    project_dir: relative paths of the user's are relative to it, where it exists. paths: for sys.path.
    store_url: where large values are kept. files: how a plain File is known, "stat" or "content".
    channel: goes before everything that the project's tasks print; empty when nobody watches. script:
    what stands in the driver's `__main__`.
    """

    project_dir: str | None
    paths: tuple[str, ...]
    store_url: str
    table: Mapping[str, TaskEntry] = field(default_factory=dict)
    channel: str = ""
    files: str = "stat"
    script: Script | None = None


def pack_known(outcomes: Mapping[bytes, Outcome] | None) -> tuple[bytes, dict[bytes, Failure]] | None:
    """Outcomes of awaited expressions as they travel."""
    if outcomes is None:
        return None
    failures = {key: outcome for key, outcome in outcomes.items() if type(outcome) is Failure}
    return dumps({key: outcome for key, outcome in outcomes.items() if key not in failures}), failures


def pack_arguments(arguments: Mapping[str, Term]) -> dict[str, Any] | bytes:
    """Arguments as they travel: as they are when they are scalars, else packed."""
    if all(type(value) in SCALARS for value in arguments.values()):
        return dict(arguments)
    return dumps(dict(arguments))
