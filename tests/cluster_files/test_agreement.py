"""The files of `cluster/` say the same: versions, settings, ports, paths, names, the store."""

from __future__ import annotations

import re
import tomllib

import cluster_files
import pytest
from cluster_files import FILES, check_ray_command, document, exec_start, options_of, ray_commands
from packaging.requirements import Requirement
from projects import REPOSITORY

from rayflow.runtime.on_ray.connection.ray_settings import KEEPALIVE

PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]

VERSION = "2.60.0"
"""The Ray of all these files."""

BEFORE_A_VERSION = r"RAY_VERSION=|rayflow:|rayproject/ray:|ray\[default\]==|rayVersion: \"|\bRay "
"""What stands before a version of Ray."""

PYTHON = (3, 12)
"""The Python of all these files, and of Ubuntu 24.04."""


# --- versions ---------------------------------------------------------------------------------------------------------


def test_the_version_of_ray_is_the_same_everywhere_and_one_that_rayflow_takes() -> None:
    found = {
        (name, version)
        for name, text in FILES.items()
        for version in re.findall(rf"(?:{BEFORE_A_VERSION})(\d[\w.]*\w)", text)
    }
    places = {name for name, _ in found}
    assert {version for _, version in found} == {VERSION}, found
    ways = {"aws.yaml", "gcp.yaml", "compose.yaml", "k8s/raycluster.yaml", "k8s/rayjob.yaml", "k8s/service.yaml"}
    assert places == {"Dockerfile", "README.md", *ways}
    [needed] = [each for each in map(Requirement, PYPROJECT["dependencies"]) if each.name == "ray"]
    assert VERSION in needed.specifier
    # What the node has to have: the dashboard takes jobs.
    assert needed.extras == {"default"}


def test_the_python_is_the_same_everywhere_and_one_that_rayflow_takes() -> None:
    image = re.findall(r"^ARG PYTHON=(\d)(\d+)$", FILES["Dockerfile"], re.MULTILINE)
    written = [version for text in FILES.values() for version in re.findall(r"[Pp]ython(?: is)? ?(\d)\.(\d+)", text)]
    assert {tuple(map(int, each)) for each in [*image, *written]} == {PYTHON}
    assert f"{PYTHON[0]}.{PYTHON[1]}" in Requirement(f"python{PYPROJECT['requires-python']}").specifier
    for name in ("aws.yaml", "gcp.yaml"):
        types = document(name)["available_node_types"]
        assert re.search(r"24[.]?04", str(types)), f"{name}: another Ubuntu has another Python"


def test_the_version_of_kuberay_is_the_same_everywhere() -> None:
    found = {version for text in FILES.values() for version in re.findall(r"KubeRay (\d[\w.]*\w)", text)}
    assert found == {"1.7"}


def test_the_image_has_one_name() -> None:
    names = {name for text in FILES.values() for name in re.findall(r"\bmy-registry/[\w/.:-]+", text)}
    assert names == {f"my-registry/rayflow:{VERSION}"}


# --- settings ---------------------------------------------------------------------------------------------------------


def test_the_image_has_the_settings_of_env() -> None:
    assert cluster_files.settings_of_image() == cluster_files.settings_of_env()


def test_the_settings_that_let_a_lost_node_be_seen_are_those_of_rayflow_itself() -> None:
    assert KEEPALIVE.items() <= cluster_files.settings_of_env().items()


