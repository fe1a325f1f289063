"""What the command line says of an error when not even the directory is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayflow.cli.output.errors import complain
from rayflow.errors import BadModule


def test_an_error_is_told_in_a_directory_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    try:
        exec(compile("raise error", "/home/u/flow.py", "exec"), {"error": BadModule("no such module")})
    except BadModule as error:
        code = complain(error)
    told = capsys.readouterr().err
    assert code == 1 and "error: no such module" in told and 'File "/home/u/flow.py", line 1' in told
