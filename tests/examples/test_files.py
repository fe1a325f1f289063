"""What the READMEs of the examples with files and programs say, beside what holds of every example."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from example_projects import Told, copy_of, run
from projects import Project


def add_line(file: Path, line: str) -> None:
    """Put a line at the end of a file."""
    file.write_text(file.read_text() + line + "\n")


class TestFiles:
    @pytest.fixture
    def stations(self, tmp_path: Path) -> tuple[Project, Told]:
        project = copy_of("20_files", tmp_path)
        return project, run(project)

    def test_an_edit_that_changes_no_result_stops_where_that_is_seen(self, stations: tuple[Project, Told]) -> None:
        project, first = stations
        add_line(project.path / "stations" / "davos.csv", "2026-06-05,")
        assert run(project) == Told(first.output, Counter({"main": 1, "clean": 1}))

    def test_a_file_that_was_deleted_is_written_again(self, stations: tuple[Project, Told]) -> None:
        project, first = stations
        cleaned = project.path / "data" / "bern.csv"
        cleaned.unlink()
        assert run(project) == Told(first.output, Counter({"clean": 1}))
        assert cleaned.exists()

    def test_a_report_that_was_edited_is_restored(self, stations: tuple[Project, Told]) -> None:
        project, first = stations
        add_line(project.path / "data" / "warmest.txt", "rome     2026-06-04  30.5")
        assert run(project) == Told(first.output, Counter({"warmest": 1}))

    def test_a_new_station_is_cleaned_alone(self, stations: tuple[Project, Told]) -> None:
        project, first = stations
        project.write("stations/chur.csv", "day,celsius\n2026-06-01,19.5\n")
        told = run(project)
        assert told.computed == {"main": 1, "clean": 1, "warmest": 1}
        assert set(told.output) - set(first.output) == {"chur     2026-06-01  19.5"}
