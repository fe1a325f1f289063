"""A secret is nowhere in what a run leaves behind, whoever prints it."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from urllib.parse import quote

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Scheduler, Secret
from rayflow.errors import BadArguments, ScriptFailed
from rayflow.lang.scripts import script
from rayflow.values.display import masking

TEXT = "correct horse/battery+staple"
FORMS = (TEXT, quote(TEXT, safe=""), base64.b64encode(TEXT.encode()).decode().rstrip("=")[:-1], TEXT.encode().hex())
SHOWN = "<Secret('{}')>"

LOGIN = """
    import base64, os, subprocess, sys, urllib.parse
    from rayflow import Secret, catch, script, subrun, task

    ECHO = 'echo "script $TOKEN"; echo "script $TOKEN" >&2; test "$PORT" = 5'

    @task
    def login(key: Secret):
        text = key.get()
        print("logging in with", end=" ")
        print(text)
        print(base64.b64encode(b"me:" + text.encode()).decode(), urllib.parse.quote(text, safe=""), text.encode().hex())
        print([text], text.encode())
        sys.stderr.write(text[:5])
        sys.stderr.write(text[5:] + "\\n")
        return len(text)

    @task
    def past_python(key: Secret):
        data = key.get().encode()
        os.write(1, b"raw " + data + b"\\n")
        os.write(2, b"raw " + data[:7])
        os.write(2, data[7:] + b"\\n")
        os.environ["T"] = key.get()
        subprocess.run(["sh", "-c", 'echo "child $T"; echo "child $T" >&2'], check=True)
        os.system("true; echo 'system %s'" % key.get())
        return len(data)

    class Refused(Exception):
        def __init__(self, user, password):
            super().__init__(user, {"tried": [password]})
            self.password = password
            self.seen = {"header": "Bearer " + password}

    @task
    def fail(key: Secret, long: bool):
        raise ValueError("x" * 4000 + "refused: " + key.get()) if long else Refused("me", key.get())

    @task
    async def later(key: Secret):
        text = key.get()
        size = await login(key)
        print("still", text)
        return size

    @task
    def shown(text):
        print("got", text)
        return text

    @task
    def recover(error):
        print(repr(error), vars(error))
        return type(error).__name__

    @task
    def main(key: Secret):
        return [
            login(key),
            past_python(key),
            later(key),
            subrun(login(key)),
            script(ECHO, env={"TOKEN": key, "PORT": 5}, outputs=0),
            catch(script('printf "$TOKEN%01990d" 0 >&2; exit 3', env={"TOKEN": key}), Exception, recover),
            catch(fail(key, True), ValueError, recover),
            catch(fail(key, False), Exception, recover),
        ]
"""
"""The longest line of a script's stderr is cut in the middle of the secret."""

RESULT = [len(TEXT), len(TEXT), len(TEXT), len(TEXT), 0, "ScriptFailed", "ValueError", "Refused"]

TABLES = ("executions", "jobs", "attempts", "logs", "calls", "arguments", '"values"', "tags", "tasks", "definitions")


@pytest.fixture
def flow(project: Project, monkeypatch: pytest.MonkeyPatch) -> Flow:
    monkeypatch.setattr(masking, "_masks", {})
    monkeypatch.setenv("LOGIN_KEY", TEXT)
    made = Flow(project)
    made.write(LOGIN)
    return made


def files_with(folder: Path, *texts: str) -> list[str]:
    """The files below a folder in which one of these stands."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            found.extend(f"{path}: {text}" for text in texts if text.encode() in data)
    return found


def around(part: str, everything: str) -> list[str]:
    """Where a part of a secret is told, with what stands before it."""
    return [f"{before[-150:]}{part}" for before in everything.split(part)[:-1]]


def told(flow: Flow, *, data: bool = True) -> str:
    """All that the records and the reporter say. data: also arguments and results as they are."""
    left_out = {} if data else {"jobs": "packed_arguments", "executions": "root", '"values"': "inline"}
    rows = []
    for table in TABLES:
        columns = f"* EXCLUDE ({left_out[table]})" if table in left_out else "*"
        rows.append(str(flow.project.sql(f"SELECT {columns} FROM {table}")))
    return "\n".join([*rows, *flow.watching.lines])


def test_a_secret_is_nowhere_in_what_a_run_leaves_behind(flow: Flow, capfd: pytest.CaptureFixture[str]) -> None:
    assert flow.call("main", Secret("env:LOGIN_KEY")) == RESULT
    printed = capfd.readouterr()
    everything = told(flow) + printed.out + printed.err
    assert [form for form in FORMS if form in everything] == []
    assert files_with(flow.project.path / ".rayflow", *FORMS) == []
    shown = SHOWN.format("env:LOGIN_KEY")
    for line in ("logging in with ", "still ", "script ", "refused: "):
        assert line + shown in everything, line
    for line in ("raw ", "child ", "system "):
        assert (line + shown in printed.out) and (line == "system " or line + shown in printed.err), line
    assert around("correct", everything) + around("staple", everything) == [], "a part is told where a text was cut"
    os.write(1, TEXT.encode())
    assert capfd.readouterr().out == TEXT, "what is written when no body runs is not rayflow's to change"


def test_another_text_under_the_same_reference_runs_nothing_again(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    flow.call("login", Secret("env:LOGIN_KEY"))
    monkeypatch.setenv("LOGIN_KEY", "another")
    assert flow.call("login", Secret("env:LOGIN_KEY")) == len(TEXT)
    assert flow.computed() == {}


RETURNED = """
    from dataclasses import dataclass
    from rayflow import Secret, task

    @dataclass
    class Login:
        user: str
        password: str

    class Session:
        def __init__(self, password):
            self.password = password
        def __repr__(self):
            return "Session(" + "-" * 180 + self.password + "-" * 180 + ")"

    @task
    def read(key: Secret, how: str):
        text = key.get()
        return {
            "text": text, "bytes": text.encode(), "list": ["me", text], "dataclass": Login("me", text),
            "object": Session(text), "long": "x" * 195 + text + "y" * 9000,
        }[how]

    @task
    def use(given):
        print("using", given if not hasattr(given, "password") else given.password)
        return 1

    @task
    def refuse(given):
        raise ValueError(f"{given!r}")

    @task
    def main(key: Secret, how: str):
        return use(read(key, how))

    @task
    def failing(key: Secret, how: str):
        return refuse(read(key, how))
