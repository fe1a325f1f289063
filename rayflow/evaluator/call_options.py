"""Merges the options of a call: of its profile, its definition, the calls above, the call itself and the run.

In: a task's entry, the options of one of its calls, the settings that this call receives. Out: the merged options, and
the settings that the call hands down. Never: makes a job; reduces an option that is an expression.

An option of a definition may read the context: `@task(memory=get_context("memory"))`. Such an option affects how a call
runs, not its result. So its reads of the context are not noted as reads of the call. If these values change, nothing
runs again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayflow.errors import BadOption
from rayflow.evaluator.inheritance import ABSENT, Inherited
from rayflow.evaluator.open_terms import is_value
from rayflow.lang.options.options import check_options, merge, profile_called
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.codec import children, loads, with_children
from rayflow.lang.terms.expressions import Form, Quoted, Term
from rayflow.values.native import SCALARS

CONTEXT = "get_context"
"""The form that reads the context."""


class CallOptions:
    """Merges the options of the calls of one execution.

    run: the options of the run; they take precedence. profiles: options by name of the profile.
    """

    def __init__(self, run: Mapping[str, Any], profiles: Mapping[str, Mapping[str, Any]]) -> None:
        self.run = dict(run)
        self.profiles = profiles

    def of_call(
        self, entry: TaskEntry, call_options: Mapping[str, Any] | None, received: Inherited
    ) -> tuple[Mapping[str, Any], Inherited]:
        """The merged options of a call (profile, definition, exports, call, run), and the settings that it hands down.

        Raises BadOption for a profile that does not exist, and for an option that must not be lazy.
        """
        if call_options:
            defined = options_of_definition(entry, call_options, received)
            return self.completed(merge(defined, received.exports, call_options, self.run), received)
        known = received.known.get(entry.name)
        if known is None:
            defined = options_of_definition(entry, None, received)
            known = self.completed(merge(defined, received.exports, self.run), received)
            received.known[entry.name] = known
        return known

    def completed(self, options: Mapping[str, Any], received: Inherited) -> tuple[Mapping[str, Any], Inherited]:
        """Merged options, completed by those of their profile; and the settings that a call with them hands down."""
        profile = options.get("profile")
        if type(profile) is str:
            options = merge(profile_called(profile, self.profiles), options)
        return options, received.handed_down(options)


def options_of_definition(
    entry: TaskEntry, call_options: Mapping[str, Any] | None, received: Inherited
) -> Mapping[str, Any]:
    """The options of a task's definition, for a call with these options.

    Raises BadOption for a value that does not suit its option, and for a value that the context lacks.
    """
    if entry.lazy_options is None:
        return entry.options
    own = call_options.get("context") if call_options else None
    context = received.handed_down({"context": own}) if own else received
    known = context.defined.get(entry.name)
    if known is None:
        where = where_defined(entry)
        lazy: Mapping[str, Term] = loads(entry.lazy_options)
        # An option that the call itself gives is not asked for here, so a mistake in it must not end the call.
        known = context.defined[entry.name] = {name: _in_context(term, context, where) for name, term in lazy.items()}
    given = {name: value for name, value in known.items() if not call_options or name not in call_options}
    settled = {name: value for name, value in given.items() if is_value(value)}
    return {**entry.options, **given, **check_options(settled, where=where_defined(entry))}


def where_defined(entry: TaskEntry) -> str:
    """The text by which errors name the definition of a task."""
    return f"@task of {entry.name}"


def without_lazy_exports(options: Mapping[str, Any]) -> dict[str, Any]:
    """These options without the exports that are still to be reduced."""
    exports = options["export_options"]
    plain = {name: value for name, value in exports.items() if is_value(value)} if type(exports) is dict else None
    return {**options, "export_options": plain}


def _in_context(term: Term, context: Inherited, where: str) -> Term:
    """A term in which the context's values replace all `get_context`."""
    memo: dict[int, Term] = {}
    stack = [term]
    while stack:
        item = stack[-1]
        if id(item) in memo:
            stack.pop()
            continue
        if type(item) in SCALARS or type(item) is Quoted:
            memo[id(item)] = item  # a quoted term is reduced elsewhere, and reads the context there
            continue
        if type(item) is Form and item._name == CONTEXT:
            path, default = item._args
            try:
                found = context.value_at(path)
            except BadOption as error:
                raise BadOption(f"{where}: {error}") from None
            if found is not ABSENT:
                memo[id(item)] = found
            elif id(default) in memo:
                memo[id(item)] = memo[id(default)]
            else:
                stack.append(default)
            continue
        parts = children(item)
        waiting = [part for part in parts if id(part) not in memo]
        if waiting:
            stack.extend(waiting)
            continue
        changed = tuple([memo[id(part)] for part in parts])
        is_same = all(new is old for new, old in zip(changed, parts, strict=True))
        memo[id(item)] = item if is_same else with_children(item, changed)
    return memo[id(term)]
