"""The Python front door: run expressions, and ask what happened.

In: expressions and settings. Out: values, submissions, the provenance. Never: decides what is evaluated, or calls Ray.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rayflow import config as configuration
from rayflow import deployment_settings
from rayflow.errors import BadConfig
from rayflow.lang.options.option_values import check_context
from rayflow.lang.options.options import check_options, merge, merge_context
from rayflow.lang.options.tags import Tags, tag_pairs
from rayflow.lang.terms.expressions import Term
from rayflow.run_settings import RunSettings
from rayflow.runtime.driver import driver
from rayflow.runtime.driver.notebook import Notebook, is_notebook
from rayflow.runtime.driver.reporting import filtering
from rayflow.runtime.driver.setup_function import set_up
from rayflow.runtime.protocol.execution_row import project_start
from rayflow.runtime.protocol.reports import Printing, Reporter
from rayflow.runtime.signals import exit_when_stopped
from rayflow.runtime.worker.nested_runs import refuse_nested
from rayflow.values.display.tracebacks import front_door
from rayflow.values.process import waits

if TYPE_CHECKING:
    from rayflow.runtime.driver.driver import Submission
    from rayflow.runtime.planning.dry import DryRun
    from rayflow.store.history.history import History

    DuckDBRelation = Any

T = TypeVar("T")

PROGRAMS_ONLY = ("root", "root_blob", "task_table")
"""Columns of an execution that only `resume` reads."""


class Scheduler:
    """Evaluates expressions, one after the other or several at once, with one store.

    store: URL or folder of the store; `.rayflow` in the project by default.
    inline: run everything in this process, without Ray. address: the Ray cluster to join.
    limits: capacities of named limits. reporter: an object that watches the runs; by default the prints of tasks go to
    stderr. config: all settings at once, in place of those above. read_only: write nothing, and make no store; for
    `dry_run` and for questions. debug: stop in the debugger where a task raises, in its frame; only with `inline`.

    Use it as a context manager, or call `close()`, to end its part on the cluster. A Ray that it has started stays for
    the next scheduler of this process, and ends with the process. Raises BadConfig, BadOption, StoreUnavailable.
    """

    @front_door
    def __init__(
        self,
        *,
        store: str | os.PathLike[str] | None = None,
        inline: bool | None = None,
        address: str | None = None,
        limits: Mapping[str, float] | None = None,
        reporter: Reporter | None = None,
        config: configuration.Config | None = None,
        read_only: bool = False,
        debug: bool = False,
    ) -> None:
        if config is None:
            config = configuration.load(
                project_start(), store=store, inline=inline, address=address, limits=limits
            )
        self.config = config
        if debug and not config.inline:
            raise BadConfig("debug=True needs inline=True: the debugger can stop only tasks that run in this process.")
        self._read_only = read_only
        self._debug = debug
        reporter = reporter or (Notebook() if is_notebook() else Printing())
        reporter = filtering(reporter, config)
        self._warned = reporter.warned
        waits.listen(self._warned)
        try:
            self._driver = self._new_driver(reporter)
        except BaseException:
            waits.stop_listening(self._warned)
            raise

    def _new_driver(self, reporter: Reporter) -> driver.Driver:
        store = driver.store_to_read(self.config.store) if self._read_only else None
        return driver.Driver(self.config, reporter, store, debug=self._debug)

    @front_door
    def run(
        self,
        expr: T,
        *,
        cache: bool = True,
        options: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        tags: Tags | None = None,
        execution_id: str | None = None,
        fail_fast: bool = False,
    ) -> T:
        """Evaluate an expression, or any nesting of containers with expressions in it, and return its value.

        cache: if False, results of other executions are not used, and everything is computed again. options: task
        options for every call. context: what `get_context` reads, over the configuration's. tags: a dict, pairs, or
        texts such as "owner=ada", to record with the execution; a name may have several values. execution_id: a UUID
        for the execution. fail_fast: stop at the first failure that nothing catches; without it, everything that does
        not depend on the failure is still computed.

        Raises the exception of the first task that failed; its notes name the calls that led to it.
        """
        asked = _asked(cache, options, context, tags, execution_id, fail_fast)
        with exit_when_stopped(self._driver.reporter.warned):
            value: T = self._submit(expr, asked).result()
        return value

    @front_door
    def submit(
        self,
        expr: Term,
        *,
        cache: bool = True,
        options: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        tags: Tags | None = None,
        execution_id: str | None = None,
        fail_fast: bool = False,
    ) -> Submission:
        """Start an evaluation and return at once; the arguments are those of `run`.

        The submission has `.result(timeout=None)`, `.cancel()` and `.execution_id`.
        """
        return self._submit(expr, _asked(cache, options, context, tags, execution_id, fail_fast))

    def _submit(self, expr: Term, asked: RunSettings) -> Submission:
        refuse_nested()
        return self._driver.submit(expr, self._complete(asked))

    def _complete(self, asked: RunSettings) -> RunSettings:
        """The checked settings of the call, over the settings of the configuration and of its setup function."""
        options = check_options(asked.options, where="run(options=...)", at_call=True, many=True, lazy=False)
        check_context(asked.context, where="run(context=...)")
        deployments = deployment_settings.context_of(self.config.deployments)
        configured = merge_context(merge_context(deployments, set_up(self.config)), self.config.context)
        return replace(
            asked,
            cache=asked.cache and self.config.cache,
            options=merge(self.config.options, options),
            context=merge_context(configured, asked.context),
            profiles=self.config.profiles,
        )

    @front_door
    def dry_run(
        self,
        expr: Term,
        *,
        cache: bool = True,
        options: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> DryRun:
        """Find out what `run` would do: which calls would run, why, and how long they took last time.

        This runs nothing and writes nothing. What comes after a call that has to run cannot be known; for that, the
        answer lists the calls that such a call made before, marked as predicted.
        """
        refuse_nested()
        return self._driver.dry_run(expr, self._complete(_asked(cache, options, context)))

    @front_door
    def rerun(
        self,
        id: str,
        *,
        arguments: Mapping[str, Any] | None = None,
        cache: bool = True,
        options: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        tags: Tags | None = None,
        execution_id: str | None = None,
        fail_fast: bool = False,
    ) -> Any:
        """Evaluate the root of a recorded execution, or the call of a recorded job, with the current code.

        id: of an execution or a job, or the beginning of it; `-` for the last execution. arguments: replace recorded
        arguments, by name of the task's parameter. The recorded options and context apply, too; those given here come
        before them. The other arguments are those of `run`. Raises NotFound when the id, or the arguments of its call,
        are not recorded.
        """
        refuse_nested()
        settings = self._complete(_asked(cache, options, context, tags, execution_id, fail_fast))
        with exit_when_stopped(self._driver.reporter.warned):
            return self._driver.rerun(id, settings, arguments).result()

    @front_door
    def resume(self, execution_id: str) -> Any:
        """Go on with an execution whose driver or cluster was lost; what it had finished is not computed again.

        execution_id: the id, or a prefix that only this execution has. Raises NotFound when the store does not know it.
        """
        refuse_nested()
        set_up(self.config)
        with exit_when_stopped(self._driver.reporter.warned):
            return self._driver.resume(execution_id).result()

    @front_door
    def history(self) -> History:
        """The provenance of the store, to ask questions."""
        return self._driver.store.history()

    @front_door
    def sql(self, query: str, *, allow_files: bool = False) -> DuckDBRelation:
        """Ask a SQL query over the provenance; a DuckDB relation (`.df()`, `.arrow()`, `.fetchall()`).

        allow_files: the query may read other files, and the network; without it, it sees only the store.
        """
        return self.history().sql(query, allow_files=allow_files)

    @front_door
    def log(self, limit: int = 20) -> list[Any]:
        """The latest executions, newest first, without the columns that only `resume` reads (`sql` has those, too)."""
        rows = self.history().executions(limit=limit)
        return [{name: cell for name, cell in row.items() if name not in PROGRAMS_ONLY} for row in rows]

    @front_door
    def close(self) -> None:
        """Commit the rows that wait, and end this scheduler's part on the cluster; Ray stays for the next scheduler."""
        try:
            self._driver.close()
        finally:
            waits.stop_listening(self._warned)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _OfOneRun(Scheduler):
    """The scheduler of one `run`. It leaves its process on the cluster to the next `run`."""

    def _new_driver(self, reporter: Reporter) -> driver.Driver:
        return driver.Driver(self.config, reporter, keeps_actor=True)


