"""`rayflow run`: reduce one task call and print its value."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rayflow.config import Config
    from rayflow.lang.tasks import Task

_OPTIONS: list[click.Parameter] = [
    click.Option(["--inline"], is_flag=True, help="Run everything in this process, without Ray."),
    click.Option(["--dry-run"], is_flag=True, help="Run nothing: say what would run, why, and how long it took."),
    click.Option(["--no-cache"], is_flag=True, help="Compute anew what earlier runs have computed."),
    click.Option(["--rerun"], metavar="ID", help="Evaluate an execution's root, or a job's call, with today's code."),
    click.Option(["--pdb"], is_flag=True, help="Stop in the debugger where a task raises; runs all in this process."),
    click.Option(["--fail-fast"], is_flag=True, help="Stop at the first failure; else all that can be done is done."),
    click.Option(["--input"], metavar="FILE", help="Read arguments from JSON (- for stdin) or TOML; words count more."),
    click.Option(["--tag"], multiple=True, metavar="KEY=VALUE", help="A tag of this execution."),
    click.Option(["--context"], multiple=True, metavar="NAME=VALUE|JSON|@FILE", help="What get_context reads."),
    click.Option(["--execution-id"], metavar="UUID", help="The id of this execution, given by you."),
    click.Option(["--option"], multiple=True, metavar="NAME=VALUE", help="A task option for every call."),
    click.Option(["--logs", "logs"], flag_value=True, default=None, help="Show what tasks print as it comes."),
    click.Option(["--no-logs", "logs"], flag_value=False, default=None, help="Do not; rayflow log JOB shows it later."),
    click.Option(["--store"], metavar="URL", help="Where results are kept; .rayflow in the project by default."),
    click.Option(["--address"], metavar="ADDRESS", help="The Ray cluster to join; a local one is started by default."),
    click.Option(["--json", "as_json"], is_flag=True, help="Print the result as JSON."),
]
"""The options of the run itself. They may stand anywhere; behind a task's name, its own arguments win."""


