"""Workflows in redun's style, ported by the script of the example: they give what they gave in redun, and are cached.

The values are those that redun 0.44 gave for the programs in `from_redun`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shutil
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from example_projects import copy_of
from projects import REPOSITORY, Project

import rayflow
from rayflow import config

PROGRAMS = Path(__file__).parent / "from_redun"
EXAMPLE = REPOSITORY / "examples" / "porting_from_redun"
SETTINGS = "[limits]\ndb = 1\nslots = 2\n[profiles.default]\n"


@dataclass(frozen=True)
class Came:
    """What a program gave in redun. told: the lines of it that the script names. always: what every run computes.
    words: arguments on the command line. programs: what the machine must have."""

    value: Any
    told: tuple[int, ...] = ()
    always: dict[str, int] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()


CAME = {
    "aliases": Came([[0.5, 1.0], [2, 1.5], 2]),
    "arguments": Came([3, 0.5, ["x"], "red", False, None, "none.txt"], words=("--number", "3")),
    "asynchronous": Came([2, 6, [3, 4]], always={"slow": 4, "total": 1}),
    "compile": Came("42", programs=("cc",)),
    "config_args": Came([10, 10, 20]),
    "contexts": Came(
        [
            {"file": "/none/a.txt", "sized": 2, "lost": "default"},
            {"file": "/data/a.txt", "sized": 20, "lost": "default"},
            12,
        ]
    ),
    "database": Came([25, ["bolt", "nut", "saw"]]),
    "failures": Came(
        [
            0.5, "ZeroDivisionError: division by zero", "Empty: negative", "KeyError: 'other'",
            [0.25, "ZeroDivisionError"], [0.25, 1.0],
        ],
        always={"share": 2, "throw": 1},
    ),
    "files": Came(
        [[["part0.txt", 0, True], ["part1.txt", 2, True], ["part2.txt", 4, True]], ["2\n", "2\n"]]
    ),
    "flows": Came(["0.1", "0.2", "0.3"]),
    "hello": Came("Hail, Earth!"),
    "higher_order": Came([[3.0, 6.0], 6.0, 21.0, "ab", 9, 1, 7, 8.0]),
    "lazy_values": Came(
        {
            "attribute": 10,
            "compared": [True, False, 19],
            "nested": {"a": [1, (2, {"b": 3})]},
            "mapped": [1, 2, 3],
            "partial": [101, 102, 103],
            "starmap": [3, 3],
            "flat": [[1, 1, 2, 2], [1, 2, 3]],
            "zipped": [(1, "a"), (2, "b")],
            "in order": [1, 2],
            "chosen": "yes",
        }
    ),
    "limits": Came([0, 2, 4, 0, 3, 6]),
    "options": Came(
        [2, 3, 4, "elsewhere.renamed", [True, True, True], 11], always={"renamed": 1, "sized": 1, "scoped": 1}
    ),
    "outputs": Came(["5-7-6", "1=one"]),
    "recursion": Came([144, 8]),
    "scripts": Came([["HEY", "YOU"], "a\nb\nc\n", "42\n", ["2"]]),
    "subruns": Came([30, 81], told=(24,)),
    "tags": Came([2, 4]),
    "threads": Came([200, 300]),
    "values": Came(4, told=(8, 13, 16)),
    "words": Came({"one": 3, "three": 1, "two": 3}),
    "wrapping": Came([4, 6, 108]),
}  # fmt: skip


@pytest.fixture(scope="module")
def script() -> Any:
    """The modules of the example's script."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        yield {name: importlib.import_module(name) for name in ("port", "settings", "differences")}
    finally:
        sys.path.remove(str(EXAMPLE))
        for name in ("port", "settings", "differences"):
            sys.modules.pop(name, None)


def ported(text: str, script: dict[str, ModuleType]) -> tuple[str, list[tuple[int, str]]]:
    """The text as the script leaves it, and its notes."""
    found: tuple[str, list[tuple[int, str]]] = script["port"].port(text)
    return found


# --- programs ---------------------------------------------------------------------------------------------------------


def test_every_program_has_its_value() -> None:
    assert sorted(CAME) == sorted(path.stem for path in PROGRAMS.glob("*.py"))


