"""The manifests for Kubernetes and Compose: the other side knows every field, and what they name is there."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import cluster_files
import pytest
import yaml
from cluster_files import cluster_specs, complaints, document, documents, pods

MANIFESTS = [name for name in cluster_files.FILES if name.startswith("k8s/")]
CHECKED = [(name, each, "kubernetes", each["kind"]) for name in MANIFESTS for each in documents(name)]
CHECKED.append(("compose.yaml", document("compose.yaml"), "compose", "file"))
IDS = [f"{name}-{kind}" for name, _, _, kind in CHECKED]


@pytest.mark.parametrize(("name", "value", "schema", "kind"), CHECKED, ids=IDS)
def test_a_manifest_has_only_fields_that_the_other_side_knows(name: str, value: Any, schema: str, kind: str) -> None:
    assert complaints(value, schema, kind) == [], name


FREE = {
    "labels", "annotations", "matchLabels", "rayStartParams", "environment", "args", "depends_on", "services", "x-node"
}  # fmt: skip
"""Whose keys are names that somebody chooses."""


def misspelt(value: Any) -> Iterator[tuple[str, Any]]:
    """Copies of a value with one key that is written wrong, each with that key."""
    if isinstance(value, list):
        for position, each in enumerate(value):
            for key, changed in misspelt(each):
                yield key, [*value[:position], changed, *value[position + 1 :]]
    elif isinstance(value, dict):
        for key, each in value.items():
            yield key, {f"{name}x" if name == key else name: item for name, item in value.items()}
            if key == "services":
                for name, service in each.items():
                    for inner, changed in misspelt(service):
                        yield inner, value | {key: each | {name: changed}}
            elif key not in FREE:
                for inner, changed in misspelt(each):
                    yield inner, value | {key: changed}


@pytest.mark.parametrize(("name", "value", "schema", "kind"), CHECKED, ids=IDS)
def test_a_misspelt_field_is_found_wherever_it_stands(name: str, value: Any, schema: str, kind: str) -> None:
    unseen = [key for key, changed in misspelt(value) if not complaints(changed, schema, kind)]
    assert unseen == []


# --- KubeRay ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", cluster_specs())
def test_what_a_pod_names_is_there(name: str) -> None:
    spec = cluster_specs()[name]
    secrets = {each["metadata"]["name"]: each["stringData"] for each in documents("k8s/secret.example.yaml")}
    assert spec["authOptions"] == {"mode": "token", "secretName": "rayflow-token"}
    assert secrets["rayflow-token"].keys() == {"auth_token"}
    account = document("k8s/access.yaml", "ServiceAccount")["metadata"]["name"]
    policy = document("k8s/access.yaml", "NetworkPolicy")["spec"]
    selected = policy["podSelector"]["matchLabels"].items()
    for group, pod in pods(spec):
        assert pod["spec"]["serviceAccountName"] == account, group
        assert selected <= pod["metadata"]["labels"].items(), f"{group}: the network policy does not protect it"
        for container in pod["spec"]["containers"]:
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted <= {volume["name"] for volume in pod["spec"]["volumes"]}, group
    [dashboard] = [port for rule in policy["ingress"] for port in rule.get("ports", [])]
    head = spec["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert dashboard["port"] in {port["containerPort"] for port in head["ports"]}


def gibibytes(quantity: str) -> float:
    assert quantity.endswith("Gi")
    return float(quantity.removesuffix("Gi"))


@pytest.mark.parametrize("name", cluster_specs())
def test_the_object_store_has_three_tenths_of_a_pods_memory_which_is_all_its_own(name: str) -> None:
    for group, pod in pods(cluster_specs()[name]):
        [container] = pod["spec"]["containers"]
        limits = container["resources"]["limits"]
        assert container["resources"]["requests"] == limits, f"{group}: Ray plans with the limits"
        [shm] = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "shm"]
        assert {"mountPath": "/dev/shm", "name": "shm"} in container["volumeMounts"]
        share = gibibytes(shm["emptyDir"]["sizeLimit"]) / gibibytes(limits["memory"])
        assert 0.3 <= share < 0.5, group


@pytest.mark.parametrize("name", cluster_specs())
def test_the_rules_that_kuberay_checks_beside_its_schema_hold(name: str) -> None:
    spec = cluster_specs()[name]
    major, minor, _ = map(int, spec["rayVersion"].split("."))
    assert (major, minor) >= (2, 52), "older ones know no token"
    assert spec["autoscalerOptions"]["version"] == "v2" and spec["enableInTreeAutoscaling"]
    for group, pod in pods(spec):
        assert pod["spec"].get("restartPolicy", "Never") == "Never", f"{group}: the autoscaler starts pods, nobody else"
        assert "RAY_enable_autoscaler_v2" not in {each["name"] for each in pod["spec"]["containers"][0]["env"]}
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_a_job_of_kuberay_goes_away_and_is_tried_again_on_a_new_cluster() -> None:
    job = document("k8s/rayjob.yaml")
    spec = job["spec"]
    assert len(job["metadata"]["name"]) <= 47, "KubeRay makes the names of pods from it"
    assert spec["submissionMode"] == "SidecarMode"
    assert not {"clusterSelector", "submitterPodTemplate", "submitterConfig"} & spec.keys(), "SidecarMode forbids them"
    assert spec["shutdownAfterJobFinishes"] and spec["backoffLimit"] > 0
    assert set(yaml.safe_load(spec["runtimeEnvYAML"])) == {"working_dir"}


def test_a_cluster_that_stays_keeps_the_state_of_its_head() -> None:
    assert document("k8s/raycluster.yaml")["spec"]["gcsFaultToleranceOptions"]["backend"] == "rocksdb"


def test_no_file_holds_a_token() -> None:
    for name, text in cluster_files.FILES.items():
        assert not re.search(r"\b[0-9a-f]{32,}\b", text), name


# --- Compose ----------------------------------------------------------------------------------------------------------


def services() -> dict[str, Any]:
    return copy.deepcopy(document("compose.yaml")["services"])


def test_every_service_of_compose_waits_for_one_that_can_say_that_it_is_ready() -> None:
    for name, service in services().items():
        for other, wait in service.get("depends_on", {}).items():
            assert other in services(), name
            is_checked = "healthcheck" in services()[other]
            assert wait["condition"] != "service_healthy" or is_checked, f"{name} waits for ever"


def test_the_nodes_of_compose_use_the_emulator_and_have_room_for_ray() -> None:
    s3 = services()["s3"]
    port = s3["command"][s3["command"].index("-p") + 1]
    for name in ("head", "worker", "bucket"):
        node = services()[name]
        assert node["environment"]["AWS_ENDPOINT_URL"] == f"http://s3:{port}", name
        assert "?" in node["environment"]["RAY_AUTH_TOKEN"], "Compose has to stop where no token is set"
        words = cluster_files.options_of(node["command"])
        store = int(words.get("object-store-memory", 0))
        assert store <= int(node["shm_size"].removesuffix("gb")) * 10**9, name
    bucket = services()["head"]["environment"]["RAYFLOW_STORE"].split("/")[2]
    assert f"'{bucket}'" in services()["bucket"]["command"][-1]


def test_the_build_of_compose_finds_its_files() -> None:
    build = services()["head"]["build"]
    context = (cluster_files.CLUSTER / build["context"]).resolve()
    assert (context / build["dockerfile"]).samefile(cluster_files.CLUSTER / "Dockerfile")


@pytest.mark.slow
def test_the_emulator_of_compose_answers_its_health_check_and_gets_its_bucket(
    s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    check, bucket = services()["s3"]["healthcheck"]["test"], services()["bucket"]["command"]
    assert check[:3] == ["CMD", "python", "-c"] and bucket[:2] == ["python", "-c"]
    for program in (check[3].replace("http://127.0.0.1:9000", s3_server), bucket[2], bucket[2]):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    look = "import s3fs; print(s3fs.S3FileSystem().ls(''))"
    assert "'my-bucket'" in subprocess.run([sys.executable, "-c", look], capture_output=True, text=True).stdout
