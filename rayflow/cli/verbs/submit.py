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
from typing import Any

import click

from rayflow.cli.clusters import api_of
from rayflow.cli.job_following import follow_job, how_to_come_back
from rayflow.cli.output.output import answer_alone
from rayflow.cli.output.progress import PlainReporter
from rayflow.cli.parsing import words as reading
from rayflow.cli.parsing.completion import CommandWithTasks, run_words
from rayflow.cli.parsing.given_options import context_of, given_object, tags_of
from rayflow.cli.parsing.run_options import MEANT, SUBMIT, choose, merge, near, own_words, split
from rayflow.cli.stores import config_of
from rayflow.config import Config
from rayflow.config import load as load_config
from rayflow.errors import BadArguments, BadConfig, BadModule
from rayflow.lang.options.options import parse_option
from rayflow.pasting import command as pasted
from rayflow.runtime.protocol import git_commit
from rayflow.runtime.protocol.requests import check_uuid, new_execution_id
from rayflow.submission.job_api import JobApi
from rayflow.submission.job_requests import JobRequest, check_ray, directory_in, start
from rayflow.submission.packages import own_package, project_package
from rayflow.submission.project_files import check_sizes, files_of
from rayflow.submission.shared_stores import check_shared, leave_beacon
from rayflow.values.filesystems.filesystems import use_base

_SENT_ALONG = ("RAYFLOW_CACHE", "RAYFLOW_LOG_LEVEL", "RAYFLOW_SETUP", "RAYFLOW_FULL_TRACEBACKS")
"""The variables of the user's that count on the cluster, too. Store, address and context are sent in other ways."""


@click.command(
    "submit",
    cls=CommandWithTasks,
    params=[
        *SUBMIT,
        click.Argument(
            ["words"], nargs=-1, type=click.UNPROCESSED, metavar="FILE|MODULE [TASK] ...", shell_complete=run_words
        ),
    ],
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
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
    if words[0].startswith("-"):
        name = words[0].partition("=")[0]
        raise click.UsageError(f"No such option {name!r}.{near(name, SUBMIT)}", context)
    with answer_alone() as stdout:
        return _submit(context, words[0], words[1:], options, stdout)


def _submit(context: click.Context, target: str, words: Sequence[str], options: dict[str, Any], stdout: Any) -> int:
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
    data = _input(options["input"])
    if chosen is not None:
        given = given_object(options["input"]) if data is not None and options["input"] != "-" else _parsed(data)
        reading.call_of(chosen.task, arguments, others=own_words(SUBMIT), data=given, meant=MEANT)
    run_words = [*_words(options), *_target(target, file, config.project_dir), *([name] if name else []), *arguments]
    if options["execution_id"] is not None:
        check_uuid(options["execution_id"])
    check_shared(config.store, config.project_dir)
    _check_environment(config)
    api = api_of(options["address"], config.address, verb="submit")

    files = files_of(config.project_dir, config.runtime_env.get("excludes") or ())
    warnings = check_sizes(files, config.project_dir)
    warnings.extend(filter(None, [check_ray(api.ray_version())]))
    execution_id = options["execution_id"] or new_execution_id()
    request = JobRequest(
        execution_id=execution_id,
        words=("run", *run_words),
        directory=directory_in(config.project_dir, os.getcwd()),
        store=config.store,
        beacon=leave_beacon(config.store, execution_id),
        default_store=load_config(os.getcwd()).store,
        input_file=data,
        environment=_environment(config),
        typed=("submit", target, *words),
        commit=git_commit.commit_of(config.project_dir),
    )
    for text in warnings:
        reporter.say(f"warning: {text}")
    return _start(api, request, files, options, stdout, reporter, is_quiet=config.log_level == "quiet")


def _start(
    api: JobApi,
    request: JobRequest,
    files: Any,
    options: Mapping[str, Any],
    stdout: Any,
    reporter: PlainReporter,
    *,
    is_quiet: bool,
) -> int:
    def say(text: str) -> None:
        if not is_quiet:
            reporter.say(text, "dim")

    own = own_package() if options["ship_rayflow"] else None
    job, is_new = start(api, request, project_package(files), own, say)
    address = options["address"]
    say(f"{'submitted as' if is_new else 'submitted before as'} {job.submission_id}")
    if options["detach"]:
        say(how_to_come_back(job, address))
        stdout.write(f"{request.execution_id}\n")
        return 0
    return follow_job(api, job, stdout, address=address)


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


def _check_environment(config: Config) -> None:
    if "working_dir" in config.runtime_env:
        raise BadConfig(
            "runtime_env has a working_dir, but a submitted run works in the copy of the project that is sent: leave "
            "it out."
        )


def _target(target: str, file: str | None, project_dir: str) -> list[str]:
    """The file of the tasks, as it is called where the job begins; a module that is not in the project by its name."""
    if file is None:
        return [target]
    real, project = os.path.realpath(file), os.path.realpath(project_dir)
    if os.path.relpath(real, project).split(os.sep)[0] == "..":
        return [target]
    begins = os.path.join(project, directory_in(project_dir, os.getcwd()))
    return [os.path.relpath(real, begins)]


def _words(options: Mapping[str, Any]) -> list[str]:
    """The options of the run, as words for it."""
    flags = {"no_cache": "--no-cache", "fail_fast": "--fail-fast", "as_json": "--json"}
    found = [flag for name, flag in flags.items() if options[name]]
    if options["log_level"]:
        found.append(f"--{options['log_level']}")
    if options["logs"] is not None:
        found.append("--logs" if options["logs"] else "--no-logs")
    for text in options["option"]:
        parse_option(text)
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


def _input(path: str | None) -> tuple[str, str] | None:
    """The name and the text of a file with arguments."""
    if path is None:
        return None
    if path == "-":
        return "stdin.json", sys.stdin.read()
    given_object(path)  # raises what is wrong with it
    return path, Path(path).read_text(encoding="utf-8")


def _parsed(data: tuple[str, str] | None) -> dict[str, Any]:
    from rayflow.values.filesystems.mapping_files import parsed

    return parsed(data[1], "JSON", "stdin", BadArguments) if data is not None else {}


def _environment(config: Config) -> dict[str, str]:
    """The variables that are sent along. Raises BadConfig for a file with a context that is not in the project."""
    found = {name: os.environ[name] for name in _SENT_ALONG if os.environ.get(name)}
    path = os.environ.get("RAYFLOW_CONTEXT_FILE")
    if path:
        whole = os.path.realpath(os.path.join(config.project_dir, os.path.expanduser(path)))
        within = os.path.relpath(whole, os.path.realpath(config.project_dir))
        if within.split(os.sep)[0] == "..":
            raise BadConfig(f"RAYFLOW_CONTEXT_FILE is {path}, which is not in the project, and so is not sent.")
        found["RAYFLOW_CONTEXT_FILE"] = within
    return found
