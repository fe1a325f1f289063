"""What Ray has made of a function or class of the user's by `@ray.remote`: the code in it, and its options.

In: an object that code names. Out: the user's function or class. Never: imports Ray, reads anything of Ray's own state,
which is another one in each process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class RayRemote(NamedTuple):
    """A remote function or an actor class. code: the user's function or class. options: as they were given to Ray."""

    code: Any
    options: Mapping[str, Any]


def ray_remote_in(value: Any) -> RayRemote | None:
    """The remote function or actor class that a value is; None for anything else."""
    of = type(value)
    if of.__name__ == "RemoteFunction" and of.__module__ == "ray.remote_function":
        code = value._function
    elif any(base.__name__ == "ActorClass" and base.__module__ == "ray.actor" for base in of.__mro__):
        code = value.__ray_metadata__.modified_class.__ray_actor_class__
    else:
        return None
    return None if code is None else RayRemote(code, dict(value._default_options or {}))
