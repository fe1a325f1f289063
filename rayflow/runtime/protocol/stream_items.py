"""The wire form of what bodies write to streams.

In: nothing. Out: `WrittenItems`: plain data. Never: logic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias


class WrittenItems(NamedTuple):
    """Items that one body has written to one stream, one after the other.

    job_id, task, attempt: of the call. body: names this run of the body: another run of it, also of the same attempt,
    has another name. is_replay: whether the body began before, and has come again to what it awaits: what it wrote
    before it is written already. first: the number of the first of these items among all that this run of the body has
    written to the stream, from 1. texts: the items, as JSON. times: when they were written, in microseconds since the
    epoch. execution_id: of the execution, if the body belongs to an evaluation inside a call; else the call tells it.
    """

    job_id: bytes
    task: str
    attempt: int
    body: str
    is_replay: bool
    stream: str
    first: int
    texts: tuple[str, ...]
    times: tuple[int, ...]
    execution_id: str | None = None

    @property
    def size(self) -> int:
        """About how many bytes these take."""
        return sum(map(len, self.texts)) + 64 * len(self.texts)


TakeItems: TypeAlias = Callable[[WrittenItems], None]
"""Takes items as they are written. Any thread may call it; it may wait until there is room."""


def joined(written: list[WrittenItems]) -> list[WrittenItems]:
    """The same items in fewer parts, in their order for each body and stream."""
    parts: dict[tuple[str, str], list[WrittenItems]] = {}
    for each in written:
        parts.setdefault((each.body, each.stream), []).append(each)
    return [
        of_stream[0]._replace(
            texts=tuple([text for each in of_stream for text in each.texts]),
            times=tuple([at for each in of_stream for at in each.times]),
        )
        for of_stream in parts.values()
    ]
