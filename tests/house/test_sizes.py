"""No file grows without end: a file of more than 600 lines is listed here, and may only shrink."""

from __future__ import annotations

from projects import REPOSITORY

MOST_LINES = 600

LARGE: dict[str, int] = {}
"""Files that are larger than MOST_LINES, with the number of lines that they have. It may be lowered, never raised."""


def lines_of() -> dict[str, int]:
    """The number of lines of every Python file that is ours."""
    found = {}
    for folder in ("rayflow", "tests", "examples"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            found[str(path.relative_to(REPOSITORY))] = len(path.read_text().splitlines())
    return found


def test_no_file_is_larger_than_it_may_be() -> None:
    grown = {
        name: f"{count} lines, {LARGE.get(name, MOST_LINES)} allowed"
        for name, count in lines_of().items()
        if count > LARGE.get(name, MOST_LINES)
    }
    assert not grown, "Split these: a file near 600 lines is asking to be two."


def test_what_has_shrunk_stays_small() -> None:
    lines = lines_of()
    lower = {name: lines.get(name, 0) for name, most in LARGE.items() if lines.get(name, 0) < most}
    assert not lower, "Lower these numbers in LARGE, or take out the files that are below 600 lines."
