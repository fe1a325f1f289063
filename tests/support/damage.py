"""A store with rows in every table, damaged in one place and asked all that it can be asked.

In: a folder, a file of it, a kind of damage. Out: what was answered wrongly without a word. Never: knows how a store
finds out.
"""

from __future__ import annotations

import os
import random
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from rayflow.errors import BlobDamaged, BlobMissing, RayflowError
from rayflow.records import TABLES, CallChildRow, CallRow, ExecutionRow, JobRow, PlaceRow, ReductionRow, ValueRow
from rayflow.store import layout
from rayflow.store.exchange.archive import reading, writing
from rayflow.store.exchange.transfer import transfer
from rayflow.store.open import open_store
from rayflow.store.write import compaction
from rayflow.values.encoding.encoding import PICKLE
from rayflow.values.refs import Encoded

TASK = b"t" * 20
EXECUTION = "0190-1"
LARGE_BYTES = 9 * 1024 * 1024
KINDS = ("flip", "flip", "flip", "cut short", "zeroed tail", "missing")


def key(number: int) -> bytes:
    return number.to_bytes(20, "big")


def row_of(kind: Any, number: int) -> Any:
    """A row of any table; no two are alike."""
    hints = get_type_hints(kind, include_extras=False)
    cells = {}
    for place, (name, hint) in enumerate((each, hints[each]) for each in kind._fields):
        plain = next(of for of in (get_args(hint) or (hint,)) if of is not type(None))
        made = {bytes: key(100 * number + place), str: f"{name} {number}", int: 1_000 * number + place}
        cells[name] = made.get(plain, number % 2 == 0 if plain is bool else number + 0.5)
    return kind(**cells)


BLOBS = {
    key(1): Encoded("bytes", b"", (b"a short term",)),
    key(2): Encoded(PICKLE, b"header " * 900, (bytes(range(256)) * 40, b"odd")),
    key(3): Encoded("text", b"", (random.Random(3).randbytes(LARGE_BYTES),)),
}


def build(path: Path, *, count: int = 40) -> None:
    """A store of several commits, with rows in each table, and blobs that they name."""
    store = open_store(path)
    for digest, encoded in BLOBS.items():
        store.put_blob(digest, encoded)
    for half in range(2):
        numbers = range(half * count, (half + 1) * count)
        for table in TABLES:
            store.append(_fitted(row_of(table.row, number), number) for number in numbers)
        store.commit()
    said = row_of(ExecutionRow, 0)._replace(execution_id=EXECUTION, status="done", recorded_jobs=2 * count)
    store.append([said._replace(root_blob=None, task_table=None)])
    store.commit()


def _fitted(row: Any, number: int) -> Any:
    if isinstance(row, ReductionRow):
        blob = key(1) if number % 5 == 0 else None
        term = None if blob else b"term %d" % number
        return row._replace(task_hash=TASK, eval_hash=key(number), term=term, term_blob=blob)
    if isinstance(row, CallRow):
        return row._replace(term=b"value %d" % number, term_blob=None)
    if isinstance(row, JobRow):
        return row._replace(execution_id=EXECUTION, parent_job_id=None)
    if isinstance(row, ValueRow) and number < 2:
        return row._replace(value_hash=key(2 + number), inline=None, blob=None)
    if isinstance(row, CallChildRow):
        return row._replace(child_call_hash=row.call_hash)
    if isinstance(row, ExecutionRow):
        return row._replace(root_blob=None, task_table=None, recorded_jobs=None, status="running")
    if isinstance(row, PlaceRow):
        return row._replace(outcome_blob=key(2))
    return row._replace(blob=key(2)) if hasattr(row, "blob") else row


