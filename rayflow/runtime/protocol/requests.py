"""A driver's request to evaluate an expression.

In: a packed root term, the table of tasks, the settings of the run. Out: `Request`: the message that starts an
execution, and the rows that open and close it. Never: submits anything.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Mapping
from typing import Any

from rayflow.errors import BadArguments, BadOption
from rayflow.evaluator import commands, messages
from rayflow.evaluator.own_failures import cancelled
from rayflow.lang.options.options import profile_called
from rayflow.lang.packing.pack import Keep, pack
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.expressions import TaskCall, Term
from rayflow.pasting import command
from rayflow.records import ExecutionRow, Row, TagRow
from rayflow.run_settings import RunSettings
from rayflow.store.store import Store
from rayflow.values.display.masking import known, masked, masked_parts
from rayflow.values.encoding.whole_numbers import json_text, number_of
from rayflow.values.failures import Failure
from rayflow.values.process.main_module import MainScript

_latest = 0
"""The milliseconds in the latest id of this process."""


def new_execution_id() -> str:
    """A UUIDv7: 48 bits of milliseconds, then random bits. Ids of one process sort by time even if its clock goes
    back."""
    global _latest
    milliseconds = _latest = max(_latest + 1, time.time_ns() // 1_000_000)
    chance = int.from_bytes(os.urandom(10)) & ((1 << 74) - 1)
    number = (milliseconds << 80) | (0x7 << 76) | ((chance >> 62) << 64) | (0b10 << 62) | (chance & ((1 << 62) - 1))
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def check_uuid(text: str) -> None:
    """Raise BadArguments unless this is a UUID, as text with dashes."""
    try:
        is_uuid = str(uuid.UUID(text)) == text
    except ValueError:
        is_uuid = False
    if not is_uuid:
        raise BadArguments(f"{text!r} is not an execution id: give a UUID in lower case, such as {new_execution_id()}.")


def check_execution_id(text: str, store: Store) -> None:
    """Raise BadArguments unless this is a UUID, as text with dashes, that no execution of the store has."""
    check_uuid(text)
    history = store.history()
    known = history.find_execution(text)
    history.close()
    if known is not None:
        resume = command("resume", text, store=store.url)
        raise BadArguments(f"There is an execution {text} already. `{resume}` goes on with it.")


class Request:
    """One submission: a packed term, the tasks that it needs, its settings, and the row of its execution.

    settings: their context is packed, and their tags hold those of the environment, too. life: how often the execution
    was resumed before. first_life: the life in which a person submitted or resumed it; the driver itself begins later
    ones, when a scheduler has died. parts: rows about the values in the term. script: the driver's `__main__`. masks:
    the secrets that the driver knows. waited_since: the moment (monotonic) at which the start-up begins.
    startup_seconds: how long the start-up took. generation: as in `Submitted`.
    """

    def __init__(
        self,
        execution_id: str,
        root: bytes,
        table: Mapping[str, TaskEntry],
        settings: RunSettings,
        row: ExecutionRow,
        *,
        life: int = 0,
        parts: tuple[Row, ...] = (),
        script: MainScript | None = None,
        waited_since: float | None = None,
        generation: int = 0,
    ) -> None:
        self.execution_id = execution_id
        self.root = root
        self.table = table
        self.settings = settings
        self.row = row
        self.life = life
        self.first_life = life
        self.generation = generation
        self.parts = parts
        self.script = script
        self.masks = known()
        self.waited_since = time.monotonic() if waited_since is None else waited_since
        self.startup_seconds = 0.0

    def begin(self, at: int) -> None:
        """Note that the start-up is over and the work begins. A resumed execution keeps its first begin.

        at: the time on the driver's clock.
        """
        self.startup_seconds = time.monotonic() - self.waited_since
        if self.life == 0:
            self.row = self.row._replace(started_at=at, startup_seconds=self.startup_seconds)

    def submitted(self, at: int) -> messages.Submitted:
        """The message that starts it. at: the time on the loop's clock."""
        return messages.Submitted(
            at=at,
            execution_id=self.execution_id,
            root=self.root,
            table=self.table,
            settings=self.settings,
            life=self.life,
            generation=self.generation,
            project_dir=self.row.project_dir or "",
        )

    def opening_rows(self, ray_version: str | None = None) -> list[Row]:
        """The rows to record at its start: its own row, its tags, and the parts of the values in its expression."""
        row = self.row._replace(life=self.life, ray_version=ray_version)
        return [row, *self.tag_rows(), *self.parts]

    def tag_rows(self) -> list[Row]:
        """The tags of the execution. Each life writes the same rows, because those of the first may be lost."""
        at = self.row.started_at
        return [
            TagRow(
                entity="execution",
                entity_id=self.execution_id,
                key=masked(name),
                value=json_text(masked_parts(value), default=str),
                at=at,
                removed=False,
            )
            for name, value in self.settings.tags
        ]

    def closing_row(self, finish: commands.Finish) -> ExecutionRow:
        """The execution's row when it has ended."""
        failure = finish.outcome if isinstance(finish.outcome, Failure) else None
        counts = finish.counts
        return self.row._replace(
            life=self.life,
            status=status_of(finish),
            finished_at=finish.at,
            value_hash=finish.value_hash,
            error=failure.summary[:4000] if failure else None,
            jobs=counts.get("jobs"),
            computed=counts.get("computed"),
            cached=counts.get("cached"),
            shared=counts.get("shared"),
            failed=counts.get("failed"),
            cancelled=counts.get("cancelled"),
            recorded_jobs=counts.get("recorded"),
            not_run=counts.get("not_run"),
            retries=counts.get("retries"),
        )

    def cancelled_row(self, by: str, at: int) -> ExecutionRow:
        """The execution's row when it was cancelled and nothing says how far it had come."""
        error = cancelled(by).summary
        return self.row._replace(life=self.life, status="cancelled", finished_at=at, error=error)


