"""How one run is evaluated: from the keywords of `run` and the configuration to the evaluator.

In: nothing. Out: `RunSettings`: plain data. Never: logic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The settings of one run.

    cache: if False, results of other executions are not used, and everything is computed again. fail_fast: stop at the
    first failure that nothing can catch. options: task options for every call, over those of the calls. context: what
    `get_context` reads, in dicts of dicts by name; the driver packs the values. profiles: task options by name of the
    profile. tags: pairs that are recorded with the execution. execution_id: the driver makes one when it is None.
    """

    cache: bool = True
    fail_fast: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tags: tuple[tuple[str, Any], ...] = ()
    execution_id: str | None = None
