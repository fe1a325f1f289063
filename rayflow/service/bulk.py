"""Cancel or retry all runs that a filter means.

In: a filter, which is not empty. Out: how many runs that are, or were, and which refused. Never: asks a run that is
ending to end its clean-up; so the same request twice does nothing more.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from rayflow.errors import BadArguments, RayflowError
from rayflow.runtime.keeping.keeper_turn import ENDED
from rayflow.service.run_queries import STATES, RunFilter
from rayflow.service.service import Service

MOST_TOLD = 1_000
"""The ids of so many runs are told."""

_AT_ONCE = 200
"""So many runs are asked at once; others get their turn between."""

_CHANGED = {
    "cancel": tuple(each for each in STATES if each not in ENDED),
    "retry": ("failed", "cancelled"),
}
"""The states of the runs that a request can change."""


class Bulk:
    """One request. what: "cancel" or "retry". is_dry: only count. Raises BadArguments for a filter that means all."""

    def __init__(self, service: Service, what: str, wanted: RunFilter, reason: str, *, is_dry: bool) -> None:
        if wanted.is_empty:
            raise BadArguments(f"Say which runs to {what}: by state, flow, tag, text, since, until or id_prefix.")
        states = tuple(each for each in _CHANGED[what] if not wanted.states or each in wanted.states)
        self._service = service
        self._what = what
        self._wanted = replace(wanted, states=states)
        self._reason = reason
        self._is_dry = is_dry

    def done(self) -> dict[str, Any]:
        """What has become of the request. It takes as long as the requests that it is made of."""
        found = self._service.questions.ids(self._wanted) if self._wanted.states else []
        latest = self._wanted.latest
        told: dict[str, Any] = {
            "count": len(found),
            "dry": self._is_dry,
            "latest": max((number for _, number in found), default=0) if latest is None else latest,
            "run_ids": [run_id for run_id, _ in found[:MOST_TOLD]],
            "refused": [],
        }
        if self._is_dry:
            return told
        changed: list[str] = []
        refused: list[dict[str, str]] = []
        for start in range(0, len(found), _AT_ONCE):
            asked = [(run_id, self._asked(run_id)) for run_id, _ in found[start : start + _AT_ONCE]]
            for run_id, future in asked:
                try:
                    is_changed = future.result()
                except RayflowError as error:
                    refused.append({"run_id": run_id, "type": type(error).__name__, "message": str(error)})
                else:
                    changed += [run_id] if is_changed else []
        return {**told, "count": len(changed), "run_ids": changed[:MOST_TOLD], "refused": refused[:MOST_TOLD]}

    def _asked(self, run_id: str) -> Future[Any]:
        if self._what == "cancel":
            return self._service.cancel(run_id, self._reason, is_first=True)
        return self._service.retry(run_id, self._reason)
