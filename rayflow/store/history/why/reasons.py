"""Why a job ran, in words: phrases that follow "it ran because ...".

In: a job beside an earlier one. Out: phrases, the most important first. Never: asks the store.
"""

from __future__ import annotations

from rayflow import misses
from rayflow.store.history.answer_types import Record, Why
from rayflow.values.encoding.previews import few

NEVER = "it was never evaluated here"

_SINCE = {"failed": " since it failed", "cancelled": " since it was stopped", "open": " since it broke off"}
"""The text to add to a change, by the status of the earlier job."""

_AGAIN = {
    "failed": "it failed before, and is tried again: failures are not kept",
    "cancelled": "it was stopped before it ended",
    "open": "the earlier call did not end: its run was lost, or still goes on",
}
"""Status of the earlier job -> why the same call runs again."""


def reason_of(found: Why) -> str:
    """Why a job ran, or would run, on one line."""
    return "; ".join(phrases(found))


def phrases(found: Why) -> list[str]:
    """Why a job ran, or would run."""
    earlier = found.earlier
    reasons = [miss.phrase() for miss in found.missed]
    if earlier is None:
        return [*reasons, NEVER] if not reasons or found.missed[0].kind in (misses.RUN, misses.OPTION) else reasons
    if found.is_outdated:
        reasons.append(outdated_phrase(found))
    if found.task_changed and (code := code_phrase(found)) is not None:
        reasons.append(code)
    if found.arguments_changed:
        reasons.append(arguments_phrase(found))
    return reasons or [_otherwise(found, earlier)]


def since(earlier: Record | None) -> str:
    """The words behind a change that say since when, for an earlier job that did not end well."""
    return _SINCE.get(earlier["status"], "") if earlier is not None else ""


def code_phrase(found: Why) -> str | None:
    """The change of the task's code; None when its identity differs only because the version of rayflow does."""
    before, now = _versions_given(found)
    if before != now:
        return f"its version was {before!r} and is {now!r}{since(found.earlier)}"
    names = changed_names(found)
    if names:
        return f"its code has changed{since(found.earlier)} ({few(names)})"
    if found.is_outdated:
        return None
    if found.versions:
        which = " and ".join(f"{name} {was} -> {is_now}" for name, was, is_now in found.versions)
        return f"the same code counts otherwise with another version: {which}"
    if not found.definitions or not found.earlier_definitions:
        return f"its code has changed{since(found.earlier)}"
    return (
        f"its code has changed{since(found.earlier)}: no definition differs, but its options that count "
        "(hash_includes, script), or the way by which it reaches a definition"
    )


def _versions_given(found: Why) -> tuple[str | None, str | None]:
    """The option `version` of the task, before and now."""
    before, now = found.earlier_task or {}, found.task or {}
    return before.get("version"), now.get("version")


def has_changed_text(found: Why) -> bool:
    """Whether source text differs, and not only the option `version` or the version of rayflow or Python."""
    before, now = _versions_given(found)
    return before == now and bool(changed_names(found))


def changed_names(found: Why) -> list[str]:
    """The definitions that were added, removed or changed. (Another version may give the same text another hash.)"""
    before = {row["name"]: row for row in found.earlier_definitions}
    after = {row["name"]: row for row in found.definitions}
    is_other_version = found.is_outdated or bool(found.versions)
    names = []
    for name in dict.fromkeys((*after, *before)):
        one, other = before.get(name), after.get(name)
        if one is None or other is None:
            names.append(name)
        elif one["definition_hash"] != other["definition_hash"]:
            is_same_text = one["source"] is not None and one["source"] == other["source"]
            if not (is_other_version and is_same_text):
                names.append(name)
    return names


def arguments_phrase(found: Why) -> str:
    """The arguments that differ, and how they differ."""
    changes = [change.text() for change in found.changes]
    if not changes:
        return f"its arguments differ{since(found.earlier)}"
    after = since(found.earlier)
    return f"{few(changes)}{f' ({after.strip()})' if after else ''}"


def outdated_phrase(found: Why) -> str:
    """The reason that another version of rayflow recorded the earlier result. It identifies values in another way."""
    was = next((before for name, before, _ in found.versions if name == "rayflow"), None)
    who = f"rayflow {was}" if was is not None else "another version of rayflow"
    return f"its earlier result was recorded by {who}, whose records do not count here"


def _otherwise(found: Why, earlier: Record) -> str:
    """The reason when code and arguments are the same."""
    if found.forgotten_at is not None:
        return "its earlier result was forgotten"
    if found.context_changes:
        return f"the context that it reads differs: {few(found.context_changes)}"
    if earlier["status"] in _AGAIN:
        return _AGAIN[earlier["status"]]
    if not found.records_misses:
        return (
            "its earlier result did not count: the run, the task, or a call that its body awaits, asked not to use the "
            "cache, the result was too old (cache_for), or something in it is no longer as it was: a file, a task that "
            "it calls, or the code of a class whose instances it was given"
        )
    if earlier["finished_at"] is None or earlier["finished_at"] > found.job["queued_at"]:
        return "the same call of another run had not ended yet"
    return (
        "the store has no result of the same call that could answer: a call below it failed or is not to be cached, or "
        "the result was removed, or never came here with its record"
    )
