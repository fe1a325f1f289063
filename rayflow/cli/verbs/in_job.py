"""`rayflow in-job`: carry out a submitted command, in its job on the cluster. Not for people.

In: what `rayflow submit` has packed, and the words of the command. Out: what the command prints, with frames for the
one who follows; its exit code. Never: runs anything before the store is reached, and the
local files that are named are found.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from rayflow import pasting
from rayflow.cli.cancelling import CancelAnswer, cancel
from rayflow.cli.deployment_entry import carry_out_call
from rayflow.cli.output.job_output import JobOutput
from rayflow.cli.verbs import run
from rayflow.deployments.far_executions import CALL
from rayflow.runtime.protocol import execution_row, git_commit
from rayflow.store.open import open_store
from rayflow.submission.bootstrap import unpacked
from rayflow.submission.cancelling import CANCEL, UNKNOWN
from rayflow.submission.frames import FrameWriter
from rayflow.submission.local_files import check_there
from rayflow.submission.shared_stores import check_reached, remove_job_beacon
from rayflow.values.filesystems.filesystems import use_base

STDERR = 2

BEGIN_SECONDS = 5.0
"""How long an execution that is to be cancelled may take to begin, when its job runs already."""

LOOK_SECONDS = 0.3


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
    execution_row.tell_name(project, told["project"])
    verb, *others = words
    output = JobOutput(FrameWriter(told["execution"], STDERR))
    if verb == CANCEL:
        output.answer(json.dumps(asdict(_cancelled(told["store"], told["execution"], json.loads(others[0])))))
        output.ended(0)
        return 0
    check_reached(told["store"], told["beacon"])
    remove_job_beacon(told["store"], told["beacon"])
    use_base(project)
    check_there(told["files"])
    if verb == CALL:
        code = carry_out_call(told["store"], told["execution"], others, output)
    else:
        assert verb == "run"
        code = _run(context, told, others, project, output)
    sys.stdout.flush()
    sys.stderr.flush()
    output.ended(code)  # Ray takes a second to leave and to notice that the process has ended
    return code


def _run(context: click.Context, told: dict[str, Any], words: Sequence[str], project: str, output: JobOutput) -> int:
    """Carry out the submitted run, where the user has typed it. Returns its exit code."""
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
        with run.command.make_context("run", [*here, *words], parent=context, obj=output) as inner:
            code: int = run.command.invoke(inner)
    return code


def _cancelled(store: str, execution_id: str, asked: Mapping[str, str]) -> CancelAnswer:
    """What becomes of a request to cancel that came through the cluster. asked: by whom, and for what reason."""
    opened = open_store(store, create=False)
    history = opened.history()
    end = time.monotonic() + BEGIN_SECONDS
    while history.find_execution(execution_id) is None:
        if time.monotonic() > end:
            return CancelAnswer(execution_id, UNKNOWN, UNKNOWN)
        time.sleep(LOOK_SECONDS)
    return cancel(opened, execution_id, asked["by"], asked["reason"])
