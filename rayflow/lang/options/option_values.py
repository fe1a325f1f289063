"""Checks of the values of single options, beyond their type; and the numbers behind texts such as "4GiB".

In: a value of the right type. Out: BadOption where the value makes no sense on any machine; numbers from texts. Never:
knows which options there are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from rayflow.errors import BadOption
from rayflow.lang.options.runtime_environments import KEYS, check_for_task
from rayflow.lang.options.tags import tag_pairs
from rayflow.lang.terms.expressions import Expression
from rayflow.values.encoding.nested import iter_leaves
from rayflow.values.encoding.previews import preview

# --- texts that stand for numbers -------------------------------------------------------------------------------------

_NUMBER_AND_UNIT = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-z]*)\s*")

SECONDS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
BYTES = {"": 1, "b": 1} | {
    f"{prefix}{suffix}": base ** (power + 1)
    for power, prefix in enumerate("kmgtpe")
    for suffix, base in (("", 1024), ("b", 1000), ("ib", 1024))
}


def parse_seconds(value: Any, *, where: str = "a duration") -> float:
    """Seconds from a number or from text such as "90m", "12h" or "1d"."""
    if not isinstance(value, str):
        check_finite("a duration", value, where)
        return float(value)
    match = _NUMBER_AND_UNIT.fullmatch(value.lower())
    if not match or (match[2] or "s") not in SECONDS:
        raise BadOption(
            f"{where}: {preview(value)} is not a duration; write seconds, or a number with {', '.join(SECONDS)}."
        )
    return float(match[1]) * SECONDS[match[2] or "s"]


def parse_bytes(value: Any, *, where: str = "a size") -> int:
    """Bytes from a number or from text such as "500MB" or "4GiB"."""
    if not isinstance(value, str):
        return int(value)
    match = _NUMBER_AND_UNIT.fullmatch(value.lower())
    if not match or match[2] not in BYTES:
        raise BadOption(
            f"{where}: {preview(value)} is not a size; write bytes, or a number with KiB, MB, GiB and so on."
        )
    size = float(match[1]) * BYTES[match[2]]
    check_finite("a size", size, where)
    return int(size)


MOST_BITS = 1000
"""The most bits of a whole number in an option. A larger number does not fit into a float."""


def check_finite(what: str, number: float, where: str) -> None:
    """Raise BadOption for nan, for the infinite, and for whole numbers that are too large."""
    if isinstance(number, int) and number.bit_length() > MOST_BITS:
        raise BadOption(f"{where}: {what} is {preview(number)}: it has to be below 2**{MOST_BITS}.")
    if isinstance(number, float) and not math.isfinite(number):
        raise BadOption(f"{where}: {what} has to be a finite number, but is {preview(number)}.")


AUTO, SIZED = "auto", ("num_cpus", "memory")
"""In place of a size: as much as earlier calls of the task used. The options that take it."""


def is_auto(options: Mapping[str, Any]) -> bool:
    """Whether a size is to be chosen for a call with these options."""
    return any(type(options.get(name)) is str and options[name] == AUTO for name in SIZED)


# --- what a call asks of a node ---------------------------------------------------------------------------------------

LEAST_MEMORY = 1000
"""The least memory in bytes. A smaller number is probably meant in gigabytes, as in other systems."""

MOST_MEMORY = 256 << 40
"""The most memory in bytes. No machine has so much. A much larger number overflows in Ray: the call runs anywhere."""

MOST_UNITS = 1e9
"""The most units of a resource that the user names. Ray counts much larger amounts wrongly."""

LEAST_UNITS = 0.0001
"""The smallest part of a resource that Ray can give."""

_HAVE_OPTIONS = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}


def check_memory(memory: Any, where: str) -> None:
    """Raise BadOption unless a node can have so many bytes, or it is "auto"."""
    if memory == AUTO:
        return
    if not isinstance(memory, str):
        check_finite("option 'memory'", memory, where)
    size = parse_bytes(memory, where=f"{where}: option 'memory'")
    if size < LEAST_MEMORY and memory != 0:
        raise BadOption(
            f'{where}: memory={preview(memory)} counts bytes, and no task needs so few. Give the unit: memory="4GiB".'
        )
    if size > MOST_MEMORY:
        raise BadOption(
            f"{where}: memory={preview(memory)} is more than any machine has ({MOST_MEMORY >> 40} TiB at "
            "most)."
        )


def check_share(what: str, amount: float, where: str) -> None:
    """Raise BadOption for a part of a resource that is smaller than Ray can give."""
    if 0 < amount < LEAST_UNITS:
        raise BadOption(f"{where}: {what} is {preview(amount)}: the smallest part that can be given is {LEAST_UNITS}.")


def check_cpus(amount: Any, where: str) -> None:
    """Raise BadOption unless it is an amount of processors, or "auto"."""
    if isinstance(amount, str):
        if amount != AUTO:
            raise BadOption(f"{where}: option 'num_cpus' takes a number or 'auto', not {preview(amount)}.")
    else:
        check_share("option 'num_cpus'", amount, where)


def check_gpus(amount: Any, where: str) -> None:
    """Raise BadOption unless it is a fraction of one GPU, or a whole number of them."""
    check_share("option 'num_gpus'", amount, where)
    if amount > 1 and amount != int(amount):
        raise BadOption(f"{where}: option 'num_gpus' is {preview(amount)}: above 1 it has to be a whole number.")


def check_resources(resources: Any, where: str) -> None:
    """Raise BadOption unless these are amounts by name."""
    for name, amount in resources.items():
        what = f"option 'resources' for {name!r}"
        _check_name("resources", name, where)
        if name in _HAVE_OPTIONS:
            raise BadOption(f"{where}: {name} is not a custom resource: its own option is {_HAVE_OPTIONS[name]}.")
        if isinstance(amount, Expression):
            continue
        _check_number(what, amount, where)
        check_share(what, amount, where)
        if amount > MOST_UNITS:
            raise BadOption(
                f"{where}: {what} is {preview(amount)}, more than any node can have ({MOST_UNITS:g} at "
                "most)."
            )


MOST_BUNDLES = 10_000
"""The most bundles of a gang."""

_BUNDLES_CALL = {
    "cpu": "CPU", "cpus": "CPU", "num_cpus": "CPU", "gpu": "GPU", "gpus": "GPU", "num_gpus": "GPU", "memory": "memory",
}  # fmt: skip
"""Ray's names of the quantities that have an option of their own, by what people write in lower case."""


