"""Bodies that await expressions.

In: a coroutine, and the outcomes of what it has awaited when it was entered before. Out: its result; or the expressions
that it waits for, when nothing but their values can make it go on. Never: evaluates an expression, decides whether the
body is entered again.

A body that awaits holds no worker: it ends, and is entered again from its start when what it awaits is there. (Where
an execution has but one process it may stay, and go on from there: see suspended.py.) Whether only the awaited
expressions can make it go on is asked of its event loop: one that would wait for no time, no file and no
thread, but for ever, waits for us. While it has something else to wait for as well, it is given a moment, in which it
may come to more expressions. Longer is of no use, since all is done again in any case; and an open connection, or a
timeout around what is awaited, would keep it for ever. (A thread that the body has started by itself is not seen. It is
then started once more with the body, and is waited for when all expressions are known.)
"""

from __future__ import annotations

import asyncio
import marshal
import selectors
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from contextvars import copy_context
from functools import partial
from typing import Any

from rayflow.lang.awaiting import answer_with
from rayflow.lang.codec import SCALARS, content_digest
from rayflow.lang.expressions import TaskCall, Term
from rayflow.lang.packing import Keep, pack
from rayflow.values.digests import digest
from rayflow.values.failures import Failure, Outcome, exception_from_failure

PATIENCE_SECONDS = 0.5
"""So long a body that awaits expressions, and other things besides, may go on after the last one that it asked for."""


MOST_MISSED = 10
"""So many of the expressions that it knows a body may not have come to yet, while it waits for something else."""

_PLAIN: dict[bytes, bytes] = {}
"""The digests of calls that bodies have awaited in this process, by what `_plain` gives of them."""
MOST_PLAIN = 10_000
LONGEST_PLAIN_BYTES = 500


