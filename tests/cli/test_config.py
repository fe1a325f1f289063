"""`rayflow config show`, and settings that cannot be right."""

from __future__ import annotations

import json
from typing import Any

import pytest


def test_each_setting_says_where_it_came_from(rayflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    project = rayflow.project
    project.write("pyproject.toml", "[tool.rayflow]\ncache = false\nnum_cpus = 2\n")
    project.write("rayflow.toml", "num_cpus = 3\nlimits = { db = 4 }\n")
    monkeypatch.setenv("RAYFLOW_INLINE", "1")
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.5:6379")
    told = json.loads(rayflow("config", "show", "--store", "elsewhere", "--json").out)
    assert told["store"] == {"value": str(project.path / "elsewhere"), "source": "flag"}
    assert told["num_cpus"] == {"value": 3, "source": str(project.path / "rayflow.toml")}
    assert told["cache"] == {"value": False, "source": str(project.path / "pyproject.toml")}
    assert told["inline"] == {"value": True, "source": "RAYFLOW_INLINE"}
    assert told["address"] == {"value": "10.0.0.5:6379", "source": "RAY_ADDRESS"}
    assert told["options"] == {"value": {}, "source": "default"}
    lines = [line.split() for line in rayflow("config", "show").out.splitlines()]
    assert ["limits", '{"db":', "4}", str(project.path / "rayflow.toml")] in lines and ["profiles", "default"] in lines
    assert not (project.path / ".rayflow").exists()


def test_variables_of_a_runtime_environment_are_shown_by_name(rayflow: Any) -> None:
    rayflow.project.write(
        "rayflow.toml",
        'environment = { env_vars = { TOKEN = "hush-hush" } }\n'
        'options = { runtime_env = { env_vars = { RUNS_TOKEN = "hush-hush" } } }\n'
        'profiles = { p = { runtime_env = { env_vars = { KEY = "hush-hush" } } } }\n',
    )
    told = json.loads(rayflow("config", "show", "--json").out)
    assert told["environment"]["value"] == {"env_vars": ["TOKEN"]}
    assert told["profiles"]["value"] == {"p": {"runtime_env": {"env_vars": ["KEY"]}}}
    out = rayflow("config", "show").out
    assert "TOKEN" in out and "hush-hush" not in out
    rayflow.run("main")
    ((execution_id,),) = rayflow.project.sql("select execution_id from executions")
    for words in ((execution_id,), (execution_id, "--json"), ("--json",)):
        text = rayflow("log", *words).out
        assert "RUNS_TOKEN" in text and "hush-hush" not in text


@pytest.mark.parametrize("address", ["nowhere", "host:port", ":6379", "host:99999", "http://host"])
def test_an_address_that_is_none_is_said_also_where_all_is_cached(rayflow: Any, address: str) -> None:
    rayflow.run("main")
    done = rayflow("run", rayflow.file, "--address", address)
    assert (done.code, done.out) == (1, "")
    assert f"{address!r} is not the address of a Ray cluster: write host:port" in done.err


CONTEXT = """
    from rayflow import get_context, task

    @task
    def main():
        return [get_context(name, None) for name in ("a", "b.c", "b.d", "e", "f")]
"""

FILES = {
    "context.json": '{"a": 1, "b": {"c": 1, "d": 1}, "e": 1}',
    "context.toml": "a = 1\ne = 1\nb = {c = 1, d = 1}\n",
    "context.yaml": "a: 1\ne: 1\nb:\n  c: 1\n  d: 1\n",
    "context.yml": '{"a": 1, "b": {"c": 1, "d": 1}, "e": 1}',
}


@pytest.mark.parametrize("name", FILES)
def test_a_context_is_read_from_files_and_what_is_nearer_counts_more(rayflow: Any, name: str) -> None:
    rayflow.project.write(rayflow.file, CONTEXT)
    rayflow.project.write(f"settings/{name}", FILES[name])
    rayflow.project.write("preparing.py", "def prepare(): return {'a': 0, 'f': 0}\n")
    rayflow.project.write(
        "rayflow.toml",
        f'context_file = "settings/{name}"\ncontext = {{ b = {{ c = 2, d = 2 }} }}\nsetup = "preparing:prepare"\n',
    )
    assert rayflow.run().out == "[1, 2, 2, 1, 0]\n"
    rayflow.project.write("more.json", '{"b": {"d": 3}, "e": 3}')
    assert rayflow.run("--context-file", "more.json", "--context", "e=4").out == "[1, 2, 3, 4, 0]\n"
    assert rayflow.run("--context", "e=4", "--context-file", "more.json").out == "[1, 2, 3, 4, 0]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('context_file = "nosuch.json"', "rayflow.toml: context_file: "),
        ('context_file = "list.json"', "holds no JSON object"),
        ('context_file = "bad.yaml"', "is not valid YAML"),
        ('setup = "preparing"', "write module:function"),
        ('setup = ":prepare"', "write module:function"),
        ('setup = "nosuch:prepare"', "No module named 'nosuch'"),
        ('setup = "preparing.py:nosuch"', "has no function nosuch"),
        ('setup = "preparing:number"', "returned a int: return a dict"),
        ('setup = "preparing:fail"', "ValueError: not today"),
    ],
)
def test_a_context_file_or_a_setup_that_does_not_work_is_one_error(rayflow: Any, text: str, message: str) -> None:
    for name, content in {"list.json": "[1]", "bad.yaml": "a: [1"}.items():
        rayflow.project.write(name, content)
    rayflow.project.write(
        "preparing.py", "def number(): return 1\ndef fail(): raise ValueError('not today')\ndef prepare(): pass\n"
    )
    rayflow.project.write("rayflow.toml", text)
    found = rayflow.run()
    assert (found.code, found.out) == (1, "")
    assert message in found.err and "setting_up.py" not in found.err, found.err


