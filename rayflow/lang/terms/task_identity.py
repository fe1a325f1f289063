"""The identity of a task as a value.

In: name, hash, and the added arguments and options. Out: bytes. Never: looks at a task.
"""

from __future__ import annotations

from typing import Any

from rayflow.values.digests import digest
from rayflow.values.encoding.identity import identity


def task_identity(
    name: str, hash: bytes, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
) -> bytes:
    """The identity of a task as a value: its name and code, and the arguments and options that were added."""
    parts = [name.encode(), hash]
    if args or kwargs or options:
        # Options are known by name; of keywords, those for **kwargs count in their order (see Task.partial).
        parts += [identity(args), identity(kwargs), identity({each: options[each] for each in sorted(options)})]
    return b"\xff" + digest("task", *parts)
