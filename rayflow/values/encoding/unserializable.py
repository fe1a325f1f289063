"""Finds the part of a value that cannot be stored, and advice for it.

In: a value that could not be encoded or hashed. Out: the text of an error that names the part. Never: raises it.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from typing import Any

from rayflow.values.encoding.nested import parts_of
from rayflow.values.native import SCALARS
from rayflow.values.objects import pickling
from rayflow.values.process.base_exceptions import Escaped, contained

_ADVICE = {
    "generator": "Return a list (`list(...)`) in place of the generator.",
    "coroutine": "Await it inside the task, or declare the task `async def`.",
    "async_generator": "Collect its items into a list inside the task.",
    "_thread.lock": "Make the lock inside the task, or leave it out with `__getstate__`.",
    "_thread.RLock": "Make the lock inside the task, or leave it out with `__getstate__`.",
    "_io": "Return the file's path, or a File, in place of the open file.",
    "socket": "Open the connection inside the task that uses it.",
    "ssl": "Open the connection inside the task that uses it.",
    "sqlite3": "Open the connection inside the task that uses it, and pass the path of the database.",
    "threading": "Start and join threads inside one task.",
    "multiprocessing": "Start and join processes inside one task.",
    "subprocess": "Wait for the process inside the task and return its output.",
    "_asyncio": "Await it inside the task and return its result.",
    "asyncio": "Make it inside the task that uses it.",
    "frame": "Keep the text of the traceback.",
    "traceback": "Keep the text of the traceback.",
    "concurrent": "Wait for it inside the task and return its result.",
    "weakref": "Keep the object itself, or a key to it.",
}

_DEFAULT_ADVICE = "Keep plain data in its place, leave it out with `__getstate__`, or register a handler for its class."

_MOST_OBJECTS = 100_000
_MOST_TRIALS = 2_000


def explain(value: Any, root: str, reason: BaseException | None = None) -> str:
    """The text of the error: the path from `root` to the part that cannot be stored, and what to do about it."""
    found = find(value, root)
    if found is None:
        because = f": {reason}" if reason is not None else ""
        return f"{root} (a {type_name(value)}) cannot be kept{because}. {_DEFAULT_ADVICE}"
    path, part = found
    name = type_name(part)
    advice = _advice(part)
    said = f" ({_reason(part)})" if advice is _DEFAULT_ADVICE else ""
    return f"{path} is a {name}, which cannot be kept or sent{said}. {advice}"


def _reason(part: Any) -> str:
    """Python's own error for an object that cannot be pickled, or loaded from its pickle."""
    try:
        _try(part)
    except Exception as error:
        kind = "" if isinstance(error, Escaped) else f"{type(error).__name__}: "
        text = " ".join(f"{kind}{error}".split())
        return text if len(text) <= 200 else f"{text[:197]}..."
    return "it has no hash"


def type_name(value: Any) -> str:
    """The full name of a value's type, without `builtins.`."""
    of = type(value)
    return of.__qualname__ if of.__module__ == "builtins" else f"{of.__module__}.{of.__qualname__}"


def _advice(part: Any) -> str:
    for of in type(part).__mro__[:-1]:
        full = of.__qualname__ if of.__module__ == "builtins" else f"{of.__module__}.{of.__qualname__}"
        advice = _ADVICE.get(full) or _ADVICE.get(of.__module__.partition(".")[0])
        if advice:
            return advice
    return _DEFAULT_ADVICE


def find(value: Any, root: str) -> tuple[str, Any] | None:
    """Path and object of the innermost part that cannot be pickled; of several, the one with the shortest path."""
    waiting: list[tuple[str, Any]] = [(root, value)]
    seen: dict[int, Any] = {}
    trials = 0
    for path, part in waiting:
        if type(part) in SCALARS or id(part) in seen:
            continue
        seen[id(part)] = part
        if isinstance(part, types.FunctionType) and _picklable(part):
            continue  # it is pickled by name, without the objects that it uses
        below = list(_below(path, part))
        if below and len(waiting) < _MOST_OBJECTS:
            waiting.extend(below)
        if below:
            continue
        trials += 1
        if trials > _MOST_TRIALS:
            return None
        if not _picklable(part):
            return path, part
    # All leaves can be pickled: look for the innermost container or object that cannot.
    for path, part in reversed(waiting[:_MOST_TRIALS]):
        if type(part) not in SCALARS and not _picklable(part):
            return path, part
    return None


def _picklable(part: Any) -> bool:
    try:
        _try(part)
    except Exception:
        return False
    return True


def _try(part: Any) -> None:
    stream, buffers = pickling.dump(part)
    pickling.load(stream, buffers)


_CLOSED = (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType, types.ModuleType, type)


_CLOSED_MODULES = frozenset(
    {
        "builtins",
        "_thread",
        "_io",
        "_socket",
        "_asyncio",
        "threading",
        "socket",
        "ssl",
        "io",
        "sqlite3",
        "subprocess",
        "multiprocessing",
        "concurrent",
        "asyncio",
        "numpy",
        "pandas",
        "pyarrow",
    }
)
"""Top modules whose objects are reported whole: their parts are not looked at."""


def _below(path: str, part: Any) -> Iterator[tuple[str, Any]]:
    """The parts that a pickle of `part` would hold, with their paths."""
    if isinstance(part, _CLOSED):
        return
    if isinstance(part, types.FunctionType):
        for name, cell in zip(part.__code__.co_freevars, part.__closure__ or (), strict=True):
            try:
                yield f"{path}:{name}", cell.cell_contents
            except ValueError:
                continue
        for name in part.__code__.co_names:
            if name in part.__globals__:
                yield f"{path}:{name}", part.__globals__[name]
        return
    if isinstance(part, BaseException):
        for position, each in enumerate(part.args):
            yield f"{path}.args[{position}]", each
    if isinstance(part, functools.partial):
        yield f"{path}.func", part.func
        for position, each in enumerate(part.args):
            yield f"{path}.args[{position}]", each
        for name, each in part.keywords.items():
            yield f"{path}.keywords[{name!r}]", each
        return
    if isinstance(part, types.MethodType):
        yield f"{path}.__self__", part.__self__
        return
    container = parts_of(part)
    if container is not None:
        for position, each in enumerate(container.parts):
            yield path + container.step(position), each
        return
    state = _state(part)
    for name, each in state.items():
        yield f"{path}.{name}", each


def _state(part: Any) -> dict[str, Any]:
    """The attributes that pickle would take, by the object's own `__getstate__` if it has one."""
    of = type(part)
    if of.__module__.partition(".")[0] in _CLOSED_MODULES:
        return {}
    try:
        with contained:
            state = part.__reduce_ex__(4)[2]
    except Exception:
        state = getattr(part, "__dict__", None)
    if isinstance(state, tuple) and len(state) == 2:
        both = [side for side in state if isinstance(side, dict)]
        state = {name: each for side in both for name, each in side.items()}
    return {str(name): each for name, each in state.items()} if isinstance(state, dict) else {}
