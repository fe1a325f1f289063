"""Which input files a call is said to have altered."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rayflow import ContentFile, Dir, File
from rayflow.lang.packing.pack import pack
from rayflow.lang.terms.codec import dumps
from rayflow.runtime.worker.results import altered_text, input_states


def arguments_of(*files: File | Dir) -> bytes:
    return dumps({"files": [pack(file, lambda *_: None) for file in files]})


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    found = [tmp_path / name for name in ("a", "b", "c/d")]
    (tmp_path / "c").mkdir()
    for file in found:
        file.write_text("text")
    return found


def test_a_file_is_altered_that_changes_while_the_body_runs_and_not_one_that_has_another_time_on_this_machine(
    files: list[Path], tmp_path: Path
) -> None:
    packed = arguments_of(File(str(files[0])), ContentFile(str(files[1])), Dir(str(tmp_path / "c")))
    for file in files:  # as in another copy of the project
        os.utime(file, (1, 1))
    before = input_states(packed)
    assert altered_text(packed, "flow.step", before) == ""
    assert "flow.step has altered its own input" in altered_text(packed, "flow.step", None)
    for file in files:
        file.write_text("changed")
    told = altered_text(packed, "flow.step", before)
    assert told.startswith(f"rayflow: flow.step has altered its own input {files[0]}, {files[1]}, {tmp_path / 'c'} (or")


def test_a_file_that_is_missing_here_from_the_beginning_or_goes_meanwhile_is_no_altered_one(files: list[Path]) -> None:
    packed = arguments_of(File(str(files[0])), File(str(files[1])))
    files[0].unlink()
    before = input_states(packed)
    files[1].unlink()
    told = altered_text(packed, "flow.step", before)
    assert "altered" not in told and f"{files[0]}, {files[1]}, which flow.step was given, is not on" in told


def test_a_file_that_is_made_by_the_body_is_an_altered_input(tmp_path: Path) -> None:
    packed = arguments_of(File(str(tmp_path / "new")))
    before = input_states(packed)
    (tmp_path / "new").write_text("x")
    assert f"altered its own input {tmp_path / 'new'}" in altered_text(packed, "flow.step", before)
