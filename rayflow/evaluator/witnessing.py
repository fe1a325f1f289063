"""The witnesses of a job and of the calls below it: the Files, Handles, code and others in their terms.

In: packed terms, and the witnesses of the jobs below. Out: all witnesses, each once, to be recorded with a final value.
Never: checks a witness; unpacks one before it is recorded.

The witnesses of a job are the packed front of a term, or a pair of such things. So a job without witnesses costs
nothing, and a job with witnesses costs a pointer. They are unpacked only for jobs whose final value is recorded.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from rayflow.lang.terms.codec import (
    WITH_WITNESSES,
    dumps,
    front_of,
    loads,
    pickled_name,
    with_conditions,
    witnesses_of,
)
from rayflow.lang.terms.expressions import Term
from rayflow.values.witnesses import OF_CODE, OF_DEFINITION, OF_FILE, OF_SECRET, VALIDATORS, Witness

Seen: TypeAlias = "bytes | tuple[Seen, Seen, bool]"
"""Witnesses as they were packed; or two of these, and whether they have only witnesses that `has_only_files` allows."""

MOST_WITNESSES = 10_000
"""The most witnesses that are recorded with a final value. For a job that relies on more, no final value is recorded:
its calls are looked up one by one, each with its own witnesses."""

_UNSENT: Witness = ("too many", ())
"""Replaces the witnesses of a nested execution that has too many to send. It always sends the code of classes."""

_UNCOUNTED = frozenset({OF_FILE, OF_DEFINITION, OF_SECRET})
"""The forms of witnesses that count for a shallow call only if they are in its value."""

_COUNTED = re.compile(b"|".join(re.escape(pickled_name(form)) for form in {*VALIDATORS, _UNSENT[0]} - _UNCOUNTED))
"""The names of all other forms, as pickle writes them."""


def in_term(seen: Seen | None, packed: bytes) -> Seen | None:
    """Add the witnesses in this packed term to those of a job."""
    return joined(seen, front_of(packed)) if packed[:1] == WITH_WITNESSES else seen


def joined(seen: Seen | None, other: Seen) -> Seen:
    """Add the witnesses of another job to those of a job."""
    return other if seen is None else (seen, other, has_only_files(seen) and has_only_files(other))


def has_only_files(seen: Seen) -> bool:
    """Whether a shallow call may disregard all these witnesses: they have no code, handle, or value with its own check.

    It looks for the names of such forms in the packed witnesses. So it is fast, and False if such a name is there by
    chance.
    """
    return seen[2] if isinstance(seen, tuple) else _COUNTED.search(seen) is None


def without_files_between(packed: bytes) -> bytes:
    """The packed final value, without the witnesses of files that are no part of it."""
    value = dumps(loads(packed))
    return with_conditions(value, (witness for witness in witnesses_of(packed) if witness[0] != OF_FILE))


def hidden(seen: Seen, value: Term) -> Seen | None:
    """The witnesses that a job hands up if it does not check the files below: the files in its value, and code."""
    code = collected(seen, only_code=True)
    assert code is not None
    return in_term(None, with_conditions(dumps(value), code))


def packed(seen: Seen | None) -> bytes:
    """All witnesses as they are sent; if they are too many, only the code of classes."""
    found = collected(seen)
    if found is None:
        found = (*(collected(seen, only_code=True) or ()), _UNSENT)
    return front_of(with_conditions(b"", found))


def collected(seen: Seen | None, only_code: bool = False) -> tuple[Witness, ...] | None:
    """All witnesses, or only the code of classes: each once, in an order that does not depend on time.

    None if they are too many. (Code is never too much: a project has only so many classes.)
    """
    found: dict[Witness, None] = {}
    known: set[int] = set()
    waiting = [] if seen is None else [seen]
    while waiting:
        each = waiting.pop()
        if id(each) in known:
            continue
        known.add(id(each))
        if isinstance(each, tuple):
            waiting.extend(each[:2])
            continue
        found.update((witness, None) for witness in witnesses_of(each) if not only_code or witness[0] == OF_CODE)
        if _UNSENT in found or (len(found) > MOST_WITNESSES and not only_code):
            return None
    return tuple(sorted(found, key=repr))
