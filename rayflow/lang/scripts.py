"""Programs that are not Python: `script(command, inputs=, outputs=)`, and what a script task returns.

In: a command, and Files with names in a scratch directory. Out: a lazy call of the task `rayflow.script`; on a worker,
a `Script`. Never: runs one (rayflow.runtime.worker.scripts.run_script does, where the call runs).

The files that a script will write do not exist yet. A `Promise` represents each of them in the call. So the call does
not depend on the earlier content of these files, and a second run makes the same call.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rayflow.errors import BadArguments
from rayflow.lang.options.options import OPTIONS
from rayflow.lang.packing.staged_arguments import seeing_staged_alone
from rayflow.lang.tasks import task
from rayflow.lang.terms.expressions import Expression, Term
from rayflow.values.display.tracebacks import front_door
from rayflow.values.encoding.nested import iter_leaves, map_leaves
from rayflow.values.encoding.previews import preview
from rayflow.values.files.files import Dir, File, FileSet, Staged
from rayflow.values.objects.handlers import class_path
from rayflow.values.secrets import Secret

rayflow_namespace = "rayflow"

STDOUT = "-"
"""The path that means the printed text of a script."""

SHELL = "bash -eo pipefail"
"""The command that runs a script without `#!`."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A file or directory that a script will write.

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
    """A command, with the files that it needs and those that it writes.

    inputs: any nesting with Staged inside. outputs: any nesting with promises inside: the result has its shape.
    tempdir: whether it runs in a scratch directory of its own; else in `cwd`, the project by default.
    """

    command: str
    inputs: Any = ()
    outputs: Any = None
    tempdir: bool = True
    env: Mapping[str, Any] | None = None
    cwd: str | None = None
    shell: str = SHELL


def promised(outputs: Term) -> Term:
    """The outputs of a script with a promise in place of each File, Dir and Staged."""
    return map_leaves(outputs, _promise, is_leaf=lambda part: type(part) is Staged)


def _promise(leaf: Any) -> Any:
    target, local = (leaf.remote, leaf.local) if type(leaf) is Staged else (leaf, None)
    if isinstance(target, FileSet):
        raise BadArguments(
            f"{preview(target)} cannot be an output of a script: a promise names its file. Use Dir or "
            "Files."
        )
    if isinstance(target, File | Dir):
        if getattr(target, "__dict__", None):
            raise BadArguments(
                f"{preview(target)} cannot be an output of a script: it is made anew where the script runs, from "
                f"its path alone, without its {', '.join(vars(target))}. Let a task add these to what the script gives."
            )
        return Promise(target.path, local, class_path(type(target)), target.immutable)
    return leaf


@task(name="script", version="1", script=True)
@seeing_staged_alone
def script_of(
    command: Any, inputs: Any, outputs: Any, tempdir: bool, env: Any, cwd: str | None, shell: str
) -> Any:
    """Run a command on files and return its outputs."""
    return Script(command, inputs, promised(outputs), tempdir, env, cwd, shell)


@front_door
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
    name: str | None = None,
    **options: Any,
) -> Any:
    """A lazy call that runs a command in a scratch directory of its own. Its value has the shape of `outputs`.

        script(
            "sort names.txt > sorted.txt",
            inputs=[File("data/names.txt").stage("names.txt")],
            outputs=File("data/sorted.txt").stage("sorted.txt"),
        )

    command: text; it is dedented. bash (`-eo pipefail`) runs it, or the program that its first line names after `#!`.
    inputs: any nesting with `file.stage("name")` inside. These files are in the directory before the command starts.
    outputs: any nesting with `file.stage("name")` inside. When the command has ended, the file that it wrote under each
    name is moved to the file's own path. `File("-")`, the default, stands for the printed text.
    tempdir: False runs it in `cwd`, the project's directory by default.
    env: environment variables, added to the worker's. A Secret among them is read on the worker when the script starts,
    and is masked in the printed text.
    timeout: seconds. shell: the program that runs a command without `#!`.
    name: the name that is shown; by default it is that of the calling task.
    options: of the call, as for a task (`num_cpus=4`).

    The cache key is made of the command, the other arguments and the inputs. A staged ContentFile or ContentDir is
    part of it by name and content, wherever it came from.

    Raises BadArguments for arguments that do not fit together. A command that fails raises ScriptFailed when the call
    is evaluated.
    """
    if tempdir and cwd is not None:
        raise BadArguments("script(cwd=...) needs tempdir=False: else the script runs in a directory of its own.")
    for where, given in {"command": command, "inputs": inputs, "cwd": cwd, "shell": shell}.items():
        if found := next((leaf for leaf in iter_leaves(given) if isinstance(leaf, Secret)), None):
            raise BadArguments(
                f"script({where}=...) takes no {found!r}: its text would stand where others can read it. Give the "
                f'script an environment variable, env={{"TOKEN": {found!r}}}, and write "$TOKEN" in the command.'
            )
    if not isinstance(command, str | Expression):
        raise BadArguments(f"script(command) takes the command as text, not {preview(command)}.")
    for unknown in options.keys() - OPTIONS.keys():
        if near := difflib.get_close_matches(unknown, _ARGUMENTS, 1):
            raise BadArguments(f"script() has no argument {unknown!r}. Did you mean {near[0]!r}?")
    if timeout is not None:
        options["timeout"] = timeout
    if name is not None:
        options["label"] = name
    called = script_of.options(**options) if options else script_of
    return called(command, inputs, promised(outputs), tempdir, None if env is None else dict(env), cwd, shell)


_ARGUMENTS = ("command", "inputs", "outputs", "tempdir", "env", "cwd", "timeout", "shell", "name")
