"""The files of `cluster/`, read: YAML documents, systemd units, commands, the settings of env.sh and of the image.

In: the folder. Out: plain data, and the commands of Ray that stand anywhere in it. Never: starts anything.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import jsonschema
import yaml
from projects import REPOSITORY

CLUSTER = REPOSITORY / "cluster"
SCHEMAS = REPOSITORY / "tests" / "cluster_files" / "schemas"

FILES = {
    path.relative_to(CLUSTER).as_posix(): path.read_text() for path in sorted(CLUSTER.rglob("*")) if path.is_file()
}
"""The text of every file."""


def documents(name: str) -> list[Any]:
    """The YAML documents of a file."""
    return list(yaml.safe_load_all(FILES[name]))


def document(name: str, kind: str | None = None) -> Any:
    """The only document of a file, or the only one of this kind."""
    [found] = [each for each in documents(name) if kind is None or each["kind"] == kind]
    return found


def complaints(value: Any, schema: str, kind: str) -> list[str]:
    """What is wrong with a value by a definition of one of our schemas: where, and what."""
    rules = json.loads((SCHEMAS / f"{schema}.json").read_text()) | {"$ref": f"#/$defs/{kind}"}
    validator = jsonschema.Draft202012Validator(rules)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def unit(name: str) -> dict[str, list[tuple[str, str]]]:
    """The sections of a systemd unit: the lines of each, as name and value, in their order."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for line in FILES[f"onprem/{name}.service"].splitlines():
        if line.startswith("["):
            current = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            current.append((key, value))
    return sections


def exec_start(name: str) -> list[str]:
    """The words that the shell of a unit replaces itself with."""
    [line] = [value for key, value in unit(name)["Service"] if key == "ExecStart"]
    shell, flag, script = shlex.split(line)
    assert (shell, flag) == ("/bin/sh", "-c"), line
    return shlex.split(script.partition(" exec ")[2])


def settings_of_env() -> dict[str, str]:
    """The variables of env.sh that have a fixed value."""
    return dict(re.findall(r"^export (\w+)=([\w.]+)$", FILES["env.sh"], re.MULTILINE))


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, each with its whole text."""
    text = re.sub(r"^\s*#.*\n", "", FILES["Dockerfile"], flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in text.splitlines() if line.strip()]


def settings_of_image() -> dict[str, str]:
    """The variables of the image."""
    [text] = [text for name, text in instructions() if name == "ENV"]
    return dict(word.partition("=")[::2] for word in shlex.split(text))


def pods(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The pod templates of a RayCluster's specification, by the name of their group."""
    yield "head", spec["headGroupSpec"]["template"]
    for group in spec["workerGroupSpecs"]:
        yield group["groupName"], group["template"]


def cluster_specs() -> dict[str, dict[str, Any]]:
    """The specifications of RayClusters, by file."""
    return {
        "k8s/raycluster.yaml": document("k8s/raycluster.yaml")["spec"],
        "k8s/rayjob.yaml": document("k8s/rayjob.yaml")["spec"]["rayClusterSpec"],
    }


def service_pod() -> dict[str, Any]:
    """The specification of the pod in which `rayflow serve` runs."""
    template: dict[str, Any] = document("k8s/service.yaml", "Deployment")["spec"]["template"]
    return dict(template["spec"])


def service_script() -> str:
    """What the shell of that pod runs."""
    shell, flag, script = service_pod()["containers"][0]["command"]
    assert (shell, flag) == ("/bin/sh", "-c")
    return str(script)


def ray_commands() -> list[tuple[str, list[str]]]:
    """Every command of Ray in these files: where it stands, and its words from `ray` on."""
    found = [(f"onprem/{name}.service", exec_start(name)) for name in ("ray-head", "ray-worker")]
    found += [("k8s/service.yaml", words) for words in commands_in(service_script())]
    compose = document("compose.yaml")["services"]
    found += [("compose.yaml", service["command"]) for service in compose.values() if service["command"][0] == "ray"]
    for name in ("aws.yaml", "gcp.yaml"):
        lists = document(name)
        lines = [*lists["head_start_ray_commands"], *lists["worker_start_ray_commands"]]
        found += [(name, words) for line in lines for words in commands_in(line)]
    found += [("README.md", words) for block in blocks("sh") for words in commands_in(block)]
    for name, spec in cluster_specs().items():
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            # KubeRay writes the command itself, with these parameters as options.
            options = [f"--{key}={value}" for key, value in group["rayStartParams"].items()]
            found.append((name, ["ray", "start", *options]))
    return found


def blocks(language: str, name: str = "README.md") -> list[str]:
    """The blocks of code in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", FILES[name], re.MULTILINE | re.DOTALL)


def commands_in(script: str, program: str = "ray") -> list[list[str]]:
    """The commands of a program in plain shell code: their words, with the program's name without its folder."""
    found = []
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set(";&|"):
                if words and words[0].rpartition("/")[2] == program:
                    found.append([program, *words[1:]])
                words = []
            elif words or not re.match(r"\w+=", word):  # a variable in front of the command
                words.append(word)
    return found


def check_ray_command(words: list[str]) -> None:
    """Let Ray's own command line read a command; raises click.UsageError for what it does not know."""
    from ray.scripts.scripts import cli

    command = cli.commands[words[1]]
    # The value of a variable is not known: a number can stand for an address, too.
    command.make_context(words[1], [re.sub(r"\$\{?\w+\}?", "1", word) for word in words[2:]])


def options_of(words: list[str]) -> dict[str, str]:
    """The options of a command that are written with `=`."""
    return dict(word.removeprefix("--").partition("=")[::2] for word in words if word.startswith("--") and "=" in word)
