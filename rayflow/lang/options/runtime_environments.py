"""Checks of Ray's runtime environments: what Ray would refuse, or never make, is refused where it is written.

In: an environment, for one task or for all. Out: BadOption with what to write instead; the environment without the
values of its variables, for people and for records. Never: asks a cluster, looks at a file.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rayflow.errors import BadOption
from rayflow.lang.terms.expressions import Expression
from rayflow.values.encoding.previews import kind_of, preview

KEYS = frozenset(
    {
        "conda", "config", "container", "env_vars", "excludes", "image_uri", "java_jars", "nsight", "pip",
        "py_executable", "py_modules", "rocprof_sys", "uv", "worker_process_setup_hook", "working_dir",
    }
)  # fmt: skip
"""The keys that Ray accepts in a runtime environment."""

INSTALLERS = ("pip", "uv", "conda")
"""The keys that install packages. Ray takes one of them."""

IMAGES = ("image_uri", "container")
"""The keys that name an image in which workers run."""

_BESIDE_IMAGES = frozenset({"config", "env_vars"})
"""The keys that Ray takes beside an image."""

_FOR_ALL = {
    "worker_process_setup_hook": "a function that each worker calls first",
    "excludes": "what is left out of a local directory",
    "java_jars": "jars",
}
"""The keys that Ray takes for all tasks together, or without effect for one."""

_SHORT = 3
"""A value of so few characters may stand in any text."""

_SCHEMES = ("http", "https", "s3", "gs", "azure", "abfss", "file", "gcs", "local")
"""The beginnings of addresses from which Ray fetches packages."""

_PACKAGES = (".zip", ".whl", ".jar", ".tar.gz", ".tgz", ".tar.xz")


def check_for_task(environment: Mapping[Any, Any], where: str) -> None:
    """Raise BadOption unless Ray can make this runtime environment for one task: it needs URIs, not directories."""
    check_for_all(environment, where)
    for key, meaning in _FOR_ALL.items():
        if key in environment:
            raise BadOption(f"{where}: runtime_env's {key} ({meaning}) is for all tasks: write it in [environment].")
    places = environment.get("py_modules") or ()
    for key, place in (("working_dir", environment.get("working_dir")), *(("py_modules", each) for each in places)):
        if isinstance(place, str) and not _is_package(place):
            raise BadOption(
                f"{where}: runtime_env's {key} is {preview(place)}: for one task it has to be the URL of a package, "
                "such as s3://bucket/code.zip. A directory of this machine is sent for all tasks together: write it in "
                "[environment]."
            )


def check_for_all(environment: Mapping[Any, Any], where: str) -> None:
    """Raise BadOption unless Ray can make this runtime environment for all tasks of a run."""
    for key in environment:
        if key not in KEYS and not str(key).startswith("_"):
            near = difflib.get_close_matches(str(key), KEYS, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(sorted(KEYS))}."
            raise BadOption(f"{where}: a runtime environment has no {key!r}. {hint}")
    _check_together(environment, where)
    for key in ("pip", "uv"):
        _check_packages(key, environment.get(key), where)
    conda = environment.get("conda")
    if conda is not None and not isinstance(conda, str | dict | Expression):
        raise BadOption(f"{where}: runtime_env's conda is a name, a file or a table, not {preview(conda)}.")
    for key in ("image_uri", "py_executable", "working_dir"):
        text = environment.get(key)
        if text is not None and not (isinstance(text, Expression) or (isinstance(text, str) and text.strip())):
            raise BadOption(f"{where}: runtime_env's {key} is a text, and not empty, but is {preview(text)}.")
    modules = environment.get("py_modules")
    if modules is not None and not isinstance(modules, list | tuple | Expression):
        raise BadOption(f"{where}: runtime_env's py_modules is a list of places, not {preview(modules)}.")
    _check_variables(environment.get("env_vars", {}), where)
    _check_config(environment.get("config"), where)


def shown(environment: Mapping[Any, Any]) -> dict[Any, Any]:
    """An environment for people and for records: of its variables the names alone, since values may be secrets."""
    variables = environment.get("env_vars")
    if not variables:
        return dict(environment)
    is_plain = isinstance(variables, Mapping | list)  # a list is of names already
    names = sorted(map(str, variables)) if is_plain else f"<{kind_of(variables)}>"
    return {**environment, "env_vars": names}


def shown_in(options: Mapping[str, Any]) -> dict[str, Any]:
    """Task options for people and for records: as they are, but each runtime environment as `shown` gives it."""
    found = dict(options)
    if isinstance(environment := options.get("runtime_env"), Mapping):
        found["runtime_env"] = shown(environment)
    if isinstance(exported := options.get("export_options"), Mapping):
        found["export_options"] = shown_in(exported)
    return found


def shown_words(words: Sequence[str]) -> list[str]:
    """The words of a command line, without the values of variables in options that stand among them."""
    return [_shown_word(word) if _WITH_ENVIRONMENT.search(word) else word for word in words]


def with_variables(options: Mapping[str, Any], configured: Mapping[str, Any], whose: str) -> dict[str, Any]:
    """Recorded options with the values of their variables, which no record has: those that are configured now.

    configured: task options. whose: the execution, for the error. Raises BadOption, with the names, for variables that
    have no value there.
    """
    found = dict(options)
    if isinstance(exported := options.get("export_options"), Mapping):
        found["export_options"] = with_variables(exported, _table(configured, "export_options"), whose)
    environment = _table(options, "runtime_env")
    names = environment.get("env_vars")
    if isinstance(names, list):
        values = _table(_table(configured, "runtime_env"), "env_vars")
        lacking = [name for name in names if name not in values]
        if lacking:
            raise BadOption(
                f"{whose} had values for {', '.join(lacking)} in the env_vars of its option runtime_env. Values of "
                "variables are not recorded, since they may be secrets. Write them into the project's rayflow.toml: "
                f'options = {{ runtime_env = {{ env_vars = {{ {lacking[0]} = "..." }} }} }}.'
            )
        found["runtime_env"] = {**environment, "env_vars": {name: values[name] for name in names}}
    return found


def _table(options: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = options.get(name)
    return found if isinstance(found, Mapping) else {}


_WITH_ENVIRONMENT = re.compile(r"(?:^|=)\s*(runtime[_-]env|export[_-]options)\s*=(?=.*env_vars)", re.DOTALL)
"""The beginning of a word that gives an option with variables: `runtime_env={...}` or `--option=runtime_env={...}`."""


def _shown_word(word: str) -> str:
    match = _WITH_ENVIRONMENT.search(word)
    assert match is not None
    name = match[1].replace("-", "_")
    try:
        given = json.loads(word[match.end() :])
    except ValueError:
        given = None
    if not isinstance(given, dict):
        return f"{word[: match.end()]}..."
    return f"{word[: match.end()]}{json.dumps(shown_in({name: given})[name])}"


def without_values(text: str, environment: Mapping[Any, Any]) -> str:
    """A text of somebody else's about an environment, with `<value of NAME>` for each value of its variables. Short
    ones are found in quotes only: the text may have a 1 of its own."""
    variables = environment.get("env_vars")
    pairs = variables.items() if isinstance(variables, Mapping) else ()
    for name, value in sorted(pairs, key=lambda pair: -len(str(pair[1]))):
        forms = [repr(value), json.dumps(value), *([value] if len(value) > _SHORT else ())] if value else ()
        for form in forms:
            text = text.replace(form, f"<value of {name}>")
    return text


def _check_together(environment: Mapping[Any, Any], where: str) -> None:
    """Raise BadOption for keys that Ray does not take together."""
    given = [key for key in INSTALLERS if environment.get(key)]
    if len(given) > 1:
        raise BadOption(
            f"{where}: a runtime environment cannot have both {given[0]} and {given[1]}. Packages for pip beside "
            "conda's stand in conda's table: conda = { dependencies = ['python=3.12', 'pip', { pip = ['lxml'] }] }."
        )
    for image in IMAGES:
        if environment.get(image):
            others = sorted(
                key for key in environment
                if key != image and key not in _BESIDE_IMAGES and not str(key).startswith("_")
            )  # fmt: skip
            if others:
                raise BadOption(
                    f"{where}: a runtime environment with {image} cannot have {others[0]}, too: beside an image Ray "
                    "takes env_vars and config alone. Put the rest into the image."
                )


def _check_packages(key: str, given: Any, where: str) -> None:
    """Raise BadOption unless pip or uv gets packages: a list of texts, a requirements file, or a table with them."""
    packages = given.get("packages") if isinstance(given, dict) else given
    if given is None or isinstance(given, Expression) or isinstance(packages, Expression):
        return
    if isinstance(given, dict) and packages is None:
        raise BadOption(f"{where}: runtime_env's {key} is a table without packages: {key} = {{ packages = ['lxml'] }}.")
    if isinstance(packages, str) and packages.strip():
        return
    if isinstance(packages, list) and all(isinstance(each, str | Expression) for each in packages):
        return
    raise BadOption(f"{where}: runtime_env's {key} is a list of packages as texts, not {preview(packages)}.")


def _check_variables(variables: Any, where: str) -> None:
    if isinstance(variables, Expression):
        return
    if not isinstance(variables, dict):
        raise BadOption(f"{where}: runtime_env's env_vars are texts by name, not a {kind_of(variables)}.")
    for name, value in variables.items():
        if not isinstance(name, str) or not name.strip():
            raise BadOption(
                f"{where}: a name in option 'runtime_env' has to be a text, and not empty, but is {name!r}."
            )
        if not isinstance(value, str | Expression):
            from rayflow.values.secrets import Secret  # takes several milliseconds to import, and few need it

            meant = " Pass the secret to the task, whose body reads it by get()." if isinstance(value, Secret) else ""
            raise BadOption(f"{where}: runtime_env's env_vars are texts, but {name} is a {kind_of(value)}.{meant}")


def _check_config(config: Any, where: str) -> None:
    """Raise BadOption unless the time that an installation may take is a number of seconds, or -1 for no end."""
    seconds = config.get("setup_timeout_seconds") if isinstance(config, dict) else None
    if seconds is None or isinstance(seconds, Expression):
        return
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not (seconds > 0 or seconds == -1):
        raise BadOption(
            f"{where}: runtime_env's setup_timeout_seconds is a whole number above 0, or -1 for no end, not "
            f"{preview(seconds)}."
        )


def _is_package(place: str) -> bool:
    scheme, found, path = place.partition("://")
    return bool(found) and scheme.lower() in _SCHEMES and path.partition("?")[0].lower().endswith(_PACKAGES)
