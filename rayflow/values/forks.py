"""Forks of this process, where the system has them.

In: a function. Out: it is called in each child, or before each fork. Never: forks.
"""

from __future__ import annotations

import os
from collections.abc import Callable


def at_fork(*, in_child: Callable[[], None], before: Callable[[], None] | None = None) -> None:
    """Call these functions at each fork of this process from now on, whichever code forks. in_child: in the child, at
    once. before: in this process. Windows has no forks."""
    if not hasattr(os, "register_at_fork"):
        return
    if before is None:
        os.register_at_fork(after_in_child=in_child)
    else:
        os.register_at_fork(before=before, after_in_child=in_child)
