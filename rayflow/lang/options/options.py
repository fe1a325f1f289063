"""Task options: every name, type, default and meaning, and how the levels are merged.

In: options that a user wrote at a definition, a call or a run. Out: checked, merged options. Never: translates them to
Ray's (rayflow.runtime.on_ray.lowering does).

The table `OPTIONS` is the one place that lists them; the documentation and the error for an unknown name are made from
it.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rayflow.errors import BadOption
from rayflow.lang.options.option_values import CHECKS, check_finite
from rayflow.lang.options.tags import laid_over
from rayflow.lang.terms.expressions import Expression
from rayflow.values.encoding.nested import iter_leaves
from rayflow.values.encoding.previews import either, kind_of, preview
from rayflow.values.encoding.whole_numbers import number_of


@dataclass(frozen=True, slots=True)
class Option:
    """One task option.

    types: the Python types that its value may have.
    call: whether `.options(...)` and a run may set it; the others belong to the definition alone.
    many: whether a definition, a run, exports and a profile may set it; the others belong to single calls.
    choices: the values that it may have. recorded: what records and hashes call a value; by its text, in lower case.
    least, most: what a number may be. empty: whether a text may be.
    """

    name: str
    types: tuple[type, ...]
    default: Any
    meaning: str
    call: bool = True
    choices: tuple[Any, ...] = ()
    recorded: Mapping[str, str] = field(default_factory=dict)
    many: bool = True
    least: float | None = None
    most: float | None = None
    empty: bool = False

    @property
    def kinds(self) -> str:
        """The types as text."""
        names = ["number" if kind is float else kind.__name__ for kind in self.types]
        if "number" in names and "int" in names:
            names.remove("int")
        return either(names)


NUMBER = (int, float)

MOST_SECONDS = 10**9
"""Thirty years: clocks and timers of systems count no further."""

MOST_DEPTH = 120_000
"""How deep calls may be nested, unless an option says otherwise. If all of them fail, they take a gigabyte."""

MOST_UNITS = 100_000
"""No machine has so many processors."""

OPTIONS: dict[str, Option] = {
    option.name: option
    for option in (
        Option("cache", (bool,), True, "False: share equal calls in one execution, but compute anew in the next"),
        Option(
            "cache_scope",
            (str,),
            "store",
            "what may answer a call: none (always run), execution (this execution only), store (any execution)",
            choices=("none", "execution", "store"),
            recorded={"none": "NONE", "execution": "CSE", "cse": "CSE", "store": "BACKEND", "backend": "BACKEND"},
        ),
        Option("cache_for", (str, int, float), None, "how long a cached answer counts: seconds, or text: 1d, 90m"),
        Option(
            "check_valid",
            (str,),
            "full",
            "full: each call below is checked again; shallow: the final value counts while all tasks below are current",
            choices=("full", "shallow"),
        ),
        Option("retries", (int,), 0, "how often a task that raised is tried again", least=0),
        Option("retry_delay", NUMBER, 0.0, "seconds before the first retry", least=0, most=MOST_SECONDS),
        Option("retry_backoff", NUMBER, 2.0, "factor by which the delay grows from one retry to the next", least=0.01),
        Option(
            "retry_max_delay", NUMBER, None, "the longest delay before a retry, in seconds", least=0, most=MOST_SECONDS
        ),
        Option(
            "retry_jitter",
            NUMBER,
            0.0,
            "by which part a delay may be longer or shorter, so that calls do not come together: 0.1",
            least=0,
            most=1,
        ),
        Option("retry_on", (tuple, list, type), None, "exception classes that are tried again; by default all"),
        Option(
            "timeout", NUMBER, None, "seconds that one attempt may take on its worker", least=0.001, most=MOST_SECONDS
        ),
        Option(
            "max_worker_losses",
            (int,),
            3,
            "how many lost workers (crashed, killed, out of memory) a job survives",
            least=0,
        ),
        Option("limits", (dict, list, tuple), None, "named quantities held while an attempt runs: {'db': 2} or ['db']"),
        Option(
            "max_depth",
            (int,),
            MOST_DEPTH,
            "in how many calls, one in another, a call may stand: a recursion that comes deeper fails",
            least=1,
        ),
        Option("priority", NUMBER, 0, "held jobs of higher priority start first"),
        Option(
            "tags",
            (dict, list, tuple),
            None,
            "key-value pairs recorded: at a definition with the task, else with the job",
        ),
        Option("prov", (bool,), True, "False: no call below is recorded, and the cached answer is the final value"),
        Option("profile", (str,), None, "options of the configuration, below all others; `executor` is the same word"),
        Option("export_options", (dict,), None, "options for every call below this one"),
        Option("context", (dict,), None, "values that get_context reads in this call and below", many=False),
        Option(
            "key",
            (str, int),
            None,
            "tells a call from equal calls of the same caller, instead of its arguments: its place in a run",
            many=False,
        ),
        Option("label", (str,), None, "the name that a call is shown and found by, beside its task's", many=False),
        Option(
            "num_cpus",
            (*NUMBER, str),
            1,
            "processors that the task needs; 0 becomes a small fraction; auto: as many as earlier calls used",
            least=0,
            most=MOST_UNITS,
        ),
        Option("num_gpus", NUMBER, 0, "GPUs that the task needs; may be a fraction", least=0, most=MOST_UNITS),
        Option(
            "memory",
            (int, float, str),
            None,
            "memory that the task needs, in bytes or as text such as 4GiB; auto: as much as earlier calls used",
        ),
        Option("resources", (dict,), None, "custom Ray resources"),
        Option("accelerator_type", (str,), None, "the accelerator that a node must have"),
        Option("label_selector", (dict,), None, "labels that a node must have"),
        Option("scheduling_strategy", (str, object), None, "DEFAULT, SPREAD or a Ray scheduling strategy object"),
        Option(
            "gang",
            (list, tuple),
            None,
            "bundles of resources that the call holds while its body runs: [{'CPU': 2}] * 4; see get_gang",
        ),
        Option(
            "strategy",
            (str,),
            None,
            "how a gang's bundles are spread over nodes: PACK (the default), SPREAD, STRICT_PACK, STRICT_SPREAD",
            choices=("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"),
        ),
        Option("runtime_env", (dict,), None, "Ray's runtime environment for the task"),
        Option("bundle", (bool, int), True, "whether small calls may share one Ray task, or how many at most"),
        Option(
            "on_unknown",
            (str,),
            "retry",
            "of an effect that has started and whose end is unknown: retry: do it again; fail: OutcomeUnknown",
            choices=("retry", "fail"),
        ),
        Option(
            "on_changed",
            (str,),
            "stop",
            "of an effect that is done, and that a changed body does not come to again: stop: the run waits for a "
            "person; keep: leave it done; again: do the new one; fail: EffectChanged",
            choices=("stop", "keep", "again", "fail"),
        ),
        Option(
            "on_cancel",
            (str,),
            "leave",
            "of an effect that runs while nothing waits for it any more: leave: let it end; kill: end its worker",
            choices=("leave", "kill"),
        ),
        Option(
            "effect",
            (bool,),
            False,
            "True: the call is made once at its place in a run, and never answered from the cache",
            call=False,
        ),
        Option("name", (str,), None, "the task's name instead of the function's", call=False),
        Option(
            "namespace",
            (str,),
            None,
            "what stands before the name instead of the module's path",
            call=False,
            empty=True,
        ),
        Option(
            "version", (str, int), None, "counts as the code's identity instead of the code", call=False, empty=True
        ),
        Option(
            "source",
            (str,),
            None,
            "a text that counts as the code's identity instead of the code",
            call=False,
            empty=True,
        ),
        Option("load_module", (str,), None, "the module that a worker imports to find the task", call=False),
        Option("track_helpers", (bool,), True, "False: the task's own code counts, its helpers do not", call=False),
        Option("hash_includes", (list, tuple), None, "values that count as part of the code's identity", call=False),
        Option(
            "hash_distributions",
            (bool, list, tuple, dict),
            False,
            "distributions whose versions count as part of the code's identity: True for all that the files of its "
            "code import, a list of names, or versions by name",
            call=False,
        ),
        Option("config_args", (list, tuple), None, "parameters whose arguments do not count for the cache", call=False),
        Option(
            "nout",
            (int,),
            None,
            "how many items the result has, so that it can be unpacked lazily",
            call=False,
            least=0,
        ),
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


NO_GANG = (
    "strategy says how a gang is spread over nodes, and there is no gang. Add gang=[...], or write scheduling_strategy "
    "for a call without one."
)
TWO_PLACES = "gang and scheduling_strategy contradict each other: the body runs in its gang. Leave one out."

OF_EFFECTS = frozenset({"on_unknown", "on_changed", "on_cancel"})
"""Options that only an effect can have."""

NOT_OF_EFFECTS = frozenset({"cache", "cache_scope", "cache_for", "check_valid", "prov"})
"""Options that an effect cannot have: nothing but its own run answers it, and its start and its end are recorded."""


def check_of_effect(given: Mapping[str, Any], is_effect: bool, where: str) -> None:
    """Raise BadOption for options of a definition or a call that do not suit an effect, or only suit one."""
    for name in given:
        name = ALIASES.get(name, name)
        if is_effect and name in NOT_OF_EFFECTS:
            raise BadOption(
                f"{where}: an effect has no option {name!r}: it is done once at its place in a run, and no cache "
                "answers it. Leave the option out, or make it a @task if it may be answered from the cache."
            )
        if not is_effect and name in OF_EFFECTS:
            raise BadOption(f"{where}: option {name!r} belongs to an effect. Write @effect in place of @task.")


ALIASES = {"executor": "profile"}
"""Other words for an option."""

MEANT = {
    "retry": "retries", "max_retries": "retries", "maxretries": "retries", "tries": "retries", "attempts": "retries",
    "retry_exceptions": "retry_on", "retry_for": "retry_on", "retry_delay_seconds": "retry_delay",
    "retry_exponential_backoff": "retry_backoff", "backoff": "retry_backoff", "jitter": "retry_jitter",
    "max_delay": "retry_max_delay", "idempotency_key": "key", "side_effect": "effect", "idempotent": "effect",
    "cpu": "num_cpus", "cpus": "num_cpus", "vcpus": "num_cpus", "ncpus": "num_cpus", "n_cpus": "num_cpus",
    "cores": "num_cpus", "threads": "num_cpus", "gpu": "num_gpus", "gpus": "num_gpus", "n_gpus": "num_gpus",
    "accelerator": "accelerator_type", "mem": "memory", "ram": "memory", "mem_mb": "memory", "mem_gb": "memory",
    "time": "timeout", "time_limit": "timeout", "execution_timeout": "timeout", "timeout_seconds": "timeout",
    "ttl": "cache_for", "cache_expiration": "cache_for", "expire": "cache_for", "cache_ttl": "cache_for",
    "pool": "limits", "limit": "limits", "concurrency": "limits", "max_forks": "limits", "maxforks": "limits",
    "max_concurrency": "limits", "rate_limit": "limits", "priority_weight": "priority", "prio": "priority",
    "num_returns": "nout", "n_out": "nout", "outputs": "nout", "tag": "tags", "labels": "tags", "job_tags": "tags",
    "task_tags": "tags", "queue": "profile", "env": "runtime_env",
    "environment": "runtime_env", "distributions": "hash_distributions", "packages": "hash_distributions",
    "env_vars": "runtime_env", "salt": "version", "cache_version": "version", "scope": "cache_scope",
    "recursion_limit": "max_depth", "batch": "bundle", "provenance": "prov", "task_name": "name",
    "placement_group": "gang", "placement_group_bundles": "gang", "bundles": "gang",
    "node_labels": "label_selector", "type_check": "check_types", "validate": "check_types",
}  # fmt: skip
"""Other names of options: of Ray, redun, Nextflow, Snakemake, Airflow and Prefect, or as people guess them. They are
offered, not accepted: one word for one thing."""


def near_option(name: str) -> str | None:
    """The known option nearest to an unknown name; None when none is near."""
    meant = MEANT.get(name.replace("-", "_").lower())
    near = difflib.get_close_matches(name, OPTIONS, n=1)
    return meant or (near[0] if near else None)


def check_options(
    given: Mapping[str, Any], *, where: str, at_call: bool = False, many: bool = False, lazy: bool | None = None
) -> dict[str, Any]:
    """The options of one level, checked against the table, in the form in which they are recorded.

    at_call: they are for a call, not for a definition. many: they are for many calls: a definition's, a run's, exports,
    a profile. lazy: whether a value may be an expression, which is then checked when it has a value. By default those
    options may be lazy that a call can have.

    Raises BadOption for an unknown name (with the nearest known one), a value of the wrong type, a value that makes no
    sense, and options that contradict each other.
    """
    checked: dict[str, Any] = {}
    for name, value in given.items():
        name = ALIASES.get(name, name)
        option = OPTIONS.get(name)
        if option is None:
            near = near_option(name)
            hint = f" Did you mean {near!r}?" if near else f" The options are: {', '.join(OPTIONS)}."
            raise BadOption(f"{where}: there is no task option {name!r}.{hint}")
        if at_call and not option.call:
            raise BadOption(f"{where}: {name!r} belongs to the task's definition: set it in @task({name}=...).")
        if not option.many and (many or not at_call):
            raise BadOption(f"{where}: {name!r} belongs to a call: task.options({name}=...)(...).")
        if is_lazy(value):
            if lazy is False:
                raise BadOption(
                    f"{where}: option {name!r} is lazy. Only a task or a call of it can have such an option: "
                    f"@task({name}=...) or task.options({name}=...)(...)."
                )
            if name == "tags" and not at_call:
                raise BadOption(
                    f"{where}: option 'tags' is lazy. Tags of a definition belong to the task, which is known before "
                    "anything is reduced: tag its calls by task.options(tags=...)(...), or a value by apply_tags."
                )
            if not option.call:
                raise BadOption(
                    f"{where}: option {name!r} is lazy. It says what the task is, so it has to be known before "
                    "anything is reduced: give it a plain value."
                )
        if not isinstance(value, Expression):
            check_value(option, value, where)
        elif name == "context":
            raise BadOption(f"{where}: a context cannot be lazy. Pass a lazy value as an argument.")
        checked[name] = _as_recorded(option, value, where)
    _check_together(checked, given.get("cache_scope"), where)
    if not at_call and not many:
        check_of_effect(checked, checked.get("effect") is True, where)
    if not at_call and not many and isinstance(checked.get("strategy"), str) and "gang" not in checked:
        raise BadOption(f"{where}: {NO_GANG}")
    return checked


def is_lazy(value: Any) -> bool:
    """Whether an option is an expression, or contains one."""
    return isinstance(value, Expression) or any(isinstance(leaf, Expression) for leaf in iter_leaves(value))


def _as_recorded(option: Option, value: Any, where: str) -> Any:
    """A checked value in the form in which records and hashes know it."""
    if value is None or isinstance(value, Expression):
        return value
    if option.recorded:
        return option.recorded[value.lower()]
    if option.name == "retry_on":
        return class_names(value)
    if option.name == "export_options":
        return check_options(value, where=f"{where}: export_options", at_call=True, many=True)
    return value


def class_names(classes: Any) -> tuple[str, ...]:
    """Full names of an exception class or of several, for processes where user code is not loaded.

    Raises BadOption for anything else.
    """
    many = classes if isinstance(classes, tuple | list) else (classes,)
    for each in many:
        if not (isinstance(each, str) or (isinstance(each, type) and issubclass(each, BaseException))):
            raise BadOption(f"{preview(each)} is not an exception class.")
    return tuple(each if isinstance(each, str) else f"{each.__module__}.{each.__qualname__}" for each in many)


def check_value(option: Option, value: Any, where: str) -> None:
    """Raise BadOption unless the value has one of the option's types and, where it has choices, is one of them."""
    if value is None and option.default is None:
        return
    wrong_bool = isinstance(value, bool) and bool not in option.types and object not in option.types
    if wrong_bool or not isinstance(value, option.types):
        wanted = " or ".join(kind.__name__ for kind in option.types)
        raise BadOption(
            f"{where}: option {option.name!r} takes {wanted}, not {preview(value, 80)} of type {kind_of(value)} "
            f"({option.meaning})."
        )
    if option.choices and value not in option.choices and str(value).lower() not in option.recorded:
        choices = ", ".join(map(repr, option.choices))
        raise BadOption(f"{where}: option {option.name!r} is one of {choices}, not {preview(value)}.")
    if value == "" and not option.empty:
        raise BadOption(f"{where}: option {option.name!r} is an empty text ({option.meaning}).")
    if isinstance(value, float):
        check_finite(f"option {option.name!r}", value, where)
    _check_range(option, value, where)
    if isinstance(value, int) and option.name != "version":
        check_finite(f"option {option.name!r}", value, where)
    check = CHECKS.get(option.name)
    if check is not None:
        check(value, where)


