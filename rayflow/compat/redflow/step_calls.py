"""The call of a step's function, as a value that its step's name identifies.

In: a function and its arguments. Out: a value that travels to the worker of the step. Never: calls the function.

In the process of the handler, the value is the call itself: its function may have captured anything. In another process
it is a copy. A step is known by its name, so the value is, too: what the function has captured, and the arguments, may
differ from one entry of the handler to the next.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from rayflow.compat.redflow.errors import RedflowError
from rayflow.values.custom import Value
from rayflow.values.encoding.previews import preview
from rayflow.values.objects import pickling

MOST_LIVE = 1_000
"""So many calls are remembered in this process; of others there is a copy."""

_live: OrderedDict[tuple[str, int, str], StepCall] = OrderedDict()


class StepCall(Value):
    """The call of a step's function. run_id, attempt, name: of the step."""

    def __init__(
        self, run_id: str, attempt: int, name: str, function: Callable[..., Any], args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self._key = run_id, attempt, name
        self.function = function
        self.args = args
        self.kwargs = dict(kwargs)
        _live[self._key] = self
        _live.move_to_end(self._key)
        if len(_live) > MOST_LIVE:
            _live.popitem(last=False)

    def forget(self) -> None:
        """The step is done."""
        _live.pop(self._key, None)

    def identity(self) -> Any:
        """The step: the run, the attempt and the name; and the code of the function."""
        return (*self._key, getattr(self.function, "__code__", None))

    def encode(self) -> Any:
        """The key of the step, and a copy for other processes; or why there is none."""
        try:
            return self._key, pickling.dump((self.function, self.args, self.kwargs), apart=False)[0], None
        except Exception as error:  # whatever the parts raise that cannot be pickled
            return self._key, None, f"{type(error).__name__}: {error}"

    @classmethod
    def decode(cls, data: Any) -> StepCall:
        """The call itself in the handler's process, else the copy. Raises RedflowError where there is none."""
        key, packed, why = data
        key = tuple(key)
        if key in _live:
            return _live[key]
        if packed is None:
            raise RedflowError(
                f"Step {key[2]!r} runs in another process than its handler, and its function or an argument cannot be "
                f"sent there ({why}). Pass what the step needs as arguments, and make the rest in its function."
            )
        return cls(*key, *pickling.load(packed))

    def preview(self) -> str:
        """The call as text."""
        name = getattr(self.function, "__qualname__", None) or preview(self.function)
        given = [*map(preview, self.args), *(f"{key}={preview(value)}" for key, value in self.kwargs.items())]
        return f"{name}({', '.join(given)})"
