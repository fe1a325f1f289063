"""The task table: what the evaluator and the workers know of a task without its module.

In: a task. Out: its `TaskEntry`, plain data that crosses processes. Never: makes a task, calls one.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from rayflow.errors import BadOption
from rayflow.lang.code.code_graph import Definition
from rayflow.lang.code.counted_distributions import definitions_of
from rayflow.lang.operations import SCRIPT, SUBRUN
from rayflow.lang.options.options import is_lazy
from rayflow.lang.options.tags import Tags
from rayflow.lang.packing.pack import pack
from rayflow.lang.packing.staged_arguments import sees_staged_alone
from rayflow.lang.parameters.job_info import JobInfo
from rayflow.lang.parameters.signatures import Parameters, without_lazy_defaults
from rayflow.lang.terms.codec import dumps
from rayflow.pasting import command
from rayflow.values.encoding.encoding import encode, to_bytes
from rayflow.values.encoding.whole_numbers import text_of
from rayflow.values.refs import Encoded, ValueRef

Task: TypeAlias = Any
"""A `rayflow.lang.tasks.Task` (which asks for its entry here, so it cannot be imported)."""

MOST_NAMED = 3
"""How many parts of one task's code that rayflow cannot follow a warning names."""


@dataclass(frozen=True)
class TaskEntry:
    """A task as data.

    name: full name. hash: the task_hash.
    parameters: the signature. defaults: default values as a packed symbolic dict, or None when there are none.
    options: the options of the definition. lazy_options: those that are expressions, packed like defaults.
    tags: of the task itself.
    job_info: the parameters that the evaluator fills in with the job's JobInfo. They are not part of the cache key.
    sees_staged_alone: whether the body sees only names and contents of staged files, not the paths they came from.
    counted: the versions of distributions that its hash contains, by name: a worker has to have them. None
    for none, also in the tables of earlier versions.
    module, file, qualname: where a worker finds the function; module is None when the function is sent in `code`.
    code: the pickled function, when it is sent.
    source, place, doc, version, definitions: for the records only.
    unresolved: text for people about each part of its code that rayflow cannot follow.
    """

    name: str
    hash: bytes
    parameters: Parameters
    defaults: bytes | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    lazy_options: bytes | None = None
    module: str | None = None
    file: str | None = None
    qualname: str = ""
    code: bytes | None = None
    source: str | None = None
    place: str | None = None
    doc: str | None = None
    version: str | None = None
    definitions: tuple[Definition, ...] = ()
    unresolved: tuple[str, ...] = ()
    tags: Tags | None = None
    job_info: tuple[str, ...] = ()
    sees_staged_alone: bool = False
    counted: Mapping[str, str] | None = None

    @property
    def is_nested(self) -> bool:
        """Whether the body of a call is a nested execution."""
        return self.name == SUBRUN

    @property
    def is_effect(self) -> bool:
        """Whether its calls are effects."""
        return self.options.get("effect") is True

    @property
    def is_named_after_caller(self) -> bool:
        """Whether a call is shown under the name of the task that makes it, beside its own."""
        return self.name == SCRIPT

    @property
    def shows_all_arguments(self) -> bool:
        """Whether each argument stands in a call as text; of other tasks only some do (see `operations.is_shown`)."""
        return self.name != SCRIPT

    @functools.cached_property
    def ignored_arguments(self) -> Collection[str]:
        """The parameters whose arguments do not count for the identity of a call."""
        return self.options.get("config_args") or ()

    @functools.cached_property
    def doubt(self) -> str | None:
        """A warning for users that get results of this task from the cache; None where rayflow sees all of its code."""
        if not self.unresolved:
            return None
        told = [text.removeprefix(f"{self.name}: ") for text in self.unresolved[:MOST_NAMED]]
        more = len(self.unresolved) - len(told)
        return (
            f"{self.name} does not run again for changes that rayflow cannot see: {'; '.join(told)}"
            f"{f'; and {more} more (`{self._listing()}` lists them)' if more else ''}. Make such a thing in the body, "
            "pass it as an argument, or give the task a version=... and change that with it."
        )

    def _listing(self) -> str:
        """The command that lists all of the task's code."""
        return command("why", "--code", self.file or self.module or "FILE", self.name)


# --- from a task to its entry -----------------------------------------------------------------------------------------

_ONLY_HERE = frozenset(
    {
        "name", "namespace", "hash_includes", "version", "source", "load_module", "track_helpers", "tags",
        "hash_distributions",
    }
)  # fmt: skip
"""Options that say which task it is. The entry has their results (name, hash, version ...) as plain data."""


def entry_of(task: Task) -> TaskEntry:
    """The entry of a task. Raises BadOption for a default or an option that is too large."""
    module, file = _import_place(task)
    job_info = tuple([name for name, value in task.defaults.items() if isinstance(value, JobInfo)])
    given = {name: value for name, value in task.defaults.items() if name not in job_info}
    defaults = pack(given, _refuse_large, root=f"{task.fullname}'s defaults") if given else None
    options = {name: value for name, value in task.definition_options.items() if name not in _ONLY_HERE}
    later = {name: options.pop(name) for name in [name for name, value in options.items() if is_lazy(value)]}
    lazy_options = pack(later, _refuse_large, root=f"{task.fullname}'s options") if later else None
    if job_info:
        given_names = options.get("config_args", ())
        options["config_args"] = type(given_names)([*given_names, *job_info])
    version = task.definition_options.get("version")
    counted = task.counted_versions()
    counts = version is None and task.definition_options.get("source") is None
    return TaskEntry(
        name=task.fullname,
        hash=task.hash,
        parameters=task.parameters,
        defaults=dumps(defaults) if defaults is not None else None,
        options=options,
        lazy_options=dumps(lazy_options) if lazy_options is not None else None,
        module=module,
        file=file,
        qualname=task.func.__qualname__,
        code=None if module else to_bytes(encode(without_lazy_defaults(task.func), by_value=True)),
        source=task.source if version is None else None,
        place=task.place,
        doc=(inspect.getdoc(task.func) or "").partition("\n")[0] or None,
        version=None if version is None else text_of(version),
        definitions=(*(task.code.definitions if counts else ()), *definitions_of(counted)),
        unresolved=task.code.unresolved if counts else (),
        tags=task.definition_options.get("tags"),
        job_info=job_info,
        sees_staged_alone=sees_staged_alone(task),
        counted=counted or None,
    )


def _import_place(task: Task) -> tuple[str | None, str | None]:
    """Module and file from which a worker can import the function; (None, None) when it has to be sent."""
    given = task.definition_options.get("load_module")
    if given is not None:
        return given, None
    if task._outer is not None:
        return _import_place(task._outer)  # the module of the task that wraps it defines this one, too
    module = sys.modules.get(task.func.__module__)
    if task.func.__module__ == "__main__" or module is None or "<locals>" in task.func.__qualname__:
        return None, None
    found: Any = module
    for part in task.func.__qualname__.split("."):
        found = getattr(found, part, None)
    if not (found is task.func or getattr(found, "func", None) is task.func):
        return None, None  # a lambda, or a name that was bound again: importing would find another function
    return task.func.__module__, getattr(module, "__file__", None)


def _refuse_large(ref: ValueRef, encoded: Encoded, value: Any) -> None:
    raise BadOption(
        f"A default or option of type {ref.kind} is {ref.size:,} bytes: too large for a definition. Pass it as an "
        "argument, or make it in the body."
    )
