"""Values that are true only while the world is as it was."""

from __future__ import annotations

import pytest
from evaluations import Flow
from projects import Project

PAGES = """
    import pathlib
    from rayflow import task
    from rayflow.values.witnesses import register_validator

    BOOK = pathlib.Path(__file__).parent / "book"

    class Page:
        def __init__(self, name):
            self.name = name

        def __rayflow_witness__(self):
            return ("page", (self.name, (BOOK / self.name).read_text()))

    def validate(payloads, store):
        (BOOK / "asked").write_text(str(len(payloads)))
        return [(BOOK / name).read_text() == text for name, text in payloads]

    register_validator("page", validate)

    @task
    def write(name):
        (BOOK / name).write_text("written")
        return Page(name)

    @task
    def several(names):
        return [write(name) for name in names]

    @task
    def hidden(name):
        (BOOK / name).write_text("written")
        return {"page": [Page(name)], "rest": "x" * 10_000}
"""


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    (project.path / "book").mkdir()
    made.write(PAGES)
    return made


def test_a_cached_value_counts_only_while_its_witness_holds(flow: Flow) -> None:
    book = flow.project.path / "book"
    flow.call("write", "one")
    flow.call("write", "one")
    assert flow.computed() == {}
    (book / "one").write_text("changed")
    flow.call("write", "one")
    assert flow.computed() == {"write": 1}
    assert (book / "one").read_text() == "written"
    flow.call("write", "one")
    assert flow.computed() == {}


def test_a_witness_inside_a_large_value_counts(flow: Flow) -> None:
    flow.call("hidden", "one")
    flow.call("hidden", "one")
    assert flow.computed() == {}
    (flow.project.path / "book" / "one").write_text("changed")
    flow.call("hidden", "one")
    assert flow.computed() == {"hidden": 1}


def test_all_values_of_a_tick_are_asked_about_together_and_each_once(flow: Flow) -> None:
    book = flow.project.path / "book"
    names = [f"p{number}" for number in range(50)]
    flow.call("several", names)
    flow.call("several", names)
    assert flow.computed() == {}
    assert (book / "asked").read_text() == "50"
    (book / "p7").write_text("changed")
    flow.call("several", names)
    assert flow.computed() == {"write": 1}