@pytest.mark.parametrize("name", sorted(CAME))
def test_a_ported_program_gives_what_it_gave_and_is_cached(
    name: str, tmp_path: Path, script: dict[str, ModuleType]
) -> None:
    came = CAME[name]
    for program in came.programs:
        if shutil.which(program) is None:
            pytest.skip(f"this machine has no {program}")
    text, notes = ported((PROGRAMS / f"{name}.py").read_text(), script)
    assert tuple(line for line, _ in notes) == came.told
    assert "redun" not in text
    project = Project(tmp_path)
    project.write(f"{name}.py", text)
    project.write("rayflow.toml", SETTINGS)
    for computed in (None, came.always):
        ended = project.rayflow("run", "--inline", f"{name}.py", "main", *came.words)
        assert ended.returncode == 0, ended.stderr
        assert ast.literal_eval(ended.stdout) == came.value
        if computed is not None:
            found = project.counts("computed")
            assert Counter({task.rpartition(".")[2]: count for task, count in found.items()}) == computed


@pytest.mark.ray
@pytest.mark.parametrize("name", ["contexts", "database", "scripts", "subruns", "wrapping"])
def test_a_ported_program_runs_on_ray(
    name: str, tmp_path: Path, script: dict[str, ModuleType], ray_cluster: str
) -> None:
    project = Project(tmp_path)
    project.write(f"{name}.py", ported((PROGRAMS / f"{name}.py").read_text(), script)[0])
    project.write("rayflow.toml", SETTINGS)
    ended = project.rayflow("run", f"{name}.py", "main", RAYFLOW_ADDRESS=ray_cluster)
    assert ended.returncode == 0, ended.stderr
    assert ast.literal_eval(ended.stdout) == CAME[name].value


def test_another_project_is_run_by_its_command(tmp_path: Path) -> None:
    project, other = Project(tmp_path / "one"), Project(tmp_path / "other")
    other.write("rayflow.toml", "")
    other.write("flow.py", """
        from rayflow import task

        @task
        def main(x: int) -> dict:
            return {"x": x + 1}
    """)
    project.write("rayflow.toml", "")
    project.write("flow.py", """
        import json
        from rayflow import script, task

        @task
        def parsed(printed: str) -> dict:
            return json.loads(printed)

        @task
        def main(x: int) -> dict:
            return parsed(script(f"rayflow run --inline --json ../other/flow.py main --x {x}", tempdir=False))
    """)
    ended = project.rayflow("run", "--inline", "flow.py", "main", "--x", "5")
    assert ended.stdout == "{'x': 6}\n", ended.stderr
    assert (other.path / ".rayflow").is_dir()


def test_a_test_of_a_workflow_is_ported_with_it(tmp_path: Path, script: dict[str, ModuleType]) -> None:
    project = Project(tmp_path)
    project.write("rayflow.toml", "")
    project.write("hello.py", ported((PROGRAMS / "hello.py").read_text(), script)[0])
    text, notes = ported(
        "from redun import Scheduler, task\nfrom hello import greet, main, name_of\n\n\n"
        "def test_a_body():\n    assert name_of.func(1) == 'Venus'\n\n\n"
        "def test_a_workflow():\n"
        "    scheduler = Scheduler()\n"
        "    assert scheduler.run(main('Hi')) == 'Hi, Earth!'\n"
        "    assert scheduler.run(greet('Hi', name_of(0)), cache=False) == 'Hi, Mercury!'\n",
        script,
    )
    assert notes == []
    project.write("test_hello.py", text)
    ended = project.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", ".", RAYFLOW_INLINE="1")
    assert ended.returncode == 0, ended.stdout + ended.stderr


# --- the script -------------------------------------------------------------------------------------------------------