def status_of(finish: commands.Finish) -> str:
    """done, failed or cancelled."""
    if not isinstance(finish.outcome, Failure):
        return "done"
    return "cancelled" if finish.outcome.is_cancelled else "failed"


_TEXT_OF = "rayflow: text of"
"""The key for the text of an option that is not plain data."""


def written(options: Mapping[str, Any]) -> str:
    """Options as they are recorded: JSON, with a text in place of everything that is not plain data."""
    return json_text(dict(options), _as_text)


def _as_text(value: Any) -> dict[str, str]:
    return {_TEXT_OF: str(value)}


def options_again(recorded: str) -> tuple[dict[str, Any], list[str]]:
    """Recorded options as objects, and the names of the options of which only a text is recorded."""
    options: dict[str, Any] = {}
    lacking: list[str] = []
    for name, value in json.loads(recorded, parse_int=number_of).items():
        if _is_partly_text(value):
            lacking.append(name)
        else:
            options[name] = value
    return options, lacking


def _is_partly_text(value: Any) -> bool:
    if isinstance(value, dict):
        return _TEXT_OF in value or any(map(_is_partly_text, value.values()))
    return isinstance(value, list) and any(map(_is_partly_text, value))


def known_tags(row: ExecutionRow) -> dict[str, Any]:
    """The tags that every execution gets, as far as they can be found out: user, project, commit."""
    found: dict[str, Any] = {"user": row.user, "project": row.project}
    if row.git_commit is not None:
        found |= {"git_commit": row.git_commit.removesuffix("+"), "git_dirty": row.git_commit.endswith("+")}
    return {name: value for name, value in found.items() if value is not None}


def check_profiles(settings: RunSettings, table: Mapping[str, TaskEntry], root: Term) -> None:
    """Raise BadOption where the run's options or its first call name a profile that is not configured.

    Only these are checked before anything runs. A later call with a wrong profile fails when it is met, because a task
    that is never called must not stop the run.
    """
    given: dict[str, Mapping[str, Any]] = {"the run's options": settings.options}
    if type(root) is TaskCall:
        if root._task in table:
            given[f"@task of {root._task}"] = table[root._task].options
        given[f"{root._task}.options"] = root._options or {}
    for where, level in given.items():
        name = level.get("profile")
        if isinstance(name, str):
            try:
                profile_called(name, settings.profiles)
            except BadOption as error:
                raise BadOption(f"{where}: {error}") from None


def packed_context(context: Mapping[str, Any], keep: Keep) -> dict[str, Any]:
    """The context with each value packed by itself, so that reading one value does not need the others."""
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
