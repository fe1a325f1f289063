"""What encloses a body while it runs: its output, the state of its process, what it makes, its cost.

In: the beginning and the end of a body. Out: what the body has left there. Never: runs a body.

Setting all of this up costs more than running a small body. So bodies that run one after the other may share an
enclosure, as long as each has left it as it was.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from rayflow.lang.created_calls import collecting_calls
from rayflow.runtime.output.printing import Output
from rayflow.runtime.protocol.stream_items import TakeItems
from rayflow.runtime.worker.body import inside_body
from rayflow.runtime.worker.costs import Meter
from rayflow.runtime.worker.process_state import own_process
from rayflow.runtime.worker.waiting_bodies import WaitingBody
from rayflow.values.filesystems.fsync import WrittenPaths


class Enclosure:
    """Encloses a body, or several bodies that run one after the other.

    printed: called as a body prints. all_written: takes the files that any body of the worker writes. waiting: the body
    that goes on, if one does. take_items: gets what bodies write to streams.
    """

    def __init__(
        self,
        printed: Callable[[str, str, str], None] | None,
        all_written: WrittenPaths,
        waiting: WaitingBody | None = None,
        take_items: TakeItems | None = None,
    ) -> None:
        self.meter = Meter()
        self.written = WrittenPaths()
        self._all_written = all_written
        if waiting is None:
            self.output = Output("", printed, take_items)
            self.process = own_process()
            self._collecting = collecting_calls()
        else:
            self.output = waiting.output
            self.process = own_process(waiting.change)
            self._collecting = collecting_calls(waiting.created)
        self.created = self._collecting.created
        self._entered: list[contextlib.AbstractContextManager[object]] = []
        self._threads = 0

    def enter(self) -> None:
        """Begin to enclose bodies."""
        for each in (
            self._collecting, self._all_written, self.written, self.output, inside_body(), self.process
        ):  # fmt: skip
            each.__enter__()
            self._entered.append(each)
        self._threads = threading.active_count()

    def is_as_before(self) -> bool:
        """Whether no body has left anything: a call, a file, printed text, a thread, a changed or forked process."""
        return (
            not self.created
            and self.created.tasks is None
            and not self.written
            and self.output.is_as_before()
            and self.process.is_as_before()
            and threading.active_count() == self._threads
        )

    def leave_body(self, error: BaseException | None) -> None:
        """The body has ended, or has raised this error. The calls that its result makes are still collected."""
        self._leave(3, error)

    def leave(self) -> None:
        """End."""
        self._leave(0, None)

    def _leave(self, left: int, error: BaseException | None) -> None:
        while len(self._entered) > left:
            self._entered.pop().__exit__(type(error) if error is not None else None, error, None)
