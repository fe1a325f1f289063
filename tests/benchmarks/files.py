"""Rows about files: are many still as recorded, here and in a bucket; staging them for scripts.

The bucket is on moto's server in a process of its own. It answers some hundred requests a second, so figures of S3 are
compared with the same library on the same server, and mean nothing by themselves.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from rayflow import File, Scheduler
from rayflow.values.files.file_states import State, current
from rayflow.values.files.validity import still_as_recorded
from tests.benchmarks import workloads
from tests.benchmarks.measuring import MIB, Plan, Row, Skipped, clock, interleaved

LOCAL_FILES = 10_000
FAR_FILES = 1_000
STAGED_FILES, STAGED_BYTES = 32, 4 * MIB
AT_ONCE = 16

# --- on this machine --------------------------------------------------------------------------------------------------


def local_validity(plan: Plan) -> Row:
    """Whether so many local files are as recorded, against a loop of os.stat."""
    paths = _written(plan, plan.size(LOCAL_FILES))
    recorded = [current("stat", path) for path in paths]

    def stat_loop() -> float:
        stat = os.stat
        with clock() as taken:
            for path in paths:
                stat(path)
        return taken.seconds

    loop, seconds = interleaved(3 * plan.rounds, stat_loop, lambda: _checked(recorded))
    return Row(
        "files-valid", f"{len(paths):,} local files as recorded", 1000 * seconds, "ms", "a stat loop", 1000 * loop,
        "< 3 x", seconds / loop < 3, clock="question - answer",
    )  # fmt: skip


def cached_over_files(plan: Plan) -> Row:
    """A cached run with a call for each of so many files, against one with a call for each of as many texts."""
    paths = _written(plan, plan.size(LOCAL_FILES))
    store = plan.folder("files-cached") / "store"
    ways = {"files": workloads.lengths([File(path) for path in paths]), "texts": workloads.lengths(paths)}
    with Scheduler(store=str(store), inline=True) as scheduler:
        for expression in ways.values():
            scheduler.run(expression)

    def cached(way: str) -> float:
        with Scheduler(store=str(store)) as scheduler, clock() as taken:
            assert scheduler.run(ways[way]) == [len(path) for path in paths]
        return taken.seconds

    texts, seconds = interleaved(plan.rounds, lambda: cached("texts"), lambda: cached("files"))
    check = _checked([current("stat", path) for path in paths])
    return Row(
        "files-cached", f"cached run over {len(paths):,} local files", 1000 * seconds, "ms", "over as many texts",
        1000 * texts, beside=(f"of that, asking the files: {1000 * check:,.0f} ms",), clock="run - value",
    )  # fmt: skip


def _written(plan: Plan, count: int) -> list[str]:
    folder = plan.folder("files")
    paths = [str(folder / f"{number:05}.txt") for number in range(count)]
    for path in paths:
        Path(path).write_text(path)
    return paths


def _checked(recorded: Sequence[State]) -> float:
    with clock() as taken:
        assert all(still_as_recorded(recorded))
    return taken.seconds


# --- in a bucket ------------------------------------------------------------------------------------------------------


def far_validity(plan: Plan) -> Row:
    """Whether so many files, each in a folder of its own, are as recorded, against all asked at once by s3fs."""
    count = plan.size(FAR_FILES)
    with _bucket() as (url, remote):
        scattered = [f"{url}/scattered/{number}/file" for number in range(count)]
        together = [f"{url}/together/{number}" for number in range(count)]
        asyncio.run_coroutine_threadsafe(_put_all(remote, [*scattered, *together]), remote.loop).result()

        def asked() -> float:
            async def ask() -> Any:
                return await asyncio.gather(*(remote._info(path) for path in scattered))

            remote.invalidate_cache()
            with clock() as taken:
                assert len(asyncio.run_coroutine_threadsafe(ask(), remote.loop).result()) == count
            return taken.seconds

        recorded, listed = ([current("stat", path) for path in paths] for paths in (scattered, together))
        loop, seconds = interleaved(plan.rounds, asked, lambda: _checked(recorded))
        in_one = _checked(listed)
    return Row(
        "s3-valid", f"{count:,} S3 files as recorded", 1000 * seconds, "ms", "s3fs, all at once", 1000 * loop,
        "< 1.5 x", seconds / loop < 1.5, (f"in one folder, which is listed: {1000 * in_one:,.0f} ms",),
        "question - answer",
    )  # fmt: skip


async def _put_all(remote: Any, paths: Sequence[str]) -> None:
    await asyncio.gather(*(remote._pipe_file(path, path.encode()) for path in paths))


def stage_in(plan: Plan) -> Row:
    """Files of a bucket brought to a script's directory, against threads that each copy one with s3fs."""
    from rayflow.runtime.worker.scripts.scratch import stage_inputs

    with _bucket() as (url, remote):
        names = [f"{number}.bin" for number in range(plan.size(STAGED_FILES))]
        for name in names:
            remote.pipe_file(f"{url}/{name}", os.urandom(STAGED_BYTES))

        def staged() -> float:
            work = plan.folder("staged")
            with clock() as taken:
                stage_inputs([File(f"{url}/{name}").stage() for name in names], str(work), is_own=True)
            assert _size_of(work) == len(names) * STAGED_BYTES
            return taken.seconds

        def copied() -> float:
            work = plan.folder("copied")
            with clock() as taken:
                _in_threads(lambda name: remote.get_file(f"{url}/{name}", str(work / name)), names)
            assert _size_of(work) == len(names) * STAGED_BYTES
            return taken.seconds

        return _throughput("stage-in", "from S3 to a script", len(names), *interleaved(plan.rounds, copied, staged))


