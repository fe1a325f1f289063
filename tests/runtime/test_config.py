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
