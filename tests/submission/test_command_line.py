"""`rayflow submit` and `attach` against a dashboard that is played: what is checked before anything is sent, what the
job is told."""

from __future__ import annotations

import io
import json
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from played_dashboard import TOKEN, PlayedDashboard
from projects import Project

from rayflow import pasting
from rayflow.__main__ import main
from rayflow.cli.output.job_output import JobOutput
from rayflow.config import store_by_default
from rayflow.errors import FileMissing
from rayflow.submission.bootstrap import unpacked
from rayflow.submission.frames import FrameReader, FrameWriter, JobAnswer, JobText
from rayflow.submission.local_files import check_there

FLOW = """
import sys
from rayflow import File, get_context, task

@task
def main(n: int = 2, names: list[str] = (), data: File | None = None):
    print("running")
    return n

@task
def odd():
    return get_context("odd", "none")
"""


@dataclass
class Played:
    """A project, and a dashboard that is played."""

    project: Project
    dashboard: PlayedDashboard
    capsys: Any

    def __call__(self, *words: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = main(words)
        self.project.forget()
        return code, *self.capsys.readouterr()

    def submit(self, *words: str) -> tuple[int, str, str]:
        return self("submit", "--address", self.dashboard.address, "--detach", *words)

    def job(self) -> tuple[list[str], dict[str, Any]]:
        """The words and the specification of the last job."""
        told = list(self.dashboard.jobs.values())[-1]
        _, packed, *words = shlex.split(told["entrypoint"].partition(" -I ")[2])
        return words, unpacked(packed)


@pytest.fixture
def played(project: Project, dashboard: PlayedDashboard, tmp_path: Path, monkeypatch, capsys) -> Played:
    project.write("rayflow.toml", f'store = "{tmp_path}/results"\n')
    project.write("flow.py", FLOW)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    return Played(project, dashboard, capsys)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["flow.py", "man"], "flow.py has no task 'man'"),
        (["nothing.py"], "There is no file nothing.py"),
        (["flow.py", "main", "--n", "x"], "--n: 'x' is not an int."),
        (["flow.py", "main", "--m", "1"], "main has no argument --m"),
        (["flow.py", "main", "--inline"], "main has no argument --inline"),
        (["--inline", "flow.py"], "No such option '--inline'"),
        (["--detsch", "flow.py"], "No such option '--detsch'. Did you mean '--detach'?"),
        (["flow.py", "main", "--execution-id", "mine"], "'mine' is not an execution id"),
        (["flow.py", "main", "--option", "nothing=1"], "nothing"),
        (["flow.py", "main", "--tag", "=1"], "tag"),
        (["flow.py", "main", "--store", ".rayflow"], "in the project on this machine, where no cluster reaches it"),
        (["flow.py", "main", "--input", "none.json"], "none.json cannot be read"),
    ],
)
def test_a_mistake_is_found_before_anything_is_sent(played, words, said):
    code, out, err = played.submit(*words)
    assert (code, out) == (1, "")
    assert said in err
    assert played.dashboard.asked == []


def test_a_local_file_that_is_not_sent_with_the_project_is_found_before_anything_is_sent(played):
    for name, text in {".gitignore": "*.bin\nout/\n", "a.bin": "", "out/a.txt": "", "in/b.txt": ""}.items():
        played.project.write(name, text)
    for path, line in {"a.bin": "!a.bin", "out/a.txt": "!out/"}.items():
        code, _, err = played.submit("flow.py", "main", "--data", path)
        assert code == 1 and f"{path} is not sent with the project" in err and f"{line} in .rayignore" in err
        assert 's3://bucket/...; where a program needs a local one, stage it: file.stage("name")' in err
    assert played.dashboard.asked == []
    played.project.write(".rayignore", "!a.bin\n!out/\n")
    for path in ("a.bin", "out/a.txt", "in/b.txt", "in", ".", "s3://bucket/a.bin", "/nowhere/else"):
        assert played.submit("flow.py", "main", "--data", path)[0] == 0
        assert played.job()[1]["files"] == []


def test_the_job_looks_for_the_local_files_outside_of_the_project_that_its_arguments_name(played, tmp_path):
    for path in (tmp_path / "here.txt", tmp_path / "gone.txt"):
        path.write_text("x")
    (tmp_path / "args.json").write_text(json.dumps({"data": "../gone.txt"}))
    assert played.submit("flow.py", "main", "--data", f"{tmp_path}/here.txt")[0] == 0
    assert played.job()[1]["files"] == [f"{tmp_path}/here.txt"]
    assert played.submit("flow.py", "main", "--input", f"{tmp_path}/args.json")[0] == 0
    assert played.job()[1]["files"] == ["../gone.txt"]
    check_there([f"{tmp_path}/here.txt", "../gone.txt"])
    (tmp_path / "gone.txt").unlink()
    with pytest.raises(FileMissing, match=r"there is \.\./gone\.txt, and on .*, a machine of the cluster, there is"):
        check_there([f"{tmp_path}/here.txt", "../gone.txt"])


