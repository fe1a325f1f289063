"""Task options: every name, type, default and meaning, and how the levels are merged.

In: options as a user gave them at a definition, a call or a run. Out: checked, merged options. Never: what Ray does
with them (that is lowering's).

The table `OPTIONS` is the one place that lists them; the documentation and the error for an unknown name are made from
it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rayflow.errors import BadOption
from rayflow.lang.expressions import Expression
from rayflow.values.nested import iter_leaves


@dataclass(frozen=True, slots=True)
class Option:
    """One task option.

    types: the Python types that its value may have.
    call: whether `.options(...)` and a run may set it; the others belong to the definition alone.
    many: whether a definition, a run, exports and a profile may set it; the others belong to single calls.
    """

    name: str
    types: tuple[type, ...]
    default: Any
    meaning: str
    call: bool = True
    choices: tuple[Any, ...] = ()
    many: bool = True

    @property
    def kinds(self) -> str:
        """The types as text."""
        names = ["number" if kind is float else kind.__name__ for kind in self.types]
        if "number" in names and "int" in names:
            names.remove("int")
        return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


NUMBER = (int, float)

OPTIONS: dict[str, Option] = {
    option.name: option
    for option in (
        Option("cache", (bool,), True, "False: share equal calls in one execution, but compute anew in the next"),
        Option(
            "cache_scope",
            (str,),
            "BACKEND",
            "what may answer a call: NONE (always run), CSE (this execution only), BACKEND (any execution)",
            choices=("NONE", "CSE", "BACKEND"),
        ),
        Option("cache_for", (str, int, float), None, "how long a cached answer counts: seconds, or text: 1d, 90m"),
        Option(
            "check_valid",
            (str,),
            "full",
            "full: each call below is checked again; shallow: the final value counts while all tasks below are current",
            choices=("full", "shallow"),
        ),
        Option("retries", (int,), 0, "how often a task that raised is tried again"),
        Option("retry_delay", NUMBER, 0.0, "seconds before the first retry"),
        Option("retry_backoff", NUMBER, 2.0, "factor by which the delay grows from one retry to the next"),
        Option("retry_on", (tuple, list, type), None, "exception classes that are tried again; by default all"),
        Option("timeout", NUMBER, None, "seconds that one attempt may take on its worker"),
        Option("max_worker_losses", (int,), 3, "how many lost workers (crashed, killed, out of memory) a job survives"),
        Option("limits", (dict, list, tuple), None, "named quantities held while an attempt runs: {'db': 2} or ['db']"),
        Option("priority", NUMBER, 0, "held jobs of higher priority start first"),
        Option("tags", (dict,), None, "key-value pairs recorded: at a definition with the task, else with the job"),
        Option("prov", (bool,), True, "False: no call below is recorded, and the cached answer is the final value"),
        Option("profile", (str,), None, "options of the configuration, below all others; `executor` is the same word"),
        Option("export_options", (dict,), None, "options for every call below this one"),
        Option("context", (dict,), None, "values that get_context reads in this call and below", many=False),
        Option("num_cpus", NUMBER, 1, "processors that the task needs; 0 becomes a small fraction"),
        Option("num_gpus", NUMBER, 0, "GPUs that the task needs; may be a fraction"),
        Option("memory", (int, float, str), None, "memory that the task needs, in bytes or as text such as 4GiB"),
        Option("resources", (dict,), None, "custom Ray resources"),
        Option("accelerator_type", (str,), None, "the accelerator that a node must have"),
        Option("label_selector", (dict,), None, "labels that a node must have"),
        Option("scheduling_strategy", (str, object), None, "DEFAULT, SPREAD or a Ray scheduling strategy object"),
        Option("runtime_env", (dict,), None, "Ray's runtime environment for the task"),
        Option("bundle", (bool, int), True, "whether small calls may share one Ray task, or how many at most"),
        Option("name", (str,), None, "the task's name instead of the function's", call=False),
        Option("namespace", (str,), None, "what stands before the name instead of the module's path", call=False),
        Option("version", (str, int), None, "counts as the code's identity instead of the code", call=False),
        Option("source", (str,), None, "a text that counts as the code's identity instead of the code", call=False),
        Option("load_module", (str,), None, "the module that a worker imports to find the task", call=False),
        Option("track_helpers", (bool,), True, "False: the task's own code counts, its helpers do not", call=False),
        Option("hash_includes", (list, tuple), None, "values that count as part of the code's identity", call=False),
        Option("config_args", (list, tuple), None, "parameters whose arguments do not count for the cache", call=False),
        Option("nout", (int,), None, "how many items the result has, so that it can be unpacked lazily", call=False),
        Option(
            "script",
            (bool, str),
            False,
            "True: the text that the body returns is run by bash, and what it prints is the result; 'bytes': as bytes",
            call=False,
            choices=(False, True, "bytes"),
        ),
        Option("check_types", (bool,), True, "False: arguments are not checked against the annotations", call=False),
    )
}


ALIASES = {"executor": "profile"}
"""Other words for an option."""


def check_options(
    given: Mapping[str, Any], *, where: str, at_call: bool = False, many: bool = False
) -> dict[str, Any]:
    """The options given, checked against the table.

    at_call: they are no definition's. many: they are for many calls: a definition's, a run's, exports, a profile.
    Raises BadOption for an unknown name (with the nearest known one) or a value of the wrong type. A value that is an
    expression is accepted as it is: it is checked when it has been reduced.
    """
    checked: dict[str, Any] = {}
    for name, value in given.items():
        name = ALIASES.get(name, name)
        option = OPTIONS.get(name)
        if option is None:
            near = difflib.get_close_matches(name, OPTIONS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" The options are: {', '.join(OPTIONS)}."
            raise BadOption(f"{where}: there is no task option {name!r}.{hint}")
        if at_call and not option.call:
            raise BadOption(f"{where}: {name!r} belongs to the task's definition: set it in @task({name}=...).")
        if not option.many and (many or not at_call):
            raise BadOption(f"{where}: {name!r} belongs to a call: task.options({name}=...)(...).")
        if not isinstance(value, Expression):
            check_value(option, value, where)
        elif name == "context":
            raise BadOption(f"{where}: a context cannot be lazy. Pass a lazy value as an argument.")
        checked[name] = _as_kept(name, value, where)
    return checked


def _as_kept(name: str, value: Any, where: str) -> Any:
    if value is None or isinstance(value, Expression):
        return value
    if name == "retry_on":
        return class_names(value)
    if name == "export_options":
        return check_options(value, where=f"{where}: export_options", at_call=True, many=True)
    return value


def class_names(classes: Any) -> tuple[str, ...]:
    """Full names of an exception class or of several: how classes travel to where user code is not loaded.

    Raises BadOption for anything else.
    """
    many = classes if isinstance(classes, tuple | list) else (classes,)
    for each in many:
        if not (isinstance(each, str) or (isinstance(each, type) and issubclass(each, BaseException))):
            raise BadOption(f"{each!r} is no exception class.")
    return tuple(each if isinstance(each, str) else f"{each.__module__}.{each.__qualname__}" for each in many)


LEAST_MEMORY = 1000
"""Bytes. A number below is meant in gigabytes, as other systems take it."""

_NEVER_NEGATIVE = frozenset({"retries", "max_worker_losses", "retry_delay", "timeout", "num_cpus", "num_gpus", "nout"})


def check_value(option: Option, value: Any, where: str) -> None:
    """Raise BadOption unless the value has one of the option's types and, where it has choices, is one of them."""
    if value is None and option.default is None:
        return
    wrong_bool = isinstance(value, bool) and bool not in option.types and object not in option.types
    if wrong_bool or not isinstance(value, option.types):
        wanted = " or ".join(kind.__name__ for kind in option.types)
        raise BadOption(
            f"{where}: option {option.name!r} takes {wanted}, not {value!r} of type {type(value).__name__} "
            f"({option.meaning})."
        )
    if option.choices and value not in option.choices:
        choices = ", ".join(map(repr, option.choices))
        raise BadOption(f"{where}: option {option.name!r} is one of {choices}, not {value!r}.")
    amount: Any = value
    if option.name in _NEVER_NEGATIVE and amount < 0:
        raise BadOption(f"{where}: option {option.name!r} cannot be negative, but is {value!r}.")
    if option.name == "limits":
        _check_limits(value, where)
    if option.name == "context":
        table: Any = value
        check_context(table, where=where)
    if option.name == "cache_for":
        parse_seconds(value, where=where)
    if option.name == "memory" and parse_bytes(value, where=where) < LEAST_MEMORY and value != 0:
        raise BadOption(
            f'{where}: memory={value!r} counts bytes, and no task needs so few. Give the unit: memory="4GiB".'
        )


