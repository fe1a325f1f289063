"""What a driver submits.

In: a packed root term, the table of tasks, who asks for it. Out: the event that starts an execution and the row that
ends it. Never: submits.
"""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rayflow.errors import BadArguments, BadOption
from rayflow.evaluator import commands, events
from rayflow.lang.entries import TaskEntry
from rayflow.lang.expressions import TaskCall, Term
from rayflow.lang.options import profile_called
from rayflow.lang.packing import Keep, pack
from rayflow.records import ExecutionRow, Row, TagRow
from rayflow.runtime.outbox import now
from rayflow.store.base import Store
from rayflow.values.failures import Failure
from rayflow.values.main_module import Script


def new_execution_id() -> str:
    """A UUIDv7: 48 bits of milliseconds, then chance; sorts by time."""
    milliseconds = time.time_ns() // 1_000_000
    chance = secrets.randbits(74)
    number = (milliseconds << 80) | (0x7 << 76) | ((chance >> 62) << 64) | (0b10 << 62) | (chance & ((1 << 62) - 1))
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def check_execution_id(text: str, store: Store) -> None:
    """Raise BadArguments unless this is a UUID, as text with dashes, that no execution of the store has."""
    try:
        is_uuid = str(uuid.UUID(text)) == text
    except ValueError:
        is_uuid = False
    if not is_uuid:
        raise BadArguments(f"{text!r} is no execution id: give a UUID in lower case, such as {new_execution_id()}.")
    history = store.history()
    known = history.one("SELECT 1 FROM raw.executions WHERE execution_id = $id LIMIT 1", {"id": text})
    history.close()
    if known is not None:
        raise BadArguments(f"There is an execution {text} already. `rayflow resume {text}` goes on with it.")


@dataclass(frozen=True, slots=True)
class Wanted:
    """How an expression is to be evaluated.

    cache: False computes anew what other executions have computed. options: task options for every call. context: what
    `get_context` reads. tags: of the execution. execution_id: made when it is None. fail_fast: stop at the first
    failure that nobody can catch.
    """

    cache: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)
    execution_id: str | None = None
    fail_fast: bool = False


class Request:
    """What is submitted: a packed term, the tasks that it needs, and the row that says who asked for it.

    life: how often the execution was taken up before. context: symbolic. profiles: task options by name. tags: of the
    execution. script: the driver's `__main__`.
    """

    def __init__(
        self,
        execution_id: str,
        root: bytes,
        table: Mapping[str, Any],
        options: Mapping[str, Any],
        cache: bool,
        row: ExecutionRow,
        life: int = 0,
        *,
        context: Mapping[str, Any] | None = None,
        profiles: Mapping[str, Mapping[str, Any]] | None = None,
        tags: Mapping[str, Any] | None = None,
        fail_fast: bool = False,
        parts: tuple[Row, ...] = (),
        script: Script | None = None,
    ) -> None:
        self.execution_id = execution_id
        self.root = root
        self.table = table
        self.options = options
        self.cache = cache
        self.row = row
        self.life = life
        self.context = context or {}
        self.profiles = profiles or {}
        self.tags = tags or {}
        self.fail_fast = fail_fast
        self.parts = parts
        self.script = script

    def submitted(self) -> events.Submitted:
        """The event that starts it."""
        return events.Submitted(
            now(), self.execution_id, self.root, self.table, self.options, self.cache, self.life, self.context,
            self.profiles, fail_fast=self.fail_fast, project_dir=self.row.project_dir or "",
        )

    def opening_rows(self, ray_version: str | None = None) -> list[Row]:
        """What is recorded when it starts: its row, its tags, and the parts of the values in its expression."""
        row = self.row._replace(life=self.life, ray_version=ray_version)
        return [row, *self.tag_rows(), *self.parts]

    def tag_rows(self) -> list[Row]:
        """The tags of the execution. In each life they are the same rows: the first may have been lost with it."""
        at = self.row.started_at
        return [
            TagRow("execution", self.execution_id, name, json.dumps(value, default=str), at, False)
            for name, value in self.tags.items()
        ]

    def closing_row(self, finish: commands.Finish) -> ExecutionRow:
        """The execution's row when it has ended."""
        failure = finish.outcome if isinstance(finish.outcome, Failure) else None
        counts = finish.counts
        return self.row._replace(
            life=self.life,
            status=status_of(finish),
            finished_at=now(),
            value_hash=finish.value_hash,
            error=failure.summary[:4000] if failure else None,
            jobs=counts.get("jobs"),
            computed=counts.get("computed"),
            cached=counts.get("cached"),
            shared=counts.get("shared"),
            failed=counts.get("failed"),
            cancelled=counts.get("cancelled"),
        )


def status_of(finish: commands.Finish) -> str:
    """done, failed or cancelled."""
    if not isinstance(finish.outcome, Failure):
        return "done"
    return "cancelled" if finish.outcome.is_cancelled else "failed"


_TEXT_OF = "rayflow: text of"
"""The key under which the text of an option stands that is no plain data."""


def written(options: Mapping[str, Any]) -> str:
    """Options as they are kept: JSON, with the text of whatever is no plain data."""
    return json.dumps(dict(options), default=_as_text)


def _as_text(value: Any) -> dict[str, str]:
    return {_TEXT_OF: str(value)}


def options_again(kept: str) -> tuple[dict[str, Any], list[str]]:
    """Options as they were given, and the names of those of which only a text was kept."""
    lost: list[Any] = []

    def plain(pairs: dict[str, Any]) -> dict[str, Any]:
        if _TEXT_OF in pairs:
            lost.append(pairs)
        return pairs

    options: dict[str, Any] = {}
    lacking: list[str] = []
    for name, value in json.loads(kept).items():
        lost.clear()
        json.loads(json.dumps(value), object_hook=plain)
        if lost:
            lacking.append(name)
        else:
            options[name] = value
    return options, lacking


def known_tags(row: ExecutionRow) -> dict[str, Any]:
    """The tags that every execution gets, as far as they are known: who runs what, at which commit."""
    found: dict[str, Any] = {"user": row.user, "project": row.project}
    if row.git_commit is not None:
        found |= {"git_commit": row.git_commit.removesuffix("+"), "git_dirty": row.git_commit.endswith("+")}
    return {name: value for name, value in found.items() if value is not None}


def check_profiles(
    profiles: Mapping[str, Mapping[str, Any]],
    table: Mapping[str, TaskEntry],
    options: Mapping[str, Any],
    root: Term,
) -> None:
    """Raise BadOption for a profile that is named and not configured, before anything runs."""
    given = {f"@task of {name}": entry.options for name, entry in table.items()}
    given["the run's options"] = options
    if type(root) is TaskCall and root._options:
        given[f"{root._task}.options"] = root._options
    for where, level in given.items():
        name = level.get("profile")
        if isinstance(name, str):
            try:
                profile_called(name, profiles)
            except BadOption as error:
                raise BadOption(f"{where}: {error}") from None


def packed_context(context: Mapping[str, Any], keep: Keep) -> dict[str, Any]:
    """The context in its symbolic form: values by themselves, so that dicts of any size can be looked into."""
    packed: dict[str, Any] = {}
    waiting = [(packed, context)]
    while waiting:
        into, table = waiting.pop()
        for name, value in table.items():
            if type(value) is dict:
                into[name] = {}
                waiting.append((into[name], value))
            else:
                into[name] = pack(value, keep, root=f"the context's value {name!r}")
    return packed