def check_gang(gang: Any, where: str) -> None:
    """Raise BadOption unless these are bundles: amounts of resources by name, in Ray's words."""
    if not gang or len(gang) > MOST_BUNDLES:
        raise BadOption(f"{where}: option 'gang' has from 1 to {MOST_BUNDLES:,} bundles, not {len(gang)}.")
    for bundle in gang:
        if isinstance(bundle, Expression):
            continue
        if not isinstance(bundle, dict) or not bundle:
            raise BadOption(
                f"{where}: a bundle of option 'gang' is a dict of amounts, such as {{'CPU': 2}}, not {preview(bundle)}."
            )
        for name, amount in bundle.items():
            _check_amount_of_bundle(name, amount, where)


def _check_amount_of_bundle(name: Any, amount: Any, where: str) -> None:
    _check_name("gang", name, where)
    meant = _BUNDLES_CALL.get(name.lower(), name)
    if meant != name:
        raise BadOption(f"{where}: a bundle of option 'gang' calls it {meant}, not {name}.")
    if isinstance(amount, Expression):
        return
    what = f"option 'gang' for {name!r}"
    if name == "memory":
        check_memory(amount, where)
        amount = parse_bytes(amount, where=where)
    else:
        _check_number(what, amount, where)
        check_share(what, amount, where)
    if not amount:
        raise BadOption(f"{where}: {what} is 0: leave it out.")
    if name == "GPU" and amount > 1 and amount != int(amount):
        raise BadOption(f"{where}: {what} is {preview(amount)}: above 1 it has to be a whole number.")
    if name != "memory" and amount > MOST_UNITS:
        raise BadOption(f"{where}: {what} is {preview(amount)}, more than any node can have ({MOST_UNITS:g} at most).")


_LABEL_RULE = re.compile(r"!?(in\(\s*[^(),\s]+(\s*,\s*[^(),\s]+)*\s*\)|[^!(),\s]+)")


def check_labels(selector: Any, where: str) -> None:
    """Raise BadOption unless these are rules for labels, as Ray takes them."""
    for name, rule in selector.items():
        _check_name("label_selector", name, where)
        if not isinstance(rule, Expression) and not (isinstance(rule, str) and _LABEL_RULE.fullmatch(rule)):
            raise BadOption(
                f"{where}: option 'label_selector' for {name!r} is {rule!r}: write a value, !value, in(a,b) or "
                "!in(a,b)."
            )


def check_strategy(strategy: Any, where: str) -> None:
    """Raise BadOption unless it is the name of a strategy, or an object of Ray's."""
    is_name = isinstance(strategy, str)
    if strategy not in ("DEFAULT", "SPREAD") if is_name else not _is_rays(strategy):
        raise BadOption(
            f"{where}: option 'scheduling_strategy' is DEFAULT, SPREAD or a scheduling strategy object of Ray's, not "
            f"{preview(strategy)}."
        )


