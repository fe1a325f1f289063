"""The settings of `@flow` about admission.

In: what the user has written. Out: `AdmissionSettings`, or BadOption. Never: computes a key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rayflow.errors import BadArguments, BadOption
from rayflow.lang.admission.keys import Key, check_key, depends_on_arguments
from rayflow.lang.events.moments import Duration, seconds_of
from rayflow.lang.parameters.signatures import POSITIONAL, POSITIONAL_ONLY, Parameters
from rayflow.values.display.tracebacks import front_door
from rayflow.values.encoding.previews import preview

KEEPS = ("last", "first", "all")
"""Whose arguments the run of a debounce has."""

MOST_PRIORITY = 1_000_000
"""The greatest priority, and minus the least."""


@dataclass(frozen=True)
class LimitSetting:
    """So many runs with one key run at a time. key: None for all runs of the flow together."""

    most: int
    key: Key | None = None


@dataclass(frozen=True)
class RateSetting:
    """So many runs with one key are admitted in a period, in microseconds. key: as of a limit."""

    most: int
    per_us: int
    key: Key | None = None


@dataclass(frozen=True)
class DebounceSetting:
    """Starts with one key become one run. Times are in microseconds."""

    key: Key
    quiet_us: int
    max_wait_us: int | None = None
    keep: str = "last"


Rates: TypeAlias = "RateSetting | Sequence[RateSetting]"
Limits: TypeAlias = "int | LimitSetting | Sequence[LimitSetting]"


@dataclass(frozen=True)
class AdmissionSettings:
    """What a flow asks of admission. queue: None for the default one. priority: None for that of the starter."""

    queue: str | None = None
    priority: int | None = None
    fairness: Key | None = None
    mutex: Key | None = None
    release_on_wait: bool = False
    limits: tuple[LimitSetting, ...] = ()
    throttles: tuple[RateSetting, ...] = ()
    rates: tuple[RateSetting, ...] = ()
    debounce: DebounceSetting | None = None

    def each_key(self) -> Iterator[tuple[str, Key]]:
        """Each key, with the setting that it belongs to."""
        for name in ("fairness", "mutex"):
            if (key := getattr(self, name)) is not None:
                yield name, key
        for name, settings in (
            ("max_concurrency", self.limits), ("throttle", self.throttles), ("rate_limit", self.rates),
        ):  # fmt: skip
            for each in settings:
                if each.key is not None:
                    yield name, each.key
        if self.debounce is not None:
            yield "debounce", self.debounce.key

    @property
    def has_keys(self) -> bool:
        """Whether it depends on the arguments of a run."""
        return any(depends_on_arguments(key) for _, key in self.each_key())


@front_door
def limit(most: int, *, key: Key | None = None) -> LimitSetting:
    """How many runs of a flow run at a time, for its `max_concurrency`.

        @flow(max_concurrency=[limit(20), limit(2, key="tenant:{order.tenant}")])

    key: so many for each key. Raises BadOption for a wrong number.
    """
    return LimitSetting(_count(most, "limit(most)"), key)


@front_door
def rate(most: int, per: Duration, *, key: Key | None = None) -> RateSetting:
    """How many runs of a flow start in a period, for its `throttle` and `rate_limit`.

        @flow(throttle=rate(10, "1m", key="{order.tenant}"))

    key: so many for each key. Raises BadOption for a wrong number or period.
    """
    return RateSetting(_count(most, "rate(most, per)"), _us(per, "rate(most, per): per"), key)


@front_door
def debounce(key: Key, quiet: Duration, *, max_wait: Duration | None = None, keep: str = "last") -> DebounceSetting:
    """Make one run of the starts of a flow that come shortly after one another, for its `debounce`.

        @flow(debounce=debounce("{order.id}", "30s", max_wait="5m"))

    key: the starts with one key belong together. quiet: the run begins when no start has come for so long. max_wait: it
    begins at the latest so long after the first one. keep: whose arguments it has: of the "last" start, of the "first",
    or of "all": then the flow has one parameter, which is a list, and gets the lists of all starts in one. Raises
    BadOption for wrong settings.
    """
    if keep not in KEEPS:
        raise BadOption(f"debounce: keep is one of {', '.join(map(repr, KEEPS))}, not {preview(keep)}.")
    quiet_us = _us(quiet, "debounce: quiet")
    max_wait_us = None if max_wait is None else _us(max_wait, "debounce: max_wait")
    if max_wait_us is not None and max_wait_us < quiet_us:
        raise BadOption(f"debounce: max_wait={max_wait!r} is shorter than quiet={quiet!r}.")
    return DebounceSetting(key, quiet_us, max_wait_us, keep)


def admission_settings(
    given: Mapping[str, Any], parameters: Parameters, hints: Mapping[str, Any], where: str
) -> AdmissionSettings | None:
    """The settings of a flow, checked; None if it asks nothing.

    given: those of `@flow`, by name. hints: the types of the flow's parameters, as far as they are known. Raises
    BadOption.
    """
    made = AdmissionSettings(
        queue=_queue(given["queue"], where),
        priority=_priority(given["priority"], where),
        fairness=given["fairness"],
        mutex=given["mutex"],
        release_on_wait=given["release_on_wait"],
        limits=_limits(given["max_concurrency"], where),
        throttles=_rates(given["throttle"], "throttle", where),
        rates=_rates(given["rate_limit"], "rate_limit", where),
        debounce=given["debounce"],
    )
    if not isinstance(made.release_on_wait, bool) or (made.release_on_wait and made.mutex is None):
        raise BadOption(f"{where}: release_on_wait=True says when the mutex is given back: it needs mutex=.")
    if made.debounce is not None and not isinstance(made.debounce, DebounceSetting):
        raise BadOption(f'{where}: debounce takes debounce("{{key}}", "30s"), not {preview(made.debounce)}.')
    for name, key in made.each_key():
        check_key(key, parameters, f"{where}: {name}")
    if made.debounce is not None and made.debounce.keep == "all":
        _check_takes_list(parameters, hints, where)
    return None if made == AdmissionSettings() else made


def _check_takes_list(parameters: Parameters, hints: Mapping[str, Any], where: str) -> None:
    plain = [kind in (POSITIONAL, POSITIONAL_ONLY) for kind in parameters.kinds]
    if plain != [True]:
        raise BadOption(f'{where}: keep="all" gives the flow one list: it has to have one parameter, not {len(plain)}.')
    hint = hints.get(parameters.names[0], list)
    origin = getattr(hint, "__origin__", hint)
    if origin is not Any and not (isinstance(origin, type) and issubclass(list, origin)):
        raise BadOption(f'{where}: keep="all" gives the flow one list, but {parameters.names[0]} is {hint!r}.')


def _queue(name: Any, where: str) -> str | None:
    if name is None or (isinstance(name, str) and name):
        return name
    raise BadOption(f"{where}: queue is the name of a queue, not {preview(name)}.")


def _priority(number: Any, where: str) -> int | None:
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int) or abs(number) > MOST_PRIORITY:
        raise BadOption(f"{where}: priority is a whole number within {MOST_PRIORITY:,}, not {preview(number)}.")
    return number


def _limits(given: Any, where: str) -> tuple[LimitSetting, ...]:
    if given is None:
        return ()
    if isinstance(given, int):
        return (LimitSetting(_count(given, f"{where}: max_concurrency")),)
    found = (given,) if isinstance(given, LimitSetting) else given
    if not isinstance(found, list | tuple) or not all(isinstance(each, LimitSetting) for each in found):
        raise BadOption(
            f"{where}: max_concurrency takes a number, limit(5, key=...), or a list of these, not {preview(given)}."
        )
    return tuple(found)


def _rates(given: Any, name: str, where: str) -> tuple[RateSetting, ...]:
    if given is None:
        return ()
    found = (given,) if isinstance(given, RateSetting) else given
    if not isinstance(found, list | tuple) or not all(isinstance(each, RateSetting) for each in found):
        raise BadOption(f'{where}: {name} takes rate(10, "1m"), or a list of these, not {preview(given)}.')
    return tuple(found)


def _count(number: Any, where: str) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MOST_PRIORITY:
        raise BadOption(f"{where} takes a whole number from 1 to {MOST_PRIORITY:,}, not {preview(number)}.")
    return number


def _us(duration: Any, where: str) -> int:
    try:
        found = round(seconds_of(duration, where) * 1_000_000)
    except BadArguments as error:
        raise BadOption(str(error)) from None
    if found <= 0:
        raise BadOption(f"{where} is longer than nothing, not {preview(duration)}.")
    return found