DEEPEST_CONTEXT = 50
"""A path in a context is written by hand: one of more names than this is a mistake."""


def check_context(context: Mapping[str, Any], *, where: str) -> None:
    """Raise BadOption unless these are plain values under names, in dicts of dicts that are not nested without end."""
    tables: list[tuple[str, Mapping[Any, Any]]] = [("", context)]
    while tables:
        above, table = tables.pop()
        if above.count(".") > DEEPEST_CONTEXT:
            raise BadOption(f"{where}: a context may be {DEEPEST_CONTEXT} dicts deep, not deeper.")
        for name, value in table.items():
            if not isinstance(name, str) or not name or "." in name:
                raise BadOption(f"{where}: a name in the context is a text without dots, not {name!r}.")
            if type(value) is dict:
                tables.append((f"{above}{name}.", value))
            elif any(isinstance(leaf, Expression) for leaf in iter_leaves(value)):
                raise BadOption(
                    f"{where}: the context's value {above + name!r} is lazy. A context holds plain values: pass a lazy "
                    "one as an argument."
                )


def _check_limits(limits: Any, where: str) -> None:
    """Names are texts, amounts numbers. A lazy one is checked when it has been reduced."""
    amounts = limits.items() if isinstance(limits, dict) else ((name, 1) for name in limits)
    for name, amount in amounts:
        if not isinstance(name, str | Expression):
            raise BadOption(f"{where}: option 'limits' names each limit by a text, not by {name!r}.")
        is_number = isinstance(amount, int | float) and not isinstance(amount, bool)
        if not isinstance(amount, Expression) and not (is_number and amount >= 0):
            raise BadOption(f"{where}: option 'limits' takes a number, 0 or more, for {name!r}, not {amount!r}.")


