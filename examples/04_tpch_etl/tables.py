"""The TPC-H tables on disk: partitioned Parquet, made by the command-line tool tpchgen-cli when it is not there yet."""

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

TABLES = ("customer", "orders", "lineitem")


@dataclass(frozen=True)
class Partition:
    """One Parquet file, as it is now: another content is another partition."""

    path: str
    content: str

    def read(self, columns: list[str]) -> pd.DataFrame:
        """Some of its columns. Decimals become floats, dates become timestamps."""
        frame = pd.read_parquet(self.path, columns=columns)
        for column in columns:
            if column in ("l_quantity", "l_extendedprice", "l_discount", "l_tax"):
                frame[column] = frame[column].astype("float64")
            elif column.endswith("date"):
                frame[column] = pd.to_datetime(frame[column])
        return frame


def generate(folder: Path, scale: float, parts: int) -> None:
    """Write the tables, each in so many parts. scale: 1 is 1 GB as text."""
    command = shutil.which("tpchgen-cli", path=str(Path(sys.executable).parent)) or "tpchgen-cli"
    tables = f"--tables={','.join(TABLES)}"
    where = f"--output-dir={folder}"
    subprocess.run(
        [command, "parquet", "--quiet", "-s", str(scale), tables, f"--parts={parts}", where, "--overwrite"], check=True
    )


def partitions_of(folder: Path, table: str) -> list[Partition]:
    """The partitions of a table that are in the folder, by name."""
    files = sorted((folder / table).glob("*.parquet"))
    return [Partition(str(file), hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]
