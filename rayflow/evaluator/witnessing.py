"""What the calls below a job have relied on: the Files, Handles, code and other witnesses in their terms.

In: packed terms, and what the jobs below have seen. Out: all witnesses, each once, where a value is kept that is to
stand for the whole of it. Never: checks a witness, unpacks one before somebody asks.

What a job has seen is the front of a packed term as it is, or a pair of such things. So a job pays nothing where there
are no witnesses, and a pointer where there are; they are gone through only for jobs of which the final value is kept.
"""

from __future__ import annotations

from typing import TypeAlias

from rayflow.lang.codec import WITH_WITNESSES, dumps, front_of, with_conditions, witnesses_of
from rayflow.lang.expressions import Term
from rayflow.values.witnesses import OF_CODE, Witness

Seen: TypeAlias = "bytes | tuple[Seen, Seen]"
"""Witnesses as they were packed, or two of these."""

MOST_WITNESSES = 10_000
"""So many witnesses are kept with a final value. Of a job that relies on more, none is kept: what its calls came to is
looked up call by call, each with its own."""

_UNSENT: Witness = ("too many", ())
"""Stands for those that an evaluation inside a call has not sent; the code of classes goes along in any case."""


def in_term(seen: Seen | None, packed: bytes) -> Seen | None:
    """What a job has seen, and the witnesses in this packed term."""
    return joined(seen, front_of(packed)) if packed[:1] == WITH_WITNESSES else seen


def joined(seen: Seen | None, other: Seen) -> Seen:
    """What a job has seen, and what another one has."""
    return other if seen is None else (seen, other)


def hidden(seen: Seen, value: Term) -> Seen | None:
    """What is left for those above of a job that does not count what became of the files below: those in its value."""
    code = collected(seen, only_code=True)
    assert code is not None
    return in_term(None, with_conditions(dumps(value), code))


def packed(seen: Seen | None) -> bytes:
    """All witnesses as they are sent; of too many, the code of classes."""
    found = collected(seen)
    if found is None:
        found = (*(collected(seen, only_code=True) or ()), _UNSENT)
    return front_of(with_conditions(b"", found))


def collected(seen: Seen | None, only_code: bool = False) -> tuple[Witness, ...] | None:
    """All witnesses, or only the code of classes: each once, in an order that does not depend on who came first.

    None for too many. (Of code there are no more than a project has classes.)
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
            waiting.extend(each)
            continue
        found.update((witness, None) for witness in witnesses_of(each) if not only_code or witness[0] == OF_CODE)
        if _UNSENT in found or (len(found) > MOST_WITNESSES and not only_code):
            return None
    return tuple(sorted(found, key=repr))
