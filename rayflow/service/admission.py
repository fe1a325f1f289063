"""What runs ask of admission: computed of their arguments, one run after another.

In: a flow's settings, the root term of a run. Out: `Demands`. Never: decides whether a run may run.

Keys come from the user's code: attributes, items, functions. So one thread of its own computes them, in the order in
which the runs were asked for, and no run waits longer than `MOST_SECONDS` for the keys of another one.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from rayflow.errors import BadArguments, RayflowError
from rayflow.keeper.demands import Debounce, Demands, Limit, Rate
from rayflow.lang.admission.keys import Key, key_of
from rayflow.lang.admission.settings import AdmissionSettings, RateSetting
from rayflow.lang.tasks import Task
from rayflow.lang.terms.codec import loads
from rayflow.lang.terms.expressions import TaskCall, Term

T = TypeVar("T")

MOST_SECONDS = 5.0
"""The longest time in which the keys of a run are computed."""


def demands_of(flow: str, settings: AdmissionSettings, key: Callable[[Key, str], str | None]) -> Demands:
    """What the runs of a flow ask. key: the text of a key, for the setting of this name; None if that does not concern
    the run."""

    def name(kind: str, place: int, of: Key | None) -> str | None:
        text = "" if of is None else key(of, kind)
        return None if text is None else f"{kind}:{flow}:{place}:{text}"

    def rates(kind: str, given: tuple[RateSetting, ...]) -> tuple[Rate, ...]:
        named = [(name(kind, place, each.key), each) for place, each in enumerate(given)]
        return tuple([Rate(found, each.most, each.per_us) for found, each in named if found is not None])

    limits = [(name("max_concurrency", place, each.key), each.most) for place, each in enumerate(settings.limits)]
    debounce = settings.debounce
    window = None if debounce is None else name("debounce", 0, debounce.key)
    mutex = None if settings.mutex is None else key(settings.mutex, "mutex")
    return Demands(
        queue=settings.queue,
        priority=settings.priority,
        fairness=None if settings.fairness is None else key(settings.fairness, "fairness"),
        mutex=mutex,
        release_on_wait=settings.release_on_wait and mutex is not None,
        limits=tuple([Limit(found, most) for found, most in limits if found is not None]),
        throttles=rates("throttle", settings.throttles),
        rates=rates("rate_limit", settings.rates),
        debounce=None
        if debounce is None or window is None
        else Debounce(window, debounce.quiet_us, debounce.max_wait_us, debounce.keep),
    )


def demands_of_call(task: Task[..., Any], root: bytes, value_of: Callable[[Term], Any]) -> Demands | None:
    """What a run of a flow asks, whose root term is a call of it. None if that does not depend on the arguments.

    value_of: the object behind a symbolic value. Raises BadArguments where a key cannot be found.
    """
    settings = None if task.flow_settings is None else task.flow_settings.admission
    if settings is None or not settings.has_keys:
        return None
    call = loads(root)
    assert type(call) is TaskCall
    bound = task.parameters.bind(call._args, call._kwargs, name=task.name)
    arguments: Mapping[str, Any] = {**task.defaults, **{name: value_of(term) for name, term in bound.items()}}

    def key(of: Key, setting: str) -> str | None:
        where = f"{task.fullname}: {setting}"
        try:
            return key_of(of, arguments, where)
        except RayflowError:
            raise
        except Exception as error:  # the user's function, or a property of the user's class
            raise BadArguments(f"{where}: its key cannot be computed: {type(error).__name__}: {error}") from error

    return demands_of(task.fullname, settings, key)


def has_keys(task: Task[..., Any]) -> bool:
    """Whether what the runs of a task ask depends on their arguments."""
    settings = None if task.flow_settings is None else task.flow_settings.admission
    return settings is not None and settings.has_keys


class KeyDesk:
    """One thread that computes the keys of runs, in the order in which they were asked for.

    is_at_once: compute each in the thread that asks.
    """

    def __init__(self, *, is_at_once: bool = False) -> None:
        self.is_at_once = is_at_once
        self._asked: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0
        self._thread: threading.Thread | None = None

    def is_idle(self) -> bool:
        """Whether nothing waits here. What needs no keys may pass then."""
        return self._waiting == 0

    def post(self, job: Callable[[], None]) -> None:
        """Have something done after all that was posted before. It raises nothing."""
        if self.is_at_once:
            job()
            return
        with self._lock:
            self._waiting += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="rayflow-keys", daemon=True)
                self._thread.start()
        self._asked.put(job)

    def _work(self) -> None:
        while True:
            job = self._asked.get()
            try:
                job()
            finally:
                with self._lock:
                    self._waiting -= 1


def within_seconds(compute: Callable[[], T], seconds: float, what: str) -> T:
    """What a function gives, if it gives it in time. Raises BadArguments if not, and what the function raises.

    A function that takes longer goes on in a thread of its own, and nobody hears of it.
    """
    found: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            found.append(compute())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="rayflow-key", daemon=True)
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    if not found:
        raise BadArguments(f"{what} was not computed within {seconds:g} s: compute keys of the arguments alone.")
    return found[0]
