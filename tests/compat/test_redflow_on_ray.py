"""On Ray, handlers and steps run in processes of their own, also with redflow's names."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from pathlib import Path

import pytest

from rayflow.compat.redflow import StartWorkerOptions, create_client, start_worker

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("workflows")]

WORKFLOWS = """
import asyncio
import os

from rayflow.compat.redflow import EventTrigger, define_workflow, workflow


async def where(text, *, signal=None):
    return [text, os.getpid(), type(signal).__name__]


@workflow("placed")
async def placed(ctx):
    captured = ctx.input["text"]

    async def inner():
        return captured + captured

    first = await asyncio.gather(ctx.step.run("where", where, captured), ctx.step.run("inner", inner))
    told = await ctx.step.emit_event("tell", "placed", first[1])
    if ctx.run.attempt == 1:
        raise ConnectionError("lost")
    return {"where": first[0], "inner": first[1], "told": told, "attempt": ctx.run.attempt}


def make(times):
    async def repeats(ctx):
        return await ctx.step.run_workflow("placed", "placed", {"text": ctx.input * times})

    return define_workflow("repeats", handler=repeats)


async def hear(ctx):
    return ctx.input


repeats = make(2)
hears = define_workflow("hears", handler=hear, event=[EventTrigger("placed")])
"""


def test_steps_and_children_run_in_other_processes_and_have_what_they_captured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_cluster: str
) -> None:
    (tmp_path / "rayflow.toml").write_text("")
    (tmp_path / "my_workflows.py").write_text(WORKFLOWS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("RAYFLOW_HOME", str(tmp_path / "home"))
    importlib.import_module("my_workflows")

    async def main() -> None:
        worker = await start_worker(
            StartWorkerOptions(app="tests", url=str(tmp_path / "store"), inline=False, address=ray_cluster)
        )
        client = create_client(url=str(tmp_path / "store"))
        try:
            handle = await client.run_by_name("repeats", "a")
            output = await handle.result(timeout_ms=120_000)
            assert output["where"][0] == "aa" and output["where"][1] != os.getpid() and output["where"][2] == "Event"
            assert (output["inner"], output["attempt"]) == ("aaaa", 2)
            [heard] = output["told"]
            assert await client.wait_for_result(heard, timeout_ms=120_000) == "aaaa"
        finally:
            await client.close()
            await worker.stop()

    try:
        asyncio.run(main())
    finally:
        sys.modules.pop("my_workflows", None)
