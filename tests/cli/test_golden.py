"""What people read, word for word: each transcript in `golden/` is run again and prints what it says.

Where the output is meant to change, `WRITE_GOLDEN=1 pytest tests/cli/test_golden.py` writes the transcripts anew;
read the difference before it is committed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from projects import Project
from transcripts import played

TRANSCRIPTS = sorted((Path(__file__).parent / "golden").glob("*.txt"))


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda path: path.stem)
def test_commands_print_what_their_transcript_says(transcript: Path, project: Project) -> None:
    expected = transcript.read_text()
    found = played(expected, project)
    if os.environ.get("WRITE_GOLDEN"):
        transcript.write_text(found)
    assert found.splitlines() == expected.splitlines()
