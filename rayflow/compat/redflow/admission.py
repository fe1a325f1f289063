"""When the runs of a workflow may run: redflow's settings, as those of a flow.

In: the settings of a workflow. Out: settings of `@flow`. Never: decides whether a run may run (the keeper does).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rayflow.compat.redflow.durations import milliseconds_of
from rayflow.compat.redflow.types import DefineWorkflowOptions, WorkflowRateLimitOptions
from rayflow.errors import BadOption
from rayflow.lang.admission.settings import RateSetting, debounce, rate
from rayflow.values.encoding.previews import preview


def admission_of(options: DefineWorkflowOptions) -> dict[str, Any]:
    """The settings of the flow behind a workflow. Raises BadOption for wrong ones."""
    where = f"workflow {options.name!r}"
    found: dict[str, Any] = {"queue": options.queue, "max_concurrency": options.max_concurrency}
    if options.mutex is not None:
        found["mutex"] = _key(options.mutex)
    if options.throttle is not None:
        found["throttle"] = _rate(options.throttle, f"throttle of {where}")
    if options.rate_limit is not None:
        found["rate_limit"] = _rate(options.rate_limit, f"rate_limit of {where}")
    given = options.debounce
    if given is not None:
        longest = None if given.timeout is None else _seconds(given.timeout, f"debounce of {where}: timeout")
        quiet = _seconds(given.period, f"debounce of {where}: period")
        found["debounce"] = debounce(_key(given.key), quiet, max_wait=longest)
    return found


def _key(key: Callable[[Any], str]) -> Callable[[Any], str]:
    """A function of the flow's input, whatever its own parameter is called."""

    def of_input(input: Any) -> str:
        return key(input)

    return of_input


def _rate(given: WorkflowRateLimitOptions, where: str) -> RateSetting:
    return rate(given.limit, _seconds(given.period, f"{where}: period"), key=_key(given.key))


def _seconds(period: int | str, where: str) -> float:
    found = milliseconds_of(period)
    if not found:
        raise BadOption(
            f'{where} is milliseconds, or a text such as "30s", and longer than nothing, not {preview(period)}.'
        )
    return found / 1000
