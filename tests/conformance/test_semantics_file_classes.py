"""Classes of the user's own for files: `class Fastq(File)` is seen wherever a File is."""

from __future__ import annotations

import os

import pytest
from evaluations import Flow
from projects import Project

from rayflow import script
from rayflow.errors import BadArguments
from rayflow.values.encoding.identity import value_hash

READS = """
    from rayflow import Dir, File, script, task

    class Fastq(File):
        def count(self):
            return len(self.readlines()) // 4

    class Bam(File):
        def __init__(self, path, index):
            super().__init__(path)
            self.index = index

    class Whole(File):
        def is_valid(self):
            return self.read().endswith(".") and super().is_valid()

    class Runs(Dir):
        pass

    @task
    def sample(count):
        Fastq("a.fq").write("@r\\nA\\n+\\nI\\n" * count)
        return Fastq("a.fq")

    @task
    def align(reads: Fastq):
        File("a.bai").write("index")
        File("a.bam").write(reads.read())
        return Bam("a.bam", index=File("a.bai"))

    @task
    def told(bam, reads):
        return [type(bam).__name__, bam.index.read(), reads.count()]

    @task
    def main(count):
        reads = sample(count)
        return told(align(reads), reads)

    @task
    def staged():
        return script(
            "mkdir d; cat in | tee out > d/x", inputs=Fastq("a.fq").stage("in"),
            outputs=[Fastq("b.fq").stage("out"), Runs("runs").stage("d")],
        )

    @task
    def whole(text):
        Whole("whole").write(text)
        return Whole("whole")
"""


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(READS)
    return made


def test_it_is_seen_by_its_path_as_a_file_is(flow: Flow) -> None:
    assert flow.call("main", 2) == ["Bam", "index", 2]
    for path, maker in (("a.fq", "flow.sample"), ("a.bam", "flow.align"), ("a.bai", "flow.align")):
        told = flow.project.rayflow("log", path).stdout
        made, read = told.split("made by")[1].split("read by")
        assert maker in made and "flow.told" in read, told
    found = flow.project.sql("select distinct task_name from lineage_of('a.bam')")
    assert {name for (name,) in found} == {"flow.align", "flow.sample"}


def rewrite(flow: Flow, name: str, text: str) -> None:
    """Write a file so that its modification time surely differs."""
    path = flow.project.path / name
    path.write_text(text)
    os.utime(path, (1_000_000_000, 1_000_000_000))


def test_it_counts_while_it_is_as_it_was_and_so_do_the_files_in_its_attributes(flow: Flow) -> None:
    flow.call("main", 2)
    assert (flow.call("main", 2), flow.computed()) == (["Bam", "index", 2], {})
    rewrite(flow, "a.bai", "altered")
    assert (flow.call("main", 2), flow.computed()) == (["Bam", "index", 2], {"align": 1, "told": 1})
    rewrite(flow, "a.fq", "")
    flow.call("main", 2)
    assert flow.computed() == {"sample": 1, "align": 1, "told": 1}


def test_its_attributes_are_part_of_it(flow: Flow) -> None:
    (flow.project.path / "x").write_text("x")
    module = flow.write(READS)
    one, other = (value_hash(module.Bam("x", index=index)) for index in (1, 2))
    assert one != other and one == value_hash(module.Bam("x", index=1))


def test_it_is_staged_and_comes_out_of_a_script_as_what_it_is(flow: Flow) -> None:
    flow.call("sample", 3)
    out, runs = flow.call("staged")
    assert (type(out).__name__, out.count(), type(runs).__name__) == ("Fastq", 3, "Runs")
    assert "flow.staged:script" in flow.project.rayflow("log", "b.fq").stdout
    with pytest.raises(BadArguments, match="from its path alone, without its index"):
        script("true", outputs=flow.module.Bam("b.bam", index=1).stage("x"))


def test_what_it_says_itself_of_whether_it_holds_counts_too(flow: Flow) -> None:
    for text, computed in (("half", {"whole": 1}), ("whole.", {"whole": 1})):
        flow.call("whole", text)
        flow.call("whole", text)
        assert flow.computed() == ({} if text == "whole." else computed)
