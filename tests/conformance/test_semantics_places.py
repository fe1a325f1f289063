"""Section F: an error of a definition or a call names the user's line, in Python and on the command line."""

from __future__ import annotations

import importlib
import linecache
import os
import sys

import pytest
from evaluations import shown
from projects import Project

import rayflow
from rayflow.errors import BadModule, RayflowError

OURS = os.path.dirname(rayflow.__file__) + os.sep

TASK = "@task\ndef f(x: int = 1):\n    return x\n"

DEFINITIONS = {
    "an unknown option": "@task(retires=2)  # HERE\ndef f(x):\n    return x\n",
    "an option of a wrong type": "@task(retries='two')  # HERE\ndef f(x):\n    return x\n",
    "an option out of range": "@task(retries=-1)  # HERE\ndef f(x):\n    return x\n",
    "options that exclude each other": "@task(cache=False, cache_for='1d')  # HERE\ndef f(x):\n    return x\n",
    "a bad name": "@task(name='a b')  # HERE\ndef f(x):\n    return x\n",
    "an argument that is no parameter": "@task(config_args=['y'])  # HERE\ndef f(x):\n    return x\n",
    "a class": "@task  # HERE\nclass A:\n    pass\n",
    "a generator": "@task  # HERE\ndef f(x):\n    yield x\n",
    "an async generator": "@task  # HERE\nasync def f(x):\n    yield x\n",
    "a task twice": "@task  # HERE\n@task\ndef f(x):\n    return x\n",
    "a bound method": "class A:\n    def f(self):  # HERE\n        return 1\ng = task(A().f)  # HERE TOO\n",
    "a class method": "class A:\n    @task  # HERE\n    @classmethod\n    def f(cls):\n        return 1\n",
    "a decorator that returns its task": "@wraps_task  # HERE\ndef deco(t):\n    return t\n@deco  # HERE TOO\n" + TASK,
    "two of one name": TASK + "@task  # HERE\ndef f(y):\n    return y\n",
}
"""What is wrong with a definition -> a module. The message names a line that is marked."""

CALLS = {
    "a builtin as a task": "f = task(len)",
    "a position for an option": "f = task('name')",
    "a method of an object": "class A:\n    @task\n    def f(self):\n        return 1\nA().f()",
    "no argument": "@task\ndef g(x):\n    return x\ng()",
    "too many arguments": TASK + "f(1, 2)",
    "an unknown argument": TASK + "f(z=1)",
    "an argument of a wrong type": TASK + "f('a')",
    "an unknown option": TASK + "f.options(cpus=3)",
    "an option of a wrong type": TASK + "f.options(num_cpus='many')",
    "exported options": TASK + "f.export_options(nonsense=3)",
    "too many partial arguments": TASK + "f.partial(1, 2)",
    "a context that is none": TASK + "f.update_context(3)",
    "a truth": TASK + "if f(1): pass",
    "a loop": TASK + "for each in f(1): pass",
    "a length": TASK + "len(f(1))",
    "a membership": TASK + "1 in f(1)",
    "a number": TASK + "int(f(1))",
    "a text": TASK + "print(f'{f(1)}')",
    "an assignment": TASK + "f(1)['a'] = 2",
    "a removal": TASK + "del f(1)['a']",
    "a round number": TASK + "round(f(1))",
    "a pickle": TASK + "import pickle; pickle.dumps(f(1))",
    "cond": "cond()",
    "catch": "catch(1)",
    "catch of a name": "catch(1, 'ValueError', print)",
    "catch of no class": "catch(1, 3, print)",
    "catch_all": "catch_all([1], ValueError)",
    "map_": "map_(3, [1])",
    "map_ over a set": "map_(print, {1})",
    "starmap": "starmap(print, 3)",
    "flat_map": "flat_map(3, [1])",
    "zip_": "zip_({1}, [2])",
    "seq": TASK + "seq(f(1))",
    "force": "force(3)",
    "get_context": "get_context('a..b')",
    "apply_tags": "apply_tags(1, 3)",
    "no_prov": "no_prov()",
    "subrun": "subrun(1, cpus=3)",
    "script": "script(3)",
    "script with an unknown argument": "script('ls', input=3)",
    "compose": "compose()",
    "as_task": "as_task(3)",
    "throw": "throw()",
    "form": "form(3)",
    "wraps_task": "wraps_task(nonsense=3)",
    "register_handler": "register_handler(3)",
    "a secret": "Secret('nonsense')",
    "a secret that is not there": "Secret('env:NO_SUCH_VARIABLE_AT_ALL').get()",
    "a file": "File(3)",
    "a file that is not there": "File('nothere').read()",
    "the size of a file that is not there": "File('nothere').size()",
    "a file set": "FileSet(3)",
    "a directory": "Dir(3)",
    "a handle": "Handle()",
    "a run": TASK + "run(f(1), options={'nonsense': 1})",
}
"""What is wrong with a call -> a module whose last line makes it."""

