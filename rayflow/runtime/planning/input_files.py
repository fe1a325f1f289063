"""How the files among the arguments of recorded calls have changed.

In: recorded calls. Out: for each call with changed files, a text about them. Never: evaluates, writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rayflow.store.history.database import RecordDatabase
from rayflow.store.history.why.job_inputs import FileSeen, files_of, with_members
from rayflow.values.files.changes import FileChange, ObservedFile, few, seen_of
from rayflow.values.files.validity import states_now
from rayflow.values.witnesses import OF_FILE, Witness


class InputChange(NamedTuple):
    """A text about changed files, and whether they are certain to make the call run.

    is_certain: False for a file that is gone, because the next run will hardly name it, and for a file whose change
    cannot be found out.
    """

    text: str
    is_certain: bool


def inputs_of(database: RecordDatabase, calls: list[str]) -> dict[str, InputChange]:
    """The calls with changed files among their arguments; all files are looked at together.

    Files that other calls made are left out: those calls decide about them.
    """
    if not calls:
        return {}
    files = files_of(database, calls)
    now = _now(file for named in files.values() for held in named.values() for file in held.values())
    found: dict[str, InputChange] = {}
    for call, named in files.items():
        texts: list[str] = []
        is_certain = False
        for name, held in named.items():
            checked = [file for file in held.values() if not file.came and file.known_by is not None]
            changes = [_change(file, now.get(_key(file))) for file in checked]
            differing = with_members(database, [change for change in changes if change is not None])
            if differing:
                texts.append(f"{name}: {few(differing)}")
                is_certain |= any(change.now is not None and change.now.size is not None for change in differing)
        if texts:
            found[call] = InputChange("; ".join(texts), is_certain)
    return found


def _key(file: FileSeen) -> Witness:
    return OF_FILE, (file.known_by, file.path, None, None)


def _now(files: Iterable[FileSeen]) -> dict[Witness, ObservedFile]:
    wanted = dict.fromkeys(_key(file) for file in files if not file.came and file.known_by is not None)
    return {key: seen_of(*state) for key, state in states_now(wanted).items()}


def _change(file: FileSeen, now: ObservedFile | None) -> FileChange | None:
    return None if now == file.seen else FileChange(file.path, file.seen, now, is_many=file.is_many)
