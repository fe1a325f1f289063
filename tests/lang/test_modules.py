"""Loading a user's modules: by file, by name, in packages, with names that others have too."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from projects import Project

from rayflow.errors import BadModule, BadTask, NoSuchTask
from rayflow.installation import is_installed
from rayflow.lang import modules
from rayflow.lang.tasks import tasks_of

FLOW = "from rayflow import task\n@task\ndef main():\n    return 1\n"


@pytest.fixture(autouse=True)
def _own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


# --- the project ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", modules.MARKS)
def test_a_project_is_found_upward_by_its_marks(tmp_path: Path, mark: str) -> None:
    (tmp_path / mark).mkdir()
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert modules.project_of(str(tmp_path / "a" / "b")) == str(tmp_path)


def test_the_copy_of_a_project_that_ray_makes_for_a_job_is_a_project(tmp_path: Path) -> None:
    copy = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_0123"
    (copy / "flows").mkdir(parents=True)
    (copy / "flows" / "etl.py").touch()
    assert modules.project_of(str(copy / "flows")) == str(copy)
    assert modules.namespace_of("etl", str(copy / "flows" / "etl.py")) == "flows.etl"


def test_installed_modules_go_by_their_own_name() -> None:
    assert modules.namespace_of("json.decoder", json.decoder.__file__) == "json.decoder"


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (pytest.__file__, True), (json.__file__, True), (os.path.realpath(json.__file__), True), (__file__, False),
        ("/p/.venv/lib/site-packages/lib/a.py", True), ("/usr/lib/python3/dist-packages/a.py", True),
        ("/p/site-packages", False), ("/p/my-site-packages/a.py", False), ("/p/lib/json/decoder.py", False),
    ],
)  # fmt: skip
def test_what_is_installed_lies_with_python_or_in_a_folder_of_packages(file: str, expected: bool) -> None:
    assert is_installed(file) is expected


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_file_is_loaded_once_under_the_name_that_others_import_it_by(project: Project) -> None:
    project.write("flow.py", FLOW)
    project.write("other.py", "import flow\n")
    module = modules.load("flow.py")
    assert (module.__name__, modules.load("flow.py") is module) == ("flow", True)
    assert modules.load("other.py").flow is module
    assert modules.load("flow") is module


def test_a_member_of_a_package_uses_relative_imports(project: Project) -> None:
    project.write("pkg/__init__.py", "LOADED = True\n")
    project.write("pkg/sub/__init__.py", "")
    project.write("pkg/helpers.py", "VALUE = 5\n")
    project.write("pkg/sub/flow.py", "from ..helpers import VALUE\n" + FLOW)
    module = modules.load("pkg/sub/flow.py")
    assert (module.__name__, module.VALUE, module.main.fullname) == ("pkg.sub.flow", 5, "pkg.sub.flow.main")
    assert sys.modules["pkg"].LOADED
    assert modules.load("pkg.sub.flow") is module


def test_files_beside_a_workflow_are_found_from_any_directory(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("flows/beside.py", "VALUE = 7\n")
    project.write("flows/flow.py", "from beside import VALUE\n" + FLOW)
    monkeypatch.chdir("/")
    assert modules.load(str(project.path / "flows" / "flow.py")).VALUE == 7


@pytest.mark.slow
@pytest.mark.parametrize("name", ["json", "queue", "ray"])
def test_a_file_with_the_name_of_a_library_is_loaded_and_hides_nothing(project: Project, name: str) -> None:
    project.write(f"{name}.py", FLOW)
    code = f"""
        from rayflow.lang import modules
        print(modules.load("{name}.py").main.fullname, modules.load("{name}").main.func())
        import {name}
        print({name}.__file__)
    """
    project.write("check/run.py", code)
    done = project.python("check/run.py", is_warm=False)
    first, second = done.stdout.splitlines()
    assert first == f"{name}.main 1", done.stderr
    assert not second.startswith(str(project.path))


@pytest.mark.slow
def test_a_package_called_ray_does_not_hide_ray(project: Project) -> None:
    project.write("ray/__init__.py", "")
    project.write("flow.py", FLOW)
    code = "from rayflow.lang import modules\nmodules.load('flow.py')\nimport ray\nprint(ray.init)"
    project.write("check/run.py", code)
    done = project.python("check/run.py", is_warm=False)
    assert "function init" in done.stdout, done.stderr


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_an_error_in_a_module_shows_the_users_frames_only(project: Project) -> None:
    project.write("helpers.py", "def ratio():\n    return 1 / 0\n")
    project.write("flow.py", "from helpers import ratio\nratio()\n")
    with pytest.raises(BadModule) as raised:
        modules.load("flow.py")
    text = str(raised.value)
    assert "flow.py\", line 2" in text and "helpers.py\", line 2, in ratio" in text and "ZeroDivisionError" in text
    assert "importlib" not in text and "modules.py" not in text and raised.value.__suppress_context__
    assert "flow" not in sys.modules


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def f(:\n", "SyntaxError"), ("import nothing_here\n", "No module named 'nothing_here'"),
        ("import sys\nsys.exit(0)\n", r'(?s)__main__.*flow.py", line 2.*SystemExit: 0'),
        ("raise GeneratorExit('odd')\n", r'(?s)does not import.*flow.py", line 1.*GeneratorExit: odd'),
        ("class Own(BaseException):\n    pass\nraise Own('odd')\n", r'(?s)flow.py", line 3.*Own: odd'),
        ("class Own(KeyboardInterrupt):\n    pass\nraise Own('odd')\n", r'(?s)flow.py", line 3.*Own: odd'),
        ("import asyncio\nraise asyncio.CancelledError\n", r'(?s)flow.py", line 2.*CancelledError'),
    ],
)  # fmt: skip
def test_a_module_that_does_not_import_says_why(project: Project, text: str, says: str) -> None:
    project.write("pkg/__init__.py", "")
    project.write("pkg/flow.py", text)
    for target in ("pkg/flow.py", "pkg.flow"):
        with pytest.raises(BadModule, match=says):
            modules.load(target)


def test_a_package_whose_init_fails_is_not_said_to_be_missing(project: Project) -> None:
    project.write("pkg/flow.py", FLOW)
    for text, says in (("import nothing_here\n", "nothing_here"), ("raise SystemExit(4)\n", "SystemExit: 4")):
        project.write("pkg/__init__.py", text)
        for target in ("pkg/flow.py", "pkg.flow"):
            with pytest.raises(BadModule, match=rf"(?s)__init__.py.*{says}"):
                modules.load(target)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("flwo.py", "Did you mean flow.py"), ("flwo", "Did you mean flow"), ("folder/none.py", "There is no file"),
        ("no.such.module", "can be found"), ("folder/", "is a directory"), ("..", "is a directory"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said_with_the_nearest(project: Project, target: str, says: str) -> None:
    project.write("flow.py", FLOW)
    (project.path / "folder").mkdir()
    with pytest.raises(BadModule, match=says):
        modules.load(target)


# --- picking a task ---------------------------------------------------------------------------------------------------


def test_a_task_is_picked_by_full_or_short_name_or_as_main(project: Project) -> None:
    project.write("flow.py", FLOW + "@task\ndef clean_up():\n    return 2\n")
    tasks = list(tasks_of(modules.load("flow.py")))
    picked = [modules.pick(tasks, name, where="flow.py").name for name in ("flow.clean_up", "clean-up", "main", None)]
    assert picked == ["clean_up", "clean_up", "main", "main"]
    with pytest.raises(NoSuchTask, match="Did you mean clean_up"):
        modules.pick(tasks, "clean_upp", where="flow.py")
    with pytest.raises(NoSuchTask, match="none is called main"):
        modules.pick([_named("a.x"), _named("b.x")], None, where="it")
    with pytest.raises(NoSuchTask, match="several tasks 'x'"):
        modules.pick([_named("a.x"), _named("b.x")], "x", where="it")
    with pytest.raises(NoSuchTask, match="Put @task"):
        modules.pick([], "x", where="it")


class _named:
    def __init__(self, fullname: str) -> None:
        self.fullname = fullname


def test_no_bytecode_is_left_that_could_be_taken_for_the_code_of_an_edit_in_the_same_second(project: Project) -> None:
    project.write("helpers.py", "ONE = 1\n")
    project.write("flow.py", "from helpers import ONE\n")
    assert modules.load_file(project.path / "flow.py").ONE == 1
    assert not list(project.path.rglob("*.pyc"))


def test_a_generator_task_is_refused_with_its_place(project: Project) -> None:
    project.write("flow.py", "from rayflow import task\n@task\ndef stream():\n    yield 1\n")
    with pytest.raises(BadTask, match=r"flow\.py:2\) is a generator function.*Return a list instead of using yield"):
        project.load("flow")
