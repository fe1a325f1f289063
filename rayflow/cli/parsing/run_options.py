"""The options of a run, wherever it takes place, and the words behind them: a file, a task, its arguments.

In: words. Out: the task that is meant, the words for its arguments, the values of the options. Never: runs anything.

Options may stand anywhere. Behind a task's name, one that the task takes itself is the task's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import ModuleType
from typing import Any

import click

from rayflow.cli.parsing import words as reading
from rayflow.cli.parsing.completion import CommandWithTasks, executions, run_words
from rayflow.lang.arguments import from_words
from rayflow.lang.modules import default_task, load, pick
from rayflow.lang.tasks import Task, tasks_of

_ALL: list[click.Option] = [
    click.Option(["--inline"], is_flag=True, help="Run everything in this process, without Ray."),
    click.Option(["--dry-run"], is_flag=True, help="Run nothing: say what would run, why, and how long it took."),
    click.Option(["--no-cache"], is_flag=True, help="Compute anew what earlier runs have computed."),
    click.Option(
        ["--rerun"],
        shell_complete=executions,
        metavar="ID",
        help="Evaluate an execution's root, or a job's call, with today's code.",
    ),
    click.Option(["--pdb"], is_flag=True, help="Stop in the debugger where a task raises; runs all in this process."),
    click.Option(["--fail-fast"], is_flag=True, help="Stop at the first failure; else all that can be done is done."),
    click.Option(["--input"], metavar="FILE", help="Read arguments from JSON (- for stdin) or TOML; words count more."),
    click.Option(["--tag"], multiple=True, metavar="KEY=VALUE", help="A tag of this execution."),
    click.Option(["--context-file"], metavar="FILE", help="The same, from JSON, TOML or YAML; --context counts more."),
    click.Option(["--context"], multiple=True, metavar="NAME=VALUE|JSON|@FILE", help="What get_context reads."),
    click.Option(["--execution-id"], metavar="UUID", help="The id of this execution, given by you."),
    click.Option(["--option"], multiple=True, metavar="NAME=VALUE", help="A task option for every call."),
    click.Option(["--logs", "logs"], flag_value=True, default=None, help="Show what tasks print as it comes."),
    click.Option(["--no-logs", "logs"], flag_value=False, default=None, help="Do not; rayflow log JOB shows it later."),
    click.Option(["--quiet", "log_level"], flag_value="quiet", help="Only the result and errors."),
    click.Option(["--verbose", "log_level"], flag_value="verbose", help="Each job that ends, too."),
    click.Option(["--store"], metavar="URL", help="Where results are kept; .rayflow in the project by default."),
    click.Option(["--address"], metavar="ADDRESS", help="The Ray cluster to join; a local one is started by default."),
    click.Option(["--json", "as_json"], is_flag=True, help="Print the result as JSON."),
]

ONLY_HERE = frozenset({"inline", "dry_run", "rerun", "pdb", "address"})
"""The options that make no sense for a run that is sent to a cluster; it has an `--address` of its own."""

RUN: list[click.Option] = _ALL
"""The options of `rayflow run`."""

SUBMIT: list[click.Option] = [
    *(option for option in _ALL if option.name not in ONLY_HERE),
    click.Option(["--address"], metavar="URL", help="The cluster's dashboard, http://HEAD:8265."),
    click.Option(["--detach"], is_flag=True, help="Do not wait: print the execution's id."),
    click.Option(["--ship-rayflow"], is_flag=True, help="Send this rayflow along, where the cluster has no such one."),
]
"""The options of `rayflow submit`."""

MEANT = {
    "--local": "--inline", "--debug": "--pdb", "--dryrun": "--dry-run", "-n": "--dry-run", "--plan": "--dry-run",
    "--force": "--no-cache", "--nocache": "--no-cache", "--no-resume": "--no-cache", "--params-file": "--input",
    "--args": "--input", "--arguments": "--input", "--tags": "--tag", "--label": "--tag", "--options": "--option",
    "--opt": "--option", "--profile": "--option profile=NAME", "--executor": "--option profile=NAME",
    "--retries": "--option retries=N", "--timeout": "--option timeout=SECONDS",
    "-q": "--quiet", "-v": "--verbose", "--backend": "--store", "--work-dir": "--store",
    "-w": "--store", "--db": "--store", "--cluster": "--address", "--ray-address": "--address",
    "--id": "--execution-id",
    "--run-id": "--execution-id", "--ctx": "--context", "--config": "--context-file", "--cpus": "--option num_cpus=N",
    "--failfast": "--fail-fast", "-x": "--fail-fast", "--replay": "--rerun", "--output": "--json",
}  # fmt: skip
"""Other names of the options of a run: of other tools, or as people guess them."""


def own_words(options: Sequence[click.Option]) -> dict[str, bool]:
    """How each of these options is written, and whether it takes a value."""
    return {name: not option.is_flag for option in options for name in option.opts}


@dataclass(frozen=True, slots=True)
class ChosenTask:
    """The task that words mean. name: as it was typed; None where it was left out. arguments: the words for it."""

    module: ModuleType
    task: Task[..., Any]
    name: str | None
    arguments: Sequence[str]


def choose(
    context: click.Context,
    options: dict[str, Any],
    target: str,
    words: Sequence[str],
    stdout: Any,
    *,
    verb: str,
    known: Sequence[click.Option],
) -> ChosenTask | None:
    """The task of a file that the words behind it mean; None when they ask for help, which is printed.

    options: the values of those that stood before the file; those that stand behind are added. verb, known: the verb
    that is carried out, and its options. Raises NoSuchTask, BadModule, UsageError.
    """
    module = load(target)
    tasks = list(tasks_of(module))
    own = own_words(known)
    name, before, behind = split(words, own)
    wants_help = "--help" in _up_to_dashes(behind)
    defined = list(tasks_of(module, imported=False))
    is_clear = default_task(tasks, {task.fullname for task in defined}) is not None
    if wants_help and name is None and tasks and not is_clear:
        stdout.write(reading.help_of_module(target, tasks, verb=verb))
        return None
    task: Task[..., Any] = pick(tasks, name, where=target, own=defined)
    taken = from_words.option_names(task)
    if wants_help and "--help" not in taken:
        meanings = [(option.get_help_record(context) or ("", "")) for option in known]
        others = [each.name for each in tasks] if name is None else []
        stdout.write(reading.help_of(task, target=target, own=meanings, others=others, verb=verb))
        return None
    late, arguments = reading.take_own(behind, own, taken)
    merge(context, options, [*before, *late], known)
    return ChosenTask(module, task, name, arguments)


def split(words: Sequence[str], own: Mapping[str, bool]) -> tuple[str | None, list[str], list[str]]:
    """The task's name, the run's options before it, and all words behind it."""
    position = 0
    while position < len(words):
        name, equals, _ = words[position].partition("=")
        if name not in own:
            break
        position += 2 if own[name] and not equals else 1
    if position < len(words) and not words[position].startswith("-"):
        return words[position], list(words[:position]), list(words[position + 1 :])
    return None, [], list(words)


def merge(context: click.Context, options: dict[str, Any], late: list[str], known: Sequence[click.Option]) -> None:
    """Add the options that stood behind the file to those before it."""
    if not late:
        return
    reader = click.Command("run", params=list(known), add_help_option=False)
    parsed = reader.make_context("run", late, parent=context.parent)
    for name, value in parsed.params.items():
        if name in ("option", "tag", "context"):
            options[name] = (*options[name], *value)
        elif parsed.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            options[name] = value


def with_words(verb: str, known: Sequence[click.Option]) -> Callable[[Callable[..., Any]], click.Command]:
    """A verb with these options of its own, behind which stand a file, a task and its arguments: `words`."""
    words = click.Argument(
        ["words"], nargs=-1, type=click.UNPROCESSED, metavar="FILE|MODULE [TASK] ...", shell_complete=run_words
    )
    settings = {"ignore_unknown_options": True, "allow_interspersed_args": False}
    return click.command(verb, cls=CommandWithTasks, params=[*known, words], context_settings=settings)


def check_option(context: click.Context, word: str, known: Sequence[click.Option]) -> None:
    """Raise UsageError for an option where the file should stand: the verb has no such one."""
    if word.startswith("-"):
        name = word.partition("=")[0]
        raise click.UsageError(f"No such option {name!r}.{_near(name, known)}", context)


def _near(word: str, known: Sequence[click.Option]) -> str:
    """The option that a mistyped one means, as the end of a message; empty when there is none."""
    names = [name for option in known for name in option.opts]
    close = get_close_matches(word, names, n=1)
    meant = MEANT.get(word)
    offer = meant if meant is not None and meant.split()[0] in names else close[0] if close else None
    return f" Did you mean '{offer}'?" if offer else ""


def _up_to_dashes(words: Sequence[str]) -> Sequence[str]:
    return words[: words.index("--")] if "--" in words else words