"""


@pytest.mark.parametrize("how", ["text", "bytes", "list", "dataclass", "object", "long"])
def test_of_a_result_that_holds_a_secret_only_the_bytes_tell_it(
    flow: Flow, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    flow.write(RETURNED)
    key = Secret("env:LOGIN_KEY")
    assert flow.call("main", key, how) == 1
    assert "what the task returns holds the text of Secret('env:LOGIN_KEY')" in told(flow)
    # A process that begins anew has not resolved it, and finds the result in the cache.
    monkeypatch.setattr(masking, "_masks", {})
    flow.edit("return 1", "return 2")
    assert flow.call("main", key, how) == 2
    assert flow.counts("computed") == {"use": 1}
    monkeypatch.setattr(masking, "_masks", {})
    with pytest.raises(ValueError, match="Secret") as caught:
        flow.call("failing", key, how)
    everything = told(flow, data=False) + repr(caught.value) + "".join(caught.value.__notes__)
    assert around("horse", everything) == []


def test_tags_and_constants_that_hold_a_secret_are_told_without(flow: Flow) -> None:
    flow.write("""
        from rayflow import Secret, apply_tags, task
        TOKEN = Secret("env:LOGIN_KEY").get()

        @task(tags={TOKEN: TOKEN})
        def size():
            return len(TOKEN)

        @task
        def main():
            keys = {f"by {TOKEN}": 1}
            tagged = size.options(tags=keys)()
            return apply_tags(tagged, {"token": [TOKEN], TOKEN: 1}, job_tags=keys, execution_tags={"run": TOKEN})
    """)
    assert flow.run(flow.module.main(), tags={"by": TOKEN_TAG, TEXT: 1}) == len(TEXT)  # type: ignore[union-attr]
    assert around("horse", told(flow)) == []


TOKEN_TAG = {"nested": (TEXT,)}


@pytest.mark.parametrize("of", ["command", "inputs", "shell", "cwd"])
def test_a_script_takes_a_secret_in_its_environment_alone_and_says_so(of: str) -> None:
    key = Secret("env:KEY")
    arguments = {"command": "true", "tempdir": of != "cwd", of: [key] if of == "inputs" else key}
    with pytest.raises(BadArguments, match=rf"script\({of}=...\) takes no Secret\('env:KEY'\).*env=\{{\"TOKEN\""):
        script(**arguments)


def test_a_secret_that_a_script_lacks_is_named_by_its_reference(flow: Flow) -> None:
    with pytest.raises(Exception, match="the environment variable NOT_THERE is not set"):
        flow.run(script("true", env={"TOKEN": Secret("env:NOT_THERE")}))
    with pytest.raises(ScriptFailed) as caught:
        flow.run(script('echo "no $TOKEN" >&2; false', env={"TOKEN": Secret("env:LOGIN_KEY")}))
    assert caught.value.stderr == f"no {SHOWN.format('env:LOGIN_KEY')}\n" and caught.value.code == 1


@pytest.mark.ray
def test_on_ray_a_secret_is_nowhere_either_whoever_has_read_it(
    flow: Flow, ray_cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray._private.worker

    (tmp_path / "key").write_text(TEXT + "\n")
    key = Secret(f"file:{tmp_path / 'key'}")
    store = str(flow.project.path / ".rayflow")
    with Scheduler(store=store, address=ray_cluster, reporter=flow.watching) as scheduler:
        assert flow.module is not None
        assert scheduler.run(flow.module.main(key)) == RESULT
        everything = told(flow)
        logs = Path(ray._private.worker.global_worker.node.get_logs_dir_path())
        assert files_with(logs, *FORMS) == []
        assert any(files_with(logs, f"{line} {SHOWN.format(key.reference)}") for line in ("raw", "child"))
        assert [form for form in FORMS if form in everything] == [] and around("correct", everything) == []
        assert files_with(flow.project.path / ".rayflow", *FORMS) == []
        # One worker reads it, others print it; then this process passes it on, as what it has been given.
        monkeypatch.setattr(masking, "_masks", {})
        flow.write(RETURNED)
        assert scheduler.run([flow.module.main(key, "text"), flow.module.use("first")]) == [1, 1]
        (again,) = scheduler.run([flow.module.read(key, "text")])
        with pytest.raises(ValueError, match="Secret"):
            scheduler.run(flow.module.refuse([again]))
        assert around("horse", told(flow, data=False)) == []
        assert files_with(logs, *FORMS) == []