def stage_out(plan: Plan) -> Row:
    """What a script wrote put into a bucket, against threads that each copy one with s3fs."""
    from rayflow.lang.scripts import promised
    from rayflow.runtime.worker.scripts.scratch import collect_outputs

    with _bucket() as (url, remote):
        names = [f"{number}.bin" for number in range(plan.size(STAGED_FILES))]
        work = plan.folder("written")
        for name in names:
            (work / name).write_bytes(os.urandom(STAGED_BYTES))

        def staged() -> float:
            outputs = promised([File(f"{url}/staged/{name}").stage() for name in names])
            with clock() as taken:
                collect_outputs(outputs, str(work), is_own=True, stdout="")
            return taken.seconds

        def copied() -> float:
            with clock() as taken:
                _in_threads(lambda name: remote.put_file(str(work / name), f"{url}/copied/{name}"), names)
            return taken.seconds

        row = _throughput("stage-out", "from a script to S3", len(names), *interleaved(plan.rounds, copied, staged))
        remote.invalidate_cache()
        assert remote.du(f"{url}/staged") == remote.du(f"{url}/copied") == len(names) * STAGED_BYTES
        return row


def _throughput(name: str, what: str, count: int, plain: float, seconds: float) -> Row:
    size = count * STAGED_BYTES / MIB
    return Row(
        name, f"{count} files of {STAGED_BYTES // MIB} MiB {what}", size / seconds, "MiB/s", "s3fs in threads",
        size / plain, ">= 0.8 x", plain / seconds >= 0.8, clock="first - last file",
    )  # fmt: skip


def _in_threads(copy: Callable[[str], Any], names: Sequence[str]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(copy, names))


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


@contextmanager
def _bucket() -> Iterator[tuple[str, Any]]:
    """A new bucket: its URL, and s3fs as a peer uses it. Raises Skipped where moto is not installed."""
    try:
        import moto.server  # noqa: F401
        import s3fs
    except ImportError:
        raise Skipped("moto is not installed, whose server stands for S3") from None
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark", "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    try:
        _wait_for(port)
        with mock.patch.dict(os.environ, settings):
            s3fs.S3FileSystem.clear_instance_cache()  # one of an earlier row spoke to another server
            remote = s3fs.S3FileSystem(skip_instance_cache=True)
            remote.mkdir("s3://benchmark")
            File("s3://benchmark/nothing").exists()  # from here on both have loaded their client
            yield "s3://benchmark", remote
    finally:
        server.kill()
        server.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise Skipped("moto's server does not start") from None
            time.sleep(0.05)
