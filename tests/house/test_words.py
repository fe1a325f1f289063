"""What is committed speaks of rayflow, to whoever reads it: no notes to oneself, no traces of a workplace."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from projects import REPOSITORY

FORBIDDEN = {
    r"\b(TODO|FIXME|XXX|HACK)\b": "do it, or leave it",
    r"\b(this|that|next|last|previous|earlier|later|another|my|our) session\b": "the reader was not there",
    r"\b(design|semantics|anchors|brief|ray-facts)\.md\b": "say it here instead",
    r"(?i)\bas (the )?(issue|ticket|brief|task|prompt) (says|said|asks|asked|wants)\b": "give the reason itself",
    r"(?i)\b(issue|ticket|pull request|PR) ?#\d+": "give the reason itself",
    r"(?i)\b(anthropic|claude|chatgpt|openai|copilot|language model)\b": "of no interest to the reader",
    r"(?i)pypi\.org|pythonhosted\.org|/opt/pypi|npmjs\.org|proxy\.golang\.org": "readers have a registry of their own",
    r"/work/(main|shared)|/root/": "a path of one machine",
    r"\b192\.168\.\d+\.\d+\b": "an address of one network",
    r"(AKIA|ASIA)[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|gh[pousr]_[A-Za-z0-9]{30}": "a secret",
}
"""What must not stand in a tracked file, and why."""


def tracked() -> list[Path]:
    """The files that git knows; without git, all but what is made."""
    listed = subprocess.run(["git", "-C", str(REPOSITORY), "ls-files", "-z"], capture_output=True, text=True)
    if listed.returncode == 0:
        return [REPOSITORY / name for name in listed.stdout.split("\0") if name and (REPOSITORY / name).is_file()]
    made = {".venv", "__pycache__", ".rayflow", ".git", ".hypothesis", "data"}
    return [path for path in REPOSITORY.rglob("*") if path.is_file() and made.isdisjoint(path.parts)]


@pytest.mark.slow
def test_no_tracked_file_holds_a_forbidden_word() -> None:
    found = []
    for path in tracked():
        if path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            for pattern, reason in FORBIDDEN.items():
                match = re.search(pattern, line)
                if match:
                    found.append(f"{path.relative_to(REPOSITORY)}:{number}: {match[0]!r}: {reason}")
    assert not found, "\n".join(found)


@pytest.mark.slow
def test_nothing_that_is_made_is_tracked() -> None:
    made = re.compile(r"(^|/)(__pycache__|\.venv|\.rayflow|\.hypothesis|dist|build)/|^examples/[^/]+/data/")
    assert not [str(path) for path in tracked() if made.search(str(path.relative_to(REPOSITORY)))]


@pytest.mark.slow
def test_no_tracked_file_is_large() -> None:
    """In bytes. Data for examples and tests is generated where it is needed."""
    assert not {str(path): path.stat().st_size for path in tracked() if path.stat().st_size > 200_000}