HEAD = "from redun import File, Handle, script, task\nfrom redun.scheduler import catch_all, subrun\n"
PORTED = "from rayflow import File, Handle, script, task\nfrom rayflow import catch_all, subrun\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('@task(script=True)\ndef f(): ...', '@task(script="bytes")\ndef f(): ...'),
        ("task(script=False)", "task(script=False)"),
        ("task(memory=4, vcpus=2, gpus=0.5)", 'task(memory="4GiB", num_cpus=2, num_gpus=0.5)'),
        ("f.options(memory=n)", "f.options(memory=n * 2**30)"),
        ("f.options(memory=n + 1, limits=['a'])", "f.options(memory=(n + 1) * 2**30, limits=['a'])"),
        ('task(tags=[("a", 1), ("b", [2, f(3)])])', 'task(tags={"a": 1, "b": [2, f(3)]})'),
        ('task(tags={"a": 1})', 'task(tags={"a": 1})'),
        ('script(["ls", "a b"])', 'script("ls \'a b\'", tempdir=False).encode()'),
        ('script("ls")', 'script("ls", tempdir=False).encode()'),
        ('script("ls", a, File("b"))', 'script("ls", inputs=a, outputs=File("b"), tempdir=False)'),
        ('script("ls", a, File("-"), True)', 'script("ls", inputs=a, outputs=File("-"), tempdir=True).encode()'),
        ('script("ls", outputs=b, tempdir=t, vcpus=2)', 'script("ls", outputs=b, tempdir=t, num_cpus=2)'),
        ('subrun(f(), "batch", load_modules=["m"])', 'subrun(f(), "batch")'),
        ('subrun(f(), load_modules=["m"], executor="batch")', 'subrun(f(), executor="batch")'),
        ("catch_all(xs, error_class=E, recover=r)", "catch_all(xs, E, r)"),
        ("catch_all(xs, E, recover=r)", "catch_all(xs, E, r)"),
        ('redun_namespace = "ä"; x = redun_namespace', 'rayflow_namespace = "ä"; x = rayflow_namespace'),
        ('x = "redun", {"ä": task(vcpus=1)}  # redun', 'x = "redun", {"ä": task(num_cpus=1)}  # redun'),
        ("def f(task): return other.script(True)", "def f(task): return other.script(True)"),
    ],
)
def test_what_has_another_name_or_value_is_changed(before: str, after: str, script: dict[str, ModuleType]) -> None:
    text, notes = ported(HEAD + before, script)
    assert text == PORTED + after
    assert notes == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import redun\nredun.task()", "import rayflow\nrayflow.task()"),
        ("import redun as r\n@r.task(vcpus=1)\ndef f(): ...", "import rayflow as r\n@r.task(num_cpus=1)\ndef f(): ..."),
        ("import redun.functools\nredun.functools.map_(f, x)", "import rayflow\nrayflow.map_(f, x)"),
        ("import redun\nredun.scheduler.cond(a, b)", "import rayflow\nrayflow.cond(a, b)"),
        ("from redun.task import PartialTask, Task", "from rayflow import Task"),
        ("from redun import PartialTask\nx: PartialTask", "from rayflow import Task\nx: Task"),
        ("from redun import PartialTask as P\nx: P", "from rayflow import Task as P\nx: P"),
        ('from redun import namespace, task\nnamespace("a.b")', 'from rayflow import task\nrayflow_namespace = "a.b"'),
        ('from redun import namespace\nnamespace("a")\n', 'rayflow_namespace = "a"\n'),
        (
            "from redun import (\n    task,  # one\n    File as F,\n)\n",
            "from rayflow import (\n    task,  # one\n    File as F,\n)\n",
        ),
        (
            "from redun.task import CacheScope, CacheCheckValid as V, task\n"
            "task(cache_scope=CacheScope.CSE, check_valid=V.SHALLOW)",
            'from rayflow import task\ntask(cache_scope="CSE", check_valid="shallow")',
        ),
        (
            "from redun import File, functools\nfunctools.seq(functools.eval_('1'))",
            "from rayflow import File\nimport rayflow as functools\nfunctools.seq(functools.apply_func(lambda: 1))",
        ),
        (
            "def f():\n    from redun import scheduler as s, task\n    return s.cond(a, b)",
            "def f():\n    from rayflow import task\n    import rayflow as s\n    return s.cond(a, b)",
        ),
        (
            "from redun.functools import eval_, seq\n"
            "eval_('a + b', 1, b=eval_('2'), pos_args=['a'])\neval_.partial('x * 3', pos_args=['x'])",
            "from rayflow import apply_func, as_task, seq\n"
            "apply_func(lambda a, b: a + b, 1, b=apply_func(lambda: 2))\nas_task(lambda x: x * 3)",
        ),
        (
            "from redun.functools import eval_\neval_('''{\n    **a,\n}''', a=a)\neval_('a, 1', a=2)",
            "from rayflow import apply_func\napply_func(lambda a: {\n    **a,\n}, a=a)\n"
            "apply_func(lambda a: (a, 1), a=2)",
        ),
        ("import redun\nredun.functools.eval_('a', a=2)", "import rayflow\nrayflow.apply_func(lambda a: a, a=2)"),
        (
            'from redun.task import wraps_task\nwraps_task(wrapper_name="a", wrapper_hash_includes=[b])',
            "from rayflow import wraps_task\nwraps_task(hash_includes=[b])",
        ),
    ],
)
def test_imports_and_what_they_bind_are_changed(before: str, after: str, script: dict[str, ModuleType]) -> None:
    assert ported(before, script) == (after, [])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("task(shared_memory=3)", "shared_memory: leave it out"),
        ('task(executor="process")', "executor: leave it out, or write a [profiles.process]"),
        ('subrun(x, "default")', "executor: leave it out, or write a [profiles.default]"),
        ("task(nonsense=3)", "nonsense: no option"),
        ('task(image="x")', "image: Ray starts the image by podman"),
        ('task(tags=[("a", 1), ("a", 2)])', "tags: tags of a task are a dict"),
        ("task(tags=tags)", "tags: tags of a task are a dict"),
        ("f.export_options(executor=x)", "export_options: options that it exports"),
        ('script(["ls", x])', "script: the command is a text"),
        ('script("ls", outputs=[File("-"), File("a")])', "script: what it prints"),
        ('script("ls", as_mount=True)', "as_mount: files are staged"),
        ("subrun(f(), config={})", "config: leave it out"),
        ("subrun(f(), new_execution=True)", "new_execution: leave it out"),
        ("catch_all(xs, recover=r, error_class=E)", "catch_all: write catch_all(exprs, Error, recover)"),
        ("handle.__handle__.name", "__handle__: keep what you need"),
        ("from redun import scheduler_task", "scheduler_task: write a rule with @form"),
        ("from redun.tools import copy_dir", "copy_dir: write a task"),
        ("from redun import functools\nfunctools.nonsense()", "nonsense: rayflow has no such name"),
        ("from redun import debug_task\nx = debug_task(x)", "debug_task: leave it out"),
        ("from redun.functools import eval_\neval_(code, a=1)", "eval_: write apply_func"),
        ("from redun.functools import eval_\neval_('a  # b', a=1)", "eval_: write apply_func"),
        ("from redun.functools import map_\nmap_.partial(f)", "map_.partial: map_ is a function here"),
        ("scheduler.add_executor(x)", "add_executor: leave it out"),
        ("file.update_hash()", "update_hash: leave it out"),
        ("file.copy_to(other, skip_if_exists=True)", "skip_if_exists: leave it out"),
        ("directory.rmdir(recursive=True)", "recursive: write remove()"),
        ("print(staged.local.path)", "local.path: local of a staged file is its path"),
        ("f(1).task_name", "task_name: a lazy call is not taken apart"),
        ('task(conda="x")', "conda: write runtime_env"),
        ('task(pip=["x"])', "pip: write runtime_env"),
        ("task(volumes=[])", "volumes: mount them"),
        ("from redun import nonsense", "nonsense: rayflow has no such name"),
        ("from redun import namespace\nif x: namespace('a')", "namespace: "),
    ],
)
def test_what_cannot_be_ported_is_named_with_its_line(line: str, told: str, script: dict[str, ModuleType]) -> None:
    _, notes = ported(f"{HEAD}\n\n{line}", script)
    is_at_import = line.startswith("from redun") and "used in" in notes[-1][1]
    assert notes[-1][0] == 5 + (0 if is_at_import else line.count("\n"))
    assert notes[-1][1].startswith(told)


