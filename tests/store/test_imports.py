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
