"""Warnings to the user, at a line of the user's own code.

In: a text. Out: a Python warning at the user's line. Never: prints it; Python's `warnings` decides that.
"""

from __future__ import annotations

import sys
import warnings
from types import FrameType

from rayflow.errors import RayflowWarning
from rayflow.values.display.tracebacks import is_a_librarys, users_frame

_NOWHERE = "rayflow"
"""The file name in a warning when no line of the user led to it."""


def warn_user(
    text: str, category: type[RayflowWarning] = RayflowWarning, *, place: tuple[str, int] | None = None
) -> None:
    """Warn the user. place: the file and line of the warning; by default the user's line that led here."""
    frame = _users_frame()
    if place is None:
        place = (_NOWHERE, 1) if frame is None else (frame.f_code.co_filename, frame.f_lineno)
    registry = None if frame is None else frame.f_globals.setdefault("__warningregistry__", {})
    module = _NOWHERE if frame is None else frame.f_globals.get("__name__", _NOWHERE)
    warnings.warn_explicit(text, category, *place, module=module, registry=registry)


def _users_frame() -> FrameType | None:
    """The innermost frame of the user's code; if there is none, of a library that called rayflow."""
    here: FrameType | None = sys._getframe(1)
    found = users_frame(here)
    while found is None and here is not None:
        if is_a_librarys(here.f_code.co_filename):
            return here
        here = here.f_back
    return found