TYPED = """from redun import catch, script, task
@task()
def counted(text: str, by: float = 0, most: int = None) -> int: ...
@task
async def main(name: str) -> list:
    printed = script("ls")
    other = script("ls", outputs=[a])
    return [
{calls}    ]
"""


def test_arguments_that_an_annotation_does_not_take_are_named(script: dict[str, ModuleType]) -> None:
    told = {
        "counted(printed)": "counted() says str for 'text', and this gives bytes",
        "counted(text=script('ls'))": "counted() says str for 'text', and this gives bytes",
        "catch(x, E, counted.partial(by='none'))": "counted() says float for 'by', and this gives str",
        "counted.options(cache=False)('a', None)": "counted() says float for 'by', and this gives None",
        "[main(1) for _ in range(3)]": "main() says str for 'name', and this gives int",
    }
    fine = ["counted(other)", "counted('a', 1, None)", "counted(x, True)", "main('a')(1)", "other.main(1)", "main(*x)"]
    calls = "".join(f"        {line},\n" for line in (*told, *fine))
    _, notes = ported(TYPED.format(calls=calls), script)
    assert [line for line, _ in notes] == list(range(9, 9 + len(told)))
    for (_, note), text in zip(notes, told.values(), strict=True):
        assert note.startswith(f"types: {text}: ")


