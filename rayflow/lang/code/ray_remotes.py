"""What Ray has made of a function or class of the user's by `@ray.remote` or `.options()`: the code in it, and its
options.

In: an object that code names. Out: the user's function or class. Never: imports Ray, reads anything of Ray's own state,
which is another one in each process.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType
from typing import Any, NamedTuple


class RayRemote(NamedTuple):
    """A remote function or an actor class. code: the user's function or class; None where it cannot be found. options:
    as they were given to Ray."""

    code: Any
    options: Mapping[str, Any]


UNREADABLE = "a Ray remote with options, in which this version of Ray does not show the code"
"""The doubt about a remote whose code cannot be found."""


def ray_remote_in(value: Any) -> RayRemote | None:
    """The remote function or actor class that a value is, as it is or with `.options()`; None for anything else."""
    of = type(value)
    if of.__name__ == "RemoteFunction" and of.__module__ == "ray.remote_function":
        code = value._function
    elif (of.__module__, of.__name__) in WITH_OPTIONS:
        return _with_options(value, WITH_OPTIONS[of.__module__, of.__name__])
    elif any(base.__name__ == "ActorClass" and base.__module__ == "ray.actor" for base in of.__mro__):
        code = value.__ray_metadata__.modified_class.__ray_actor_class__
    else:
        return None
    return None if code is None else RayRemote(code, dict(value._default_options or {}))


WITH_OPTIONS = {("ray.remote_function", "FuncWrapper"): "func_cls", ("ray.actor", "ActorOptionWrapper"): "actor_cls"}
"""The classes of what `.options()` gives, and the name by which their methods have captured the remote itself."""


def _with_options(value: Any, captured_as: str) -> RayRemote:
    """What `.options()` gives. Ray keeps the remote, and all options, only in what the method `remote` has captured."""
    method = getattr(type(value), "remote", None)
    captured: dict[str, Any] = {}
    if isinstance(method, FunctionType):
        cells = zip(method.__code__.co_freevars, method.__closure__ or (), strict=True)
        captured = {name: cell.cell_contents for name, cell in cells}
    remote, options = ray_remote_in(captured.get(captured_as)), captured.get("updated_options")
    if remote is None or not isinstance(options, Mapping):
        return RayRemote(None, {})
    return RayRemote(remote.code, dict(options))