class Entry:
    """One time that a body is entered.

    known: outcomes of what it has awaited before, by key. keep: stores the large values in what it awaits. real: the
    object that a symbolic value stands for.
    is_paused: what `run` gave is not the result. is_open: it is paused, and can go on where it is. reached: ids of the
    awaited expressions, and of those inside them. asked: what it waits for, packed, by key.
    """

    def __init__(self, known: Mapping[bytes, Outcome], *, keep: Keep, real: Callable[[Term], Any]) -> None:
        self.is_paused = False
        self.is_open = False
        self.reached: set[int] = set()
        self.asked: dict[bytes, Term] = {}
        self._known = dict(known)
        self._entered_with = len(known)
        self._keep = keep
        self._real = real
        self._keys: dict[int, tuple[Term, bytes, Term]] = {}
        """Key and packed form of each term by its id; the term is kept, so that the id stays its own."""
        self._equal: Counter[bytes] = Counter()
        self._used: set[bytes] = set()
        self._asked_at = 0.0
        self._is_stuck = False
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        """What the awaits hang on: an event loop itself does not keep what waits alive."""
        self._raised: list[tuple[BaseException, Failure]] = []
        self._loop: _Loop | None = None
        self._quiet: asyncio.Future[None] | None = None
        self._runner = asyncio.Runner(loop_factory=self._make_loop)
        self._body: asyncio.Future[Any] | None = None
        self._is_closing = False

    def run(self, coroutine: Coroutine[Any, Any, Any], *, may_stay: bool = False) -> Any:
        """The result of the body; what it raised is raised. When `is_paused` is set, it waits for expressions: the pair
        of whether it did not ask for all that is known, and of the packed expressions by key.

        may_stay: it need not end each time that it waits. It does so whenever it knows twice as much as when it was
        entered, which costs little: only who is entered again shows whether it comes to the same expressions.
        """
        return _apart(partial(self._run, partial(self._begin, coroutine), may_stay))

    def go_on(self, outcomes: Mapping[bytes, Outcome]) -> Any:
        """As `run`, of a body that has stayed. outcomes: of all that it waits for."""
        assert self._loop is not None
        self._loop.go_on()
        return _apart(partial(self._run, partial(self._resume, outcomes), True))

    def leave(self) -> None:
        """End a body that has stayed: it can tidy up, and nothing else."""
        _apart(self._close)

    def failure_of(self, error: BaseException) -> Failure | None:
        """The failure of the awaited expression that this error came from, if the body has only not caught it."""
        return next((failure for raised, failure in self._raised if raised is error), None)

    def _run(self, main: Callable[[], Coroutine[Any, Any, Any]], may_stay: bool) -> Any:
        self.is_open = False
        try:
            result = self._runner.run(main())
            is_steady = self._used.issuperset(self._known)
            self.is_open = may_stay and self.is_paused and is_steady and len(self._known) < 2 * self._entered_with - 1
            return result
        finally:
            if self.is_open:
                assert self._loop is not None
                self._loop.stand_still()
            else:
                self._close()

    def _close(self) -> None:
        self.is_open = False
        self._is_closing = True
        with warnings.catch_warnings():
            if self.is_paused:
                # Coroutines that the body would have awaited later on: it will make them again.
                warnings.filterwarnings("ignore", message="coroutine .* was never awaited", category=RuntimeWarning)
            self._runner.close()
            self._body = None
            self._waiting = []

    def _make_loop(self) -> _Loop:
        self._loop = _Loop(self._seconds_left)
        return self._loop

    async def _begin(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        answer_with(self._answer)
        self._body = asyncio.ensure_future(coroutine)
        return await self._until_quiet(self._body)

    async def _resume(self, outcomes: Mapping[bytes, Outcome]) -> Any:
        assert self._body is not None
        self._known.update(outcomes)
        self._used.update(outcomes)
        self.asked = {}
        waiting, self._waiting = self._waiting, []
        for key, future in waiting:
            if key in self._known and not future.done():  # what the body has given up waiting for is done
                future.set_result(None)
        return await self._until_quiet(self._body)

    async def _until_quiet(self, body: asyncio.Future[Any]) -> Any:
        self.is_paused = False
        self._quiet = asyncio.get_running_loop().create_future()
        await asyncio.wait({body, self._quiet}, return_when=asyncio.FIRST_COMPLETED)
        if body.done():
            return body.result()
        # What still runs of the body is cancelled when the loop is closed, so that it can tidy up.
        self.is_paused = True
        missed = len(self._known.keys() - self._used)
        # (One that was still waiting for something else might have come to more; but not to nothing of it, ever again,
        # nor to ever less of it.)
        has_strayed = missed > 0 and (self._is_stuck or not self._used or missed > MOST_MISSED)
        return has_strayed, self.asked

    def _seconds_left(self, is_stuck: bool) -> float | None:
        """How long the loop may wait. None: as long as it likes, since no expression is awaited.

        is_stuck: it has nothing else to wait for. At 0 the body is left.
        """
        if self._is_closing or not self.asked or self._quiet is None:
            return None
        left = 0.0 if is_stuck else max(0.0, self._asked_at + PATIENCE_SECONDS - time.monotonic())
        if not left and not self._quiet.done():
            self._is_stuck = is_stuck
            self._quiet.set_result(None)
        return left

    async def _answer(self, term: Term) -> Any:
        if self._is_closing:
            raise asyncio.CancelledError
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            raise RuntimeError("an expression can only be awaited in the event loop of the task's body")
        key, packed = self._key_of(term)
        if key not in self._known:
            self.asked[key] = packed
            self._asked_at = time.monotonic()
            future = loop.create_future()
            self._waiting.append((key, future))
            await future
        self._used.add(key)
        outcome = self._known[key]
        if type(outcome) in SCALARS:
            return outcome
        if not isinstance(outcome, Failure):
            return self._real(outcome)
        error = exception_from_failure(outcome)
        self._raised.append((error, outcome))
        raise error

    def _key_of(self, term: Term) -> tuple[bytes, Term]:
        """What an awaited term is known by when the body is entered again, and its packed form.

        By its content; of several equal ones, by which of them it is: two calls may give two values.
        """
        known = self._keys.get(id(term))
        if known is None:
            plain = _plain(term)
            if plain in _PLAIN:
                packed, key = term, _PLAIN[plain]
                self.reached.add(id(term))
            else:
                packed = pack(term, self._keep, root="what is awaited", reached=self.reached)
                key = content_digest(packed)
                if plain:
                    if len(_PLAIN) >= MOST_PLAIN:
                        _PLAIN.clear()
                    _PLAIN[plain] = key
            count = self._equal[key]
            self._equal[key] += 1
            if count:
                key = digest("awaited again", key, count.to_bytes(8, "little"))
            known = self._keys[id(term)] = term, key, packed
        return known[1], known[2]


def _has_loop() -> bool:
    """Whether an event loop is running in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _plain(term: Term) -> bytes:
    """The content of a call of a few scalars, which a body may come by each time that it is entered: much faster to be
    had than its digest. Empty for any other term."""
    if type(term) is not TaskCall or term._options:
        return b""
    if not all(type(value) in SCALARS for value in (*term._args, *(term._kwargs or {}).values())):
        return b""
    content = marshal.dumps((term._task, term._args, term._kwargs), 2)
    return content if len(content) <= LONGEST_PLAIN_BYTES else b""


def _apart(run: Callable[[], Any]) -> Any:
    """Run an event loop: in a thread of its own where this one has a loop that is running, as in a notebook."""
    if not _has_loop():  # asked apart: an error of the body's is not to look like one of the asking
        return run()
    results: list[Any] = []
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            results.append(run())
        except BaseException as error:  # raised again below, in the thread that asked
            errors.append(error)

    # In the body's context, so that what it prints and the calls that it makes are known for its own.
    thread = threading.Thread(target=copy_context().run, args=(wait,), name="rayflow-async")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that asks before it waits, and whose time stands still while its body waits for expressions.

    seconds_left: how long it may wait; told whether it has nothing to wait for but itself.
    """

    def __init__(self, seconds_left: Callable[[bool], float | None]) -> None:
        self._stood_still_seconds = 0.0
        self._stands_still_since = 0.0
        self._seconds_left = seconds_left
        self._in_threads = 0
        selector = _Selector(self._longest_wait)
        super().__init__(selector)
        self._own_files = len(selector.get_map())

    def _longest_wait(self, is_endless: bool, files: int) -> float | None:
        return self._seconds_left(is_endless and not self._in_threads and files == self._own_files)

    def time(self) -> float:
        """Seconds that only grow, for timers: those of the body's own."""
        return super().time() - self._stood_still_seconds

    def stand_still(self) -> None:
        """From here on no time goes by, until `go_on`. (A timeout of the body's is not meant for other tasks.)"""
        self._stands_still_since = super().time()

    def go_on(self) -> None:
        """Time goes by again."""
        self._stood_still_seconds += super().time() - self._stands_still_since

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]  # of any function
        """Run a function in a thread, and count it until it has ended."""
        future: Any = super().run_in_executor(executor, func, *args)
        self._in_threads += 1
        future.add_done_callback(self._thread_ended)
        return future

    def _thread_ended(self, _: object) -> None:
        self._in_threads -= 1


class _Selector(selectors.DefaultSelector):
    """Asks before it waits. longest: gets whether the wait has no end, and the number of files that are watched."""

    def __init__(self, longest: Callable[[bool, int], float | None]) -> None:
        super().__init__()
        self._longest = longest

    def select(self, timeout: float | None = None) -> Any:
        """Wait for files, no longer than is allowed."""
        longest = self._longest(timeout is None, len(self.get_map()))
        if longest is not None:
            timeout = longest if timeout is None else min(timeout, longest)
        return super().select(timeout)
