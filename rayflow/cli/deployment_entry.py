"""Carry out a call that came from another project, in its job on this cluster.

In: the words of the job: a file, a task, the digest of the call in the store. Out: an execution in the store, what it
prints, its exit code. Never: runs a second one under the same id: it goes on with the first.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rayflow.cli.evaluation import evaluate
from rayflow.cli.output.output import answer_alone
from rayflow.cli.stores import config_of
from rayflow.deployments.call_packages import read_call
from rayflow.deployments.far_executions import has_ended, was_ended_by_the_world
from rayflow.lang.modules import load, pick
from rayflow.lang.tasks import tasks_of
from rayflow.store.open import open_store
from rayflow.values.filesystems.filesystems import use_base

if TYPE_CHECKING:
    from rayflow.api import Scheduler
    from rayflow.cli.output.job_output import JobOutput


def carry_out_call(store_url: str, execution_id: str, words: Sequence[str], output: JobOutput) -> int:
    """Evaluate the call in the cluster that this job belongs to. Returns the exit code."""
    file, name, digest = words
    with answer_alone() as stdout:
        module = load(file)
        task = pick(tasks_of(module), name, where=file, own=tasks_of(module, imported=False))
        config = config_of(store_url, os.getcwd(), address=os.environ["RAY_ADDRESS"], inline=False)
        use_base(config.project_dir)
        store = open_store(config.store)
        package = read_call(store, bytes.fromhex(digest))
        call = package.call_of(task)
        history = store.history()
        known = history.find_execution(execution_id)
        history.close()
        if known is not None and has_ended(known) and not was_ended_by_the_world(known):
            return 0

        def work(scheduler: Scheduler) -> Any:
            if known is not None:
                return scheduler.resume(execution_id)
            return scheduler.run(call, tags=package.tags, execution_id=execution_id)

        return evaluate(config, work, stdout=stdout, as_json=False, output=output)
