"""The Python front door: run an expression, ask what happened.

In: expressions and settings. Out: values, submissions, the provenance. Never: a decision of the evaluator's, a call of
Ray's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rayflow import config as configuration
from rayflow.errors import BadConfig, NestedRun
from rayflow.lang.expressions import Term
from rayflow.lang.options import check_context, check_options, merge, merge_context
from rayflow.runtime import driver
from rayflow.runtime.body import is_inside_body
from rayflow.runtime.circumstances import project_start
from rayflow.runtime.reports import Printing, Reporter
from rayflow.runtime.requests import Wanted

if TYPE_CHECKING:
    from rayflow.runtime.driver import Submission
    from rayflow.runtime.dry import DryRun
    from rayflow.store.history import History

    DuckDBRelation = Any

T = TypeVar("T")

NESTED = "run() was called inside a task's body. Return the expression instead: rayflow reduces what a task returns."


PROGRAMS_ONLY = ("root", "root_blob", "task_table")
"""Columns of an execution from which it can be taken up again."""


class Scheduler:
    """Evaluates expressions, one after the other or several at once, with one store.

    store: URL or folder of the store; `.rayflow` in the project by default.
    inline: run everything in this process, without Ray. address: the Ray cluster to join.
    limits: capacities of named limits. reporter: who watches the runs; by default what tasks print goes to stderr.
    config: all settings at once, in place of those above. read_only: no store is made, and nothing is written to one
    that is there: for `dry_run`, and for questions. debug: stop in the debugger where a task raises, in its frame; only
    with `inline`.

    Use it as a context manager, or `close()` it, to end its part on the cluster. A Ray that was started for it stays
    for the next scheduler of this process, and ends with the process. Raises BadConfig, BadOption, StoreUnavailable.
    """

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
            raise BadConfig("debug=True needs inline=True: the debugger is in this process, the tasks have to be, too.")
        self._read_only = read_only
        self._debug = debug
        self._driver = self._new_driver(reporter or Printing())

    def _new_driver(self, reporter: Reporter) -> driver.Driver:
        kept = driver.store_to_read(self.config.store) if self._read_only else None
        return driver.Driver(self.config, reporter, kept, debug=self._debug)

    def run(
        self,
        expr: T,
        *,
        cache: bool = True,
        options: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        execution_id: str | None = None,
        fail_fast: bool = False,
    ) -> T:
        """The value of an expression, or of any nesting of containers with expressions in it.

        cache: False computes anew what other executions have computed. options: task options for every call.
        context: what `get_context` reads, over the configuration's. tags: recorded with the execution.
        execution_id: a UUID to be known by. fail_fast: stop at the first failure that nothing catches; else all that
        can be done is done. Raises the first failed task's own exception, with the calls that led to it in its notes.
        """
        value: T = self.submit(
            expr,
            cache=cache,
            options=options,
            context=context,
            tags=tags,
            execution_id=execution_id,
            fail_fast=fail_fast,
        ).result()
        return value

    def submit(
        self,
        expr: Term,
        *,
        cache: bool = True,
        options: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        execution_id: str | None = None,
        fail_fast: bool = False,
    ) -> Submission:
        """Start evaluating and return at once: `.result(timeout=None)`, `.cancel()`, `.execution_id`."""
        if is_inside_body():
            raise NestedRun(NESTED)
        return self._driver.submit(expr, self._wanted(cache, options, context, tags, execution_id, fail_fast))

    def _wanted(
        self,
        cache: bool,
        options: Mapping[str, Any] | None,
        context: Mapping[str, Any] | None,
        tags: Mapping[str, Any] | None = None,
        execution_id: str | None = None,
        fail_fast: bool = False,
    ) -> Wanted:
        checked = check_options(options or {}, where="run(options=...)", at_call=True, many=True)
        check_context(context or {}, where="run(context=...)")
        return Wanted(
            cache and self.config.cache,
            merge(self.config.options, checked),
            merge_context(self.config.context, context or {}),
            dict(tags or {}),
            execution_id,
            fail_fast,
        )

    def dry_run(
        self,
        expr: Term,
        *,
        cache: bool = True,
        options: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> DryRun:
        """What `run` would do: which calls would run, why, and how long they took last time.

        Nothing is run, and nothing is written. Beyond the first call that has to run, nobody can know what happens:
        what calls like it made before is told, marked as predicted.
        """
        return self._driver.dry_run(expr, self._wanted(cache, options, context))

    def rerun(
        self,
        id: str,
        *,
        cache: bool = True,
        options: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        execution_id: str | None = None,
        fail_fast: bool = False,
    ) -> Any:
        """The value of what was evaluated once, with the code of today: an execution's root, or the call of a job.

        id: of an execution or a job, or the beginning of it; `-` for the last execution. Its options and its context
        count again, below those given here. Raises NotFound when it, or its arguments, are not recorded.
        """
        if is_inside_body():
            raise NestedRun(NESTED)
        wanted = self._wanted(cache, options, context, tags, execution_id, fail_fast)
        return self._driver.rerun(id, wanted).result()

    def resume(self, execution_id: str) -> Any:
        """Go on with an execution whose driver or cluster was lost; what it had finished is not computed again.

        execution_id: the id, or an unambiguous prefix of it. Raises NotFound when the store does not know it.
        """
        if is_inside_body():
            raise NestedRun(NESTED)
        return self._driver.resume(execution_id).result()

    def history(self) -> History:
        """Questions to the provenance."""
        return self._driver.store.history()

    def sql(self, query: str) -> DuckDBRelation:
        """The answer to a SQL query over the provenance, as a DuckDB relation (`.df()`, `.arrow()`, `.fetchall()`)."""
        return self.history().sql(query)

    def log(self, limit: int = 20) -> list[Any]:
        """The latest executions, newest first; without what only programs can read of them (`sql` gives that, too)."""
        rows = self.history().executions(limit=limit)
        return [{name: cell for name, cell in row.items() if name not in PROGRAMS_ONLY} for row in rows]

    def close(self) -> None:
        """Commit what is left, and end this scheduler's part on the cluster; Ray itself stays for the next one."""
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def run(
    expr: T,
    *,
    store: str | os.PathLike[str] | None = None,
    inline: bool | None = None,
    address: str | None = None,
    cache: bool = True,
    options: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    reporter: Reporter | None = None,
    execution_id: str | None = None,
    fail_fast: bool = False,
) -> T:
    """The value of an expression: the short way of `Scheduler(...).run(expr)`.

    Ray is started when something has to run, and only then; it is kept for the next `run` of this process.
    """
    if is_inside_body():
        raise NestedRun(NESTED)
    scheduler = Scheduler(store=store, inline=inline, address=address, reporter=reporter)
    try:
        return scheduler.run(
            expr,
            cache=cache,
            options=options,
            context=context,
            tags=tags,
            execution_id=execution_id,
            fail_fast=fail_fast,
        )
    finally:
        scheduler.close()


def history(store: str | os.PathLike[str] | None = None) -> History:
    """The provenance of a store: `history().sql("select ...")`."""
    from rayflow.store.store import open_store

    config = configuration.load(project_start(), store=store)
    return open_store(config.store, create=False, read_only=True).history()


__all__ = ["Scheduler", "history", "run"]
