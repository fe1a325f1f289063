"""What the doctor finds, from facts; and how it comes to some of the facts."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rayflow.errors import NotFound
from rayflow.runtime.on_ray.doctor import node_probe
from rayflow.runtime.on_ray.doctor.asking import is_under_uv
from rayflow.runtime.on_ray.doctor.findings import FAILURE, OK, WARNING, ClusterFacts, NodeFacts, fails, findings_of
from rayflow.runtime.on_ray.doctor.imported_modules import modules_needed
from rayflow.store.beacons import leave_beacon, remove_beacon
from rayflow.store.open import open_store
from rayflow.store.trial import StoreTrial, filesystem_of, try_store

TRIAL = StoreTrial(0.004, 0.001, 300e6, 900e6, "ext4")
SETTINGS = {"RAY_grpc_client_keepalive_time_ms": "10000", "RAY_grpc_client_keepalive_timeout_ms": "5000"}
GB = 10**9
NODE = NodeFacts(
    "node a", python="3.12.1", ray="2.60.0", rayflow="1.0", trial=TRIAL, clock_ahead=0.01, clock_within=0.001,
    shm_bytes=8 * GB, object_bytes=2 * GB, disk=("/tmp/ray", 100 * GB, 50 * GB), settings=SETTINGS,
)  # fmt: skip
FACTS = ClusterFacts(
    address="10.0.0.5:6379", store="s3://b/r", python="3.12.1", ray="2.60.0", rayflow="1.0", is_url=True,
    has_token=True, settings=SETTINGS, modules=("numpy",), nodes=(NODE, replace(NODE, name="node b")),
)  # fmt: skip


def found(**changes: Any) -> list[tuple[str, str, str, str | None]]:
    """What is not as it should be when node b differs in this; or the cluster does, by names that end in `_here`."""
    of_node = {name: value for name, value in changes.items() if not name.endswith("_here")}
    of_cluster = {name.removesuffix("_here"): value for name, value in changes.items() if name not in of_node}
    facts = replace(FACTS, **{"nodes": (NODE, replace(NODE, **{"name": "node b", **of_node})), **of_cluster})
    return [(each.level, each.subject, each.text, each.advice) for each in findings_of(facts) if each.level != OK]


def test_a_cluster_that_is_well_has_one_line_for_each_thing_that_was_looked_at() -> None:
    findings = findings_of(FACTS)
    assert {each.level for each in findings} == {OK} and not fails(findings)
    subjects = [each.subject for each in findings]
    assert subjects == ["reachable", "versions", "store", "clocks", "shared memory", "disk", "keep-alive", "packages"]
    assert findings[0].text == "10.0.0.5:6379, with the token: 2 nodes"


@pytest.mark.parametrize(
    ("changes", "level", "subject", "says"),
    [
        ({"error": "died"}, FAILURE, "node", "node b does not run a task: died"),
        ({"nodes_here": ()}, FAILURE, "node", "no node is alive"),
        ({"rayflow": None, "rayflow_error": "No module"}, FAILURE, "versions", "node b cannot import rayflow: No mod"),
        ({"ray": "2.59.0"}, FAILURE, "versions", "node b has Ray 2.59.0, and this process 2.60.0"),
        ({"python": "3.11.9"}, FAILURE, "versions", "node b has Python 3.11.9, and this process 3.12.1"),
        ({"python": "3.12.9"}, WARNING, "versions", "node b has Python 3.12.9, and this process 3.12.1"),
        ({"store_error": "Permission denied"}, FAILURE, "store", "node b cannot use the store: Permission denied"),
        ({"trial": TRIAL._replace(write_seconds=1.5)}, WARNING, "store", "slowly: a small write 1500.0 ms"),
        ({"trial": TRIAL._replace(write_rate=2e6)}, WARNING, "store", "2 MB/s to it"),
        ({"trial": TRIAL._replace(filesystem="tmpfs")}, WARNING, "store", "in memory (tmpfs) on node b"),
        ({"clock_ahead": -9.0}, WARNING, "clocks", "the clock of node b is 9.00 s behind this one"),
        ({"clock_ahead": 4000.0}, FAILURE, "clocks", "ahead of this one"),
        ({"shm_bytes": 64_000_000}, WARNING, "shared memory", "/dev/shm of node b has 64.0 MB"),
        ({"shm_bytes": GB * 3 // 2}, WARNING, "shared memory", "objects there may take 2.0 GB"),
        ({"disk": ("/tmp/ray", 100 * GB, 4 * GB)}, FAILURE, "disk", "is full: 4.0 GB of 100.0 GB"),
        ({"disk": ("/tmp/ray", 20 * GB, 3 * GB)}, WARNING, "disk", "has only 3.0 GB free"),
        ({"settings": {}}, WARNING, "keep-alive", "nodes differ in RAY_grpc_client_keepalive_time_ms"),
        ({"settings_here": {}}, WARNING, "keep-alive", "and this process none"),
        ({"missing": ("lxml", "torch")}, FAILURE, "packages", "node b lacks what the project imports: lxml, torch"),
        ({"store_error_here": "x"}, FAILURE, "store", "this process cannot use s3://b/r: x"),
        ({"under_uv_here": True}, FAILURE, "uv", "by uv, which is missing on node a, node b"),
    ],
)  # fmt: skip
def test_each_thing_that_is_wrong_is_one_finding(changes: dict[str, Any], level: str, subject: str, says: str) -> None:
    ((was, what, text, advice),) = found(**changes)
    assert (was, what) == (level, subject) and says in text and advice


def test_a_clock_counts_only_as_far_as_it_could_be_read() -> None:
    assert found(clock_ahead=9.0, clock_within=8.0) == []


def test_what_an_environment_installs_may_be_missing_on_the_nodes() -> None:
    facts = replace(FACTS, installs=True, nodes=(replace(NODE, missing=("lxml",)),))
    assert [each.level for each in findings_of(facts) if each.subject == "packages"] == [WARNING]
    assert not fails(findings_of(facts))


def test_a_cluster_without_keepalive_and_one_node_alone() -> None:
    plain = replace(NODE, settings={})
    both = findings_of(replace(FACTS, nodes=(plain, replace(plain, name="node b"))))
    assert [each.text for each in both if each.subject == "keep-alive"] == [
        "a silent node is noticed by Ray only after seven minutes (rayflow runs its calls elsewhere after 20 s)"
    ]
    assert not [each for each in findings_of(replace(FACTS, nodes=(plain,))) if each.subject == "keep-alive"]


@pytest.mark.parametrize(
    ("refused", "address", "subject", "advice"),
    [("it wants a token", "h:6379", "token", None), ("it runs Ray 2.59.0", "h:6379", "versions", None),
     ("nothing answers", "h:6379", "reachable", None),
     ("something else listens there", "h:8265", "reachable", "this is the usual port of the dashboard")],
)  # fmt: skip
def test_a_cluster_that_is_not_reached_is_the_only_finding(
    refused: str, address: str, subject: str, advice: str | None
) -> None:
    (only,) = findings_of(replace(FACTS, refused=refused, address=address, nodes=()))
    assert (only.level, only.subject, only.text) == (FAILURE, subject, refused)
    assert only.advice == advice if advice is None else advice in str(only.advice)


def test_a_node_without_rayflow_or_a_store_still_tells_what_it_is(tmp_path: Path) -> None:
    told = node_probe.probed(str(tmp_path / "none"), "tmp/doctor-1", ["json", "no_such_library", "no.such.one"])
    assert told["missing"] == ("no_such_library", "no.such.one") and "there is no store" in told["store_error"]
    facts = NodeFacts("here", **told)
    assert facts.python.startswith("3.") and facts.rayflow and facts.trial is None


# --- the store --------------------------------------------------------------------------------------------------------


def test_a_store_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    url = str(tmp_path / "store")
    open_store(url)
    beacon = leave_beacon(url, "doctor-1")
    trial = try_store(url, beacon)
    assert 0 < trial.write_seconds < 10 and trial.read_rate > 0 and trial.filesystem
    assert try_store(f"file://{url}", beacon).filesystem == trial.filesystem
    remove_beacon(url, beacon)
    assert os.listdir(tmp_path / "store" / "tmp") == []


def test_another_folder_at_the_same_path_is_noticed(tmp_path: Path) -> None:
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    for url in (one, other):
        open_store(url)
    with pytest.raises(NotFound, match="another folder on this machine"):
        try_store(other, leave_beacon(one, "doctor-1"))
    with pytest.raises(NotFound, match="there is no store"):
        try_store(str(tmp_path / "none"), "tmp/doctor-1")
    assert not (tmp_path / "none").exists()


def test_the_file_system_of_a_path_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    (tmp_path / "mounts").write_text(f"/dev/a / ext4 rw\nnone {tmp_path}/a tmpfs rw\nnone {tmp_path}/ab nfs4 rw\n")
    kinds = [filesystem_of(str(tmp_path / name), str(tmp_path / "mounts")) for name in ("a", "a/b", "ab", "abc")]
    assert kinds == ["tmpfs", "tmpfs", "nfs4", "ext4"]
    assert filesystem_of("/", str(tmp_path / "none")) is None


# --- the project ------------------------------------------------------------------------------------------------------


def test_the_libraries_of_a_project_are_those_that_its_tasks_cannot_be_imported_without(tmp_path: Path) -> None:
    files = {
        "flow.py": "import os, numpy.linalg\nfrom rayflow import task\nimport helpers\nfrom package.inner import x\n"
        "try:\n    import optional\nexcept ImportError:\n    pass\ndef f():\n    import lazy\n"
        "if True:\n    import sure\nif __name__ == '__main__':\n    import only_main\n",
        "helpers.py": "from typing import TYPE_CHECKING\nimport lxml.etree\nif TYPE_CHECKING:\n    import typed\n",
        "package/__init__.py": "",
        "package/inner.py": "from . import other\n",
        "package/other.py": "import scipy\n",
        "unused.py": "import unwanted\n",
        "broken.py": "import rayflow, (\n",
        "venv/pyvenv.cfg": "", "venv/lib.py": "import rayflow, installed\n", ".hidden/a.py": "import rayflow, hidden\n",
        "src/late.py": "import rayflow\nimport pandas, src_module\n", "src/src_module.py": "import yaml\n",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert modules_needed(str(tmp_path)) == ("lxml", "numpy", "pandas", "scipy", "sure", "yaml")


def test_a_process_below_uv_run_is_known(tmp_path: Path) -> None:
    for pid, above, words in ((30, 20, "python flow.py"), (20, 10, "/usr/bin/uv run flow.py"), (10, 1, "bash")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cmdline").write_bytes(words.replace(" ", "\0").encode())
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a (b) c) S {above} 1 1")
    assert is_under_uv(30, str(tmp_path)) and not is_under_uv(10, str(tmp_path)) and not is_under_uv(99, str(tmp_path))


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_ends_the_verb_with_1_in_words_and_in_json(project: Any) -> None:
    import json

    ended = project.rayflow("doctor", "--address", "127.0.0.1:1")
    assert ended.returncode == 1 and "failure  reachable: No Ray cluster answers at 127" in ended.stdout
    said = json.loads(project.rayflow("doctor", "--address", "127.0.0.1:1", "--json").stdout)
    assert said["findings"][0]["level"] == "failure" and said["nodes"] == []
