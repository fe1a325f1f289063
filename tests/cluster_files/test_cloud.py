"""The configurations for `ray up`: by Ray's own schema and defaults, and on an emulator of Amazon's API."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import cluster_files
import jsonschema
import pytest

CLOUDS = ("aws.yaml", "gcp.yaml")


def prepared_by_ray(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration with Ray's defaults, checked as `ray up` checks it."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared: dict[str, Any] = prepare_config(config)
    validate_config(prepared)
    return prepared


@pytest.mark.parametrize("name", CLOUDS)
def test_ray_takes_the_configuration(name: str) -> None:
    prepared = prepared_by_ray(cluster_files.document(name))
    types = prepared["available_node_types"]
    assert types[prepared["head_node_type"]]["max_workers"] == 0, "there is one head"
    assert types["workers"]["min_workers"] == 0 < types["workers"]["max_workers"] <= prepared["max_workers"]
    # Setup commands of Ray's defaults would install another Ray.
    assert all("venv" in line or "python3-venv" in line or "apt-get" in line for line in prepared["setup_commands"])
    assert prepared["docker"] == {}


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("change", [{"max_worker": 3}, {"head_node_type": "boss"}, {"provider": {"typ": "aws"}}])
def test_ray_refuses_a_configuration_with_a_mistake(name: str, change: dict[str, Any]) -> None:
    with pytest.raises((jsonschema.ValidationError, ValueError, KeyError)):
        prepared_by_ray(cluster_files.document(name) | change)


@pytest.mark.parametrize("name", CLOUDS)
def test_no_task_runs_on_the_head_and_a_worker_may_be_taken_away(name: str) -> None:
    types = cluster_files.document(name)["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert types["workers"]["resources"] == {}, "Ray finds out what the machine has"
    spot = "InstanceMarketOptions" if name == "aws.yaml" else "scheduling"
    assert spot in types["workers"]["node_config"] and spot not in types["head"]["node_config"]


@pytest.mark.parametrize("name", CLOUDS)
def test_a_node_can_be_set_up_again(name: str) -> None:
    """`ray up` repeats all commands when one has changed, and ends what ran before."""
    config = cluster_files.document(name)
    for line in config["setup_commands"]:
        assert "venv ~/venv" not in line or line.startswith("test -x ~/venv/bin/pip ||")
        assert shlex.split(line)
    for part in ("head", "worker"):
        assert config[f"{part}_start_ray_commands"][0].endswith("ray stop")
        assert "--block" not in config[f"{part}_start_ray_commands"][1], "`ray up` would wait for ever"


@pytest.mark.campaign  # Amazon's description of its own API takes seconds to load
def test_ray_starts_the_nodes_of_aws_on_an_emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moto = pytest.importorskip("moto", reason="the emulator of Amazon's API is not installed")
    import boto3
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "testing")
    (tmp_path / ".ssh").mkdir()
    with moto.mock_aws():
        for profile in ("rayflow-head", "rayflow-store"):
            boto3.client("iam", region_name="us-east-1").create_instance_profile(InstanceProfileName=profile)
        config = bootstrap_aws(prepared_by_ray(cluster_files.document("aws.yaml")))
        provider = AWSNodeProvider(config["provider"], config["cluster_name"])
        for name, kind in config["available_node_types"].items():
            [instance] = provider.create_node(kind["node_config"], {"ray-cluster-name": "rayflow"}, 1).values()
            described = boto3.client("ec2", region_name="us-east-1").describe_instances(InstanceIds=[instance.id])
            [made] = described["Reservations"][0]["Instances"]
            profile = {"head": "rayflow-head", "workers": "rayflow-store"}[name]
            assert made["IamInstanceProfile"]["Arn"].endswith(f"/{profile}")
            assert made["InstanceType"] == kind["node_config"]["InstanceType"]