def test_the_settings_that_matter_are_made_and_a_comment_says_why() -> None:
    settings = cluster_files.settings_of_env()
    assert settings["RAY_AUTH_MODE"] == "token"
    assert settings["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0"
    assert 0.5 < float(settings["RAY_memory_usage_threshold"]) < 0.95
    lines = FILES["env.sh"].splitlines()
    for number, line in enumerate(lines):
        if line.startswith(("export", "unset", "if")):
            before = next(each for each in reversed(lines[:number]) if not each.startswith(("export", "unset")))
            assert before.startswith("# ") and before[2].isalpha(), f"line {number + 1}: {line} has no reason above it"


def test_every_way_takes_its_settings_from_env_or_from_the_image() -> None:
    for name, words in ray_commands():
        if words[1] == "start" and not name.startswith(("compose", "k8s")):
            assert "env.sh" in FILES[name], name
    for name, spec in cluster_files.cluster_specs().items():
        for group, pod in cluster_files.pods(spec):
            given = {each["name"] for each in pod["spec"]["containers"][0]["env"]}
            assert not given & cluster_files.settings_of_env().keys(), f"{name}: {group} has settings of its own"


# --- ports ------------------------------------------------------------------------------------------------------------


def port_rows() -> dict[int, str]:
    """The ports of the README's table, each with what listens there."""
    table = FILES["README.md"].split("## Ports")[1].split("\n## ")[0]
    rows = {}
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if re.match(r"\d", cells[0]):
            rows |= dict.fromkeys(map(int, re.findall(r"\d+", cells[0])), cells[1])
    return rows


PORT = re.compile(r"^(?:port|.*-port)$")


def test_the_ports_of_all_commands_are_those_of_the_readme() -> None:
    for name, words in ray_commands():
        options = options_of(words)
        numbers = {int(value) for key, value in options.items() if PORT.match(key)}
        numbers |= {int(value.rpartition(":")[2]) for key, value in options.items() if key == "address"}
        assert numbers <= port_rows().keys(), name
        if "--head" in words:
            assert options["port"] == "6379", name
            assert options.get("dashboard-port", "8265") == "8265", name


def test_the_services_of_own_machines_fix_every_port_of_the_table_that_can_be_fixed() -> None:
    head, worker = (options_of(exec_start(name)) for name in ("ray-head", "ray-worker"))
    ports = {key: value for key, value in head.items() if PORT.match(key)}
    assert {int(value) for value in ports.values()} == port_rows().keys() - {10001, 8888, 8700}
    on_all = {key: value for key, value in ports.items() if key not in ("port", "dashboard-port")}
    assert on_all == {key: value for key, value in worker.items() if PORT.match(key)}


def test_jupyter_and_the_dashboard_are_where_the_table_says() -> None:
    for name, text in FILES.items():
        assert set(re.findall(r"jupyter lab[^|\n`]*--port[= ](\d+)", text)) <= {"8888"}, name
        assert set(re.findall(r"http://127\.0\.0\.1:(\d+)", text)) <= {"8265", "9000", "8700"}, name
    assert {"8265:8265", "8888:8888"} == {
        port.removeprefix("127.0.0.1:") for port in document("compose.yaml")["services"]["head"]["ports"]
    }


def test_no_dashboard_listens_to_other_machines_but_inside_a_container() -> None:
    for name, words in ray_commands():
        host = options_of(words).get("dashboard-host", "127.0.0.1")
        assert host == "127.0.0.1" or name == "compose.yaml", name


# --- names and paths --------------------------------------------------------------------------------------------------


def test_one_bucket_and_one_store_stand_everywhere() -> None:
    urls = {url for text in FILES.values() for url in re.findall(r"\b(?:s3|gs)://[\w./-]*\w", text)}
    assert urls == {"s3://my-bucket/rayflow", "gs://my-bucket/rayflow", "s3://my-bucket/projects/flow.zip"}
    services = ("k8s/service.yaml", "onprem/service.conf")
    for name in ("env.sh", "README.md", "compose.yaml", "k8s/raycluster.yaml", "k8s/rayjob.yaml", *services):
        assert "RAYFLOW_STORE" in FILES[name], f"{name} does not say how the store is named"


def test_the_files_that_a_page_or_a_comment_names_are_there() -> None:
    for name, text in FILES.items():
        for path in re.findall(r"\bcluster/([\w./-]+\w)", text):
            assert (cluster_files.CLUSTER / path).exists(), f"{name} names cluster/{path}"
    for link in re.findall(r"\]\(([^)]+)\)", FILES["README.md"]):
        assert (cluster_files.CLUSTER / link).exists(), link


def test_what_is_copied_to_a_node_is_where_its_commands_look_for_it() -> None:
    for name in ("aws.yaml", "gcp.yaml"):
        config = document(name)
        home = f"/home/{config['auth']['ssh_user']}"
        assert config["file_mounts"] == {
            f"{home}/.ray/auth_token": "~/.ray/auth_token",
            f"{home}/rayflow-cluster": "~/rayflow-cluster",
        }
        for line in [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]:
            assert line.endswith("stop") or ". ~/rayflow-cluster/env.sh &&" in line, name
    conf = dict(re.findall(r"^(\w+)=(.*)$", FILES["onprem/cluster.conf"], re.MULTILINE))
    readme = FILES["README.md"]
    assert f"install -o ray -m 600 token {conf['RAY_AUTH_TOKEN_PATH']}" in readme
    assert f"python{PYTHON[0]}.{PYTHON[1]} -m venv {conf['PATH'].partition(':')[0].removesuffix('/bin')}" in readme
    for path in re.findall(r"\. (/etc/[\w./-]+)", readme + FILES["onprem/ray-head.service"]):
        source = path.removeprefix("/etc/rayflow/")
        assert f"cluster/{source}" in readme or f"cluster/onprem/{source}" in readme, path
    assert "$HOME/rayflow-cluster/env.sh" in FILES["slurm.sbatch"]
    assert "cp cluster/env.sh cluster/slurm.sbatch ~/rayflow-cluster/" in readme


# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "words"), ray_commands())
def test_ray_knows_the_options_of_a_command(name: str, words: list[str]) -> None:
    check_ray_command(words)


def test_an_option_that_ray_does_not_know_is_found() -> None:
    import click

    for words in (["ray", "start", "--hed"], ["ray", "start", "--head", "--port=x"], ["ray", "start", "more"]):
        with pytest.raises(click.UsageError):
            check_ray_command(words)
