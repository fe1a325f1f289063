"""Code identities told to people: the tree, and what changed between two of them."""

from __future__ import annotations

from rayflow.lang.code.code_graph import CodeIdentity, Definition
from rayflow.lang.code.diff import describe, diff
from rayflow.records import DefinitionRow

MAIN = Definition("flow.main", "function", b"m" * 20, None, "flow.py:3", "def main(): return clean()")
CLEAN = Definition("helpers.clean", "function", b"c" * 20, "flow.main", "helpers.py:1", "def clean(): return RATE")
RATE = Definition("helpers.RATE", "constant", b"r" * 20, "helpers.clean", "helpers.py:9", "3")
OTHER = Definition("flow.other", "task", b"o" * 20, "flow.main", None, None)
OLD = (MAIN, CLEAN, RATE)


def changed(definition: Definition, source: str) -> Definition:
    return Definition(
        definition.name, definition.kind, b"n" * 20, definition.reached_from, definition.place, source
    )  # fmt: skip


def test_the_tree_shows_each_definition_under_the_one_that_reaches_it() -> None:
    text = describe(CodeIdentity(b"i" * 20, (*OLD, OTHER), ("flow.main: eval(x) is looked up only when it runs",)))
    lines = text.splitlines()
    assert lines[1] == f"function flow.main  {b'm'.hex() * 4}  flow.py:3"
    assert lines[2].startswith("  function helpers.clean")
    assert lines[3] == f"    constant helpers.RATE = 3  {b'r'.hex() * 4}  helpers.py:9"
    assert lines[4].startswith("  task flow.other (by name only")
    assert lines[-1] == "  flow.main: eval(x) is looked up only when it runs"


def test_equal_definitions_have_no_changes() -> None:
    assert diff(OLD, OLD) == []


def test_a_change_tells_the_way_to_it_and_the_lines() -> None:
    (change,) = diff(OLD, (MAIN, CLEAN, changed(RATE, "4")))
    assert (change.what, change.name) == ("changed", "helpers.RATE")
    assert change.path == ("flow.main", "helpers.clean", "helpers.RATE")
    assert change.text.splitlines()[-2:] == ["-3", "+4"]


def test_what_was_added_and_removed_is_told() -> None:
    added, removed = diff((MAIN, CLEAN), (MAIN, OTHER))
    assert (added.what, added.name, added.text) == ("added", "flow.other", "")
    assert (removed.what, removed.name) == ("removed", "helpers.clean")
    assert removed.text.splitlines()[-1] == "-def clean(): return RATE"


def test_rows_of_the_store_and_plain_tuples_are_taken_too() -> None:
    def row(each: Definition) -> DefinitionRow:
        return DefinitionRow(b"t" * 20, each.name, each.kind, each.digest, each.reached_from, each.place, each.source)

    plain = [(each.name, each.kind, each.digest, each.reached_from, each.place, each.source) for each in OLD]
    assert diff(map(row, OLD), plain) == []
    assert [each.name for each in diff(map(row, OLD), (MAIN, CLEAN, changed(RATE, "4")))] == ["helpers.RATE"]


def test_a_path_that_leads_nowhere_or_around_ends() -> None:
    lost = Definition("a", "function", b"1" * 20, "gone", None, None)
    one = Definition("x", "function", b"1" * 20, "y", None, None)
    two = Definition("y", "function", b"1" * 20, "x", None, None)
    paths = {change.name: change.path for change in diff((), (lost, one, two))}
    assert paths == {"a": ("gone", "a"), "x": ("y", "x"), "y": ("x", "y")}
