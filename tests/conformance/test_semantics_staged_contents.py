"""Equal content under another name: a script is known by the names and contents that it is given, never by paths."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from evaluations import Flow
from projects import Project

from rayflow import ContentDir, ContentFile, Dir, File, script
from rayflow.api import history
from rayflow.errors import ScriptFailed
from rayflow.evaluator import lookups
from rayflow.lang.builtins import TASKS
from rayflow.lang.tasks import task_table
from rayflow.runtime.driver.rerun import recorded_expression
from rayflow.store.history.filters import Filter
from rayflow.store.open import open_store

QUANTIFYING = """
    from rayflow import ContentDir, ContentFile, File, script, task

    @task
    def trimmed(reads):
        target = ContentFile(f"work/{reads.basename()}")
        target.write(reads.read().replace("N", ""))
        return target

    @task
    def quantify(index: ContentDir, reads: ContentFile):
        return script(
            "cat index/genes > /dev/null; echo run >> $RUNS; wc -c < reads.fq",
            inputs=[index.stage("index"), {"reads": (reads.stage("reads.fq"),)}],
            env={"RUNS": RUNS},
        )

    @task
    def lazily(index, sample):
        return script(
            "cat index/genes > /dev/null; echo run >> $RUNS; wc -c < reads.fq",
            inputs=[index.stage("index"), {"reads": (trimmed(File(f"reads/{sample}.fq")).stage("reads.fq"),)}],
            env={"RUNS": RUNS},
        )

    @task
    def main(samples, how="quantify"):
        index = ContentDir("index")
        if how == "lazily":
            return {sample: lazily(index, sample) for sample in samples}
        return {sample: quantify(index, ContentFile(f"reads/{sample}.fq")) for sample in samples}

    @task
    def path_of(file):
        return file.path

    @task
    def remote_of(staged):
        return staged.remote.path

    @task(script=True)
    def told(file):
        return f"echo {file.path}"
