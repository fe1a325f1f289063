"""Nothing unverified is answered: whatever byte is damaged, the answer is the same, or says which file is damaged."""

from __future__ import annotations

import mmap
import random
from pathlib import Path

import pytest
from damage import BLOBS, KINDS, LARGE_BYTES, TASK, asked, build, compacted, damage, faults, files_of, key
from evaluations import Flow
from projects import Project

from rayflow.errors import BlobDamaged
from rayflow.records import TABLES
from rayflow.store import layout
from rayflow.store.exchange.transfer import transfer
from rayflow.store.folders.local import LocalFolder
from rayflow.store.folders.remote import RemoteFolder
from rayflow.store.history import views
from rayflow.store.open import Store, StoreWarning, open_store
from rayflow.store.write import compaction
from rayflow.values.filesystems.filesystems import filesystem

pytestmark = pytest.mark.filterwarnings("ignore::rayflow.store.write.catalog.StoreWarning")


@pytest.mark.slow
@pytest.mark.parametrize("is_compacted", [False, True], ids=["commits", "segments"])
def test_a_file_that_is_damaged_anywhere_changes_no_answer_without_being_named(
    tmp_path: Path, is_compacted: bool
) -> None:
    whole = tmp_path / "whole"
    build(whole)
    if is_compacted:
        compacted(whole)
    truth = asked(whole)
    assert truth.said == []
    assert len(truth.rows["cache"]) == 80 and len(truth.blobs) == 3
    names = files_of(whole)
    found = [
        f"{name}: {fault}"
        for place, name in enumerate(names)
        for fault in faults(whole, truth, name, KINDS[place % len(KINDS)], place, tmp_path)
    ]
    assert found == []


@pytest.mark.campaign
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("is_compacted", [False, True], ids=["commits", "segments"])
def test_each_file_is_damaged_in_each_way_at_a_hundred_places(tmp_path: Path, is_compacted: bool) -> None:
    whole = tmp_path / "whole"
    build(whole)
    if is_compacted:
        compacted(whole)
    truth = asked(whole)
    found = [
        f"{name}: {kind}: {fault}"
        for name in files_of(whole)
        for kind in dict.fromkeys(KINDS)
        for place in range(100)
        for fault in faults(whole, truth, name, kind, place, tmp_path)
    ]
    assert found == []


