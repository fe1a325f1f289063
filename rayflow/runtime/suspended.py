"""Bodies that stay where they are while they wait for what they await, to go on there.

In: bodies that have paused, and what there is of what they wait for. Out: the same bodies, when they are to go on.
Never: runs one, decides when.

To enter a body again from its start takes as long as all that it has awaited before, and whoever awaits one thing after
the other comes by all of it each time. In an execution's one process (inline, or in a subrun) a body can stay instead,
most of the time.
On a cluster it cannot: the next attempt goes to any worker that is free, and a body that has stayed on another one
would hold its memory, its locks and its connections there, with nobody to end it.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rayflow.lang.collecting import Created
from rayflow.lang.expressions import TaskCall
from rayflow.runtime.body import ended_text, inside_body
from rayflow.runtime.calls import Call
from rayflow.runtime.given import Given
from rayflow.runtime.printing import Output
from rayflow.values.failures import Outcome

if TYPE_CHECKING:
    from rayflow.runtime.coroutines import Entry

MOST_BODIES = 100
"""So many stay at a time. Others are entered again."""

OPEN_FILES = 3
"""Each that stays has an event loop, and that has so many; together they take at most a third of what a process may
still open (of 256 on macOS, where nobody has asked for more)."""


@dataclass(slots=True)
class Body:
    """What there is of a call from one of its attempts to the next.

    attempt: the last one. unused: calls that it has made so far, and that are no part of what it has awaited.
    """

    attempt: int
    entry: Entry
    output: Output
    created: Created
    given: Given
    unused: list[TaskCall]


class Bodies:
    """The bodies of one execution's calls that have stayed, by job id."""

    def __init__(self) -> None:
        self._stayed: dict[bytes, Body] = {}
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        left = limit - len(os.listdir("/dev/fd"))
        self._most = MOST_BODIES if limit < 0 else min(MOST_BODIES, max(0, left) // (3 * OPEN_FILES))

    @property
    def has_room(self) -> bool:
        """Whether one more may stay."""
        return len(self._stayed) < self._most

    def keep(self, call: Call, body: Body) -> None:
        """The body of this call stays."""
        self._stayed[call.job_id] = body

    def take(self, call: Call) -> Body | None:
        """The body of this call, if it has stayed."""
        return self._stayed.pop(call.job_id, None)

    def news(
        self, job_id: bytes, attempt: int, known: Mapping[bytes, Outcome] | None
    ) -> Mapping[bytes, Outcome] | None:
        """What an attempt has to be told of what its body has awaited: all, or what a body that has stayed waits for.

        One whose last answer was lost has come further than anybody knows: it is ended, and entered again.
        """
        body = self._stayed.get(job_id)
        if body is None:
            return known
        if known is not None and body.attempt + 1 == attempt and known.keys() >= body.entry.asked.keys():
            return {key: known[key] for key in body.entry.asked}
        self._end(self._stayed.pop(job_id))
        return known

    def end(self) -> None:
        """Nobody will go on with any of them: each can tidy up."""
        while self._stayed:
            self._end(self._stayed.popitem()[1])

    def _end(self, body: Body) -> None:
        with body.output, inside_body():
            try:
                body.entry.leave()
            except (Exception, SystemExit) as error:  # of its own tidying up, when nobody waits for it any more
                body.output.tell(f"rayflow: {ended_text(error, 'a body that was ended')}\n")