def test_a_project_of_600_megabytes_is_refused_before_anything_is_sent(played):
    with (played.project.path / "huge.bin").open("wb") as stream:
        stream.truncate(600 << 20)
    code, _, err = played.submit("flow.py", "main")
    assert code == 1
    assert "The largest are huge.bin (600.0 MiB)" in err
    assert played.dashboard.asked == []
    (played.project.path / ".rayignore").write_text("*.bin\n")
    assert played.submit("flow.py", "main")[0] == 0


def test_a_project_that_could_not_be_sent_leaves_nothing_in_the_store_unless_the_request_may_be_older(played):
    played.dashboard.most_bytes = 10
    left = []
    for words in ([], ["--execution-id", "0197a3c2-51f0-7000-8000-000000000000"]):
        code, _, err = played.submit("flow.py", "main", *words)
        assert code == 1 and "or a proxy before it" in err
        left.append(os.listdir(played.project.path.parent / "results" / "tmp"))
    assert left == [[], ["beacon-submitted-0197a3c2-51f0-7000-8000-000000000000"]]
    assert played.dashboard.jobs == {}


def test_the_job_gets_the_words_and_where_they_were_typed(played, monkeypatch):
    (played.project.path / "flows").mkdir()
    (played.project.path / "args.toml").write_text('n = 7\nnames = ["ä"]\n')
    monkeypatch.chdir(played.project.path / "flows")
    code, out, err = played.submit(
        "--tag", "owner=ada", "--json", "../flow.py", "main", "--input", "../args.toml", "--no-cache",
        "--context", "odd=1", "--names", "a", "b c", "--store", str(played.project.path.parent / "other"),
    )  # fmt: skip
    assert code == 0, err
    words, told = played.job()
    assert words == [
        "run", "--no-cache", "--json", "--tag=owner=ada", '--context={"odd": 1}', "../flow.py", "main", "--names", "a",
        "b c",
    ]  # fmt: skip
    assert told["input_file"] == ["../args.toml", 'n = 7\nnames = ["ä"]\n']
    assert (told["execution"], told["directory"], told["project"]) == (out.strip(), "flows", "project")
    assert told["store"] == str(played.project.path.parent / "other")
    assert told["default_store"] == str(played.project.path.parent / "results")
    assert f"Come back with: rayflow attach {out[:18]} --address {played.dashboard.address}" in err


def test_a_file_that_is_named_from_elsewhere_is_found_in_the_copy(played, monkeypatch):
    monkeypatch.chdir(played.project.path.parent)
    assert played.submit("project/flow.py")[0] == 0
    words, told = played.job()
    assert (words, told["directory"]) == (["run", "flow.py"], ".")


def test_a_library_that_only_the_cluster_has_is_no_obstacle_but_a_mistake_in_the_file_is(played):
    played.project.write("flow.py", "import no_such_library\n" + FLOW)
    code, _, err = played.submit("flow.py", "main", "--n", "x")
    assert code == 0
    assert "flow.py needs no_such_library, which is not installed here: its arguments are read there." in err
    assert played.job()[0] == ["run", "flow.py", "main", "--n", "x"]
    played.project.write("flow.py", "import own\n" + FLOW)
    played.project.write("own.py", "1 / 0\n")
    code, _, err = played.submit("flow.py", "main")
    assert code == 1 and "ZeroDivisionError" in err


def test_no_job_is_submitted_whose_command_would_have_values_of_variables(played):
    given = '{"runtime_env": {"env_vars": {"TOKEN": "hush-hush"}}}'
    for option in (f"runtime_env={json.loads(given)['runtime_env']}".replace("'", '"'), f"export_options={given}"):
        code, _, err = played.submit("flow.py", "main", "--option", option)
        assert code == 1 and "everyone on the cluster can read" in err and "hush-hush" not in err
    assert not played.dashboard.jobs
    assert played.submit("flow.py", "main", "--option", 'runtime_env={"pip": ["lxml"]}')[0] == 0


def test_settings_of_the_environment_go_along_where_they_can(played, monkeypatch, tmp_path):
    monkeypatch.setenv("RAYFLOW_LOG_LEVEL", "verbose")
    (played.project.path / "context.json").write_text("{}")
    monkeypatch.setenv("RAYFLOW_CONTEXT_FILE", str(played.project.path / "context.json"))
    assert played.submit("flow.py", "main")[0] == 0
    assert played.job()[1]["environment"] == {"RAYFLOW_LOG_LEVEL": "verbose", "RAYFLOW_CONTEXT_FILE": "context.json"}
    (tmp_path / "context.json").write_text("{}")
    monkeypatch.setenv("RAYFLOW_CONTEXT_FILE", str(tmp_path / "context.json"))
    code, _, err = played.submit("flow.py", "main")
    assert code == 1 and "RAYFLOW_CONTEXT_FILE is" in err and "not in the project" in err


