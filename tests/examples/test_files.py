"""What the READMEs of the examples with files and programs say, beside what holds of every example."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from example_projects import Told, copy_of, ran, run, skip_without, told_by_command
from projects import Project

from rayflow import File


def add_line(file: Path, line: str) -> None:
    """Put a line at the end of a file."""
    file.write_text(file.read_text() + line + "\n")


class TestFiles:
    @pytest.fixture
    def stations(self, tmp_path: Path) -> tuple[Project, Told]:
        return ran("20_files", tmp_path)

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

    def test_the_log_of_a_file_tells_who_made_and_who_read_it(self, stations: tuple[Project, Told]) -> None:
        told = stations[0].rayflow("log", "data/bern.csv").stdout
        made, read = told.partition("made by")[2].split("read by")
        assert "flow.clean(raw=File('stations/bern.csv'))" in made
        assert "flow.warmest(" in read


class TestGrep:
    def test_only_another_file_is_searched(self, tmp_path: Path) -> None:
        project, first = ran("21_grep", tmp_path)
        logs = project.path / "logs"
        (logs / "door.log").write_bytes((logs / "gate.log").read_bytes())
        told = run(project)
        assert told.computed == {"main": 1, "grep_files": 1, "grep": 1}
        assert set(told.output) - set(first.output) == {"door.log: ['2:06:12:44 ERROR card reader: no answer']"}

    def test_pattern_and_files_can_be_given(self, tmp_path: Path) -> None:
        project = copy_of("21_grep", tmp_path)
        told = told_by_command(project, "--pattern", "INFO", "--files", "logs/p*.log")
        assert told.output == ["{'pump.log': ['1:06:00:03 INFO 40 l/min']}"]
        assert told_by_command(project, "--pattern", r"ERROR\|WARNING").computed["grep"] == 3


class TestCProject:
    @pytest.fixture
    def calculator(self, tmp_path: Path) -> tuple[Project, Told]:
        skip_without("gcc")
        return ran("22_c_project", tmp_path)

    @pytest.mark.parametrize(("header", "compiled"), [("version.h", 1), ("operators.h", 2), ("stack.h", 3)])
    def test_a_header_compiles_what_reaches_it(
        self, calculator: tuple[Project, Told], header: str, compiled: int
    ) -> None:
        project, _ = calculator
        add_line(project.path / "src" / header, "extern int unused;")
        told = run(project)
        assert (told.computed["compile_c"], told.computed["included_by"]) == (compiled, 1)

    def test_a_comment_in_a_file_gives_the_same_object_and_links_nothing(
        self, calculator: tuple[Project, Told]
    ) -> None:
        project, first = calculator
        project.edit("src/stack.c", "ends where the stack does", "stops where the stack does")
        computed = Counter(main=1, included_by=1, build=1, compile_c=1, script=1)
        assert run(project) == Told(first.output, computed)

    @pytest.mark.parametrize("made", ["stack.o", "calc"])
    def test_what_is_deleted_is_made_again_and_nothing_else(self, calculator: tuple[Project, Told], made: str) -> None:
        project, first = calculator
        (project.path / "data" / made).unlink()
        assert run(project) == Told(first.output, Counter(script=1))
        assert (project.path / "data" / made).exists()

    def test_an_error_of_the_compiler_is_told_and_a_mended_file_goes_on(self, calculator: tuple[Project, Told]) -> None:
        project, first = calculator
        project.edit("src/operators.c", "left - right", "left minus right")
        failed = project.rayflow("run", "--inline", "flow.py")
        assert failed.returncode == 1
        assert "operators.c:8:31: error: expected" in failed.stderr
        project.edit("src/operators.c", "left minus right", "left - right")
        assert run(project).output == first.output

    def test_another_formula_only_runs_the_program(self, calculator: tuple[Project, Told]) -> None:
        project, _ = calculator
        told = told_by_command(project, "--formula", "1 2 3 + /")
        assert told == Told(["'calc 1.0: 0.2\\n'"], Counter(main=1, calculate=1))


class TestReport:
    @pytest.fixture
    def reported(self, tmp_path: Path) -> tuple[Project, Told]:
        return ran("24_report", tmp_path)

    def test_a_repeated_row_changes_nothing_downstream(self, reported: tuple[Project, Told]) -> None:
        project, first = reported
        add_line(project.path / "sales" / "2026-03.csv", "108,2026-03-30,2,6")
        assert run(project) == Told(first.output, Counter(main=1, clean=1))

    def test_a_deleted_database_is_made_again_and_the_report_stands(self, reported: tuple[Project, Told]) -> None:
        project, first = reported
        (project.path / "data" / "sales.duckdb").unlink()
        assert run(project) == Told(first.output, Counter(load=1, ask=2))

    def test_a_report_altered_by_hand_is_restored(self, reported: tuple[Project, Told]) -> None:
        project, first = reported
        add_line(project.path / "data" / "report.md", "More soon.")
        assert run(project) == Told(first.output, Counter(write_report=1))

    @pytest.mark.parametrize(
        ("file", "old", "new", "computed"),
        [
            ("products.csv", "bell", "Bell", Counter(main=1, load=1, ask=2, write_report=1)),
            ("flow.py", "order by revenue desc", "order by revenue", Counter(main=1, ask=1, write_report=1)),
            ("flow.py", '["---"]', '["--:"]', Counter(write_report=1)),
        ],
    )
    def test_an_edit_runs_what_it_touches(
        self, reported: tuple[Project, Told], file: str, old: str, new: str, computed: Counter[str]
    ) -> None:
        project, first = reported
        project.edit(file, old, new)
        told = run(project)
        assert told.computed == computed
        assert told.output != first.output


ALL_FOUND = "{'ann': {'found': 40, 'missed': 0, 'wrong': 0}, 'bob': {'found': 40, 'missed': 0, 'wrong': 0}}"


class TestVariants:
    @pytest.fixture(params=["a folder", "a bucket"])
    def folder(self, request: pytest.FixtureRequest) -> str:
        """Where the files of a run are kept."""
        if request.param == "a folder":
            return "data"
        bucket: str = request.getfixturevalue("bucket")
        return f"{bucket}/run"

    def test_in_python_all_are_found_wherever_the_files_are(self, tmp_path: Path, folder: str) -> None:
        project = copy_of("23_variants", tmp_path)
        assert told_by_command(project, "--folder", folder).output == [ALL_FOUND]
        assert told_by_command(project, "--folder", folder) == Told([ALL_FOUND], Counter())
        File(place(project, f"{folder}/ann.mappy.bam")).remove()
        told = told_by_command(project, "--folder", folder)
        # A bucket tells a file by its content: the calls that are written again are what they were.
        compared = 1 if folder == "data" else 0
        assert (told.output, told.computed.total()) == ([ALL_FOUND], 2 + compared)
        assert (told.computed["align"], told.computed["call"], told.computed["compare"]) == (1, 1, compared)

    def test_by_programs_all_are_found_wherever_the_files_are(self, tmp_path: Path, folder: str) -> None:
        skip_without("bwa", "samtools", "bcftools")
        project = copy_of("23_variants", tmp_path)
        words = ("--programs", "--folder", folder)
        assert told_by_command(project, *words).output == [ALL_FOUND]
        assert told_by_command(project, *words) == Told([ALL_FOUND], Counter())
        File(place(project, f"{folder}/bob.bwa.vcf")).remove()
        told = told_by_command(project, *words)
        assert (told.output, told.computed["script"], told.computed.total()) == ([ALL_FOUND], 1, 2)
        File(place(project, f"{folder}/bwa/genome.sa")).remove()
        told = told_by_command(project, *words)
        assert (told.output, told.computed["script"]) == ([ALL_FOUND], 5 if folder == "data" else 1)

    def test_both_ways_share_what_is_simulated(self, tmp_path: Path) -> None:
        skip_without("bwa", "samtools", "bcftools")
        project, _ = ran("23_variants", tmp_path)
        told = told_by_command(project, "--programs")
        assert told.computed["make_genome"] == told.computed["sequence_sample"] == 0


def place(project: Project, path: str) -> str:
    """A path of a project as this process reaches it."""
    return path if "://" in path else str(project.path / path)
