"""Operations on a simulated worker.

In: an operation that the evaluator has sent away. Out: a symbolic term, or what Python raises. Never: a user's object.
"""

from __future__ import annotations

from typing import Any

from rayflow.lang.operations import call_task, operate
from rayflow.lang.packing.pack import pack
from rayflow.lang.rules import step
from rayflow.lang.terms.expressions import TaskRef, Term
from rayflow.testing.simulation.program_forms import OWN_RULES
from rayflow.values.digests import digest
from rayflow.values.refs import ValueRef


def operated(name: str, args: tuple[Any, ...]) -> Term:
    """The term that an operation gives. Raises what it raises."""
    if name == "restore":
        kept, summary = args
        return ValueRef(digest("error", summary.encode()), "error", len(kept or b""), "test", kept, (), summary)
    if name == "step":
        rule, arguments, outcomes = args
        return pack(step(OWN_RULES[rule], arguments, outcomes), _never)
    if name == "call" and isinstance(args[0], TaskRef):
        return call_task(*args)
    return operate(name, args)


def _never(*large: Any) -> None:
    raise AssertionError(f"values of a simulation are small: {large!r}")