def test_what_the_script_names_about_types_is_what_ends_the_run(tmp_path: Path, script: dict[str, ModuleType]) -> None:
    before = """
from redun import get_context, script, task


@task()
def number(text: str, least: int = get_context("least")) -> int:
    return int(text.strip())


@task()
def main() -> int:
    return number(script("echo 5"))
"""
    text, notes = ported(before, script)
    assert [line for line, _ in notes] == [12]
    project = Project(tmp_path)
    project.write("rayflow.toml", "")
    project.write("flow.py", text)
    ended = project.rayflow("run", "--inline", "flow.py", "main")
    assert ended.returncode != 0
    assert "number() takes str for 'text', not b'5\\n'" in ended.stderr
    project.write("flow.py", text.replace(".encode()", ""))
    ended = project.rayflow("run", "--inline", "flow.py", "main")
    assert ended.stdout == "5\n", ended.stderr


def test_the_hooks_of_a_value_type_are_named_with_theirs_here(script: dict[str, ModuleType]) -> None:
    hooks = [name for name in script["differences"].OF_VALUES if name not in ("type", "type_name")]
    methods = "".join(f"    def {name}(self): ...\n" for name in hooks)
    _, notes = ported(f"from redun.value import Value\nclass V(Value):\n    type_name = 'v'\n{methods}", script)
    assert [line for line, _ in notes] == list(range(3, 4 + len(hooks)))
    for _, told in notes:
        named = re.search(r"call it (\w+)", told)
        assert named is None or hasattr(rayflow.Value, named[1]), told


def test_the_hooks_of_a_value_type_for_a_foreign_class_are_named_as_a_handler_has_them(
    script: dict[str, ModuleType],
) -> None:
    hooks = [name for name in script["differences"].OF_HANDLERS if name != "type"]
    methods = "".join(f"    def {name}(self): ...\n" for name in hooks)
    _, notes = ported(f"from redun.value import ProxyValue\nclass V(ProxyValue):\n    type = T\n{methods}", script)
    assert [line for line, _ in notes] == [1, 3, *range(4, 4 + len(hooks))]
    for _, told in notes:
        named = re.search(r"call it (\w+)\(([\w, ]+)\)", told)
        assert "call it" not in told or named is not None
        if named is not None:
            assert str(inspect.signature(getattr(rayflow.Handler, named[1]))).count(",") == named[2].count(",")


def test_the_fixture_of_a_scheduler_is_named(tmp_path: Path, script: dict[str, ModuleType]) -> None:
    body = "(scheduler: Scheduler) -> None:\n    assert scheduler.run(main('Hi')) == 'Hi, Earth!'\n"
    before = f"from redun.pytest import Scheduler\nfrom hello import main\n\ndef test_it{body}"
    text, notes = ported(before, script)
    assert [line for line, _ in notes] == [4]
    assert notes[0][1].startswith("scheduler: the fixture is called rehearsal")
    own = "import pytest\n@pytest.fixture\ndef scheduler(): ...\n"
    assert ported(own + before, script)[1] == []
    project = Project(tmp_path)
    project.write("rayflow.toml", "")
    project.write("hello.py", ported((PROGRAMS / "hello.py").read_text(), script)[0])
    project.write("conftest.py", 'pytest_plugins = ["rayflow.testing.fixtures"]\n')
    project.write("test_hello.py", text.replace("scheduler", "rehearsal"))
    ended = project.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", ".", RAYFLOW_INLINE="1")
    assert ended.returncode == 0, ended.stdout + ended.stderr


