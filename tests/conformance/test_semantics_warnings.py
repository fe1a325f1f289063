"""Warnings: of one class, and at the user's line, whatever part of rayflow gives them."""

from __future__ import annotations

import os
import re
import warnings

import pytest
from evaluations import Flow
from projects import Project

import rayflow
from rayflow.errors import RayflowWarning

OURS = os.path.dirname(rayflow.__file__) + os.sep

UNSTEADY = '''
import itertools
numbers = itertools.count()

class Unsteady:
    def __reduce_ex__(self, protocol):
        if protocol < 5:
            raise TypeError("not so")
        return Unsteady, (next(numbers),)
    def __init__(self, number=0):
        pass
'''

LOOP = "import os\nos.makedirs('a')\nos.symlink('.', 'a/loop')"

CASES = {
    "an unsteady hash": (f"{UNSTEADY}\nrun(f(Unsteady()), inline=True)  # HERE", "Two encodings of one"),
    "a folder in itself": (f"{LOOP}\nlist(Dir('a').files())  # HERE", "a folder that it lies in"),
    "a folder in itself in a body": (
        f"{LOOP}\n@task\ndef g():\n    return len(Dir('a').files())  # HERE\nrun(g(), inline=True)",
        "a folder that it lies in",
    ),
    "a link that leads nowhere": (
        "import os\nos.makedirs('a')\nos.symlink('gone', 'a/link')\nDir('a').copy_to('b')  # HERE", "where nothing is"
    ),
    "source that is not known": (
        "made = {}\nexec('def g(x):\\n    return x', made)\nmade['g'].__module__ = __name__\n"
        "run(task(name='g')(made['g'])(1), inline=True)",
        "rayflow cannot find the source of ",
    ),
}  # fmt: skip
"""What warns -> a script, with the line that the warning is about, and the beginning of its text."""


@pytest.mark.parametrize(("text", "says"), CASES.values(), ids=CASES.keys())
def test_a_warning_is_at_the_users_line(project: Project, text: str, says: str) -> None:
    script = f"from rayflow import *\n\n@task\ndef f(x):\n    return 1\n\n{text}\n"
    project.write("flow.py", script)
    done = project.python("-W", "always", "flow.py")
    assert done.returncode == 0, done.stderr
    lines = [number for number, line in enumerate(script.splitlines(), 1) if "# HERE" in line]
    told = [line for line in done.stderr.splitlines() if says in line]
    assert told and OURS not in done.stderr, done.stderr
    # What a body warns of is told with the task, and the file as it stands in the project.
    place, _, rest = told[0].removeprefix("rayflow: ").partition(": ")
    assert rest.partition(": ")[0] in ("UnstableHash", "RayflowWarning", "SourceUnknown")
    expected = f"{project.path / 'flow.py'}:{lines[0]}" if lines else "<string>:1"
    assert place == (expected.removeprefix(f"{project.path}/") if told[0].startswith("rayflow: ") else expected)


def test_one_filter_keeps_all_warnings_out(project: Project) -> None:
    text = "import warnings\nfrom rayflow.errors import RayflowWarning\n"
    text += "warnings.simplefilter('ignore', RayflowWarning)\n"
    text += "from rayflow import *\n\n@task\ndef f(x):\n    return 1\n\n"
    for script, says in CASES.values():
        project.write("flow.py", text + script.replace("'a", "'b"))
        assert says not in project.python("flow.py").stderr


def test_every_warning_of_the_code_is_given_in_one_way() -> None:
    own = re.compile(r"\bwarnings\.warn(_explicit)?\(|\(UserWarning\)")
    for folder, _, files in os.walk(OURS):
        for file in files:
            path = os.path.join(folder, file)
            if file.endswith(".py") and file not in ("user_warnings.py", "errors.py"):
                with open(path, encoding="utf-8") as stream:
                    assert not own.search(stream.read()), f"{path}: use warn_user"


def test_a_warning_that_no_line_of_the_users_led_to_names_no_file_of_ours() -> None:
    import threading

    from rayflow.values.display.user_warnings import warn_user

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        thread = threading.Thread(target=warn_user, args=("some text",))
        thread.start()
        thread.join()
    assert [(each.category, each.filename) for each in told] == [(RayflowWarning, "rayflow")]


def test_a_value_whose_validity_cannot_be_told_warns(project: Project) -> None:
    flow = Flow(project)
    module = flow.write("""
        import rayflow
        from rayflow import task

        class Shaky(rayflow.Value):
            def is_valid(self):
                raise OSError("no answer")

        @task
        def main():
            return Shaky()
    """)
    flow.run(module.main())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        flow.run(module.main())
    texts = [*flow.watching.warnings, *[str(each.message) for each in told]]
    assert any("OSError: no answer" in text for text in texts)
    assert not any(each.filename.startswith(OURS) for each in told)