def test_a_setup_is_called_once_in_the_driver_before_the_first_run(project: Any) -> None:
    text = "import os\ndef prepare():\n    print('prepared', os.environ.setdefault('X', '7'))\n"
    project.write("inner/preparing.py", text)
    project.write("rayflow.toml", 'setup = "inner/preparing.py:prepare"\n')
    project.write(
        "flow.py",
        """
        import os
        from rayflow import run, task

        @task
        def main(n: int):
            return os.environ["X"]

        if __name__ == "__main__":
            print([run(main(n), inline=True) for n in range(3)])
        """,
    )
    found = project.python("flow.py")
    assert found.stdout == "prepared 7\n['7', '7', '7']\n", found.stderr
    found = project.rayflow("log")
    assert "prepared" not in found.stdout + found.stderr


SETUPS = {
    "itself": "run(one(), inline=True)",
    "in a thread": "t = threading.Thread(target=lambda: run(one(), inline=True)); t.start(); t.join()",
    "in an executor": "ThreadPoolExecutor(1).submit(lambda: run(one(), inline=True)).result()",
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("setup", SETUPS)
def test_a_setup_that_runs_a_task_is_an_error_and_never_waits_for_itself(
    project: Any, setup: str, threads: int
) -> None:
    project.write("rayflow.toml", 'setup = "preparing.py:prepare"\n')
    project.write(
        "preparing.py",
        f"""
        import threading
        from concurrent.futures import ThreadPoolExecutor
        from rayflow import run, task

        @task
        def one():
            return 1

        def prepare():
            {SETUPS[setup]}
        """,
    )
    project.write(
        "flow.py",
        f"""
        import sys
        import threading
        from rayflow import run, task

        @task
        def main():
            return "ran"

        def one():
            try:
                sys.stdout.write(run(main(), inline=True) + "\\n")
            except Exception as error:
                sys.stdout.write(f"{{type(error).__name__}} {{error}}\\n")

        if __name__ == "__main__":
            threads = [threading.Thread(target=one) for _ in range({threads})]
            [each.start() for each in threads]
            [each.join() for each in threads]
        """,
    )
    found = project.python("flow.py")
    if setup == "in a thread":  # what a thread raises is told by the thread
        assert found.stdout == "ran\n" * threads
        assert "setup cannot run tasks" in found.stderr
    else:
        assert found.stdout.count("BadConfig") == found.stdout.count("setup cannot run tasks") == threads, found.stderr
