"""The moment at which the start-up of a run begins, when the user begins to wait for it.

In: the moment at which a command line begins. Out: for the first run of the process, that moment; for other runs, the
moment of their submission. Never: records anything.
"""

from __future__ import annotations

import time

_begun: float | None = None


def begin(moment: float | None) -> None:
    """Note the moment (monotonic) at which a command line begins. None: the command line is over."""
    global _begun
    _begun = moment


def waited_since() -> float:
    """The begin of the start-up for a run that is submitted now; for the first run, the begin of the command line."""
    global _begun
    begun, _begun = _begun, None
    return time.monotonic() if begun is None else begun
