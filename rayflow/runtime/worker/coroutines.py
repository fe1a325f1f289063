"""Coroutine bodies that await expressions.

In: a coroutine, and the outcomes that it has awaited in earlier attempts. Out: its result; or the expressions that it
waits for, when only their outcomes can make it go on. Never: evaluates an expression, decides whether the body is
replayed.

A body that awaits holds no worker: it ends, and is replayed from its start when the outcomes are there. (Where an
execution has a single process, the body may stay alive and go on from there: see waiting_bodies.py.)

Its event loop shows when only expressions can make it go on: the loop would then wait for ever, for no timer, no file
and no thread. A body that waits for something else as well gets a moment, in which it may ask for more expressions. A
longer moment has no use, since the body is replayed in any case; and an open connection, or a timeout around an await,
would keep the body for ever. (A thread that the body has started by itself does not show. It is started once more with
the replayed body, which waits for it when all outcomes are known.)
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

from rayflow.lang.gather import answer_with
from rayflow.lang.packing.pack import Keep, pack
from rayflow.lang.terms.codec import content_digest
from rayflow.lang.terms.expressions import TaskCall, Term
from rayflow.values.digests import digest
from rayflow.values.failures import Failure, Outcome, exception_from_failure
from rayflow.values.native import SCALARS

PATIENCE_SECONDS = 0.5
"""Seconds that a body may run on after its last requested expression before it counts as paused."""


MOST_MISSED = 10
"""The most known outcomes that a replayed body may not have asked for yet, while it waits for something else."""

_PLAIN: dict[bytes, bytes] = {}
"""The digests of simple calls that bodies have awaited in this process, by their contents (see `_plain`)."""
MOST_PLAIN = 10_000
LONGEST_PLAIN_BYTES = 500


class CoroutineBody:
    """A coroutine body in its event loop, from its start to its end or its last pause.

    known: the outcomes that it has awaited in earlier attempts, by key. keep: stores the large values in the
    expressions that it awaits. real: gives the object that a symbolic value stands for.

    is_paused: the last `run` or `go_on` gave no result. is_open: it is paused, and can go on where it is. reached: ids
    of the awaited expressions, and of those inside them. asked: the expressions that it waits for, packed, by key.
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
        """The futures behind the awaits, by key: an event loop alone does not keep them alive."""
        self._raised: list[tuple[BaseException, Failure]] = []
        self._loop: _BodyLoop | None = None
        self._quiet: asyncio.Future[None] | None = None
        self._runner = asyncio.Runner(loop_factory=self._make_loop)
        self._body: asyncio.Future[Any] | None = None
        self._is_closing = False

    def run(self, coroutine: Coroutine[Any, Any, Any], *, may_stay: bool = False) -> Any:
        """Run the body to its result, or until it pauses. Raises the body's errors.

        If `is_paused` is set, the answer is a pair: the keys of known expressions that the body has not awaited again,
        if it has strayed, and the packed expressions that it waits for, by key.

        may_stay: whether it may stay alive when it pauses. It ends nevertheless whenever it knows twice as many
        outcomes as at its start: only a replay shows whether the body awaits the same expressions again. That costs
        little.
        """
        return _apart(partial(self._run, partial(self._begin, coroutine), may_stay))

    def go_on(self, outcomes: Mapping[bytes, Outcome]) -> Any:
        """The same as `run`, for a body that has stayed alive. outcomes: of all expressions that it waits for."""
        assert self._loop is not None
        self._loop.go_on()
        return _apart(partial(self._run, partial(self._resume, outcomes), True))

    def leave(self) -> None:
        """End a body that has stayed alive: it can tidy up, and nothing else."""
        _apart(self._close)

    def failure_of(self, error: BaseException) -> Failure | None:
        """The failure of the awaited expression that raised this error; None when the error is the body's own."""
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

    def _make_loop(self) -> _BodyLoop:
        self._loop = _BodyLoop(self._seconds_left)
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
            if key in self._known and not future.done():  # it is done when the body has stopped waiting
                future.set_result(None)
        return await self._until_quiet(self._body)

    async def _until_quiet(self, body: asyncio.Future[Any]) -> Any:
        self.is_paused = False
        self._quiet = asyncio.get_running_loop().create_future()
        await asyncio.wait({body, self._quiet}, return_when=asyncio.FIRST_COMPLETED)
        if body.done():
            return body.result()
        # The rest of the body is cancelled when the loop is closed, so that it can tidy up.
        self.is_paused = True
        missed = self._known.keys() - self._used
        # (A body that waits for something else may still ask for more. One that has asked for none of its known
        # outcomes, or misses many, does not await the same expressions as before.)
        has_strayed = missed and (self._is_stuck or not self._used or len(missed) > MOST_MISSED)
        return tuple(sorted(missed)) if has_strayed else (), self.asked

    def _seconds_left(self, is_stuck: bool) -> float | None:
        """How long the event loop may wait; None for no limit, since no expression is awaited. At 0 the body pauses.

        is_stuck: the loop has nothing else to wait for.
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
        """The key of an awaited term, which is the same in a replay, and its packed form.

        The key comes from its content and, of several equal terms, from its number among them: two equal calls may give
        two values.
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
    """The content of a call with a few scalars, which takes less time than its digest; empty for any other term. A body
    asks for such calls again in each replay."""
    if type(term) is not TaskCall or term._options:
        return b""
    if not all(type(value) in SCALARS for value in (*term._args, *(term._kwargs or {}).values())):
        return b""
    content = marshal.dumps((term._task, term._args, term._kwargs), 2)
    return content if len(content) <= LONGEST_PLAIN_BYTES else b""


