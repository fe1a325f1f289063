"""What a cached run asks of the store does not import what only questions need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_look_up_and_a_commit_import_neither_duckdb_nor_pandas(tmp_path: Path) -> None:
    program = f"""
import sys
from rayflow.store.open import open_store
from rayflow.records import ForgottenRow
store = open_store({str(tmp_path / "s")!r})
store.append([ForgottenRow(b"k", None, 1)])
store.commit()
store.look_up([(b"e", b"t")])
heavy = {{"duckdb", "pandas", "ray", "fsspec", "pyarrow.parquet", "pyarrow.compute"}} & sys.modules.keys()
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.slow
def test_commits_that_are_merged_import_no_pandas(tmp_path: Path) -> None:
    """That takes half a second, in which a scheduler does nothing else, and tens of megabytes."""
    program = f"""
import sys
from rayflow.store.open import open_store
from rayflow.records import SINGLE, ReductionRow
from rayflow.store.write import compaction
compaction.INDEXED_ROWS = 1_000
store = open_store({str(tmp_path / "s")!r})
keys = [n.to_bytes(20, "big") for n in range(200 * 64)]
for start in range(0, len(keys), 200):
    mine = keys[start : start + 200]
    store.append([ReductionRow(key, b"t" * 20, SINGLE, key, None, None, None, "e", 0.1, 1) for key in mine])
    store.commit()
assert len(store.look_up([(keys[7], b"t" * 20)])) == 1
assert "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert list((tmp_path / "s").rglob("*.arrow")), "an index was written"
