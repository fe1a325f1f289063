"""`rayflow run`: evaluate one call of a task and print its value.

In: a file, a task, its arguments; or the id of a recorded job (--rerun). Out: the value on stdout, an exit code. Never:
more on stdout than the value.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import click

from rayflow.cli.evaluation import evaluate
from rayflow.cli.output import dry_run_text
from rayflow.cli.output.output import answer_alone, write_json
from rayflow.cli.parsing import words as reading
from rayflow.cli.parsing.completion import CommandWithTasks, executions, run_words
from rayflow.cli.parsing.given_options import context_of, given_object, tags_of
from rayflow.cli.parsing.words import given_in, take_own
from rayflow.cli.recorded_tasks import load_tasks, task_of
from rayflow.cli.stores import check_one_place, config_of, store_url
from rayflow.config import Config
from rayflow.lang.modules import default_task, load, pick
from rayflow.lang.options.options import parse_option
from rayflow.lang.tasks import Task, tasks_of
from rayflow.pasting import command as pasted
from rayflow.values.filesystems.filesystems import use_base

_OPTIONS: list[click.Parameter] = [
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
"""The options of the run itself. They may stand anywhere; behind a task's name, its own arguments win."""

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


@click.command(
    "run",
    cls=CommandWithTasks,
    params=[
        *_OPTIONS,
        click.Argument(
            ["words"], nargs=-1, type=click.UNPROCESSED, metavar="FILE|MODULE [TASK] ...", shell_complete=run_words
        ),
    ],
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.pass_context
def command(context: click.Context, /, words: tuple[str, ...], **options: Any) -> int:
    """Run a task and print its result; what was computed before is not computed again.

    \b
    rayflow run flow.py main --min-size 3 --names a b --no-header
    rayflow run flow.py main --help     lists the arguments of a task
    rayflow run --rerun 3f2a9c          a recorded execution or job again, by the beginning of its id; - for the last
    rayflow run --rerun - --n 4         the same with another argument

    TASK may be left out for a task called main, or for the only one of the file. Arguments are read by the type hints
    of the task. A value that begins with two dashes is written --name=--value.

    The options below may stand anywhere. Behind a task's name, one that the task takes itself is the task's:
    `rayflow run --quiet flow.py main --quiet` is quiet, and gives main its own quiet.
    """
    if not words and options["rerun"] is None:
        offer = pasted("run", "flow.py", store=store_url(options["store"]))
        raise click.UsageError(f"Name the file with the tasks: {offer}", context)
    if words and words[0].startswith("-") and options["rerun"] is None:
        name = words[0].partition("=")[0]
        raise click.UsageError(f"No such option {name!r}.{_near(name)}", context)
    with answer_alone() as stdout:
        if options["rerun"] is not None or _asks_for_rerun(words[1:]):
            return _rerun(context, words, options, stdout)
        return _run(context, words[0], words[1:], options, stdout)


def _run(context: click.Context, target: str, words: Sequence[str], options: dict[str, Any], stdout: Any) -> int:
    module = load(target)
    tasks = list(tasks_of(module))
    own = {name: not option.is_flag for option in _own_options() for name in option.opts}
    name, before, behind = _task_name(words, own)
    wants_help = "--help" in _up_to_dashes(behind)
    defined = list(tasks_of(module, imported=False))
    is_clear = default_task(tasks, {task.fullname for task in defined}) is not None
    if wants_help and name is None and tasks and not is_clear:
        stdout.write(reading.help_of_module(target, tasks))
        return 0
    task: Task[..., Any] = pick(tasks, name, where=target, own=defined)
    taken = reading.option_names(task)
    if wants_help and "--help" not in taken:
        meanings = [(option.get_help_record(context) or ("", "")) for option in _own_options()]
        others = [each.name for each in tasks] if name is None else []
        stdout.write(reading.help_of(task, target=target, own=meanings, others=others))
        return 0
    late, arguments = reading.take_own(behind, own, taken)
    _merge(context, options, [*before, *late])

    _check_together(context, options)

    config = _config(options, module)
    data = given_object(options["input"]) if options["input"] is not None else {}
    call = reading.call_of(task, arguments, others=own, data=data, meant=MEANT)
    if options["dry_run"]:
        # The other options concern the run itself, and are only checked. So any command line works with --dry-run.
        how = {name: value for name, value in _how(options).items() if name in ("cache", "options", "context")}
        return _dry_run(config, call, how, stdout, options["as_json"])
    how = _how(options)
    return evaluate(
        config,
        lambda scheduler: scheduler.run(call, **how),
        stdout=stdout,
        as_json=options["as_json"],
        debug=options["pdb"],
    )


def _how(options: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of Scheduler.run for these options."""
    return {
        "cache": not options["no_cache"],
        "options": dict(parse_option(text) for text in options["option"]),
        "context": context_of(options["context"], options["context_file"]),
        "tags": tags_of(options["tag"]),
        "execution_id": options["execution_id"],
        "fail_fast": options["fail_fast"],
    }


def _asks_for_rerun(words: Sequence[str]) -> bool:
    """Whether the option stands behind the file. Behind a task's name it would be an argument of the task's own."""
    name, before, behind = _task_name(words, {name: not o.is_flag for o in _own_options() for name in o.opts})
    return any(word.partition("=")[0] == "--rerun" for word in (before if name is not None else behind))


def _rerun(context: click.Context, words: Sequence[str], options: dict[str, Any], stdout: Any) -> int:
    """Evaluate what was recorded under an id. words: the file with the tasks, where it is elsewhere now, and arguments
    in place of those recorded."""
    from rayflow.store.open import open_store

    own = {name: not option.is_flag for option in _own_options() for name in option.opts}
    target = words[0] if words and not words[0].startswith("-") else None
    late, given = take_own(words[1:] if target is not None else words, own, frozenset())
    if given and not given[0].startswith("--"):
        raise click.UsageError(
            "--rerun takes no task: that of the record is meant. Arguments in place of those recorded are written "
            "--name value.",
            context,
        )
    _merge(context, options, late)
    _check_together(context, options)
    module = load(target) if target is not None else None
    config = _config(options, module)
    history = open_store(config.store, create=False, read_only=True).history()
    found = history.resolve(options["rerun"], kinds=("execution", "job"))
    if module is None:
        load_tasks(history, found.id if found.kind == "execution" else history.job_row(found.id)["execution_id"])
    task = task_of(history, found)
    history.close()
    data = given_object(options["input"]) if options["input"] is not None else {}
    if (given or data) and task is None:
        raise click.UsageError("There is no call of a task to give arguments to.", context)
    arguments = given_in(task, given, others=own, data=data, meant=MEANT) if task is not None else {}
    how = _how(options)
    return evaluate(
        config,
        lambda scheduler: scheduler.rerun(found.id, arguments=arguments, **how),
        stdout=stdout,
        as_json=options["as_json"],
        debug=options["pdb"],
    )


def _config(options: Mapping[str, Any], module: Any) -> Config:
    """The configuration of the module's project, or of where the user is, with what the options say."""
    file = getattr(module, "__file__", None)
    config = config_of(
        options["store"],
        os.path.dirname(os.path.abspath(file)) if file else None,
        address=options["address"],
        # A cluster that is named here counts more than `inline` in a file.
        inline=True if options["inline"] or options["pdb"] else False if options["address"] else None,
        logs=options["logs"],
        log_level=options["log_level"],
    )
    use_base(config.project_dir)
    return config


def _check_together(context: click.Context, options: Mapping[str, Any]) -> None:
    """Raise UsageError for options of which one would do nothing beside the other."""
    if options["pdb"] and options["address"]:
        raise click.UsageError("--pdb runs everything in this process, --address on a cluster: leave one out.", context)
    check_one_place(options["inline"], options["address"])
    if not options["dry_run"]:
        return
    for name in ("pdb", "rerun", "execution_id"):
        if options[name]:
            flag = "--" + name.replace("_", "-")
            raise click.UsageError(f"A dry run runs nothing, so that {flag} has nothing to do: leave one out.", context)


def _dry_run(config: Config, call: Any, how: Mapping[str, Any], stdout: Any, as_json: bool) -> int:
    from rayflow.api import Scheduler

    with Scheduler(config=config, read_only=True) as scheduler:
        found = scheduler.dry_run(call, **how)
    if as_json:
        write_json(stdout, dry_run_text.as_json(found))
    else:
        stdout.writelines(f"{line}\n" for line in dry_run_text.lines(found, stdout))
    return 0


def _own_options() -> list[click.Option]:
    return [option for option in _OPTIONS if isinstance(option, click.Option)]


def _near(word: str) -> str:
    near = get_close_matches(word, [name for option in _own_options() for name in option.opts], n=1)
    offer = MEANT.get(word) or (near[0] if near else None)
    return f" Did you mean '{offer}'?" if offer else ""


def _task_name(words: Sequence[str], own: dict[str, bool]) -> tuple[str | None, list[str], list[str]]:
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


def _up_to_dashes(words: Sequence[str]) -> Sequence[str]:
    return words[: words.index("--")] if "--" in words else words


def _merge(context: click.Context, options: dict[str, Any], late: list[str]) -> None:
    """Add the options that stood behind the file to those before it."""
    if not late:
        return
    reader = click.Command("run", params=_OPTIONS, add_help_option=False)
    parsed = reader.make_context("run", late, parent=context.parent)
    for name, value in parsed.params.items():
        if name in ("option", "tag", "context"):
            options[name] = (*options[name], *value)
        elif parsed.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            options[name] = value
