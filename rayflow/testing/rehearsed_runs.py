"""A durable run of a rehearsal, as its test sees it.

In: the service of a rehearsal, the id of a run. Out: `RehearsedRun`: where the run is, why, and what it comes to.
Never: decides.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

from rayflow.errors import NoOpenAsk
from rayflow.lang.options.option_values import parse_seconds
from rayflow.records import RunRow
from rayflow.service.questions import wait_text
from rayflow.testing.rehearsed_service import RehearsedService


class RehearsedRun:
    """A run that `Rehearsal.start` has started, or that `Rehearsal.runs` lists. It has the methods that a run has which
    a client of a service has started, and `waits`.

    id: of the run, and of its execution. is_new: False if another start with the same id has made it.
    """

    def __init__(self, service: Callable[[], RehearsedService], run_id: str, *, is_new: bool = False) -> None:
        self._service_now = service
        self.id = run_id
        self.is_new = is_new

    @property
    def _service(self) -> RehearsedService:
        return self._service_now()

    def __repr__(self) -> str:
        return f"<run {self.id}: {self.explain()}>"

    def state(self) -> str:
        """scheduled, queued, running, waiting, ending, done, failed or cancelled. (A run whose effect will be tried
        again after a delay is running: time stands still.)"""
        service = self._service
        row = service.end_of(self.id)
        return row.state if row is not None else str(service.open_run(self.id)["state"])

    def explain(self) -> str:
        """Why it is where it is, as one sentence."""
        return self._service.why(self.id)

    def waits(self) -> list[dict[str, Any]]:
        """Its open waits, in the order in which they were opened: kind, place, name or prompt, key, deadline_at (in
        microseconds), and an explanation."""
        found = self._service.look(lambda keeper: keeper.waits(self.id))
        return [{**wait, "explanation": wait_text(wait)} for wait in found]

    def history(self) -> list[dict[str, Any]]:
        """Its transitions, with their times and causes."""
        return self._service.history(self.id)

    def result(self, timeout: float | str | None = None) -> Any:
        """Let time pass until the run has ended, and give its value. Raises the task's own exception.

        timeout: let no more time pass than this, then raise TimeoutError; the run goes on. Raises AssertionError if the
        run waits for something that no time will bring: the message says what.
        """
        return self._service.value_of(self.end(timeout))

    def end(self, timeout: float | str | None = None) -> RunRow:
        """Let time pass as `result` does, and give the last row of the run: state, packed outcome, error."""
        service = self._service
        until = None if timeout is None else service.now() + int(parse_seconds(timeout, where="result") * 1_000_000)
        service.pass_time(until, lambda: service.end_of(self.id) is not None)
        row = service.end_of(self.id)
        if row is not None:
            return row
        if until is not None:
            raise TimeoutError(f"After {timeout} run {self.id} has not ended: {self.explain()}.")
        raise AssertionError(
            f"Run {self.id} has not ended: {self.explain()}. No time will bring that. Before result(), the test "
            "has to do what somebody outside would do, such as rehearsal.emit(...) or run.answer(...)."
        )

    def cancel(self, reason: str = "") -> bool:
        """End it. False if it had ended already."""

        by = uuid.uuid4().hex
        return bool(self._service.answered(lambda _: self._service.cancel(self.id, reason, request_id=by)))

    def retry(self, reason: str = "") -> None:
        """Have it go on after it has failed: failures that reached the root are forgotten, and tried again."""

        by = uuid.uuid4().hex
        self._service.answered(lambda _: self._service.retry(self.id, reason, request_id=by))

    def answer(self, value: Any, *, place: str | None = None) -> None:
        """Answer its `ask`. value: plain data. place: which one, if several are open.

        Raises NoOpenAsk, BadArguments.
        """
        asks = [wait["place"] for wait in self.waits() if wait["kind"] == "ask"]
        meant = [each for each in asks if place is None or each.startswith(place)]
        if not meant:
            raise NoOpenAsk(f"Run {self.id} asks nothing{' at this place' if asks else ''}: {self.explain()}.")
        given = json.loads(json.dumps(value))
        at = meant[0] if len(meant) == 1 else place
        by = uuid.uuid4().hex
        self._service.answered(lambda _: self._service.answer(self.id, given, at, request_id=by))
