"""`rayflow submit`: run a task on a cluster that is reached by its dashboard alone.

In: a file, a task, its arguments, as `rayflow run` takes them. Out: what the run prints, its answer, its exit code.
Never: sends anything before the arguments are read and the store and the project are checked.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rayflow.cli.clusters import api_of
from rayflow.cli.job_following import follow_job, how_to_come_back
from rayflow.cli.output.output import answer_alone
from rayflow.cli.output.progress import PlainReporter
from rayflow.cli.parsing import words as reading
from rayflow.cli.parsing.given_options import context_of, given_object, tags_of
from rayflow.cli.parsing.run_options import (
    MEANT,
    SUBMIT,
    check_option,
    choose,
    merge,
    own_words,
    split,
    with_words,
)
from rayflow.cli.stores import config_of
from rayflow.config import Config
from rayflow.config import load as load_config
from rayflow.errors import BadArguments, BadModule
from rayflow.lang.arguments import from_words
from rayflow.lang.options.options import parse_option
from rayflow.lang.options.runtime_environments import shown_in
from rayflow.pasting import command as pasted
from rayflow.values.filesystems.filesystems import use_base
from rayflow.values.filesystems.mapping_files import parsed

if TYPE_CHECKING:
    from rayflow.submission.submitting import SubmittedCommand


@with_words("submit", SUBMIT)
@click.pass_context
def command(context: click.Context, /, words: tuple[str, ...], **options: Any) -> int:
    """Run a task on a cluster, as a job that goes on when this command ends, and print its result.

    \b
    rayflow submit flow.py main --n 3 --address http://HEAD:8265
    rayflow submit flow.py main --n 3 --detach      prints the id of the execution, and does not wait
    rayflow attach 0197a3c2-51f0                    shows it again

    Words are read as by `rayflow run`. The project is sent to the cluster, without what .gitignore and .rayignore name.
    The store has to be one that the cluster reaches, too. Ctrl-C leaves the job running.
    """
    if not words:
        raise click.UsageError(f"Name the file with the tasks: {pasted('submit', 'flow.py')}", context)
    check_option(context, words[0], SUBMIT)
    with answer_alone() as stdout:
        return _submit(context, words[0], words[1:], options, stdout)


def _submit(context: click.Context, target: str, words: Sequence[str], options: dict[str, Any], stdout: Any) -> int:
    from rayflow.submission.local_files import local_files_of
    from rayflow.submission.submitting import SubmittedCommand, directory_in

    reporter = PlainReporter(sys.stderr)
    try:
        chosen = choose(context, options, target, words, stdout, verb="submit", known=SUBMIT)
    except BadModule as error:
        lacking = _lacking_module(error)
        if lacking is None:
            raise
        # It may be there on the cluster.
        reporter.say(f"warning: {target} needs {lacking}, which is not installed here: its arguments are read there.")
        name, before, behind = split(words, own_words(SUBMIT))
        late, arguments = reading.take_own(behind, own_words(SUBMIT), frozenset())
        merge(context, options, [*before, *late], SUBMIT)
        file: str | None = target
        chosen = None
    else:
        if chosen is None:
            return 0
        file, name, arguments = getattr(chosen.module, "__file__", None), chosen.name, list(chosen.arguments)

    config = _config(options, file)
    input_file, data = _input(options["input"])
    files: tuple[str, ...] = ()
    if chosen is not None:
        call = from_words.call_of(chosen.task, arguments, others=own_words(SUBMIT), data=data, meant=MEANT)
        files = local_files_of(call)
    begins = directory_in(config.project_dir, os.getcwd())
    called = [_target(target, file, config.project_dir, begins), *([name] if name else []), *arguments]
    command = SubmittedCommand(
        words=("run", *_words(options), *called),
        directory=begins,
        execution_id=options["execution_id"],
        default_store=load_config(os.getcwd()).store,
        input_file=input_file,
        typed=("submit", target, *words),
        files=files,
    )
    return _start(config, command, options, stdout, reporter)


def _start(
    config: Config, command: SubmittedCommand, options: Mapping[str, Any], stdout: Any, reporter: PlainReporter
) -> int:
    from rayflow.submission.submitting import submit

    def say(text: str) -> None:
        if config.log_level != "quiet":
            reporter.say(text, "dim")

    def warn(text: str) -> None:
        reporter.say(f"warning: {text}")

    address = options["address"]
    api = api_of(address, config.address, verb="submit")
    started = submit(api, config, command, ships_rayflow=options["ship_rayflow"], say=say, warn=warn)
    say(f"{'submitted as' if started.is_new else 'submitted before as'} {started.job.submission_id}")
    if options["detach"]:
        say(how_to_come_back(started.job, address))
        stdout.write(f"{started.execution_id}\n")
        return 0
    return follow_job(api, started.job, stdout, address=address)


def _lacking_module(error: BadModule) -> str | None:
    """The library that an import has not found, and that is not a file of the user's; else None."""
    cause = error.__context__
    if not isinstance(cause, ModuleNotFoundError) or not cause.name:
        return None
    first = cause.name.partition(".")[0]
    places = [Path(place) for place in (os.getcwd(), *sys.path)]
    is_own = any((place / first).exists() or (place / f"{first}.py").exists() for place in places)
    return None if is_own else first


def _config(options: Mapping[str, Any], file: str | None) -> Config:
    start_directory = os.path.dirname(os.path.abspath(file)) if file else None
    config = config_of(options["store"], start_directory, logs=options["logs"], log_level=options["log_level"])
    use_base(config.project_dir)
    return config


def _target(target: str, file: str | None, project_dir: str, begins: str) -> str:
    """The file of the tasks, as it is called where the job begins; a module that is not in the project by its name.

    begins: the directory where the job begins, relative to the project.
    """
    if file is None:
        return target
    real, project = os.path.realpath(file), os.path.realpath(project_dir)
    if os.path.relpath(real, project).split(os.sep)[0] == "..":
        return target
    return os.path.relpath(real, os.path.join(project, begins))


def _words(options: Mapping[str, Any]) -> list[str]:
    """The options of the run, as words for it."""
    flags = {"no_cache": "--no-cache", "fail_fast": "--fail-fast", "as_json": "--json"}
    found = [flag for name, flag in flags.items() if options[name]]
    if options["log_level"]:
        found.append(f"--{options['log_level']}")
    if options["logs"] is not None:
        found.append("--logs" if options["logs"] else "--no-logs")
    for text in options["option"]:
        name, value = parse_option(text)
        if shown_in({name: value}) != {name: value}:
            raise BadArguments(
                f"--option {name} has values of variables (env_vars). They would stand in the job's command, which "
                "everyone on the cluster can read: write the option into options of the project's rayflow.toml."
            )
        found.append(f"--option={text}")
    tags_of(options["tag"])
    found.extend(f"--tag={text}" for text in options["tag"])
    given = context_of(options["context"], options["context_file"])
    if given:
        try:
            found.append(f"--context={json.dumps(given)}")
        except TypeError as error:
            raise BadArguments(f"The context cannot be sent as JSON: {error}.") from None
    return found


def _input(path: str | None) -> tuple[tuple[str, str] | None, dict[str, Any]]:
    """A file with arguments: its name and text, and what it holds. Raises BadArguments."""
    if path is None:
        return None, {}
    if path == "-":
        text = sys.stdin.read()
        return ("stdin.json", text), parsed(text, "JSON", "stdin", BadArguments)
    held = given_object(path)
    return (path, Path(path).read_text(encoding="utf-8-sig")), held
