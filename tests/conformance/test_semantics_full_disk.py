"""A full disk: one clear error that names the place, nothing half written or recorded, and the next run goes on."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from evaluations import Flow
from projects import Project

from rayflow import File, Scheduler
from rayflow.errors import ScriptFailed, StoreUnavailable

pytestmark = pytest.mark.mounts

FLOW = """
    import contextlib
    import os
    from rayflow import Dir, File, len_, script, task

    LARGE = 3_000_000

    @task
    def write(path):
        File(path).write(bytes(LARGE))
        return File(path)

    @task
    def stream(path):
        with File(path).open("w") as stream:
            stream.write("x" * LARGE)
        return File(path)

    @task
    def staged_out(path):
        return script(
            f"mkdir d; head -c {LARGE} /dev/zero > d/x; echo small > out",
            outputs=[File(path).stage("out"), Dir(f"{path}.d").stage("d")],
        )

    @task
    def copied(path):
        return File("memory://full-disk/large").copy_to(path)

    @task
    def other():
        return "fine"

    @task
    def both(name, path):
        return [globals()[name](path), other()]

    @task
    def scratch():
        return script(f"head -c {LARGE} /dev/zero > inside")

    @task
    def staged_in(file):
        return script("wc -c < large", inputs=file.stage("large"))

    @task
    def blob(number):
        return bytes([number]) * 300_000

    @task
    def blobs(count):
        return [len_(blob(number)) for number in range(count)]

    @task
    def number(n):
        return n

    @task
    def filling(n, path):
        if path is not None:
            with open(path, "wb") as stream, contextlib.suppress(OSError):
                for size in (4096, 1):
                    for _ in range(10_000):
                        os.write(stream.fileno(), bytes(size))
        return n

    @task
    def numbers(path):
        return later([number(1), number(2)], path)

    @task
    def later(before, path):
        return [sum(before), *[number(n) for n in range(10, 20)]] if path is None else fill(before, path)

    @task
    def fill(before, path):
        return [sum(before), number(filling(3, path))]