def _is_rays(value: Any) -> bool:
    kind = getattr(value, "kind", None) or type(value).__module__  # in a term that has travelled, a reference
    return isinstance(kind, str) and kind.partition(".")[0] == "ray"


def check_counted(counted: Any, where: str) -> None:
    """Raise BadOption unless these are distributions whose versions count: True, names, or versions by name."""
    if isinstance(counted, bool):
        return
    for name in counted:
        _check_name("hash_distributions", name, where)
    for name, version in counted.items() if isinstance(counted, dict) else ():
        if not isinstance(version, str) or not version.strip():
            meant = " A runtime environment is the option runtime_env." if name in KEYS else ""
            raise BadOption(
                f"{where}: option 'hash_distributions' takes a version as a text for {name!r}, not {preview(version)}."
                f"{meant}"
            )


# --- names and amounts ------------------------------------------------------------------------------------------------


def _check_name(option: str, name: Any, where: str) -> None:
    if not isinstance(name, str) or not name.strip():
        raise BadOption(f"{where}: a name in option {option!r} has to be a text, and not empty, but is {name!r}.")


def _check_number(what: str, amount: Any, where: str) -> None:
    is_number = isinstance(amount, int | float) and not isinstance(amount, bool)
    if not (is_number and amount >= 0):
        raise BadOption(f"{where}: {what} takes a number, 0 or more, not {preview(amount)}.")
    check_finite(what, amount, where)


def check_limits(limits: Any, where: str) -> None:
    """Raise BadOption unless names are texts and amounts numbers. A lazy one is checked when it has been reduced."""
    is_table = isinstance(limits, dict)
    seen: set[str] = set()
    for name in limits:
        if isinstance(name, Expression):
            continue
        if not isinstance(name, str):
            raise BadOption(f"{where}: option 'limits' names each limit by a text, not by {name!r}.")
        _check_name("limits", name, where)
        if name in seen:
            raise BadOption(f"{where}: option 'limits' names {name!r} twice: write how much of it as {{{name!r}: 2}}.")
        seen.add(name)
        if is_table and not isinstance(limits[name], Expression):
            _check_number(f"option 'limits' for {name!r}", limits[name], where)


def check_tags(tags: Any, where: str) -> None:
    """Raise BadOption unless these are tags: a dict, pairs, or texts."""
    if isinstance(tags, dict):
        for name in tags:
            _check_name("tags", name, where)
    tag_pairs(tags, f"{where}: option 'tags'")


def check_age(cache_for: Any, where: str) -> None:
    """Raise BadOption unless it is a duration for which a result can be valid."""
    seconds = parse_seconds(cache_for, where=where)
    check_finite("option 'cache_for'", seconds, where)
    if seconds < 0:
        raise BadOption(f"{where}: option 'cache_for' cannot be negative, but is {preview(cache_for)}.")


def check_bundle(bundle: Any, where: str) -> None:
    """Raise BadOption unless it is a bool, or a number of calls from 1 on."""
    if bundle is not False and bundle < 1:
        raise BadOption(
            f"{where}: option 'bundle' is {preview(bundle)}: a bundle has at least one call; False sends each "
            "call alone."
        )


def check_retry_on(classes: Any, where: str) -> None:
    """Raise BadOption when it names no class."""
    if isinstance(classes, tuple | list) and not classes:
        raise BadOption(
            f"{where}: option 'retry_on' names no exception: leave it out for all, or set retries=0 for none."
        )


DEEPEST_CONTEXT = 50
"""A path in a context is written by hand: one of more names than this is a mistake."""


def check_context(context: Mapping[str, Any], where: str) -> None:
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
                    f"{where}: the context's value {preview(above + name)} is lazy. A context holds plain values: "
                    "pass a lazy one as an argument."
                )


CHECKS: Mapping[str, Callable[[Any, str], None]] = {
    "memory": check_memory,
    "num_cpus": check_cpus,
    "num_gpus": check_gpus,
    "resources": check_resources,
    "label_selector": check_labels,
    "scheduling_strategy": check_strategy,
    "gang": check_gang,
    "runtime_env": check_for_task,
    "hash_distributions": check_counted,
    "limits": check_limits,
    "tags": check_tags,
    "cache_for": check_age,
    "bundle": check_bundle,
    "retry_on": check_retry_on,
    "context": check_context,
}
"""By the option's name."""
