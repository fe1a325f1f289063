"""The verbs of `rayflow`, each loaded when it is named.

In: the first word. Out: the verb's command. Never: imports a verb that is not named.
"""

from __future__ import annotations

import importlib
from typing import Any

import click
from click.shell_completion import CompletionItem

from rayflow.pasting import command as pasted

VERBS = {
    "init": "Begin a project: a first workflow, settings, .gitignore.",
    "run": "Run a task; what was computed before is not computed again.",
    "submit": "Run a task on a cluster, as a job that goes on by itself.",
    "attach": "Show what a submitted run prints, and its result.",
    "serve": "Keep the runs of a store, as a service.",
    "start": "Start a run of a task of the service.",
    "runs": "List the runs of the service, or show one.",
    "retry": "Have failed runs go on.",
    "fork": "Start another run that begins with what a run has done.",
    "stats": "Count the runs of the service, and say how they go.",
    "emit": "Emit an event: it starts runs, and resolves waits.",
    "events": "List events, and what they were delivered to.",
    "queues": "List the queues of runs, or set their slots.",
    "answer": "Answer a run that asks a person.",
    "schedules": "List what starts runs by the clock; pause, trigger, change it.",
    "repl": "Open a Python prompt with rayflow's names and a scheduler.",
    "log": "Show what happened: executions, their calls, one job.",
    "why": "Say why a job ran: what differs from the time before.",
    "viz": "Draw an execution: who called whom, and what it took.",
    "timeline": "Write when each call ran, and where, for Perfetto or Chrome.",
    "diff": "Compare two executions: where they begin to differ.",
    "critical": "Say what an execution waited for: what to make faster.",
    "tag": "List, add, update or remove tags.",
    "sql": "Answer a SQL query over everything that was recorded.",
    "cancel": "End an execution, wherever it runs; or many runs.",
    "resume": "Go on with an execution that was stopped or lost.",
    "forget": "Have a task, or one call, computed anew by the next run.",
    "push": "Copy what another store lacks to it.",
    "pull": "Copy what this store lacks from another one.",
    "export": "Write the store, or some executions, to one file.",
    "import": "Copy what this store lacks from an exported file.",
    "fs": "List and copy files, here and at any URL.",
    "store": "Look after the store: check, compact, remove garbage.",
    "config": "Show the settings, and where each was set.",
    "up": "Start a local Ray that stays up for this project.",
    "down": "Stop the Ray that `rayflow up` has started.",
    "doctor": "Look for what would fail a run on a cluster.",
    "completion": "Print the script by which a shell completes words.",
    "help": "Read the documentation, or the help of a verb.",
}
"""Every verb, in the order of `rayflow --help`, and what is said there of it. Each is `command` of the module
`rayflow.cli.verbs.<verb>`, which loads more than `rayflow --help` and a shell's Tab have time for."""

HIDDEN = {"in-job": "in_job"}
"""Verbs that are not for people, and their modules."""

COMPLETE = "_RAYFLOW_COMPLETE"
"""The environment variable by which a shell asks what may follow a word."""

MEANT = {
    "ls": "log", "list": "log", "logs": "log", "history": "log", "show": "log", "status": "log", "ps": "log",
    "executions": "log", "jobs": "log --jobs", "failed": "log --failed", "explain": "why",
    "query": "sql", "select": "sql", "exec": "run", "execute": "run", "launch": "run", "rerun": "run --rerun",
    "continue": "resume", "console": "repl", "shell": "repl", "python": "repl", "ipython": "repl",
    "graph": "viz", "dag": "viz", "draw": "viz", "plot": "viz", "trace": "timeline", "profile": "timeline",
    "branch": "fork", "statistics": "stats", "metrics": "stats", "counts": "stats",
    "bottleneck": "critical", "slowest": "critical", "compare": "diff",
    "gc": "store gc", "clean": "store gc",
    "prune": "store gc", "check": "store check", "fsck": "store check", "compact": "store compact", "db": "store",
    "rm": "forget", "delete": "forget", "invalidate": "forget", "cp": "fs cp", "copy": "fs cp",
    "service": "serve", "daemon": "serve",
    "stop": "cancel", "kill": "cancel", "abort": "cancel", "tail": "log --follow", "watch": "log --follow",
    "top": "log --running", "upload": "push", "download": "pull", "sync": "push", "settings": "config show",
    "diagnose": "doctor", "ping": "doctor", "health": "doctor", "verify": "doctor", "preflight": "doctor",
    "docs": "help", "doc": "help", "man": "help", "manual": "help", "topics": "help",
    "follow": "attach", "job": "submit", "version": "--version", "new": "init", "create": "init", "tags": "tag list",
}  # fmt: skip
"""Other names of verbs: of other tools, or as people guess them. They are offered, not accepted."""


class Verbs(click.Group):
    """A group whose commands are modules."""

    def list_commands(self, context: click.Context) -> list[str]:
        """The names of the verbs."""
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The verb's command; None when there is none of that name."""
        if name not in VERBS and name not in HIDDEN:
            return None
        found: click.Command = importlib.import_module(f"rayflow.cli.verbs.{HIDDEN.get(name, name)}").command
        return found

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs, by the table above."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs that begin so, by the table above, and the options of `rayflow` itself."""
        verbs = [CompletionItem(name, help=text) for name, text in VERBS.items() if name.startswith(incomplete)]
        return [*verbs, *click.Command.shell_complete(self, context, incomplete)]

    def resolve_command(self, context: click.Context, words: list[str]) -> Any:
        """As click does, but an unknown verb offers the nearest one."""
        try:
            return super().resolve_command(context, words)
        except click.UsageError:
            from difflib import get_close_matches

            near = get_close_matches(words[0], VERBS, n=1)
            file = words[0].endswith(".py")
            meant = MEANT.get(words[0]) or (near[0] if near else None)
            offer = pasted(*(meant.split() if meant else ("run", words[0]) if file else ("--help",)))
            raise click.UsageError(f"There is no verb {words[0]!r}. Did you mean `{offer}`?") from None


def _print_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from rayflow.version import VERSION

        click.echo(f"rayflow {VERSION}")
        context.exit()


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def command() -> None:
    """Run Python workflows whose results are kept, and ask what happened.

    \b
    rayflow run flow.py main --n 3     run a task; what was computed before is not computed again
    rayflow log -                      what the last run did
    rayflow COMMAND --help             more about a command, with an example
    rayflow help                       the documentation, without a network
    """
