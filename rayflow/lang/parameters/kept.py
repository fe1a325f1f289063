"""`Kept`: an argument that a worker process loads once, and gives to all calls there that have the same one.

In: a loader and its arguments. Out: `KeptObject`, which stands for the loaded object until a worker has it. Never:
loads (the worker does).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar, cast

from rayflow.errors import BadArguments
from rayflow.lang.terms.expressions import Expression
from rayflow.values.display.tracebacks import front_door
from rayflow.values.encoding.previews import preview

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class KeptObject:
    """What a worker loads: the loader, and its arguments by place and by name."""

    loader: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

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
