"""The README of `cluster/`: every way is in its table, and what it says to type is known to the programs."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import subprocess

import cluster_files
import pytest
from cluster_files import FILES, blocks, commands_in

from rayflow import Scheduler
from rayflow.cli.main import VERBS

README = FILES["README.md"]

WAYS = (
    "compose.yaml", "aws.yaml", "gcp.yaml", "k8s/raycluster.yaml", "k8s/rayjob.yaml", "slurm.sbatch", "onprem",
    "k8s/service.yaml", "onprem/rayflow-service.service",
)  # fmt: skip

MOST_COMMANDS = 6


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_way_stands_in_the_table_and_every_file_in_the_page() -> None:
    table = section("Which one is for me")
    for way in WAYS:
        assert f"]({way})" in table
    for name in FILES.keys() - {"README.md", "Dockerfile.dockerignore"}:
        assert name in README or name.rpartition("/")[2].partition(".")[0] in README, f"the page does not name {name}"


SETUPS = [block for block in blocks("sh") if "useradd" not in block]


@pytest.mark.parametrize("block", SETUPS, ids=[str(number) for number in range(len(SETUPS))])
def test_a_few_commands_lead_to_an_execution(block: str) -> None:
    lines = [line for line in block.splitlines() if line and not line.startswith("#")]
    assert 3 <= len(lines) <= MOST_COMMANDS
    assert commands_in(block, "rayflow") or commands_in(block, "sbatch")


def test_every_way_has_a_section_with_commands() -> None:
    ways = "Docker Compose", "Amazon and Google", "Kubernetes", "Slurm", "Machines of your own"
    for title in (*ways, "A service that keeps runs"):
        assert "```sh\n" in section(title), title


@pytest.mark.slow
def test_the_shell_understands_what_is_to_be_typed() -> None:
    for block in blocks("sh"):
        assert subprocess.run(["bash", "-n", "-c", block]).returncode == 0, block


def test_the_verbs_of_rayflow_are_there() -> None:
    shown = {words[1] for block in blocks("sh") for words in commands_in(block, "rayflow")}
    for text in FILES.values():
        shown |= set(re.findall(r"[`(]rayflow ([a-z]+)", text))
    shown.add(FILES["slurm.sbatch"].split("command=(rayflow ")[1].split()[0])
    shown.add(cluster_files.document("k8s/rayjob.yaml")["spec"]["entrypoint"].split()[1])
    assert {"submit", "run", "resume", "up", "serve", "start"} == shown
    assert shown <= set(VERBS)


def test_a_client_of_a_cluster_with_a_token_sets_its_mode() -> None:
    """A token alone is not sent."""
    for block in SETUPS:
        if "rayflow submit" in block:
            assert "RAY_AUTH_MODE=token" in block and block.index("RAY_AUTH_MODE") < block.index("rayflow submit")


def test_jupyter_can_be_started_in_every_way() -> None:
    rows = [line for line in section("Jupyter on the head").splitlines() if "jupyter lab" in line]
    for number, way in enumerate(("Compose", "Amazon, Google", "Kubernetes", "Slurm", "machines of your own")):
        assert rows[number].startswith(f"| {way} |")
        commands = re.findall(r"`([^`]+)`", rows[number])
        assert all(shlex.split(command) for command in commands)
        assert "--no-browser" in rows[number] and ("--ip" not in rows[number] or way == "Compose")


def test_the_first_cell_of_a_notebook_is_python_that_rayflow_takes() -> None:
    [cell] = blocks("python")
    [call] = [node for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.Call)]
    inspect.signature(Scheduler).bind(**{each.arg: ast.literal_eval(each.value) for each in call.keywords if each.arg})


def test_its_lines_are_short_but_for_tables_and_links() -> None:
    for line in README.splitlines():
        assert len(line) <= 125 or line.startswith(("|", "`")), line
