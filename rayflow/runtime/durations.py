"""A duration in words: the same on a terminal, in a pipe, in a notebook and in a script's output.

In: seconds. Out: text. Never: prints, reads a clock.
"""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """A duration as people say it: 0.02 s, 3.1 s, 2 min 5 s, 3 h 12 min."""
    if seconds is None:
        return ""
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
