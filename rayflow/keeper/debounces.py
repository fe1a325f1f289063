"""Debounces: starts that become one run.

In: the root terms of starts, the run that is to be. Out: when it is due, and the root term that it has. Never: decides
which starts belong together.
"""

from __future__ import annotations

from collections.abc import Sequence

from rayflow.keeper.demands import Debounce
from rayflow.lang.terms.codec import dumps, loads
from rayflow.lang.terms.expressions import Operation, TaskCall, Term


def due_at(debounce: Debounce, now: int, opened_at: int) -> int:
    """When no more starts join, if none comes after now. opened_at: when the first one came."""
    quiet_until = now + debounce.quiet_us
    return quiet_until if debounce.max_wait_us is None else min(quiet_until, opened_at + debounce.max_wait_us)


def joined(roots: Sequence[bytes]) -> bytes:
    """The call that has the lists of all these calls in one list, in their order."""
    calls = [loads(root) for root in roots]
    whole = [_list_of(call) for call in calls]
    plain = [each for each in whole if type(each) is list]
    if len(plain) == len(whole):
        everything: Term = [each for some in plain for each in some]
    else:
        everything = whole[0]
        for each in whole[1:]:
            everything = Operation("add", (everything, each))
    first = calls[0]
    if first._args:
        return dumps(TaskCall(first._task, (everything,), first._kwargs, first._options))
    [name] = first._kwargs
    return dumps(TaskCall(first._task, (), {name: everything}, first._options))


def _list_of(call: TaskCall) -> Term:
    return call._args[0] if call._args else next(iter((call._kwargs or {}).values()))