OF_REDUN = [
    "AWSBatchExecutor", "AWSGlueExecutor", "AliasExecutor", "CacheCheckValid", "CacheScope", "Config",
    "ContentDir", "ContentFile", "ContentFileSet", "Dir", "DockerExecutor", "ErrorValue", "Execution",
    "Expression", "File", "FileSet", "FileSystem", "GCPBatchExecutor", "Handle", "IDir", "IFile", "IFileSet",
    "InvalidValueError", "Job", "JobInfo", "K8SExecutor", "LocalExecutor", "PartialTask", "ProxyValue",
    "QuotedExpression", "Scheduler", "SchedulerExpression", "SchedulerTask", "ScriptError", "ShardedS3Dataset",
    "SimpleExpression", "Staging", "StagingDir", "StagingFile", "Task", "TaskExpression", "Traceback",
    "TypeRegistry", "Value", "apply_func", "apply_tags", "as_task", "catch", "catch_all", "compose", "cond",
    "const", "copy_dir", "copy_file", "copy_files", "debug_task", "delay", "eval_", "federated_task", "flat_map",
    "flatten", "force", "fork_thread", "get_context", "get_current_namespace", "get_current_scheduler",
    "get_task_registry", "get_type_registry", "glob_file", "hash_struct", "identity", "join_thread",
    "lambda_federated_task", "launch_federated_task", "map_",
    "merge_handles", "namespace", "no_prov", "quote", "register_executor", "render_template",
    "rest_federated_task", "run", "scheduler_task", "script", "seq", "set_current_scheduler", "starmap", "subrun",
    "task", "throw", "wraps_task", "zip_",
]  # fmt: skip
"""What workflows take from redun."""


@pytest.mark.parametrize("name", OF_REDUN)
def test_every_name_that_a_workflow_may_take_from_redun_is_there_or_told_of(
    name: str, script: dict[str, ModuleType]
) -> None:
    text, notes = ported(f"from redun import {name}\n", script)
    if notes:
        assert "no such name" not in notes[0][1]
    else:
        known = text.split()[-1]
        assert hasattr(rayflow, known)


# --- settings ---------------------------------------------------------------------------------------------------------


def test_a_redun_ini_becomes_a_rayflow_toml(tmp_path: Path) -> None:
    project = copy_of("porting_from_redun", tmp_path)
    (project.path / "rayflow.toml").unlink()
    project.write(
        ".redun/redun.ini",
        """
        [backend]
        db_uri = sqlite:///redun.db

        [limits]
        printer = 1
        web = 2.5

        [executors.default]
        type = local
        max_workers = 20

        [executors.batch]
        type = aws_batch
        image = example:1
        vcpus = 2
        memory = 4.5

        [scheduler]
        context = {"a": {"b": 1, "c d": ["x"]}, "top": true}
        """,
    )
    ended = project.python("port.py", ".redun/redun.ini")
    assert ended.returncode == 0, ended.stderr
    assert [line for line in ended.stdout.splitlines() if not line.startswith("    ")] == [
        '.redun/redun.ini:1: [backend]: leave it out: records and values are in .rayflow/ (or where store = "..." '
        "says)",
        ".redun/redun.ini:10: max_workers: write limits={...} with a capacity in rayflow.toml",
        ".redun/redun.ini:14: image: Ray starts the image by podman: it has to have Ray and rayflow in it",
    ]
    loaded = config.load(project.path)
    assert loaded.limits == {"printer": 1, "web": 2.5}
    assert loaded.profiles == {
        "default": {}, "process": {},
        "batch": {"num_cpus": 2, "memory": "4.5GiB", "runtime_env": {"image_uri": "example:1"}},
    }  # fmt: skip
    assert loaded.context == {"a": {"b": 1, "c d": ["x"]}, "top": True}
    again = project.python("port.py", ".redun/redun.ini")
    assert "is there already" in again.stdout