@click.command(
    "run",
    params=[*_OPTIONS, click.Argument(["words"], nargs=-1, type=click.UNPROCESSED, metavar="FILE|MODULE [TASK] ...")],
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.pass_context
def command(context: click.Context, /, words: tuple[str, ...], **options: Any) -> int:
    """Run a task and print its result; what was computed before is not computed again.

    \b
    rayflow run flow.py main --min-size 3 --names a b --verbose
    rayflow run flow.py main --help     lists the arguments of a task
    rayflow run --rerun 3f2a9c          a recorded execution or job again, by the beginning of its id; - for the last

    TASK may be left out for a task called main, or for the only one of the file. Arguments are read by the type hints
    of the task. A value that begins with two dashes is written --name=--value.
    """
    if not words and options["rerun"] is None:
        raise click.UsageError("Name the file with the tasks: rayflow run flow.py", context)
    if words and words[0].startswith("-"):
        raise click.NoSuchOption(words[0].partition("=")[0], possibilities=_near(words[0]), ctx=context)
    from rayflow.cli.output import answer_alone

    with answer_alone() as stdout:
        if options["rerun"] is not None or _asks_for_rerun(words[1:]):
            return _rerun(context, words, options, stdout)
        return _run(context, words[0], words[1:], options, stdout)


def _run(context: click.Context, target: str, words: Sequence[str], options: dict[str, Any], stdout: Any) -> int:
    from rayflow.cli import words as reading
    from rayflow.cli.asked import object_in
    from rayflow.lang.modules import load, pick
    from rayflow.lang.tasks import tasks_of

    module = load(target)
    tasks = list(tasks_of(module))
    own = {name: not option.is_flag for option in _own_options() for name in option.opts}
    name, before, behind = _task_name(words, own)
    wants_help = "--help" in _up_to_dashes(behind)
    if wants_help and name is None and tasks and not _is_clear(tasks):
        stdout.write(reading.help_of_module(target, tasks))
        return 0
    task: Task[..., Any] = pick(tasks, name, where=target)
    taken = reading.option_names(task)
    if wants_help and "--help" not in taken:
        meanings = [(option.get_help_record(context) or ("", "")) for option in _own_options()]
        others = [each.name for each in tasks] if name is None else []
        stdout.write(reading.help_of(task, target=target, own=meanings, others=others))
        return 0
    late, arguments = reading.take_own(behind, own, taken)
    _merge(context, options, [*before, *late])

    from rayflow.cli.evaluation import evaluate
    from rayflow.cli.stores import config_of
    from rayflow.values.filesystems import use_base

    file = getattr(module, "__file__", None)
    config = config_of(
        options["store"],
        os.path.dirname(os.path.abspath(file)) if file else None,
        address=options["address"],
        inline=options["inline"] or options["pdb"] or None,
        logs=options["logs"],
    )
    use_base(config.project_dir)
    data = object_in(options["input"]) if options["input"] is not None else {}
    call = reading.call_of(task, arguments, others=own, data=data)
    if options["dry_run"]:
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
    """What a scheduler is told of the run."""
    from rayflow.cli.asked import context_of, tags_of
    from rayflow.lang.options import parse_option

    return {
        "cache": not options["no_cache"],
        "options": dict(parse_option(text) for text in options["option"]),
        "context": context_of(options["context"]),
        "tags": tags_of(options["tag"]),
        "execution_id": options["execution_id"],
        "fail_fast": options["fail_fast"],
    }


def _asks_for_rerun(words: Sequence[str]) -> bool:
    """Whether the option stands behind the file. Behind a task's name it would be an argument of the task's own."""
    name, before, behind = _task_name(words, {name: not o.is_flag for o in _own_options() for name in o.opts})
    return any(word.partition("=")[0] == "--rerun" for word in (before if name is not None else behind))


def _rerun(context: click.Context, words: Sequence[str], options: dict[str, Any], stdout: Any) -> int:
    """Evaluate what was recorded under an id. words: the file with the tasks, where it is elsewhere now."""
    from rayflow.cli.evaluation import evaluate
    from rayflow.cli.recorded import load_tasks
    from rayflow.cli.stores import config_of
    from rayflow.cli.words import take_own
    from rayflow.lang.modules import load
    from rayflow.store.store import open_store

    own = {name: not option.is_flag for option in _own_options() for name in option.opts}
    late, others = take_own(words[1:], own, frozenset())
    if others:
        raise click.UsageError("--rerun takes no task and no arguments: those that were recorded are meant.", context)
    _merge(context, options, late)
    if options["dry_run"] or options["input"] is not None:
        raise click.UsageError("--rerun goes with neither --dry-run nor --input.", context)
    inline = options["inline"] or options["pdb"] or None
    config = config_of(options["store"], address=options["address"], inline=inline, logs=options["logs"])
    history = open_store(config.store, create=False, read_only=True).history()
    found = history.resolve(options["rerun"], kinds=("execution", "job"))
    if words:
        load(words[0])
    else:
        load_tasks(history, found.id if found.kind == "execution" else history.job_row(found.id)["execution_id"])
    history.close()
    how = _how(options)
    return evaluate(
        config,
        lambda scheduler: scheduler.rerun(found.id, **how),
        stdout=stdout,
        as_json=options["as_json"],
        debug=options["pdb"],
    )


def _dry_run(config: Config, call: Any, how: Mapping[str, Any], stdout: Any, as_json: bool) -> int:
    from rayflow.api import Scheduler
    from rayflow.cli import planned

    with Scheduler(config=config, read_only=True) as scheduler:
        found = scheduler.dry_run(call, **how)
    if as_json:
        from rayflow.cli.json_form import pieces

        stdout.writelines(pieces(planned.as_json(found)))
        stdout.write("\n")
    else:
        stdout.writelines(f"{line}\n" for line in planned.lines(found, stdout))
    return 0


def _own_options() -> list[click.Option]:
    return [option for option in _OPTIONS if isinstance(option, click.Option)]


def _near(word: str) -> list[str]:
    from difflib import get_close_matches

    return get_close_matches(word, [name for option in _own_options() for name in option.opts], n=1)


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


def _is_clear(tasks: Iterable[Any]) -> bool:
    """Whether a task is meant though none was named."""
    names = [task.name for task in tasks]
    return len(names) == 1 or names.count("main") == 1


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
