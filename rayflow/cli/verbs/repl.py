"""`rayflow repl`: a Python prompt with a project's tasks and its store.

In: a file of tasks, then statements. Out: what they print; a lazy expression is shown as such. Never:
evaluates an expression without a call of `run`.
"""

from __future__ import annotations

import builtins
import code
import importlib.util
import os
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

import click

import rayflow
from rayflow.cli.output.output import shown
from rayflow.cli.output.style import beneath, visible
from rayflow.cli.parsing.completion import python_files
from rayflow.cli.stores import check_one_place, config_of, store_option
from rayflow.lang.modules import load
from rayflow.lang.terms.expressions import Expression

if TYPE_CHECKING:
    from rayflow.api import Scheduler

BANNER = "rayflow: s is a scheduler on this project's store; run(expr), history(), log(), sql(query). Ctrl-D ends."


@click.command("repl")
@click.argument("target", required=False, metavar="[FILE|MODULE]", shell_complete=python_files)
@click.option("--inline", is_flag=True, help="Run everything in this process, without Ray.")
@click.option("--address", metavar="ADDRESS", help="The Ray cluster to join; a local one is started by default.")
@store_option
def command(target: str | None, inline: bool, address: str | None, store: str | None) -> int:
    """Open a Python prompt with rayflow's names, the names of FILE, and a scheduler `s`.

    \b
    rayflow repl flow.py
    echo 'print(run(main()))' | rayflow repl flow.py

    run, history, log and sql are those of `s`. A lazy expression is shown as such; `run(_)` gives its value.
    """
    from rayflow.api import Scheduler

    check_one_place(inline, address)
    module = load(target) if target is not None else None
    file = getattr(module, "__file__", None)
    start = os.path.dirname(os.path.abspath(file)) if file else None
    config = config_of(store, start, address=address, inline=True if inline else False if address else None)
    with Scheduler(config=config) as scheduler:
        names = {**_names(scheduler), **({} if module is None else _public(vars(module)))}
        # As in Python itself: what the user's own code prints is the user's.
        with redirect_stdout(beneath(sys.stdout)), redirect_stderr(beneath(sys.stderr)):
            return _talk(names)


def _names(scheduler: Scheduler) -> dict[str, Any]:
    known = {name: getattr(rayflow, name) for name in rayflow.__all__}
    own = {"s": scheduler, "run": scheduler.run, "history": scheduler.history}
    return {**known, **own, "log": scheduler.log, "sql": scheduler.sql, "__name__": "__console__"}


def _public(names: dict[str, Any]) -> dict[str, Any]:
    """The module's own names, without the names of the scheduler."""
    return {name: value for name, value in names.items() if not name.startswith("_") and name != "run"}


def _talk(names: dict[str, Any]) -> int:
    if not sys.stdin.isatty():
        return _carry_out(sys.stdin.read(), names)
    if importlib.util.find_spec("readline"):
        importlib.import_module("readline")

    class Console(code.InteractiveConsole):
        def showtraceback(self) -> None:
            error = sys.exception()
            assert error is not None
            self.write(_told(error))

    before, sys.displayhook = sys.displayhook, _show
    try:
        Console(names).interact(BANNER, exitmsg="")
    finally:
        sys.displayhook = before
    return 0


def _carry_out(text: str, names: dict[str, Any]) -> int:
    """Run a whole text, as Python does with its stdin. An error that it raises is the user's."""
    try:
        exec(compile(text, "<stdin>", "exec"), names)
    except Exception as error:
        sys.stderr.write(_told(error))
        return 1
    return 0


def _told(error: BaseException) -> str:
    """The error as text, with the user's lines that led to it, without the lines of rayflow and of Python's prompt."""
    ours = os.path.dirname(os.path.abspath(rayflow.__file__)) + os.sep
    told = traceback.TracebackException.from_exception(error)
    left = [line for line in told.stack if not line.filename.startswith(ours) and line.filename != code.__file__]
    told.stack = traceback.StackSummary.from_list(left)
    return visible("".join(told.format()))


def _show(value: Any) -> None:
    """Show a value at the prompt, and keep it as `_`."""
    if value is None:
        return
    builtins.__dict__["_"] = value
    click.echo(f"lazy: {value!r}; run(_) gives its value" if isinstance(value, Expression) else shown(value)[0])
