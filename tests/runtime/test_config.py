"""What a project's configuration files may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayflow import Scheduler, identity
from rayflow.config import load
from rayflow.errors import BadConfig, BadOption


def configured(folder: Path, text: str):
    """The configuration of a project with this rayflow.toml."""
    (folder / "rayflow.toml").write_text(text, encoding="utf-8")
    return load(folder)


def test_a_task_option_in_a_file_is_checked_like_one_in_code(tmp_path) -> None:
    with pytest.raises(BadOption, match=r"rayflow\.toml.*Did you mean 'retries'"):
        configured(tmp_path, "options = {retrys = 3}")
    with pytest.raises(BadOption, match="takes int"):
        configured(tmp_path, 'options = {retries = "3"}')


def test_an_option_of_the_definition_alone_is_refused_in_a_file(tmp_path) -> None:
    with pytest.raises(BadOption, match="belongs to the task's definition"):
        configured(tmp_path, 'options = {version = "2"}')


def test_exception_classes_in_a_file_are_names(tmp_path) -> None:
    assert configured(tmp_path, 'options = {retry_on = ["builtins.OSError"]}').options == {
        "retry_on": ("builtins.OSError",)
    }


@pytest.mark.parametrize("capacity", ["0", "-1", '"2"', "true", "nan"])
def test_a_limit_is_a_number_above_zero(tmp_path, capacity) -> None:
    with pytest.raises(BadConfig, match="the limit 'db' has to be a number above 0"):
        configured(tmp_path, f"limits = {{db = {capacity}}}")


def test_a_limit_given_in_code_is_checked_too(tmp_path) -> None:
    with pytest.raises(BadConfig, match="the limit 'db'"):
        load(tmp_path, limits={"db": 0})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("num_cpus = 0", "num_cpus has to be from 1 to"), ("num_cpus = -1", "from 1 to"),
        ("num_cpus = 1000000", "from 1 to"), ('limits = {"" = 1}', "name of a limit"),
        ('profiles = {"" = {retries = 1}}', "empty name"), ("profiles = {a = {bundle = -1}}", "profiles.a: option 'b"),
        ('options = {memory = "900TiB"}', "options: memory='900TiB' is more"), ("options = {timeout = nan}", "finite"),
        ('options = {cache = false, cache_scope = "BACKEND"}', "contradict"),
        ('environment = {pipp = ["lxml"]}', "Did you mean 'pip'"), ("environment = {env_vars = {A = 1}}", "texts"),
        ('environment = {pip = ["a"], conda = "b"}', "both pip and conda"), ("[env]", "Did you mean 'environment'"),
        ('environment = {image_uri = "a", pip = ["b"]}', "image_uri cannot have pip"),
        ("environment = {}\nruntime_env = {}", "one setting under two names"),
        ('files = "sometimes"', 'has to be "stat" or "content"'),
    ],
)  # fmt: skip
def test_a_setting_that_makes_no_sense_is_refused_with_the_file_that_says_it(tmp_path, text, says) -> None:
    with pytest.raises((BadConfig, BadOption), match=rf"rayflow\.toml: .*{says}"):
        configured(tmp_path, text)


def test_the_environment_is_also_read_by_its_earlier_name_and_its_files_are_the_projects(tmp_path) -> None:
    found = configured(tmp_path, 'runtime_env = {working_dir = "code", pip = "needs.txt"}').environment
    assert found == {"working_dir": str(tmp_path / "code"), "pip": str(tmp_path / "needs.txt")}
    placed = {"py_modules": ["lib", "s3://b/x.zip"], "conda": "env.yaml"}
    assert load(tmp_path, environment=placed).environment == {
        "py_modules": [str(tmp_path / "lib"), "s3://b/x.zip"], "conda": str(tmp_path / "env.yaml"),
    }  # fmt: skip
    named = {"conda": "name", "working_dir": "https://host/x.zip"}
    assert load(tmp_path, environment=named).environment == named


@pytest.mark.parametrize("text", ["0", "-1", "many", "1e3", "99999999", "2.5", "\u0662\u00b2"])
def test_a_variable_that_makes_no_sense_is_refused_by_its_name(tmp_path, monkeypatch, text) -> None:
    monkeypatch.setenv("RAYFLOW_NUM_CPUS", text)
    with pytest.raises(BadConfig, match="RAYFLOW_NUM_CPUS"):
        load(tmp_path)


def test_a_file_is_read_as_utf_8_wherever_it_is(tmp_path) -> None:
    assert configured(tmp_path, 'store = "/höhle"').store == "/höhle"


def test_what_is_given_in_code_may_be_a_path_and_is_checked_like_a_file(tmp_path) -> None:
    assert load(tmp_path, store=tmp_path / "kept").store == str(tmp_path / "kept")
    assert load(tmp_path, store=Path("kept")).store == str(tmp_path / "kept")
    with pytest.raises(BadConfig, match="store has to be a str, not 3"):
        load(tmp_path, store=3)
    with pytest.raises(BadConfig, match="limits has to be a dict, not 'db'"):
        load(tmp_path, limits="db")


def test_a_scheduler_takes_a_path_and_its_log_is_for_people(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Scheduler(store=tmp_path / "kept", inline=True) as scheduler:
        scheduler.run(identity(3))
        (row,) = scheduler.log()
    assert (tmp_path / "kept").is_dir()
    assert row["task_name"] == "rayflow.identity" and row["arguments"] == "identity(3)"
    assert not any(isinstance(cell, bytes) for cell in row.values())


@pytest.mark.parametrize("given", [None, "kept", "/{folder}/kept"])
def test_a_store_in_the_copy_of_a_project_that_ray_throws_away_with_a_job_is_refused(tmp_path, monkeypatch, given):
    """The tasks of a job run there, and its driver, too."""
    project = tmp_path / "session_1" / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    project.mkdir(parents=True)
    (project / "rayflow.toml").touch()
    monkeypatch.chdir(project)
    store = given and given.replace("/{folder}", str(project))
    with pytest.raises(BadConfig, match=r"throws away when that ends.*RAYFLOW_STORE=s3://bucket/results"):
        Scheduler(config=load(project, store=store, inline=True))
    assert not list(project.glob("**/.rayflow")) and not list(project.glob("**/kept"))
    with Scheduler(config=load(project, store=str(tmp_path / "kept"), inline=True)) as scheduler:
        assert scheduler.run(identity(3)) == 3
