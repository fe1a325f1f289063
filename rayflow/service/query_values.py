"""The values in the query of a request.

In: texts. Out: numbers. Never: guesses: what cannot be read is refused.
"""

from __future__ import annotations

import math

from rayflow.client.wire import LONGEST_POLL_SECONDS
from rayflow.errors import BadArguments


def seconds_in(text: str | None) -> float:
    """How long a request may wait. Raises BadArguments."""
    try:
        seconds = float(text or 0)
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds):
        raise BadArguments(f"wait={text!r} is not a number of seconds.")
    return min(LONGEST_POLL_SECONDS, max(0.0, seconds))
