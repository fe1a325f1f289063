"""Why a recorded result did not answer a call: as plain data, as text in the job's record, and in words for people.

In: the evaluator's reasons, as `Miss`es. Out: text for the records; phrases that continue "it ran because ...". Never:
decides whether a result is valid.

The evaluator writes misses and the store reads them. Neither may import the other, so they share this module.
"""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from rayflow.values.files.changes import OF_MANY, FileChange, seen_of

MOST_RECORDED = 10
"""How many misses of one call are recorded. A last one of the kind MORE says how many others there were."""

RUN, OPTION, AGE, FILE, TASK_GONE, TASK_SHAPE, TASK_CODE, BELOW, CONTEXT, BYTES, UNREADABLE, MORE = (
    "run", "option", "age", "file", "task_gone", "task_shape", "task_code", "below", "context", "bytes", "unreadable",
    "more",
)  # fmt: skip
"""Kinds besides those of witnesses: handle, value, code, definition, and what users have registered."""


class Miss(NamedTuple):
    """One reason why the newest recorded result was not valid.

    what: the option, path, task or context path that it is about; for BELOW, a task hash as hex.
    was, now: for FILE, the state without its path: how it is known, size and version; `now` is None where it is not
    known. For AGE, `was` is the time when the result was computed, in microseconds since the epoch.
    members: for a directory, the changes of its files, where they are known.
    """

    kind: str
    what: str = ""
    was: Any = None
    now: Any = None
    members: tuple[str, ...] = ()

    def phrase(self) -> str:
        """The words that continue "it ran because"."""
        if self.kind == FILE:
            return f"its earlier result holds a file that is not as it was: {self.file_change().text()}"
        if self.kind == AGE:
            at = f"{datetime.fromtimestamp(self.was / 1_000_000).astimezone():%Y-%m-%d %H:%M:%S}"
            return f"its earlier result, of {at}, is older than its option cache_for={self.what} allows"
        what = _SCOPES.get(self.what, self.what) if self.kind == OPTION else self.what
        return _PHRASES.get(self.kind, _OTHER).format(what=what, kind=self.kind)

    def file_change(self) -> FileChange:
        """The change of the file that a miss of the kind FILE is about."""
        was, now = (None if state is None else seen_of(*state) for state in (self.was, self.now))
        is_many = self.was is not None and self.was[0] in OF_MANY
        return FileChange(self.what, was, now, is_many=is_many, members=self.members)


_SCOPES = {
    "cache_scope='NONE'": "cache_scope='none'",
    "cache_scope='CSE'": "cache_scope='execution'",
    "cache_scope='BACKEND'": "cache_scope='store'",
}
"""Cache scopes as they are recorded -> as users write them."""

_PHRASES = {
    RUN: "the run was told not to use the cache (--no-cache, cache=False)",
    OPTION: "its option {what} keeps it from using earlier results",
    TASK_GONE: "its earlier result calls {what}, and there is no such task now",
    TASK_SHAPE: "its earlier result calls {what} with arguments that this does not take any more",
    TASK_CODE: "its earlier result holds the task {what}, whose code has changed",
    BELOW: "the code of {what}, which was called below it, has changed",
    CONTEXT: "the context that it reads differs: {what}",
    BYTES: "the bytes of its earlier result are gone from the store, or damaged",
    UNREADABLE: "its earlier result cannot be read: it was damaged, or another version of rayflow wrote it",
    "handle": "a handle in its earlier result has gone on to another state since",
    "value": "a value in its earlier result says of itself that it does not hold any more (is_valid)",
    "code": "the code of the class {what}, whose instances it has used, has changed",
    "definition": "its earlier result names {what}, which is gone",
    MORE: "{what} more things that it relied on are not as they were",
}

_OTHER = "something of the kind {kind!r} that its earlier result relies on does not hold any more"


def to_text(misses: tuple[Miss, ...]) -> str:
    """Misses as the text that a job's record has."""
    if len(misses) > MOST_RECORDED:
        misses = (*misses[:MOST_RECORDED], Miss(MORE, str(len(misses) - MOST_RECORDED)))
    return json.dumps([_short(miss) for miss in misses], separators=(",", ":"))


def _short(miss: Miss) -> list[Any]:
    cells = list(miss[:4])
    while cells[-1] in (None, ""):
        cells.pop()
    return cells


@cache
def option_miss(name: str, value: Any) -> str:
    """The recorded text of a miss because of an option of the call."""
    return to_text((Miss(OPTION, f"{name}={value!r}"),))


RUN_MISS = to_text((Miss(RUN),))
"""The recorded text of a miss because the run has `cache=False`."""


def from_text(text: str | None) -> tuple[Miss, ...]:
    """Misses from their recorded text. No text means none: the store had no result, or it answered the job."""
    return () if text is None else tuple(Miss(*cells) for cells in json.loads(text))