def _check_range(option: Option, value: Any, where: str) -> None:
    if isinstance(value, str):
        return
    if option.least is not None and value < option.least:
        least = "cannot be negative" if option.least == 0 else f"has to be {option.least:g} or more"
        raise BadOption(f"{where}: option {option.name!r} {least}, but is {preview(value)} ({option.meaning}).")
    if option.most is not None and value > option.most:
        raise BadOption(f"{where}: option {option.name!r} has to be {option.most:,} or less, but is {preview(value)}.")


def _check_together(checked: Mapping[str, Any], written: Any, where: str) -> None:
    """Raise BadOption for options of one level that contradict each other, or of which one has no effect.

    written: the `cache_scope` in the user's word.
    """
    cache, scope = checked.get("cache"), checked.get("cache_scope")
    if (cache is False and scope == "BACKEND") or (cache is True and scope in ("NONE", "CSE")):
        raise BadOption(f"{where}: cache={cache} and cache_scope={written!r} contradict each other: leave one out.")
    if checked.get("cache_for") is not None and (cache is False or scope in ("NONE", "CSE")):
        instead = "cache=False" if cache is False else f"cache_scope={written!r}"
        raise BadOption(f"{where}: cache_for has no effect beside {instead}: no later run uses the result.")
    if checked.get("gang") is not None and checked.get("scheduling_strategy") is not None:
        raise BadOption(f"{where}: {TWO_PLACES}")


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
        try:
            return json.loads(raw, parse_int=number_of)
        except json.JSONDecodeError as error:
            given = "what is given" if "env_vars" in raw else repr(raw)  # values of variables may be secrets
            raise BadOption(f"--option {option.name}: write the value as JSON; {given} is not ({error}).") from None
    return raw