@pytest.fixture(autouse=True)
def indexes_of_small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of few rows get indexes, too."""
    monkeypatch.setattr(compaction, "INDEXED_ROWS", 1)


def test_a_file_that_is_damaged_after_it_was_verified_is_noticed_at_the_next_question(tmp_path: Path) -> None:
    build(tmp_path / "s")
    compacted(tmp_path / "s")
    store = open_store(tmp_path / "s")
    history = store.history()
    assert history.sql("select count(*) from tags").fetchall() == [(80,)]
    assert len(store.look_up([(key(3), TASK)])[0]) == len(store.get_blob(key(2)).buffers) - 1 == 1
    for name in files_of(tmp_path / "s"):
        damage(tmp_path / "s" / name, "flip", random.Random(name))
    with pytest.warns(StoreWarning, match=r"tags.*damaged"):
        assert history.sql("select count(*) from tags").fetchall() == [(0,)]
    with pytest.warns(StoreWarning, match=r"reductions.*damaged"):
        assert store.look_up([(key(3), b"o" * 20)]) == [[]]
    with pytest.raises(BlobDamaged, match=key(2).hex()):
        store.get_blob(key(2))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_damaged_blob_is_moved_aside_or_replaced_by_the_next_put(tmp_path: Path, number: int) -> None:
    build(tmp_path / "s")
    path = tmp_path / "s" / layout.blob_path(key(number))
    dice = random.Random(number)
    damage(path, "flip", dice)
    open_store(tmp_path / "s").put_blob(key(number), BLOBS[key(number)])
    assert open_store(tmp_path / "s").get_blob(key(number)).header == BLOBS[key(number)].header
    damage(path, "flip", dice)
    reader = open_store(tmp_path / "s", read_only=True)
    with pytest.warns(StoreWarning, match=path.name):
        assert not reader.has_blob(key(number))
    assert path.exists()
    store = open_store(tmp_path / "s")
    with pytest.raises(BlobDamaged, match=r"moved to tmp/damaged-.*run again"):
        store.get_blob(key(number))
    assert not store.has_blob(key(number))
    [problem] = [each for each in store.record_problems() if each.kind == "orphaned"]
    assert problem.path == f"tmp/damaged-{path.name}" and "moved aside" in problem.text
    store.put_blob(key(number), BLOBS[key(number)])
    for each in (store, reader, open_store(tmp_path / "s")):
        assert each.has_blob(key(number)) and [found.kind for found in each.check()] == ["orphaned"]
        assert each.snapshot().problems == ()


def test_what_was_forgotten_stays_so_when_the_file_that_says_it_is_damaged_and_what_it_replaced_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path / "s")
    store = open_store(tmp_path / "s")
    store.forget(at=2**50, eval_hash=key(7))
    monkeypatch.setattr(compaction, "_SEGMENT_ROWS", 1)
    store.compact()
    [name] = [name for name in files_of(tmp_path / "s") if "forgotten" in name]
    damage(tmp_path / "s" / name, "flip", random.Random(1))
    with pytest.warns(StoreWarning, match="forgotten"):
        assert [len(found) for found in open_store(tmp_path / "s").look_up([(key(7), TASK), (key(8), TASK)])] == [0, 1]


def test_a_large_blob_is_verified_and_stays_mapped(tmp_path: Path) -> None:
    build(tmp_path / "s")
    [content] = open_store(tmp_path / "s").get_blob(key(3)).buffers
    assert content.nbytes == LARGE_BYTES and isinstance(content.obj, mmap.mmap)


def test_a_copy_replaces_what_is_damaged_where_it_goes(tmp_path: Path) -> None:
    build(tmp_path / "s")
    for digest, encoded in BLOBS.items():
        open_store(tmp_path / "t").put_blob(digest, encoded)
        damage(tmp_path / "t" / layout.blob_path(digest), "flip", random.Random(1))
    assert transfer(open_store(tmp_path / "s"), open_store(tmp_path / "t")).blobs == 3
    assert open_store(tmp_path / "t").check() == []


def test_a_check_reads_the_files_far_away_and_not_their_mirror(tmp_path: Path) -> None:
    build(tmp_path / "s")
    compacted(tmp_path / "s")
    url = f"file-mirrored-{tmp_path.name}"
    far = filesystem("memory://")[0]
    for path in (tmp_path / "s").rglob("*"):
        if path.is_file():
            far.write_parts(f"/{url}/{path.relative_to(tmp_path / 's')}", [path.read_bytes()])
    store = Store(RemoteFolder(f"memory://{url}", str(tmp_path / "mirror")))
    names = [name for name in files_of(tmp_path / "s") if not name.startswith("commits")]
    history = store.history()
    for table in TABLES:
        history.answer(f'SELECT * FROM raw."{table.name}"')
    assert store.check() == []
    for name in names:
        damage(tmp_path / "s" / name, "flip", random.Random(name))
        far.write_parts(f"/{url}/{name}", [(tmp_path / "s" / name).read_bytes()])
    assert [problem.path for problem in store.check()] == sorted(names, key=lambda name: name.startswith("blobs"))


def test_a_damaged_blob_far_away_is_moved_aside_too(tmp_path: Path) -> None:
    url = f"memory://aside-{tmp_path.name}"
    far = filesystem("memory://")[0]
    stores = [Store(RemoteFolder(url, str(tmp_path / f"mirror{number}"))) for number in range(2)]
    stores[0].put_blob(key(1), BLOBS[key(1)])
    path = f"/aside-{tmp_path.name}/{layout.blob_path(key(1))}"
    content = bytearray(far.read_bytes(path))
    content[-1] ^= 1
    far.write_parts(path, [bytes(content)])
    with pytest.raises(BlobDamaged, match=r"moved to tmp/damaged-.*run again"):
        stores[0].get_blob(key(1))
    assert not stores[1].has_blob(key(1))
    stores[1].put_blob(key(1), BLOBS[key(1)])
    assert stores[0].get_blob(key(1)).header == BLOBS[key(1)].header
    [problem] = [each for each in stores[1].record_problems() if each.kind == "orphaned"]
    assert "moved aside" in problem.text


@pytest.mark.parametrize("is_far", [False, True])
def test_a_blob_that_is_written_anew_while_it_is_found_damaged_is_not_moved_aside(tmp_path: Path, is_far: bool) -> None:
    url = f"memory://anew-{tmp_path.name}"
    folder = RemoteFolder(url, str(tmp_path / "mirror")) if is_far else LocalFolder(str(tmp_path / "s"))
    store = Store(folder)
    store.put_blob(key(1), BLOBS[key(1)])
    path = layout.blob_path(key(1))
    whole = bytes(folder.read(path))
    folder.write(path, [whole[:-1] + bytes([whole[-1] ^ 1])])
    discard, asked = folder.discard_copy, []

    def written_anew(path: str) -> bool:
        asked.append(path)
        if len(asked) == (2 if is_far else 1):  # it has just been found damaged
            folder.write(path, [whole])
        return discard(path)

    folder.discard_copy = written_anew  # type: ignore[method-assign]
    assert store.get_blob(key(1)).header == BLOBS[key(1)].header
    assert asked and bytes(folder.read(path)) == whole and not folder.sizes(layout.TEMPORARY)


@pytest.mark.parametrize(
    ("query", "tables"),
    [
        ("SELECT * FROM Jobs", {"jobs"}),
        ('from raw."call_children"', {"call_children"}),
        ("from failures", {"jobs", "attempts"}),  # the second is a column there: rather one too many
        ("from current_tags", {"tags"}),
        ("summarize upstream", {"arguments", "calls"}),
        ("from lineage_of('jobs.txt')", {"files", "value_parts", "calls", "arguments", "jobs"}),
        ("from calls_of_file('x')", {"files", "value_parts", "calls", "arguments", "call_children", "jobs"}),
        ("from query_table('jo' || 'bs')", {table.name for table in TABLES}),
        ("select 1", set()),
    ],
)
def test_the_tables_behind_a_query_are_found(query: str, tables: set[str]) -> None:
    assert views.tables_behind(query) == tables


FLOW = """
from rayflow import task

@task
def numbers(n):
    return list(range(n // 10))

@task
def text(n):
    return "x" * n

@task
def main(n):
    return [numbers(n), text(3 * n)]
"""


@pytest.mark.parametrize("size", [2_000, 3_000_000])
def test_a_run_computes_again_what_is_damaged(project: Project, size: int) -> None:
    flow = Flow(project)
    flow.write(FLOW)
    right = flow.call("main", size)
    blobs = [name for name in files_of(project.path / ".rayflow") if name.startswith("blobs")]
    assert blobs
    for name in blobs:
        damage(project.path / ".rayflow" / name, "flip", random.Random(name))
    with pytest.warns(StoreWarning, match="damaged"):
        assert flow.call("main", size) == right
    assert any(name.rpartition("/")[2] in text for text in flow.watching.warnings for name in blobs)
    assert flow.computed()
    assert flow.call("main", size) == right
    assert flow.computed() == {}
    store = open_store(project.path / ".rayflow")
    assert {problem.kind for problem in store.check()} == {"orphaned"}  # what was moved aside
