"""A run that has left the evaluator's memory is taken up with all that has happened at its places."""

from __future__ import annotations

from typing import Any

from rayflow.keeper.commands import Evaluate
from rayflow.lang.terms.codec import dumps
from rayflow.lang.terms.expressions import TaskCall
from rayflow.records import PlaceRow
from rayflow.run_settings import RunSettings
from rayflow.runtime.clock import CLOCK
from rayflow.service.kept_runs import KeptRuns
from rayflow.values.digests import digest


def _runs() -> KeptRuns:
    def never(*_: Any) -> Any:
        raise AssertionError("nothing is asked of the store")

    def hears(run_id: str, is_first: bool) -> None:
        """A carrier would want to know."""

    return KeptRuns(
        "/project", {}, RunSettings(), CLOCK, begun=hears, bind=never, keys=never, recall=never, bind_firing=never,
        recall_firings=never, places_of=never, replied=never,
    )


def _rows() -> list[PlaceRow]:
    row = PlaceRow("run", digest("place", b"a"), "started", 1, 5, "flow.charge", None, None, is_effect=True)
    return [row, row._replace(kind="outcome", outcome=b"packed", error="ä"), row._replace(place=digest("place", b"b"))]


def test_what_was_noted_before_a_run_was_forgotten_is_there_when_it_is_taken_up_again() -> None:
    runs = _runs()
    order = Evaluate("run", dumps(TaskCall("flow.main", (), {})), 0, 0)
    first, second, third = _rows()
    runs.take_up([first])
    assert runs.begin(order, {}).submitted.pins == (first,)
    runs.note(second)
    runs.forgotten("run")
    assert runs.begin(order, {}).submitted.pins == (first, second)
    runs.note(third)
    runs.forgotten("run")
    assert runs.begin(order, {}).submitted.pins == (first, second, third)