"""

SAMPLES = ["liver", "gut", "lung", "heart"]


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    for sample in SAMPLES:
        project.write(f"reads/{sample}.fq", "ACGTNN\n")
    project.write("index/genes", "genes\n")
    made.write(QUANTIFYING + f"    RUNS = {str(project.path / 'runs')!r}\n")
    return made


def runs(flow: Flow) -> int:
    kept = flow.project.path / "runs"
    return len(kept.read_text().splitlines()) if kept.exists() else 0


@pytest.mark.parametrize("how", ["quantify", "lazily"])
def test_four_equal_files_under_four_names_are_quantified_once(flow: Flow, how: str) -> None:
    assert set(flow.call("main", SAMPLES, how).values()) == {"7\n" if how == "quantify" else "5\n"}
    assert runs(flow) == 1
    assert flow.computed()["script"] == 1 and flow.counts("shared")["script"] == 3
    flow.project.write("reads/liver.fq", "ACGTACGT\n")
    found = flow.call("main", SAMPLES, how)
    assert runs(flow) == 2
    assert found["liver"] == "9\n" and found["gut"] != found["liver"]


def test_a_later_run_finds_it_too_and_so_does_another_folder(flow: Flow) -> None:
    flow.call("main", SAMPLES[:1])
    flow.call("main", SAMPLES[1:])
    os.rename(flow.project.path / "reads" / "liver.fq", flow.project.path / "elsewhere.fq")
    staged = {"reads": (ContentFile("elsewhere.fq").stage("reads.fq"),)}
    flow.run(flow.module.quantify(ContentDir("index"), ContentFile("elsewhere.fq")))  # type: ignore[union-attr]
    assert runs(flow) == 1
    assert staged["reads"][0].remote.path == "elsewhere.fq"


ONE, OTHER, DIFFERENT = "one/x.txt", "other/y.txt", "different.txt"

KNOWN_ALIKE: dict[str, Any] = {
    "content files": (lambda: ContentFile(ONE).stage("in"), lambda: ContentFile(OTHER).stage("in")),
    "content folders": (lambda: ContentDir("one").stage("in"), lambda: ContentDir("twin").stage("in")),
    "in any nesting": (
        lambda: {"a": [(ContentFile(ONE).stage("in"), 1)]}, lambda: {"a": [(ContentFile(OTHER).stage("in"), 1)]}
    ),
    "of many": (
        lambda: [ContentFile(ONE).stage(f"in{n}") for n in range(300)],
        lambda: [ContentFile(OTHER).stage(f"in{n}") for n in range(300)],
    ),
}  # fmt: skip

KNOWN_APART: dict[str, Any] = {
    "files by their times": (lambda: File(ONE).stage("in"), lambda: File(OTHER).stage("in")),
    "folders by their times": (lambda: Dir("one").stage("in"), lambda: Dir("twin").stage("in")),
    "immutable ones": (
        lambda: ContentFile(ONE, immutable=True).stage("in"), lambda: ContentFile(OTHER, immutable=True).stage("in")
    ),
    "other contents": (lambda: ContentFile(ONE).stage("in"), lambda: ContentFile(DIFFERENT).stage("in")),
    "other names": (lambda: ContentFile(ONE).stage("in"), lambda: ContentFile(ONE).stage("out")),
    "unstaged ones": (lambda: ContentFile(ONE), lambda: ContentFile(OTHER)),
    "a file and a folder": (lambda: ContentFile(ONE).stage("in"), lambda: ContentDir("one").stage("in")),
    "folders with other names inside": (lambda: ContentDir("one").stage("in"), lambda: ContentDir("other").stage("in")),
    "one known by content and one not": (lambda: ContentFile(ONE).stage("in"), lambda: File(ONE).stage("in")),
}  # fmt: skip


def ran_twice(project: Project, pair: Any, **settings: Any) -> bool:
    for name in (ONE, OTHER, "twin/x.txt"):
        project.write(name, "content")
    project.write(DIFFERENT, "contenu")
    flow = Flow(project)
    for each in pair:
        flow.run(script("true", inputs=each()), **settings)
    return flow.computed().get("script", 0) == 1


@pytest.mark.parametrize("pair", KNOWN_ALIKE.values(), ids=KNOWN_ALIKE.keys())
def test_equal_content_under_equal_names_is_one_call(project: Project, pair: Any) -> None:
    assert not ran_twice(project, pair)


@pytest.mark.parametrize("pair", KNOWN_APART.values(), ids=KNOWN_APART.keys())
def test_whatever_else_differs_makes_two_calls(project: Project, pair: Any) -> None:
    assert ran_twice(project, pair)


def test_where_the_configuration_says_content_plain_files_and_folders_are_known_so(project: Project) -> None:
    for name in (ONE, OTHER, "twin/x.txt"):
        project.write(name, "content")
    flow = Flow(project)
    toml = 'files = "content"\n'
    for path in (ONE, OTHER):
        flow.configured(toml, script("true", inputs=File(path).stage("in")))
    assert flow.computed() == {}
    for path in ("one", "twin"):
        flow.configured(toml, script("true", inputs=Dir(path).stage("in")))
    assert flow.computed() == {}


@pytest.mark.parametrize("task", ["path_of", "told"])
def test_a_body_that_can_see_the_path_is_never_given_the_answer_of_another(flow: Flow, task: str) -> None:
    for sample in SAMPLES:
        assert flow.call(task, ContentFile(f"reads/{sample}.fq")).strip() == f"reads/{sample}.fq"
    for sample in SAMPLES:
        assert flow.call("remote_of", ContentFile(f"reads/{sample}.fq").stage("in")) == f"reads/{sample}.fq"


def test_the_results_of_equal_scripts_name_their_own_targets(flow: Flow) -> None:
    for sample in SAMPLES[:2]:
        staged = ContentFile(f"reads/{sample}.fq").stage("in")
        made = flow.run(script("cp in out", inputs=staged, outputs=ContentFile(f"{sample}.out").stage("out")))
        assert made == ContentFile(f"{sample}.out") and made.read() == "ACGTNN\n"


def test_a_failure_is_not_taken_for_that_of_another_file(flow: Flow) -> None:
    with pytest.raises(ScriptFailed):
        flow.run(script("false", inputs=ContentFile("reads/gut.fq").stage("in")))
    assert flow.run(script("cat in", inputs=ContentFile("reads/lung.fq").stage("in"))) == "ACGTNN\n"


def test_the_file_that_is_there_is_staged_though_an_equal_one_was_known_before(flow: Flow) -> None:
    many = [ContentFile("reads/gut.fq").stage(f"in{n}") for n in range(300)]
    flow.run(script("true", inputs=many))
    Path(flow.project.path / "reads" / "gut.fq").unlink()
    many = [ContentFile("reads/lung.fq").stage(f"in{n}") for n in range(300)]
    assert flow.run(script("cat in299", inputs=many)) == "ACGTNN\n"


@pytest.mark.parametrize("at_once", [True, False], ids=["in one run", "in two"])
@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("options", [{}, {"check_valid": "shallow"}], ids=["every call", "the whole value"])
def test_the_records_name_the_file_that_was_given(project: Project, at_once: bool, kind: str, options: Any) -> None:
    flow = Flow(project)
    paths = ["one", "twin"] if kind == "folder" else [ONE, OTHER]
    for name in (ONE, OTHER, "twin/x.txt"):
        project.write(name, "content")

    def call(path: str) -> Any:
        given = ContentDir(path) if kind == "folder" else ContentFile(path)
        inputs = {"deep": [given.stage("in")]}
        return script("echo $RUNS", inputs=inputs, env={"RUNS": "1"}, **options)

    if at_once:
        flow.run([call(path) for path in paths])
    else:
        for path in paths:
            flow.run(call(path))
    assert flow.computed().get("script", 0) == at_once  # the second is answered
    asked = history(store=str(project.path / ".rayflow"))
    jobs = sorted(asked.jobs(Filter(task="rayflow.script")), key=lambda job: (job["queued_at"], job["ordinal"]))
    assert [job["how"] for job in jobs] == ["computed", "shared" if at_once else "cached"]
    assert [asked.arguments(job["job_id"])["inputs"]["deep"][0].remote.path for job in jobs] == paths
    for job, path in zip(jobs, paths, strict=True):
        reading = {row["call_hash"] for row in asked.calls_of_file(path) if row["task_name"] == "rayflow.script"}
        assert reading == {job["call_hash"]}
    told = asked.why(jobs[1]["job_id"])
    assert at_once or (told.arguments_changed and [change.name for change in told.changes] == ["inputs"])
    store = open_store(project.path / ".rayflow")
    terms = [recorded_expression(store, job["job_id"], task_table(TASKS)).term for job in jobs]
    store.close()
    assert [path for path in paths if repr(path) in repr(terms[paths.index(path)])] == paths


def test_the_records_name_the_file_that_was_given_where_a_whole_value_answers(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(job: Any, candidates: Any, at: int) -> Any:
        return chosen(job, tuple(each for each in candidates if each.kind == "full"), at)

    chosen = lookups.choose
    monkeypatch.setattr(lookups, "choose", choose)
    flow = Flow(project)
    for path in (ONE, OTHER):
        project.write(path, "content")
        flow.run(script("true", inputs=ContentFile(path).stage("in"), check_valid="shallow"))
    assert flow.computed() == {}
    asked = history(store=str(project.path / ".rayflow"))
    found = [asked.arguments(job["job_id"])["inputs"].remote.path for job in asked.jobs(Filter(task="rayflow.script"))]
    assert found == [OTHER, ONE]


def test_the_calls_of_each_of_the_equal_files_are_told(flow: Flow) -> None:
    flow.call("main", SAMPLES[:2])
    rows = flow.project.sql("select distinct task_name from calls_of_file('reads/liver.fq') order by all")
    assert ("flow.quantify",) in rows and ("rayflow.script",) in rows


def test_a_program_is_not_the_same_as_its_text(project: Project) -> None:
    flow = Flow(project)
    flow.write("""
        from rayflow import ContentDir, ContentFile, script, task

        @task
        def file(i):
            return script("./tool", inputs=ContentFile(f"tools/{i}/tool").stage("tool"))

        @task
        def folder(i):
            return script("bin/tool", inputs=ContentDir(f"tools/{i}").stage("bin"))
    """)
    for number, mode in ((1, 0o644), (2, 0o755), (3, 0o755)):
        project.write(f"tools/{number}/tool", "#!/bin/sh\necho ran\n").chmod(mode)
    for task in ("file", "folder"):
        assert flow.call(task, 2) == "ran\n"
        with pytest.raises(ScriptFailed, match="126"):
            flow.call(task, 1)
        assert flow.call(task, 3) == "ran\n"
        assert "script" not in flow.computed()
    (project.path / "tools/2/tool").chmod(0o644)
    with pytest.raises(ScriptFailed, match="126"):
        flow.call("file", 2)
