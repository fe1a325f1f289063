"""Numbers what one body writes to its streams.

In: streams and items, from any thread of the body. Out: `WrittenItems`, at once. Never: keeps them.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter

from rayflow.runtime.protocol.attempts import Call
from rayflow.runtime.protocol.stream_items import TakeItems, WrittenItems


class ItemWriter:
    """What one run of a body writes. call: the attempt. take: gets each item."""

    def __init__(self, call: Call, take: TakeItems) -> None:
        self._call = call
        self._take = take
        self._body = os.urandom(8).hex()
        self._counts: Counter[str] = Counter()
        self._writing = threading.RLock()

    def write(self, stream: str, text: str) -> None:
        """Give an item on, with its number."""
        call = self._call
        with self._writing:  # so that threads of the body hand over in the order of the numbers
            self._counts[stream] += 1
            self._take(
                WrittenItems(
                    job_id=call.job_id,
                    task=call.task,
                    attempt=call.attempt,
                    body=self._body,
                    is_replay=call.known is not None,
                    stream=stream,
                    first=self._counts[stream],
                    texts=(text,),
                    times=(time.time_ns() // 1000,),
                )
            )
