"""`rayflow run`: evaluate one call of a task and print its value.

In: a file, a task, its arguments; or the id of a recorded job (--rerun). Out: the value on stdout, an exit code. Never:
more on stdout than the value.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import click

from rayflow.cli.evaluation import evaluate
from rayflow.cli.output import dry_run_text
from rayflow.cli.output.output import answer_alone, write_json
from rayflow.cli.parsing.given_options import context_of, given_object, tags_of
from rayflow.cli.parsing.run_options import (
    MEANT,
    RUN,
    check_option,
    choose,
    merge,
    own_words,
    split,
    with_words,
)
from rayflow.cli.parsing.words import take_own
from rayflow.cli.recorded_tasks import load_tasks, task_of
from rayflow.cli.stores import check_one_place, config_of, store_url
from rayflow.config import Config
from rayflow.lang.arguments import from_words
from rayflow.lang.modules import load
from rayflow.lang.options.options import parse_option
from rayflow.pasting import command as pasted
from rayflow.values.filesystems.filesystems import use_base


@with_words("run", RUN)
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
    if words and options["rerun"] is None:
        check_option(context, words[0], RUN)
    with answer_alone() as stdout:
        if options["rerun"] is not None or _asks_for_rerun(words[1:]):
            return _rerun(context, words, options, stdout)
        return _run(context, words[0], words[1:], options, stdout)


def _run(context: click.Context, target: str, words: Sequence[str], options: dict[str, Any], stdout: Any) -> int:
    chosen = choose(context, options, target, words, stdout, verb="run", known=RUN)
    if chosen is None:
        return 0
    _check_together(context, options)

    config = _config(options, chosen.module)
    data = given_object(options["input"]) if options["input"] is not None else {}
    call = from_words.call_of(chosen.task, chosen.arguments, others=own_words(RUN), data=data, meant=MEANT)
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
        output=context.obj,
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
    name, before, behind = split(words, own_words(RUN))
    return any(word.partition("=")[0] == "--rerun" for word in (before if name is not None else behind))


def _rerun(context: click.Context, words: Sequence[str], options: dict[str, Any], stdout: Any) -> int:
    """Evaluate what was recorded under an id. words: the file with the tasks, where it is elsewhere now, and arguments
    in place of those recorded."""
    from rayflow.store.open import open_store

    own = own_words(RUN)
    target = words[0] if words and not words[0].startswith("-") else None
    late, given = take_own(words[1:] if target is not None else words, own, frozenset())
    if given and not given[0].startswith("--"):
        raise click.UsageError(
            "--rerun takes no task: that of the record is meant. Arguments in place of those recorded are written "
            "--name value.",
            context,
        )
    merge(context, options, late, RUN)
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
    arguments = from_words.given_in(task, given, others=own, data=data, meant=MEANT) if task is not None else {}
    how = _how(options)
    return evaluate(
        config,
        lambda scheduler: scheduler.rerun(found.id, arguments=arguments, **how),
        stdout=stdout,
        as_json=options["as_json"],
        debug=options["pdb"],
        output=context.obj,
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