def parse_option(text: str) -> tuple[str, Any]:
    """`name=value` from a command line, the value parsed as the option's type."""
    name, equals, raw = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals:
        raise BadOption(f"--option {text}: write it as name=value.")
    option = OPTIONS.get(ALIASES.get(name, name))
    if option is None:
        check_options({name: raw}, where="--option")
        raise AssertionError("unreachable: an unknown option has raised")
    value = _parse_value(option, raw.strip())
    ((name, value),) = check_options({name: value}, where="--option", at_call=True, many=True).items()
    return name, value


def _parse_value(option: Option, raw: str) -> Any:
    if bool in option.types and raw.lower() in ("true", "false", "yes", "no", "on", "off"):
        return raw.lower() in ("true", "yes", "on")
    for kind in (int, float):
        if kind in option.types:
            try:
                return kind(raw)
            except ValueError:
                continue
    if dict in option.types or list in option.types:
        import json

        try:
            return json.loads(raw)
        except json.JSONDecodeError as error:
            raise BadOption(f"--option {option.name}: write the value as JSON; {raw!r} is not ({error}).") from None
    return raw


_NUMBER_AND_UNIT = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-z]*)\s*")

SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
BYTES = {"": 1, "b": 1} | {
    f"{prefix}{suffix}": base ** (power + 1)
    for power, prefix in enumerate("kmgt")
    for suffix, base in (("", 1024), ("b", 1000), ("ib", 1024))
}


def parse_seconds(value: Any, *, where: str = "a duration") -> float:
    """Seconds from a number or from text such as "90m", "12h" or "1d"."""
    if not isinstance(value, str):
        return float(value)
    match = _NUMBER_AND_UNIT.fullmatch(value.lower())
    if not match or (match[2] or "s") not in SECONDS:
        raise BadOption(f"{where}: {value!r} is no duration; write seconds, or a number with {', '.join(SECONDS)}.")
    return float(match[1]) * SECONDS[match[2] or "s"]


def parse_bytes(value: Any, *, where: str = "a size") -> int:
    """Bytes from a number or from text such as "500MB" or "4GiB"."""
    if not isinstance(value, str):
        return int(value)
    match = _NUMBER_AND_UNIT.fullmatch(value.lower())
    if not match or match[2] not in BYTES:
        raise BadOption(f"{where}: {value!r} is no size; write bytes, or a number with KiB, MB, GiB and so on.")
    return int(float(match[1]) * BYTES[match[2]])


def merge(*levels: Mapping[str, Any] | None) -> dict[str, Any]:
    """Options of all levels, lowest first: a later level wins name by name.

    Of the options that are collections of names themselves (context, export_options, tags), nothing is lost: these are
    merged in turn.
    """
    merged: dict[str, Any] = {}
    for level in levels:
        if not level:
            continue
        if merged and not _COLLECTIONS.isdisjoint(level):
            names = _COLLECTIONS & merged.keys() & level.keys()
            both = {name: _merged(name, merged[name], level[name]) for name in names}
            merged.update(level)
            merged.update(both)
        else:
            merged.update(level)
    return merged


_COLLECTIONS = frozenset({"context", "export_options", "tags"})


def _merged(name: str, lower: Any, higher: Any) -> Any:
    if type(lower) is not dict or type(higher) is not dict:
        return higher  # a lazy one, or None
    if name == "context":
        return merge_context(lower, higher)
    return merge(lower, higher) if name == "export_options" else {**lower, **higher}


def merge_context(lower: Mapping[str, Any], higher: Mapping[str, Any]) -> dict[str, Any]:
    """A context over another: dicts are merged at any depth, of everything else the higher one counts."""
    merged = dict(lower)
    waiting: list[tuple[dict[str, Any], Mapping[str, Any]]] = [(merged, higher)]
    while waiting:
        into, table = waiting.pop()
        for name, value in table.items():
            below = into.get(name)
            if type(value) is dict and type(below) is dict:
                into[name] = dict(below)
                waiting.append((into[name], value))
            else:
                into[name] = value
    return merged


def profile_called(name: str, profiles: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """The options of a profile. Raises BadOption, with the nearest name, when the configuration has none of it."""
    found = profiles.get(name)
    if found is None:
        near = difflib.get_close_matches(name, profiles, n=1)
        there_are = f" There are: {', '.join(profiles)}." if profiles else ""
        hint = f" Did you mean {near[0]!r}?" if near else there_are
        raise BadOption(f"There is no profile {name!r}: add [profiles.{name}] to the project's rayflow.toml.{hint}")
    return found


def scope_of(options: Mapping[str, Any]) -> str:
    """The cache scope that the options ask for; `cache=False` lowers BACKEND to CSE."""
    scope: str = options.get("cache_scope", "BACKEND")
    if scope == "BACKEND" and options.get("cache") is False:
        return "CSE"
    return scope
