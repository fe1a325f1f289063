"""Filters of executions and jobs, as conditions of SQL.

In: a `Filter`. Out: SQL that filters the rows of a table as they are on disk, and its parameters. Never: asks.

The conditions use columns that the files have statistics of, and sets of hashes. So a question about a few of a
million jobs reads few pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rayflow.store.history.database import as_stored


@dataclass(frozen=True, slots=True)
class Tagged:
    """A tag that must be set. values: JSON texts, one of which must be its value; when empty, any value fits."""

    key: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """An argument that a call must have.

    hashes: of the values that fit. begins: a value whose hash begins with this hex text fits, too. texts: the argument
    as text, such as "n=3". They are for calls that failed, since their arguments are not recorded.
    """

    name: str
    hashes: tuple[bytes, ...] = ()
    begins: str | None = None
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """The conditions that an execution or a job must meet, all of them.

    task: full or short name; a full name means only that task. status: running, done, failed or cancelled; for jobs
    also not_run, computed, cached or shared. tags: of an execution; of a job or of its task. since, until:
    it began at or after `since`, and before `until`. arguments, result: of a job; for an execution, of its root
    job. execution_id: the execution of a job.
    """

    task: str | None = None
    status: str | None = None
    tags: tuple[Tagged, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    arguments: tuple[Taken, ...] = ()
    result: Taken | None = None
    execution_id: str | None = None


ALL = Filter()
"""Everything fits."""


class Conditions:
    """SQL conditions with their parameters, each named once."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.parameters: dict[str, Any] = {}

    def add(self, text: str, **values: Any) -> None:
        """Add a condition. `{name}` in its text means the parameter of this name."""
        names = {}
        for name, value in values.items():
            key = f"p{len(self.parameters)}"
            self.parameters[key] = value
            names[name] = f"${key}"
        self.texts.append("(" + text.format(**names) + ")")

    @property
    def text(self) -> str:
        """All conditions, joined by AND."""
        return " AND ".join(self.texts) or "true"


def of_jobs(wanted: Filter) -> Conditions:
    """The conditions on a row of `raw.jobs`."""
    found = Conditions()
    if wanted.task is not None:
        _add_name(found, wanted.task, "label = {full} OR ends_with(label, {short})")
    if wanted.execution_id is not None:
        found.add("execution_id = {id}", id=wanted.execution_id)
    if wanted.status in ("computed", "cached", "shared"):
        found.add("how = {how} AND status = 'done'", how=wanted.status)
    elif wanted.status is not None:
        found.add("status = {status}", status="open" if wanted.status == "running" else wanted.status)
    _add_times(found, "queued_at", wanted)
    for tag in wanted.tags:
        condition, values = _is_tag(tag)
        named = f"SELECT unhex(entity_id) FROM current_tags WHERE {condition} AND entity ="
        found.add(f"job_id IN ({named} 'job') OR task_hash IN ({named} 'task')", **values)
    for argument in wanted.arguments:
        _add_argument(found, argument)
    if wanted.result is not None:
        condition, values = _is_value(wanted.result)
        found.add(f"call_hash IN (SELECT call_hash FROM raw.calls WHERE {condition})", **values)
    return found


def of_executions(wanted: Filter) -> Conditions:
    """The conditions on a row of `raw.executions`."""
    found = Conditions()
    if wanted.task is not None:
        labelled = "parent_job_id IS NULL AND (label = {full} OR ends_with(label, {short}))"
        _add_name(found, wanted.task, f"execution_id IN (SELECT execution_id FROM raw.jobs WHERE {labelled})")
    if wanted.status is not None:
        found.add("status = {status}", status=wanted.status)
    _add_times(found, "started_at", wanted)
    for tag in wanted.tags:
        condition, values = _is_tag(tag)
        tagged = f"SELECT entity_id FROM current_tags WHERE {condition} AND entity = 'execution'"
        found.add(f"execution_id IN ({tagged})", **values)
    if wanted.arguments or wanted.result is not None:
        roots = of_jobs(Filter(arguments=wanted.arguments, result=wanted.result))
        renamed = {f"root_{name}": value for name, value in roots.parameters.items()}
        fitting = f"parent_job_id IS NULL AND {roots.text.replace('$p', '$root_p')}"
        found.parameters.update(renamed)
        found.texts.append(f"execution_id IN (SELECT execution_id FROM raw.jobs WHERE {fitting})")
    return found


def _add_name(found: Conditions, name: str, is_label: str) -> None:
    """Add: a task by its full or short name, or a label. is_label: the condition that the label is the one meant."""
    is_no_task = "NOT EXISTS (SELECT 1 FROM raw.tasks WHERE task_name = {full})"
    other = f"{is_no_task} AND (ends_with(task_name, {{short}}) OR {is_label})"
    found.add(f"task_name = {{full}} OR ({other})", full=name, short=f".{name}")


def _add_times(found: Conditions, column: str, wanted: Filter) -> None:
    if wanted.since is not None:
        found.add(f"{column} >= {{since}}", since=as_stored(wanted.since))
    if wanted.until is not None:
        found.add(f"{column} < {{until}}", until=as_stored(wanted.until))


def _is_tag(tag: Tagged) -> tuple[str, dict[str, Any]]:
    """The condition on key and value of a tag, and its parameters."""
    if not tag.values:
        return "key = {key}", {"key": tag.key}
    return "key = {key} AND value_json IN (SELECT unnest({values}))", {"key": tag.key, "values": list(tag.values)}


def _add_argument(found: Conditions, argument: Taken) -> None:
    condition, values = _is_value(argument)
    text = f"call_hash IN (SELECT call_hash FROM raw.arguments WHERE name = {{name}} AND {condition})"
    if argument.texts:
        text += " OR (call IS NOT NULL AND regexp_matches(call, {pattern}))"
        values["pattern"] = "[( ](" + "|".join(map(_escaped, argument.texts)) + ")[,)]"
    found.add(text, name=argument.name, **values)


def _is_value(wanted: Taken) -> tuple[str, dict[str, Any]]:
    """The condition on value_hash, and its parameters."""
    values: dict[str, Any] = {"hashes": list(wanted.hashes)}
    condition = "value_hash IN (SELECT unnest({hashes}))"
    if wanted.begins is not None:
        condition = f"({condition} OR value_hash BETWEEN {{low}} AND {{high}})"
        low, high = hash_range(wanted.begins)
        values |= {"low": low, "high": high}
    return condition, values


def hash_range(prefix: str) -> tuple[bytes, bytes]:
    """The smallest and the largest hash that begin with this hex text."""
    return bytes.fromhex(prefix + "0" * (len(prefix) % 2)), bytes.fromhex(prefix.ljust(40, "f"))


def _escaped(text: str) -> str:
    return "".join(_escapes(text))


def _escapes(text: str) -> Iterator[str]:
    for letter in text:
        yield letter if letter.isalnum() or ord(letter) > 127 or letter == "_" else f"\\{letter}"
