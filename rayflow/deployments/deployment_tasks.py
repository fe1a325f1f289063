"""`deployment_task`: calls of tasks that other projects offer on other clusters.

In: the names of a deployment and of an entry. Out: a task whose calls are lazy; the body that carries out one. Never:
asks a cluster before a call runs.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rayflow import config as configuration
from rayflow.deployment_settings import CONTEXT_PATH, deployment_called, entry_called, limit_of
from rayflow.deployments.call_packages import send_call
from rayflow.deployments.far_executions import FarExecution, far_execution_id, place_of
from rayflow.errors import BadArguments
from rayflow.installation import is_installed
from rayflow.lang.combinators import apply_tags, get_context
from rayflow.lang.options.options import scope_of
from rayflow.lang.parameters.job_info import JobInfo
from rayflow.lang.registry import task_source
from rayflow.lang.tasks import Task, task
from rayflow.runtime.worker.task_lookup import TaskFinder
from rayflow.store.open import open_store
from rayflow.values.display.tracebacks import front_door, hide_frames
from rayflow.values.filesystems.filesystems import base_directory

rayflow_namespace = "rayflow"

LEAST_CPUS = 0.01
"""The part of a processor that a waiting call holds."""


def deployment_task(deployment: str, entry: str, *, wait: bool = True) -> Task[..., Any]:
    """A task of another project on another cluster: `deployment_task("genomics", "align")(reads)` is a lazy call.

    deployment, entry: names of the table `[deployments.NAME]` in the configuration of the project that calls this, and
    of its `entries`. The call starts an execution there, and has its value. wait: False gives the id of that execution
    as soon as it is started. As any task, it has `.options(retries=2)`, `.partial(...)` and so on.

    Raises BadConfig, with what there is, when the configuration has no such deployment or entry. The call itself raises
    DeploymentFailed when the execution there fails, and ClusterUnavailable within seconds when the cluster does not
    answer.
    """
    try:
        return _task(deployment, entry, wait, sys._getframe(1).f_globals.get("__file__"))
    except BaseException as error:
        hide_frames(error)
        raise


@front_door
def _task(deployment: str, entry: str, wait: bool, file: str | None) -> Task[..., Any]:
    """file: of the code that asks; its project has the configuration."""
    for name, text in {"deployment": deployment, "entry": entry}.items():
        if not isinstance(text, str):
            raise BadArguments(f"deployment_task({name}=...) takes a name as text, not {text!r}.")
    is_of_project = file is not None and not is_installed(os.path.abspath(file))
    start = os.path.dirname(os.path.abspath(file)) if file is not None and is_of_project else base_directory()
    config = configuration.load(start)
    entry_called(entry, deployment, deployment_called(deployment, config.deployments, config.project_dir))
    return _task_of(deployment).partial(deployment, entry, bool(wait)).options(label=f"{deployment}.{entry}")


@functools.cache
def _task_of(deployment: str) -> Task[..., Any]:
    """The task behind all calls of one deployment.

    Each has its own, since the settings are read from the context when a call is evaluated, and only by the default of
    a parameter. So a recorded call does not keep an old address, and another version makes it another call.
    """
    path = f"{CONTEXT_PATH}.{deployment}"

    @task(
        name=f"deployments.{deployment}", version="1", num_cpus=LEAST_CPUS, bundle=False,
        limits=[limit_of(deployment)], config_args=["rayflow_settings"],
    )  # fmt: skip
    def call(
        deployment: str,
        entry: str,
        waits: bool,
        /,
        *args: Any,
        rayflow_version: str | int | None = get_context(f"{path}.version"),  # a lazy default
        rayflow_settings: Mapping[str, Any] | None = get_context(path),  # likewise
        rayflow_job: JobInfo = JobInfo(),  # noqa: B008  # frozen
        **kwargs: Any,
    ) -> Any:
        """An entry of another project, on another cluster."""
        return carry_out(deployment, entry, waits, rayflow_settings or {}, rayflow_job, args, kwargs)

    return call


def carry_out(
    deployment: str,
    entry: str,
    waits: bool,
    settings: Mapping[str, Any],
    job: JobInfo,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Any:
    """The value of an entry on these arguments; or, if it does not wait, the id of the execution that computes it.

    settings: of the deployment, in the configuration of the run. job: that carries out the call here.
    """
    known = deployment_called(deployment, {deployment: settings} if settings else {}, "this run")
    target = entry_called(entry, deployment, known)
    store = open_store(place_of(known.store))
    tags = {"called_by_execution": job.execution_id, "called_by_job": job.job_id}
    source = task_source()
    if isinstance(source, TaskFinder):
        tags["called_by_store"] = source.surroundings.store_url
    # As it is for a call here: the call itself is computed anew, and what it calls is not.
    options = {} if scope_of(job.options) == "BACKEND" else {"cache": False}
    with contextlib.closing(store.history()) as history:
        far = FarExecution(
            deployment, known, target, history, far_execution_id(job.execution_id, job.job_id),
            lambda text: print(f"{deployment}: {text}", flush=True),
        )  # fmt: skip
        far.begin(lambda: send_call(store, args, kwargs, options=options, tags=tags))
        value: Any = far.execution_id
        if waits:
            far.end()
            value = history.value(far.execution_id)
    marks = {"deployment": deployment, "far_execution": far.execution_id, "far_store": store.url}
    return apply_tags(value, job_tags=marks)