def compacted(path: Path) -> None:
    """Merge all commits, each table a segment of its own, and sweep what they replaced."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compaction, "_SEGMENT_ROWS", 1)
        store = open_store(path)
        store.compact()
        store._compactor.sweep(2**60)


def files_of(path: Path) -> list[str]:
    """The files of a store that hold what was recorded."""
    found = sorted(str(each.relative_to(path)) for each in path.rglob("*") if each.is_file())
    return [name for name in found if name.startswith((layout.COMMITS, layout.SEGMENTS, layout.BLOBS))]


def damage(file: Path, kind: str, dice: random.Random) -> None:
    """Damage one file."""
    content = bytearray(file.read_bytes())
    place = dice.randrange(len(content))
    if kind == "missing":
        file.unlink()
        return
    if kind == "flip":
        content[place] ^= 1 << dice.randrange(8)
    elif kind == "cut short":
        del content[place:]
    else:
        content[place:] = bytes(len(content) - place)
    file.write_bytes(content)


@dataclass
class Answers:
    """What a store answers. rows: by table, and those of look-ups as "cache"; blobs: their bytes; said: all warnings
    and errors."""

    rows: dict[str, list[Any]] = field(default_factory=dict)
    blobs: dict[bytes, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def wrong(self, truth: Answers) -> list[str]:
        """What is answered and was never recorded."""
        found = [name for name, rows in self.rows.items() if not set(rows) <= set(truth.rows[name])]
        return [*found, *(digest.hex() for digest, held in self.blobs.items() if held != truth.blobs[digest])]

    def lacks(self, truth: Answers) -> bool:
        """Whether something is not answered that was recorded."""
        return len(self.blobs) < len(truth.blobs) or any(
            set(rows) != set(truth.rows[name]) for name, rows in self.rows.items()
        )


def asked(path: Path) -> Answers:
    """Ask a store for everything, as a new process does."""
    answers = Answers()
    with _listening(answers):
        store = open_store(path)
        found = store.look_up([(key(number), TASK) for number in range(200)])
        answers.rows["cache"] = [row for rows in found for row in rows]
        for digest in BLOBS:
            try:
                encoded = store.get_blob(digest)
                answers.blobs[digest] = encoded.format, encoded.header, tuple(map(bytes, encoded.buffers))
            except (BlobDamaged, BlobMissing) as error:
                answers.said.append(str(error))
        history = store.history()
        for table in TABLES:
            answers.rows[table.name] = history.answer(f'SELECT * FROM raw."{table.name}"').fetchall()
        answers.said.extend(f"{layout.COMMITS}: {row['what']}" for row in history.dangling())
        history.close()
    return answers


class _listening(warnings.catch_warnings):
    """Adds all warnings of a block to what was said."""

    def __init__(self, answers: Answers) -> None:
        super().__init__(record=True)
        self._answers = answers

    def __enter__(self) -> Any:
        self._heard: Any = super().__enter__()
        warnings.simplefilter("always")
        return self._heard

    def __exit__(self, *details: object) -> None:
        self._answers.said.extend(str(each.message) for each in self._heard)
        super().__exit__(*details)


def faults(whole: Path, truth: Answers, name: str, kind: str, seed: int, scratch: Path) -> Iterator[str]:
    """Damage a copy of a store in one place; everything that is then answered wrongly, or is lacking without a word."""
    dice = random.Random(f"{name} {kind} {seed}")
    copy, other = scratch / "copy", scratch / "other"
    for each in (copy, other):
        shutil.rmtree(each, ignore_errors=True)
    shutil.copytree(whole, copy, copy_function=_link)
    (copy / name).unlink()
    shutil.copyfile(whole / name, copy / name)
    damage(copy / name, kind, dice)
    base = os.path.basename(name).removesuffix(".parquet")
    commit_gone = kind == "missing" and name.startswith(layout.COMMITS)
    for step in ("as it is", "sent on" if dice.random() < 0.5 else "merged"):
        if step == "sent on":
            found = _sent(copy, other, by_file=dice.random() < 0.5)
        else:
            if step == "merged":
                found = Answers()
                with _listening(found):
                    open_store(copy).compact()
            found = asked(copy)
        for what in found.wrong(truth):
            yield f"{step}: {what} is wrong"
        # What is gone from a store that another was made from is said by that store, as it is asked.
        said = " ".join(found.said)
        if found.lacks(truth) and base not in said and not (commit_gone and "commits" in said):
            yield f"{step}: something is lacking and nothing is said"
        if step == "merged" and found.lacks(truth):
            with _listening(found):
                is_in_order = not open_store(copy).check() and not open_store(copy).dangling()
            if is_in_order:
                yield "something is lacking, and the store is in order"


def _sent(source: Path, target: Path, *, by_file: bool) -> Answers:
    """What a store answers to which all of another was copied, perhaps by way of a file."""
    sending = Answers()
    with _listening(sending):
        try:
            if by_file:
                with writing(f"{target}.zip") as archive:
                    transfer(open_store(source), archive)
                with reading(f"{target}.zip") as archive:
                    transfer(archive, open_store(target))
            else:
                done = transfer(open_store(source), open_store(target))
                sending.said.extend(f"{done.missing} blobs {' '.join(files_of(source))}" if done.missing else ())
        except RayflowError as error:
            sending.said.append(str(error))
        finally:
            Path(f"{target}.zip").unlink(missing_ok=True)
    found = asked(target) if target.exists() else Answers()
    found.said.extend(sending.said)
    return found


def _link(source: str, target: str) -> None:
    os.link(source, target)