"""


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(FLOW)
    return made


@pytest.mark.parametrize("action", ["write", "stream", "staged_out", "copied"])
def test_an_output_on_a_full_disk_is_named_and_nothing_of_it_appears(
    flow: Flow, small_disk: Path, action: str
) -> None:
    File("memory://full-disk/large").write(bytes(3_000_000))
    with pytest.raises(StoreUnavailable, match=rf"Cannot write (to )?{small_disk}.*No space left .* Free some space"):
        flow.call("both", action, str(small_disk / "out"))
    assert flow.computed()["other"] == 1
    assert [path.name for path in small_disk.iterdir() if action != "stream"] == []


def test_a_full_scratch_directory_is_named(flow: Flow, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    with pytest.raises(ScriptFailed, match="No space left on device"):
        flow.call("scratch")
    far = File("memory://full-disk/large")
    far.write(bytes(3_000_000))
    with pytest.raises(StoreUnavailable, match=f"Cannot write to {small_disk}/.*No space left"):
        flow.call("staged_in", far)
    assert list(small_disk.iterdir()) == []
    fill(small_disk)
    with pytest.raises(StoreUnavailable, match=f"Cannot write {small_disk}/.*No space left"):
        flow.call("scratch")


def fill(disk: Path) -> Path:
    """A file that takes all the room that is left."""
    descriptor = os.open(disk / "full", os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(descriptor, bytes(4096)):
            pass
    except OSError:
        os.close(descriptor)
    return disk / "full"


class TestAStoreOnAFullDisk:
    def run(self, flow: Flow, disk: Path, task: str, *args: object) -> object:
        with Scheduler(store=str(disk / "store"), inline=True, reporter=flow.watching) as scheduler:
            return scheduler.run(getattr(flow.module, task)(*args))

    def summary(self, flow: Flow) -> dict[str, int]:
        by_task = flow.watching.summaries[-1].by_task
        return {name.rpartition(".")[2]: counts.get("computed", 0) for name, counts in by_task.items()}

    def check(self, flow: Flow, disk: Path) -> None:
        checked = flow.project.rayflow("store", "check", "--store", str(disk / "store"))
        assert checked.returncode == 0, checked.stdout + checked.stderr

    def test_what_was_recorded_counts_and_the_next_run_goes_on(self, flow: Flow, small_disk: Path) -> None:
        assert self.run(flow, small_disk, "later", [1, 2], None) == [3, *range(10, 20)]
        full = fill(small_disk)
        with pytest.raises(StoreUnavailable, match=f"{small_disk}/store/.*\n.*full: free some space and run again"):
            self.run(flow, small_disk, "numbers", None)
        assert self.run(flow, small_disk, "later", [1, 2], None) == [3, *range(10, 20)]
        assert "not recorded" in flow.watching.warnings[-1]
        full.unlink()
        assert self.run(flow, small_disk, "numbers", None) == [3, *range(10, 20)]
        assert self.summary(flow) == {"numbers": 1, "later": 0, "number": 2}
        self.check(flow, small_disk)

    def test_a_disk_that_fills_while_it_runs_ends_the_run_with_one_error(
        self, flow: Flow, small_disk: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from rayflow.store import store

        assert self.run(flow, small_disk, "number", 1) == 1
        monkeypatch.setattr(store, "LOCAL_COMMIT_SECONDS", 0.0)  # each turn commits
        with pytest.raises(StoreUnavailable, match="free some space and run again"):
            self.run(flow, small_disk, "numbers", str(small_disk / "full"))
        (small_disk / "full").unlink()
        flow.edit("if path is not None:", "if False:")
        assert self.run(flow, small_disk, "numbers", str(small_disk / "full")) == [3, 3]
        self.check(flow, small_disk)

    def test_a_value_that_is_there_is_given_though_it_cannot_be_recorded(self, flow: Flow, small_disk: Path) -> None:
        assert self.run(flow, small_disk, "number", 1) == 1
        full = str(small_disk / "full")
        assert self.run(flow, small_disk, "filling", 3, full) == 3
        assert "what it did last is not recorded, and is done again the next time" in flow.watching.warnings[-1]
        assert flow.watching.summaries[-1].status == "done"
        Path(full).unlink()
        assert self.run(flow, small_disk, "filling", 3, full) == 3
        assert self.summary(flow) == {"filling": 1}
        Path(full).unlink()
        self.check(flow, small_disk)

    def test_what_could_not_be_recorded_is_recorded_when_there_is_room_again(
        self, flow: Flow, small_disk: Path
    ) -> None:
        full = small_disk / "full"
        with Scheduler(store=str(small_disk / "store"), inline=True, reporter=flow.watching) as scheduler:
            assert scheduler.run(flow.module.filling(3, str(full))) == 3
            full.unlink()
            assert scheduler.run(flow.module.number(1)) == 1
        assert self.run(flow, small_disk, "filling", 3, str(full)) == 3
        assert self.summary(flow) == {"filling": 0}

    def test_a_store_that_cannot_be_tidied_up_loses_nothing(
        self, flow: Flow, small_disk: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from rayflow.store.open import Store

        def compact(self: Store, execution_id: str | None = None) -> None:
            raise StoreUnavailable("no room to merge")

        monkeypatch.setattr(Store, "compact", compact)
        assert self.run(flow, small_disk, "number", 1) == 1
        assert flow.watching.warnings == ["The store could not be tidied up: no room to merge"]

    def test_a_value_that_cannot_be_kept_fails_its_call_and_the_others_are_kept(
        self, flow: Flow, small_disk: Path
    ) -> None:
        with pytest.raises(StoreUnavailable, match=r"/blobs/.*\n.*full: free some space and run again"):
            self.run(flow, small_disk, "blobs", 6)
        failed = self.run(flow, small_disk, "number", 1)
        assert failed == 1
        # Beside the values there may be the table of tasks, when a program has many.
        sizes = [path.stat().st_size for path in (small_disk / "store/blobs").rglob("*") if path.is_file()]
        kept = len([size for size in sizes if 300_000 < size < 301_000])
        assert 1 <= kept <= 3
        assert self.run(flow, small_disk, "blobs", kept) == [300_000] * kept
        assert self.summary(flow)["blob"] == 0
        self.check(flow, small_disk)

    def test_a_new_store_on_a_full_disk_is_one_error(self, flow: Flow, small_disk: Path) -> None:
        fill(small_disk)
        done = flow.project.rayflow("run", "--inline", "--store", str(small_disk / "new"), "flow.py", "other")
        assert (done.returncode, done.stdout) == (2, "")
        assert "No space left on device" in done.stderr and "Traceback" not in done.stderr