@front_door
def run(
    expr: T,
    *,
    store: str | os.PathLike[str] | None = None,
    inline: bool | None = None,
    address: str | None = None,
    cache: bool = True,
    options: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
    tags: Tags | None = None,
    reporter: Reporter | None = None,
    execution_id: str | None = None,
    fail_fast: bool = False,
) -> T:
    """Evaluate an expression and return its value: short for `Scheduler(...).run(expr)`.

    Ray starts only when something has to run; it stays for the next `run` of this process, and so does the scheduler's
    process.
    """
    refuse_nested()
    asked = _asked(cache, options, context, tags, execution_id, fail_fast)
    scheduler = _OfOneRun(store=store, inline=inline, address=address, reporter=reporter)
    try:
        with exit_when_stopped(scheduler._driver.reporter.warned):
            value: T = scheduler._submit(expr, asked).result()
        return value
    finally:
        scheduler.close()


def _asked(
    cache: bool,
    options: Mapping[str, Any] | None,
    context: Mapping[str, Any] | None,
    tags: Tags | None = None,
    execution_id: str | None = None,
    fail_fast: bool = False,
) -> RunSettings:
    """The keywords of a run as its settings; `Scheduler._complete` checks them."""
    return RunSettings(
        cache=cache,
        fail_fast=fail_fast,
        options=options or {},
        context=context or {},
        tags=tag_pairs(tags, "run(tags=...)"),
        execution_id=execution_id,
    )


@front_door
def history(store: str | os.PathLike[str] | None = None) -> History:
    """The provenance of a store, to ask questions: `history().sql("select ...")`."""
    from rayflow.store.open import open_store

    config = configuration.load(project_start(), store=store)
    return open_store(config.store, create=False, read_only=True).history()


__all__ = ["Scheduler", "history", "run"]
