"""`rayflow config show`, and settings that cannot be right."""

from __future__ import annotations

import json
from typing import Any

import pytest


def test_each_setting_says_where_it_came_from(rayflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    project = rayflow.project
    project.write("pyproject.toml", "[tool.rayflow]\ncache = false\nnum_cpus = 2\n")
    project.write("rayflow.toml", "num_cpus = 3\nlimits = { db = 4 }\n")
    monkeypatch.setenv("RAYFLOW_INLINE", "1")
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.5:6379")
    told = json.loads(rayflow("config", "show", "--store", "elsewhere", "--json").out)
    assert told["store"] == {"value": str(project.path / "elsewhere"), "source": "flag"}
    assert told["num_cpus"] == {"value": 3, "source": str(project.path / "rayflow.toml")}
    assert told["cache"] == {"value": False, "source": str(project.path / "pyproject.toml")}
    assert told["inline"] == {"value": True, "source": "RAYFLOW_INLINE"}
    assert told["address"] == {"value": "10.0.0.5:6379", "source": "RAY_ADDRESS"}
    assert told["options"] == {"value": {}, "source": "default"}
    lines = [line.split() for line in rayflow("config", "show").out.splitlines()]
    assert ["limits", '{"db":', "4}", str(project.path / "rayflow.toml")] in lines and ["profiles", "default"] in lines
    assert not (project.path / ".rayflow").exists()


@pytest.mark.parametrize("address", ["nowhere", "host:port", ":6379", "host:99999", "http://host"])
def test_an_address_that_is_none_is_said_also_where_all_is_cached(rayflow: Any, address: str) -> None:
    rayflow.run("main")
    done = rayflow("run", rayflow.file, "--address", address)
    assert (done.code, done.out) == (1, "")
    assert f"{address!r} is no address of a Ray cluster: write host:port" in done.err
