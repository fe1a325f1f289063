"""What classes count as: those without source, and those that functions make."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from rayflow.lang.code.identity import class_code


def made_by_exec(text: str) -> dict[str, Any]:
    space: dict[str, Any] = {"__name__": "made_by_exec"}
    exec(text, space)
    return space


@pytest.mark.filterwarnings("ignore::rayflow.lang.code.definition.SourceUnknown")
def test_the_code_of_a_class_without_source_stays_the_same_when_its_instances_are_copied_or_pickled() -> None:
    text = "class Point:\n    size = 1\n    def __init__(self):\n        self.x = 1\n"
    untouched, copied = made_by_exec(text)["Point"], made_by_exec(text)["Point"]
    copy.copy(copied())
    assert class_code(untouched) == class_code(copied)
    assert class_code(untouched) != class_code(made_by_exec(text.replace("size = 1", "size = 2"))["Point"])
