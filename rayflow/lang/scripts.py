"""Programs that are not Python: `script(command, inputs=, outputs=)`, and what a script task returns.

In: a command, and Files with names in a scratch directory. Out: a lazy call of the task `rayflow.script`; on a worker,
a `Script`. Never: runs one (rayflow.runtime.scripts does, where the call runs).

What a script promises to write is no File yet: how its target was before does not count, so that a second run is the
same call. A promise stands for it in the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rayflow.errors import BadArguments
from rayflow.lang.expressions import Expression, Term
from rayflow.lang.options import OPTIONS
from rayflow.lang.tasks import task
from rayflow.values.files import Dir, File, FileSet, Staged
from rayflow.values.handlers import class_path
from rayflow.values.nested import map_leaves

rayflow_namespace = "rayflow"

STDOUT = "-"
"""The path that stands for what a script prints."""

SHELL = "bash -eo pipefail"
"""What runs a script without `#!`."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A file or directory that a script is to write.

    path: where it goes; STDOUT for the printed text. local: its name in the scratch directory; None when the script
    writes to `path` itself. of: class path of the value that it becomes.
    """

    path: str
    local: str | None = None
    of: str = ""
    immutable: bool = False

    def __repr__(self) -> str:
        target = f"{self.of.rpartition(':')[2]}({self.path!r})"
        return target if self.local is None else f"{target}.stage({self.local!r})"


@dataclass(frozen=True, slots=True)
class Script:
    """A command, and what has to be there before and after it.

    inputs: any nesting with Staged inside. outputs: any nesting with promises inside: the result has its shape.
    tempdir: whether it runs in a scratch directory of its own; else in `cwd`, the project by default.
    """

    command: str
    inputs: Any = ()
    outputs: Any = None
    tempdir: bool = True
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    shell: str = SHELL


def promised(outputs: Term) -> Term:
    """The outputs of a script with a promise in place of each File, Dir and Staged."""
    return map_leaves(outputs, _promise, is_leaf=lambda part: type(part) is Staged)


def _promise(leaf: Any) -> Any:
    target, local = (leaf.remote, leaf.local) if type(leaf) is Staged else (leaf, None)
    if isinstance(target, FileSet):
        raise BadArguments(f"{target!r} cannot be an output of a script: a promise names its file. Use Dir or Files.")
    if isinstance(target, File | Dir):
        if getattr(target, "__dict__", None):
            raise BadArguments(
                f"{target!r} cannot be an output of a script: it is made anew where the script runs, from its path "
                f"alone, without its {', '.join(vars(target))}. Let a task add these to what the script gives."
            )
        return Promise(target.path, local, class_path(type(target)), target.immutable)
    return leaf


@task(name="script", version="1", script=True)
def script_of(
    command: Any, inputs: Any, outputs: Any, tempdir: bool, env: Any, cwd: str | None, shell: str
) -> Any:
    """Run a command on files; gives its outputs."""
    return Script(command, inputs, promised(outputs), tempdir, env, cwd, shell)


def script(
    command: Term,
    *,
    inputs: Term = (),
    outputs: Term = File(STDOUT),  # noqa: B008  # nobody changes a File
    tempdir: bool = True,
    env: Mapping[str, Term] | None = None,
    cwd: str | None = None,
    timeout: float | None = None,
    shell: str = SHELL,
    **options: Any,
) -> Any:
    """A lazy call that runs a command in a scratch directory of its own; its value has the shape of `outputs`.

    command: text, dedented; bash (`-eo pipefail`) runs it, or what its first line names after `#!`.
    inputs: any nesting with `file.stage("name")` inside: they are in the directory under these names before it starts.
    outputs: any nesting with `file.stage("name")` inside: what the script wrote under the name is moved to the file's
    own path when all are there. `File("-")`, the default, is what it printed, as text.
    tempdir: False runs it in `cwd`, the project's directory by default. env: environment variables beside the worker's.
    timeout: seconds. shell: what runs a command without `#!`. options: of the call, as a task has them (`num_cpus=4`).

    The call is known by its command, its other arguments and its inputs. Where it fails, it raises ScriptFailed.
    """
    if tempdir and cwd is not None:
        raise BadArguments("script(cwd=...) needs tempdir=False: else the script runs in a directory of its own.")
    if not isinstance(command, str | Expression):
        raise BadArguments(f"script(command) takes the command as text, not {command!r}.")
    for name in options.keys() - OPTIONS.keys():
        import difflib  # only mistakes need it

        if near := difflib.get_close_matches(name, _ARGUMENTS, 1):
            raise BadArguments(f"script() has no argument {name!r}. Did you mean {near[0]!r}?")
    if timeout is not None:
        options["timeout"] = timeout
    called = script_of.options(**options) if options else script_of
    return called(command, inputs, promised(outputs), tempdir, None if env is None else dict(env), cwd, shell)


_ARGUMENTS = ("command", "inputs", "outputs", "tempdir", "env", "cwd", "timeout", "shell")
