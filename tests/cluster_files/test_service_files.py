"""The files that start `rayflow serve`: rayflow takes the command, one process keeps the runs, and it ends well."""

from __future__ import annotations

import re
import stat
from typing import Any

import click
import cluster_files
import pytest
from cluster_files import FILES, document, documents, options_of, service_pod

from rayflow.cli.main import VERBS, command
from rayflow.service.api_operations import OPERATIONS
from rayflow.service.serving import TOKEN

CLOSING_SECONDS = 15
"""What a service may take to close beside its grace: to stop what still runs, and to give back the lease."""


def served(name: str) -> list[str]:
    """The words of the command that serves: of the pod, or of the unit."""
    if name == "unit":
        return cluster_files.exec_start("rayflow-service")
    [words] = cluster_files.commands_in(cluster_files.service_script().replace("exec ", ""), "rayflow")
    return words


def options(name: str) -> dict[str, Any]:
    """The options of that command, as rayflow reads them."""
    words = served(name)
    assert words[:2] == ["rayflow", "serve"]
    verb = command.get_command(click.Context(command), "serve")
    assert verb is not None
    return verb.make_context("serve", words[2:]).params


def container() -> dict[str, Any]:
    [found] = service_pod()["containers"]
    return dict(found)


def seconds_to_end(name: str) -> int:
    """How long the process may take to end, before it is killed."""
    if name == "unit":
        return int(dict(cluster_files.unit("rayflow-service")["Service"])["TimeoutStopSec"])
    return int(service_pod()["terminationGracePeriodSeconds"])


@pytest.mark.parametrize("name", ["pod", "unit"])
def test_a_service_serves_on_the_cluster_and_waits_for_the_lease_and_ends_within_its_grace(name: str) -> None:
    assert "serve" in VERBS
    found = options(name)
    assert (found["address"], found["inline"], found["standby"]) == ("auto", False, True)
    assert found["store"] is None, "RAYFLOW_STORE names it, for people, too"
    assert found["grace"] + CLOSING_SECONDS <= seconds_to_end(name)


def test_a_signal_reaches_the_service_and_not_a_shell() -> None:
    assert cluster_files.service_script().split("&&")[-1].split()[:2] == ["exec", "rayflow"]
    service = dict(cluster_files.unit("rayflow-service")["Service"])
    assert (service["KillMode"], service["Restart"], service["Type"]) == ("mixed", "always", "exec")
    assert dict(cluster_files.unit("rayflow-service")["Unit"])["StartLimitIntervalSec"] == "0"


def test_one_pod_keeps_the_runs_and_is_started_again() -> None:
    spec = document("k8s/service.yaml", "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")
    assert service_pod().get("restartPolicy", "Always") == "Always"
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    assert "livenessProbe" not in container(), "a service that waits for the lease answers nothing"


def test_the_pod_is_ready_when_its_api_says_so_without_a_token() -> None:
    probe = container()["readinessProbe"]["httpGet"]
    access = {operation.path: operation.access for operation in OPERATIONS}
    assert (access[probe["path"]], access["/api/runs"]) == ("open", "token")
    [port] = container()["ports"]
    assert probe["port"] == port["name"]


def test_one_port_stands_everywhere() -> None:
    [port] = container()["ports"]
    [offered] = document("k8s/service.yaml", "Service")["spec"]["ports"]
    [let_in] = [
        each for rule in document("k8s/service.yaml", "NetworkPolicy")["spec"]["ingress"] for each in rule["ports"]
    ]
    numbers = {port["containerPort"], offered["port"], let_in["port"], options("pod")["port"], options("unit")["port"]}
    assert numbers == {8700}
    assert offered["targetPort"] == port["name"]
    assert (options("pod")["host"], options("unit")["host"]) == ("0.0.0.0", "127.0.0.1")
    assert set(re.findall(r"RAYFLOW_SERVICE=http://127\.0\.0\.1:(\d+)", FILES["README.md"])) == {"8700"}


def test_the_service_and_its_policy_select_the_pod() -> None:
    labels = document("k8s/service.yaml", "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    assert document("k8s/service.yaml", "Service")["spec"]["selector"].items() <= labels
    policies = [document(name, "NetworkPolicy") for name in ("k8s/service.yaml", "k8s/access.yaml")]
    for policy in policies:
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels
    assert service_pod()["serviceAccountName"] == document("k8s/access.yaml", "ServiceAccount")["metadata"]["name"]


def test_both_tokens_come_from_secrets_that_are_there() -> None:
    secrets = {each["metadata"]["name"]: set(each["stringData"]) for each in documents("k8s/secret.example.yaml")}
    given = {each["name"]: each.get("valueFrom", {}).get("secretKeyRef") for each in container()["env"]}
    assert given.keys() == {"RAYFLOW_STORE", TOKEN, "RAY_AUTH_TOKEN"}
    for name in (TOKEN, "RAY_AUTH_TOKEN"):
        assert given[name]["key"] in secrets[given[name]["name"]], name
    assert given[TOKEN] != given["RAY_AUTH_TOKEN"], "who asks for runs need not reach Ray's ports"
    assert f"create secret generic {given[TOKEN]['name']} --from-literal={given[TOKEN]['key']}=" in FILES["README.md"]
    assert re.findall(rf"^{TOKEN}=(.*)$", FILES["onprem/service.conf"], re.MULTILINE) == [""]
    [mode] = re.findall(r"install -m (\d+) cluster/onprem/service.conf", FILES["README.md"])
    assert not int(mode, 8) & (stat.S_IRWXG | stat.S_IRWXO)


def test_the_pod_is_a_node_of_the_cluster_that_takes_no_calls() -> None:
    [node] = cluster_files.commands_in(cluster_files.service_script())
    given = options_of(node)
    cluster = document("k8s/raycluster.yaml")["metadata"]["name"]
    assert given == {"address": f"{cluster}-head-svc:6379", "num-cpus": "0"}
    assert "--block" not in node, "the service stays the container's process"
    [shm] = service_pod()["volumes"]
    limits = container()["resources"]["limits"]
    assert container()["resources"]["requests"] == limits
    share = float(shm["emptyDir"]["sizeLimit"].removesuffix("Gi")) / float(limits["memory"].removesuffix("Gi"))
    assert 0.3 <= share < 0.5


def test_the_unit_reads_the_files_that_the_page_puts_there() -> None:
    lines = cluster_files.unit("rayflow-service")["Service"]
    for path in [value for key, value in lines if key == "EnvironmentFile"]:
        assert f"cluster/onprem/{path.removeprefix('/etc/rayflow/')}" in FILES["README.md"], path
    folder = dict(lines)["WorkingDirectory"]
    assert f"the project in `{folder}`" in FILES["README.md"]
