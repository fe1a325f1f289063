"""Tools that test rayflow, and tools for users to test their own workflows.

In: an evaluator, a seed, or a user's workflow. Out: written conversations, simulated clusters, random programs and what
they mean; for users `Rehearsal` and the pytest fixture `rehearsal` of rayflow.testing.fixtures.
Never: Ray, a thread, a clock that has to be waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rayflow.testing.rehearsals import JobTold, Rehearsal
    from rayflow.testing.rehearsed_runs import RehearsedRun

__all__ = ["JobTold", "Rehearsal", "RehearsedRun"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'rayflow.testing' has no attribute {name!r}")
    from rayflow.testing import rehearsals

    return getattr(rehearsals, name)