@pytest.mark.parametrize("how", ["RAY_API_SERVER_ADDRESS", "RAYFLOW_ADDRESS", "RAY_ADDRESS", "rayflow.toml"])
def test_the_dashboard_may_be_named_once_for_all(played, monkeypatch, how):
    if how == "rayflow.toml":
        with (played.project.path / how).open("a") as stream:
            stream.write(f'address = "{played.dashboard.address}"\n')
    else:
        monkeypatch.setenv(how, played.dashboard.address)
    code, out, err = played("submit", "flow.py", "main", "--detach")
    assert code == 0, err
    assert f"Come back with: rayflow attach {out[:18]}\n" in err


def test_without_an_address_it_is_said_where_to_write_it(played, monkeypatch):
    monkeypatch.setenv("RAYFLOW_ADDRESS", "10.0.0.5:6379")
    code, _, err = played("submit", "flow.py", "main")
    assert code == 1
    assert "rayflow submit --address http://10.0.0.5:8265 ..., or set RAY_API_SERVER_ADDRESS" in err
    assert "(10.0.0.5:6379 is configured, which is a cluster's control service.)" in err


def test_a_runtime_environment_with_a_directory_is_refused(played):
    with (played.project.path / "rayflow.toml").open("a") as stream:
        stream.write('runtime_env = { working_dir = "x" }\n')
    code, _, err = played.submit("flow.py", "main")
    assert code == 1 and "a submitted run works in the copy of the project" in err


def test_an_unknown_execution_is_not_followed(played):
    code, _, err = played("attach", "0197", "--address", played.dashboard.address)
    assert code == 1
    assert "has no job of an execution 0197" in err


# --- in the job -------------------------------------------------------------------------------------------------------


@pytest.fixture
def own_process(monkeypatch) -> Iterator[None]:
    """What a job sets for its process is put back."""
    monkeypatch.setattr("sys.argv", ["rayflow"])
    yield
    pasting.ask_for_default(store_by_default)


def in_job(played: Played, tmp_path: Path, monkeypatch, *words: str, **more: Any) -> list[Any]:
    """What a job tells that carries out the words in this process, without a cluster."""
    from rayflow.cli.verbs import in_job as verb
    from rayflow.submission.bootstrap import packed

    execution = more.pop("execution", "0197a3c2-51f0-7000-8000-000000000000")
    specification = {
        "execution": execution, "directory": ".", "store": str(tmp_path / "results"), "beacon": None,
        "default_store": str(tmp_path / "results"), "input_file": None, "environment": {},
        "typed": ["submit", "flow.py"], "files": [], "project": "planets",
        "commit": "0123456789ab", **more,
    }  # fmt: skip
    log = tmp_path / "log"
    with log.open("wb") as stream:
        monkeypatch.setattr(verb, "STDERR", stream.fileno())
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # nobody listens: only the cache can answer
        code, out, err = played("in-job", packed(specification), *words)
    return [code, out, err, list(FrameReader(execution).read(log.read_bytes()))]


def test_the_answer_goes_into_frames_as_it_is_and_the_record_says_what_was_typed(
    played, own_process, tmp_path, monkeypatch
):
    assert played("run", "--inline", "flow.py", "main", "--n", "7")[0] == 0
    input_file = ["args.json", json.dumps({"n": 7})]
    code, out, err, words = in_job(played, tmp_path, monkeypatch, "run", "flow.py", "main", input_file=input_file)
    assert (code, out) == (0, ""), err
    assert [word for word in words if isinstance(word, JobAnswer)] == [JobAnswer("7\n")]
    assert "1 job, 1 cached" in err and "--store" not in err
    from rayflow.api import history

    query = "select command, git_commit, project from executions where execution_id like '0197%'"
    assert history(store=str(tmp_path / "results")).sql(query).fetchall() == [
        ("rayflow submit flow.py", "0123456789ab", "planets")
    ]
    query = "select value from tags where key = 'project' and entity_id like '0197%'"
    assert "planets" in str(history(store=str(tmp_path / "results")).sql(query).fetchall())


def test_a_job_that_does_not_reach_the_store_runs_nothing(played, own_process, tmp_path, monkeypatch):
    code, _, err, words = in_job(played, tmp_path, monkeypatch, "run", "flow.py", "main", beacon="tmp/submitted-x")
    assert (code, words) == (2, [])
    assert "is a folder of the machine that has submitted" in err


def test_texts_of_a_job_do_not_control_the_terminal(capsys):
    from rayflow.cli.output.progress import PlainReporter

    stream = io.StringIO()
    reporter = PlainReporter(stream)
    [word] = FrameReader("x").read(b"evil \x1b[2J\n")
    assert isinstance(word, JobText)
    reporter.say(word.text)
    assert stream.getvalue() == "evil \\x1b[2J\n"


def test_a_job_writes_its_progress_for_the_one_who_follows(tmp_path):
    from rayflow.runtime.protocol.reports import Progress

    with (tmp_path / "log").open("wb") as stream:
        text = io.StringIO()
        reporter = JobOutput(FrameWriter("x", stream.fileno())).reporter(text)
        told = Progress("x", 0.5, {"flow.main": {"open": 1}}, ("no node has a GPU",))
        reporter.progress(told)
    assert list(FrameReader("x").read((tmp_path / "log").read_bytes())) == [told]
    assert text.getvalue() == "waiting: no node has a GPU\n"