def _apart(run: Callable[[], Any]) -> Any:
    """Run an event loop; in a thread of its own where a loop runs in this one, as in a notebook."""
    if not _has_loop():  # in a function of its own, so that the body's errors do not come from inside its `except`
        return run()
    results: list[Any] = []
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            results.append(run())
        except BaseException as error:  # raised again below, in the first thread
            errors.append(error)

    # In the body's context, so that its prints and its calls count as its own.
    thread = threading.Thread(target=copy_context().run, args=(wait,), name="rayflow-async")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


class _BodyLoop(asyncio.SelectorEventLoop):
    """An event loop that asks before it waits, and whose time stands still while its body waits for expressions.

    seconds_left: how long it may wait. It is called with whether the loop has nothing else to wait for.
    """

    def __init__(self, seconds_left: Callable[[bool], float | None]) -> None:
        self._stood_still_seconds = 0.0
        self._stands_still_since = 0.0
        self._seconds_left = seconds_left
        self._in_threads = 0
        selector = _AskingSelector(self._longest_wait)
        super().__init__(selector)
        self._own_files = len(selector.get_map())

    def _longest_wait(self, is_endless: bool, files: int) -> float | None:
        return self._seconds_left(is_endless and not self._in_threads and files == self._own_files)

    def time(self) -> float:
        """Seconds that only grow, for the body's timers."""
        return super().time() - self._stood_still_seconds

    def stand_still(self) -> None:
        """Stop the time until `go_on`: a timeout of the body's does not count the time of other tasks."""
        self._stands_still_since = super().time()

    def go_on(self) -> None:
        """Let the time go on."""
        self._stood_still_seconds += super().time() - self._stands_still_since

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]  # of any function
        """Run a function in a thread, and count it until it has ended."""
        future: Any = super().run_in_executor(executor, func, *args)
        self._in_threads += 1
        future.add_done_callback(self._thread_ended)
        return future

    def _thread_ended(self, _: object) -> None:
        self._in_threads -= 1


class _AskingSelector(selectors.DefaultSelector):
    """Asks before it waits. longest: gives the longest wait, from whether the wait has no end and the number of watched
    files."""

    def __init__(self, longest: Callable[[bool, int], float | None]) -> None:
        super().__init__()
        self._longest = longest

    def select(self, timeout: float | None = None) -> Any:
        """Wait for files, at most as long as `longest` allows."""
        longest = self._longest(timeout is None, len(self.get_map()))
        if longest is not None:
            timeout = longest if timeout is None else min(timeout, longest)
        return super().select(timeout)
