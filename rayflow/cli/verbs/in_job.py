"""`rayflow in-job`: carry out a submitted command, in its job on the cluster. Not for people.

In: what `rayflow submit` has packed, and the words of the command. Out: what the command prints, with frames for the
one who follows; its exit code. Never: runs anything before the store is reached, and the
local files that are named are found.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from rayflow import pasting
from rayflow.cli.deployment_entry import carry_out_call
from rayflow.cli.output.job_output import JobOutput
from rayflow.cli.verbs import run
from rayflow.deployments.far_executions import CALL
from rayflow.runtime.protocol import git_commit
from rayflow.runtime.protocol.execution_row import tell_name
from rayflow.submission.bootstrap import unpacked
from rayflow.submission.frames import FrameWriter
from rayflow.submission.local_files import check_there
from rayflow.submission.shared_stores import check_reached, remove_job_beacon
from rayflow.values.filesystems.filesystems import use_base

STDERR = 2


@click.command("in-job", hidden=True, context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("specification")
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(context: click.Context, /, specification: str, words: tuple[str, ...]) -> int:
    """Carry out a submitted command."""
    told: dict[str, Any] = unpacked(specification)
    project = os.getcwd()
    os.environ.update(told["environment"])
    pasting.ask_for_default(lambda _: told["default_store"])  # commands are pasted where the user is
    sys.argv[:] = ["rayflow", *told["typed"]]
    git_commit.tell(project, told["commit"])
    tell_name(project, told["project"])
    check_reached(told["store"], told["beacon"])
    remove_job_beacon(told["store"], told["beacon"])
    use_base(project)
    check_there(told["files"])
    verb, *others = words
    output = JobOutput(FrameWriter(told["execution"], STDERR))
    if verb == CALL:
        return carry_out_call(told["store"], told["execution"], others, output)
    assert verb == "run"
    with tempfile.TemporaryDirectory(prefix="rayflow-") as folder:
        here = [f"--store={told['store']}", f"--execution-id={told['execution']}"]
        here.append(f"--address={os.environ['RAY_ADDRESS']}")
        if told["input_file"] is not None:
            name, text = told["input_file"]
            path = Path(folder, os.path.basename(name))
            path.write_text(text, encoding="utf-8")
            here.append(f"--input={path}")
        directory = os.path.join(project, told["directory"])
        os.makedirs(directory, exist_ok=True)  # one that holds nothing but what is not sent
        os.chdir(directory)
        with run.command.make_context("run", [*here, *others], parent=context, obj=output) as inner:
            code: int = run.command.invoke(inner)
    return code
