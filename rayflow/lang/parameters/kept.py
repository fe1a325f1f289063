"""`Kept`: an argument that a worker process loads once, and gives to all calls there that have the same one.

In: a loader and its arguments. Out: `KeptObject`, which stands for the loaded object until a worker has it. Never:
loads (the worker does).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, ParamSpec, Self, TypeVar, cast

from rayflow.errors import BadArguments
from rayflow.lang.terms.expressions import Expression
from rayflow.values.display.tracebacks import front_door
from rayflow.values.encoding.nested import Container, parts_of
from rayflow.values.encoding.previews import preview
from rayflow.values.native import SCALARS

P = ParamSpec("P")
R = TypeVar("R")


_numbers = itertools.count(1)


@dataclass(frozen=True)
class KeptObject:
    """What a worker loads: the loader, and its arguments by place and by name.

    latest: the number of the instance that this process has made last, by a call or by unpickling: a cheap way to see
    that a value which was just read has none inside.
    """

    loader: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    latest: ClassVar[int] = 0

    def __new__(cls, *_: Any, **__: Any) -> Self:
        KeptObject.latest = next(_numbers)
        return object.__new__(cls)

    def load(self) -> Any:
        """The object. Raises what the loader raises; BadArguments where it gives a lazy value."""
        loaded = self.loader(*self.args, **self.kwargs)
        if isinstance(loaded, Expression):
            raise BadArguments(f"{self} returns the lazy value {preview(loaded)}: a loader is a plain function.")
        return loaded

    def __repr__(self) -> str:
        parts = [getattr(self.loader, "__name__", None) or preview(self.loader), *map(preview, self.args)]
        parts.extend(f"{name}={preview(value)}" for name, value in self.kwargs.items())
        return f"Kept({', '.join(parts)})"


@front_door
def Kept(loader: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """What `loader(*args, **kwargs)` returns, loaded once in each worker process. Use it as the default of a parameter:

        def load_model(path): ...

        @task
        def predict(text, model=Kept(load_model, File("model.bin"))):
            return model.predict(text)

    The parameter counts for the cache by the loader's code and these arguments; a File among them counts as a File
    argument does. The object itself is never stored or sent, and it is shared: a body must not change it. An error in
    the loader is the call's.

    A process keeps the few that were used last; one that it lets go is closed, if it has a method `close`.

    Raises BadArguments for a loader that is a task, or that cannot be called.
    """
    if not callable(loader) or hasattr(loader, "__rayflow_symbol__"):
        what = "a task" if callable(loader) else "not a function"
        raise BadArguments(f"Kept takes a plain function and its arguments: {preview(loader)} is {what}.")
    return cast(R, KeptObject(loader, args, kwargs))


def refuse_inside(arguments: Mapping[str, Any], task_name: str) -> None:
    """Raise BadArguments where one of a call's arguments has a `Kept` inside: the body would get it unloaded."""
    for name, argument in arguments.items():
        found = _inside(argument)
        if found is not None:
            way, kept = found
            raise BadArguments(
                f"{task_name}: {name}{way} is {kept}, which is loaded only where it is a whole argument, not inside "
                "another value. Give it a parameter of its own, or let the loader return the whole value."
            )


def _inside(argument: Any) -> tuple[str, KeptObject] | None:
    """The first `Kept` inside an argument, and the way to it such as `[3].model`; the argument itself does not
    count."""
    waiting: list[tuple[str, Container]] = []
    seen: dict[int, Container] = {}

    def enter(way: str, part: Any) -> None:
        container = None if id(part) in seen else parts_of(part)
        if container is not None:
            seen[id(part)] = container  # with its parts: some exist only there, and an id may be used again
            waiting.append((way, container))

    enter("", argument)
    for way, container in waiting:
        for position, part in enumerate(container.parts):
            if type(part) is KeptObject:
                return way + container.step(position), part
            if type(part) not in SCALARS:
                enter(way + container.step(position), part)
    return None
