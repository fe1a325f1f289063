"""How much of the evaluator its own tests reach: random worlds, and the playbooks of tests/evaluator."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from projects import REPOSITORY

import rayflow.evaluator
from rayflow.testing.simulation.world import play

SOURCE = Path(rayflow.evaluator.__path__[0])
MODES: tuple[dict[str, bool], ...] = (
    {}, {"with_contexts": True}, {"with_gaps": True}, {"with_awaits": True}, {"with_subruns": True},
    {"with_subruns": True, "with_awaits": True, "with_contexts": True},
)  # fmt: skip
SEEDS = 150

LEAST = 0.89
"""Of the lines in functions. It may be raised, never lowered. The rest, such as options that are lazy, the tests of
conformance run."""


def _lines(code: CodeType) -> Iterator[int]:
    """The lines of the functions in a code object, without those of modules and classes."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            if inner.co_flags & 0x2:  # a function: it has fast locals
                yield from (line for _, _, line in inner.co_lines() if line and line != inner.co_firstlineno)
            yield from _lines(inner)


@pytest.mark.campaign
@pytest.mark.timeout(1200)
def test_its_own_tests_run_nearly_every_line_of_the_evaluator() -> None:
    ran: set[tuple[str, int]] = set()
    prefix = str(SOURCE)

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(prefix):
            return None

        def line(frame: FrameType, event: str, _: Any) -> Any:
            ran.add((file, frame.f_lineno))
            return line

        return line

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for mode in MODES:
            for seed in range(SEEDS):
                assert not play(seed, **mode)
        playbooks = str(REPOSITORY / "tests" / "evaluator")
        assert pytest.main(["-p", "no:cacheprovider", "-m", "not slow and not campaign", playbooks]) == 0
    finally:
        sys.settrace(before)
    missing: dict[str, list[int]] = {}
    count = 0
    for path in sorted(SOURCE.glob("*.py")):
        lines = set(_lines(compile(path.read_text(), str(path), "exec")))
        count += len(lines)
        missing[path.name] = sorted(line for line in lines if (str(path), line) not in ran)
    lacking = sum(map(len, missing.values()))
    share = 1 - lacking / count
    assert share >= LEAST, f"{share:.3f}: {({name: lines for name, lines in missing.items() if lines})}"
