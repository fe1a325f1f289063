"""The changes that a worker may make to its process.

In: nothing. Out: the policies for the two sorts of process. Never: carries one out.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProcessPolicy:
    """The changes that a worker may make to its process.

    puts_paths_first: the project's directories go to the front of sys.path; else those that are missing go to its end.
    trusts_modules: a loaded project module counts as the submitted one. Else it may be an older version, and is dropped
    and imported again if its code differs.
    has_users_main: `__main__` is the user's script or notebook. Else its classes are built from bytes of the driver.
    ends_on_timeout: the process ends when a body runs past its timeout and cannot be interrupted; else the body runs
    on.
    """

    puts_paths_first: bool
    trusts_modules: bool
    has_users_main: bool
    ends_on_timeout: bool


USERS_PROCESS = ProcessPolicy(
    puts_paths_first=False,
    trusts_modules=True,
    has_users_main=True,
    ends_on_timeout=False,
)
"""For the process in which the user has started the run: its modules and its end are the user's business."""

RAY_WORKER = ProcessPolicy(
    puts_paths_first=True,
    trusts_modules=False,
    has_users_main=False,
    ends_on_timeout=True,
)
"""For a process that Ray has started to run calls, one project after the other."""
