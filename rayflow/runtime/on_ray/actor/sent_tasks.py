"""What the carrier remembers of the Ray tasks that it has sent, until their answers come.

In: references that Ray gave. Out: the same, with what they stand for. Never: asks Ray.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from rayflow.evaluator import commands


@dataclass(slots=True)
class SentTask:
    """A Ray task. refs: its outcome, and its large values if there may be some. inputs: objects that it reads. at: when
    it was sent, in monotonic seconds."""

    refs: tuple[Any, Any]
    inputs: list[Any]
    at: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class SentOperation:
    """An operation that was sent. tries: how often, until now."""

    operation: commands.RunOperation
    sent: SentTask
    tries: int
