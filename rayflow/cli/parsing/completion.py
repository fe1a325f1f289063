"""The words that a shell offers when Tab is pressed: files, tasks and their arguments, executions.

In: the words so far. Out: words that may follow. Never: imports a user's module, makes a store, says what went wrong: a
file is read as text, and what cannot be read offers nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem, get_completion_class, shell_complete

from rayflow.cli.main import COMPLETE
from rayflow.cli.output.style import short_execution
from rayflow.cli.stores import history_of
from rayflow.errors import RayflowError

if TYPE_CHECKING:
    import ast

MOST_EXECUTIONS = 20
"""The number of latest executions that are offered."""

SHELLS = ("bash", "zsh", "fish")


def script(command: click.Command, shell: str) -> str:
    """The script by which a shell asks us for words. For bash, click runs bash to learn its version."""
    made = get_completion_class(shell)
    assert made is not None
    return made(command, {}, "rayflow", COMPLETE).source()


def answer(command: click.Command, asked: str) -> int:
    """Print what a shell asks for; the exit code. asked: the request of click's scripts, such as `bash_complete`."""
    return shell_complete(command, {"color": False}, "rayflow", COMPLETE, asked)


def executions(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The latest executions by the beginnings of their ids, and `-` for the last one."""
    try:
        history = history_of(context.params.get("store"))
        rows = history.executions(limit=MOST_EXECUTIONS)
        history.close()
    except (RayflowError, OSError):  # no store yet, or none that can be read: there is nothing to offer
        return []
    items = [CompletionItem("-", help="the last execution")] if rows else []
    for row in rows:
        about = f"{row['status']}  {row['arguments'] or row['task_name'] or ''}"
        items.append(CompletionItem(short_execution(row["execution_id"]), help=about.strip()))
    return [item for item in items if item.value.startswith(incomplete)]


def run_words(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For the words of `rayflow run`: a file, then a task of it."""
    words = _words(context)
    if not words:
        return _python_files(incomplete)
    if len(words) > 1:
        return []
    tasks = tasks_in(words[0])
    return [CompletionItem(name, help=doc) for name, (doc, _) in tasks.items() if name.startswith(incomplete)]


def python_files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Python files, and folders on the way to them."""
    return _python_files(incomplete)


class CommandWithTasks(click.Command):
    """A command that has its own options, and also the options of the task that its words name."""

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        """The command's own options, and the arguments of the task."""
        items = super().shell_complete(context, incomplete)
        words = _words(context)
        tasks = tasks_in(words[0]) if words else {}
        name = words[1].replace("-", "_") if len(words) > 1 and not words[1].startswith("-") else "main"
        if name not in tasks and len(tasks) == 1:
            (name,) = tasks
        _, arguments = tasks.get(name, ("", ()))
        known = {item.value for item in items}
        return [
            *(CompletionItem(option) for option in arguments if option.startswith(incomplete) and option not in known),
            *items,
        ]


def tasks_in(path: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The tasks that a file defines at its top, each with its first line of documentation and its options."""
    import ast
    import tokenize

    file = path if path.endswith(".py") else os.path.join(*path.split(".")) + ".py"
    try:
        with tokenize.open(file) as stream:
            tree = ast.parse(stream.read())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return {}
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(map(_makes_task, node.decorator_list)):
            given = node.args
            names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
            options = tuple(f"--{name.replace('_', '-')}" for name in names)
            found[node.name] = ((ast.get_docstring(node) or "").partition("\n")[0], options)
    return found


def _makes_task(decorator: ast.expr) -> bool:
    import ast

    named = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (isinstance(named, ast.Name) and named.id == "task") or (
        isinstance(named, ast.Attribute) and named.attr == "task"
    )


def _words(context: click.Context) -> Sequence[str]:
    given = context.params.get("words") or context.args
    return tuple(given or ())


def _python_files(incomplete: str) -> list[CompletionItem]:
    folder, _, start = incomplete.rpartition("/")
    try:
        with os.scandir(f"{folder}/" if folder or incomplete[:1] == "/" else ".") as found:
            entries = sorted(found, key=lambda each: each.name)
    except OSError:
        return []
    before = f"{folder}/" if "/" in incomplete else ""
    items = []
    for entry in entries:
        if not entry.name.startswith(start) or entry.name.startswith((".", "__")):
            continue
        if entry.name.endswith(".py"):
            items.append(CompletionItem(f"{before}{entry.name}"))
        elif entry.is_dir():
            items.append(CompletionItem(f"{before}{entry.name}/"))
    return items
