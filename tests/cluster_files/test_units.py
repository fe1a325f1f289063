"""The systemd units: systemd understands them, and a node comes back whatever happens to it."""

from __future__ import annotations

import shutil
import subprocess

import cluster_files
import pytest

NODES = ("ray-head", "ray-worker")

UNITS = (*NODES, "rayflow-service")

KNOWN = {
    "Unit": {"Description", "Wants", "After", "StartLimitIntervalSec"},
    "Service": {
        "Type", "User", "Group", "EnvironmentFile", "Environment", "StateDirectory", "StateDirectoryMode",
        "ExecStartPre", "ExecStart", "Restart", "RestartSec", "TimeoutStopSec", "SuccessExitStatus", "KillMode",
        "WorkingDirectory", "LimitNOFILE", "TasksMax", "OOMPolicy", "NoNewPrivileges",
    },
    "Install": {"WantedBy"},
}  # fmt: skip
"""The settings of systemd that the units use, for machines that have no systemd to ask."""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_the_units() -> None:
    paths = [str(cluster_files.CLUSTER / "onprem" / f"{name}.service") for name in UNITS]
    asked = subprocess.run(["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True)
    # For a key that it does not know it exits with 0.
    assert (asked.returncode, asked.stdout + asked.stderr) == (0, "")


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_has_only_settings_that_systemd_knows(name: str) -> None:
    sections = cluster_files.unit(name)
    assert sections.keys() == KNOWN.keys()
    for section, lines in sections.items():
        assert {key for key, _ in lines} <= KNOWN[section]


@pytest.mark.parametrize("name", NODES)
def test_a_node_stays_the_main_process_and_is_started_again(name: str) -> None:
    sections = cluster_files.unit(name)
    service = dict(sections["Service"])
    words = cluster_files.exec_start(name)
    assert "--block" in words, "else systemd sees its process end, and stops the rest"
    assert (service["User"], service["Restart"], service["OOMPolicy"]) == ("ray", "always", "continue")
    assert dict(sections["Unit"])["StartLimitIntervalSec"] == "0"
    assert int(service["TimeoutStopSec"]) > 30, "Ray takes so long to drain a node"
    assert service["KillMode"] == "mixed", "SIGTERM for Ray alone, which ends its own; SIGKILL for what is left"


def test_the_state_of_the_head_lies_in_its_own_directory_and_a_worker_keeps_none() -> None:
    head, worker = (dict(cluster_files.unit(name)["Service"]) for name in NODES)
    own = f"/var/lib/{head['StateDirectory']}"
    assert head["Environment"] == f"RAY_gcs_storage_path={own}/gcs"
    assert "RAY_gcs_storage_path" in cluster_files.FILES["env.sh"]
    assert f"\nRAY_TMPDIR={own}\n" in cluster_files.FILES["onprem/cluster.conf"]
    assert head["ExecStartPre"].endswith(f" {own}/ray/ray_current_cluster")
    assert "Environment" not in worker