def merge(*levels: Mapping[str, Any] | None) -> dict[str, Any]:
    """The options of all levels, lowest first: a later level wins, name by name.

    The options that are collections of names (context, export_options, tags) are merged in turn, so that nothing is
    lost. A `cache_scope` also wins over the `cache` of an earlier level.
    """
    merged: dict[str, Any] = {}
    for level in levels:
        if not level:
            continue
        if "cache_scope" in level:
            merged.pop("cache", None)  # which would lower it
        if merged and not _COLLECTIONS.isdisjoint(level):
            names = _COLLECTIONS & merged.keys() & level.keys()
            both = {name: _merged(name, merged[name], level[name]) for name in names}
            merged.update(level)
            merged.update(both)
        else:
            merged.update(level)
    return merged


_COLLECTIONS = frozenset({"context", "export_options", "tags"})
_TAGS = (dict, list, tuple)


def _merged(name: str, lower: Any, higher: Any) -> Any:
    if name == "tags" and isinstance(lower, _TAGS) and isinstance(higher, _TAGS):
        return laid_over(lower, higher)
    if type(lower) is not dict or type(higher) is not dict:
        return higher  # a lazy one, or None
    if name == "context":
        return merge_context(lower, higher)
    return merge(lower, higher)


def merge_context(lower: Mapping[str, Any], higher: Mapping[str, Any]) -> dict[str, Any]:
    """One context over another: dicts are merged at any depth; of other values, the higher one wins."""
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
    """The cache scope that checked options ask for, as recorded: NONE, CSE (the execution) or BACKEND (the store).

    `cache=False` lowers BACKEND to CSE.
    """
    scope: str = options.get("cache_scope", "BACKEND")
    if scope == "BACKEND" and options.get("cache") is False:
        return "CSE"
    return scope