LATE = ("a run",)
"""What a module that is imported by `rayflow run` may not do for another reason."""


def check_traceback(error: BaseException, file: str, line: int) -> None:
    told = shown(error)
    assert OURS not in told
    assert f'File "{file}", line {line}, in ' in told


def imported(project: Project, name: str) -> Exception:
    """What importing the module raises, as Python itself does it."""
    importlib.invalidate_caches()
    linecache.checkcache()
    sys.path.insert(0, str(project.path))  # the project takes it away again
    with pytest.raises(Exception) as raised:
        importlib.import_module(name)
    return raised.value


@pytest.mark.parametrize("text", DEFINITIONS.values(), ids=DEFINITIONS.keys())
def test_an_error_of_a_definition_names_file_and_line_of_what_is_decorated(project: Project, text: str) -> None:
    text = f"from rayflow import task, wraps_task\n\n{text}"
    file = project.write("flow.py", text)
    marked = [number for number, line in enumerate(text.splitlines(), 1) if "# HERE" in line]
    project.forget()
    error = imported(project, "flow")
    assert isinstance(error, RayflowError)
    assert any(f"{file}:{line}" in str(error) for line in marked), str(error)
    check_traceback(error, str(file), marked[-1])


@pytest.mark.parametrize("text", CALLS.values(), ids=CALLS.keys())
def test_an_error_of_a_call_shows_the_line_of_the_call_and_none_of_ours(project: Project, text: str) -> None:
    text = f"from rayflow import *\n\n{text}\n"
    file = project.write("flow.py", text)
    project.forget()
    check_traceback(imported(project, "flow"), str(file), text.count("\n"))


@pytest.mark.parametrize("kind", [each for each in CALLS if each not in LATE])
def test_the_command_line_shows_the_line_of_a_call(
    project: Project, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from rayflow.__main__ import main

    text = f"from rayflow import *\n\n{CALLS[kind]}\n"
    project.write("flow.py", text)
    assert main(["run", "--inline", "flow.py"]) in (1, 2)
    told = capsys.readouterr().err
    assert "error: " in told and OURS not in told
    assert f'flow.py", line {text.count(chr(10))}, in <module>\n    {text.splitlines()[-1]}\n' in told


def test_an_import_that_fails_shows_the_users_lines_with_their_causes(project: Project) -> None:
    project.write("broken.py", "def f():\n    x = = 1\n")
    project.write("flow.py", """
        try:
            {}["first"]
        except KeyError as error:
            raise ValueError("second") from error
    """)
    project.write("flow2.py", "import broken\n")
    with pytest.raises(BadModule) as raised:
        project.load("flow")
    told = str(raised.value)
    assert told.index("KeyError: 'first'") < told.index("direct cause") < told.index("ValueError: second")
    assert "importlib" not in told and OURS not in told
    with pytest.raises(BadModule) as raised:
        project.load("flow2")
    told = str(raised.value)
    assert 'flow2.py", line 1, in <module>' in told and "    x = = 1\n        ^\nSyntaxError: invalid syntax" in told
