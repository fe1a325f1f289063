"""Scripts run in this process: what they see, what becomes of what they wrote, and that nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from evaluations import Flow
from projects import Project
from waiting import until

from rayflow import Dir, File, script
from rayflow.api import Scheduler
from rayflow.errors import BadArguments, FileMissing, ScriptFailed, StoreUnavailable, TaskTimeout
from rayflow.values.encoding.previews import preview

GREP = """
    from rayflow import File, task

    @task(script=True)
    def grep(pattern: str, file: File):
        return f'''
            grep {pattern} {file}
        '''

    @task
    def grep_files(pattern: str, names: list):
        return [grep(pattern, File(name)) for name in names]

    @task(script="bytes")
    def raw():
        return "printf '\\\\377'"

    @task(script=True)
    def number():
        return 3

    @task(script=True)
    def lazy():
        return grep("a", File("one.txt"))

    @task
    def size(file: File):
        return file.size()
"""


@pytest.fixture
def flow(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Flow:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    made = Flow(project)
    made.write(GREP)
    (project.path / "one.txt").write_text("apple\nberry\n")
    (project.path / "two.txt").write_text("cherry\napricot\n")
    return made


@pytest.fixture(autouse=True)
def nothing_left(flow: Flow, tmp_path: Path):
    yield
    assert os.listdir(tmp_path / "scratch") == []
    assert not [path for path in flow.project.path.rglob("*") if path.name.endswith(".rayflow-tmp")]


def test_a_script_task_gives_what_its_command_prints(flow: Flow) -> None:
    assert flow.call("grep_files", "ap", ["one.txt", "two.txt"]) == ["apple\n", "apricot\n"]
    flow.call("grep_files", "ap", ["one.txt", "two.txt"])
    assert flow.computed() == {}
    assert flow.counts("cached") == {"grep_files": 1, "grep": 2}
    (flow.project.path / "two.txt").write_text("plum and apricot\n")
    assert flow.call("grep_files", "ap", ["one.txt", "two.txt"]) == ["apple\n", "plum and apricot\n"]
    assert flow.computed() == {"grep_files": 1, "grep": 1}


def test_a_script_task_can_give_bytes_and_text_has_to_be_text(flow: Flow) -> None:
    assert flow.call("raw") == b"\xff"
    with pytest.raises(ScriptFailed, match="not text in UTF-8"):
        flow.run(script("printf '\\377'"))


@pytest.mark.parametrize("task", ["number", "lazy"])
def test_what_is_no_command_says_so(flow: Flow, task: str) -> None:
    with pytest.raises(BadArguments, match=r"returns? its command as text"):
        flow.call(task)


def test_staged_files_in_any_nesting_come_in_and_go_out_under_their_names(flow: Flow) -> None:
    folder = flow.project.path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "x").write_text("deep\n")
    expr = script(
        """
        cat a/one.txt 'two "quoted" $name
newline.txt' in/deep/x > all.txt
        mkdir -p out/deep
        cp all.txt out/deep/copy
        wc -l < all.txt
        """,
        inputs={
            "one": File("one.txt").stage("a/one.txt"),
            "rest": [File("two.txt").stage('two "quoted" $name\nnewline.txt'), Dir("folder").stage("in")],
            "plain": 3,
        },
        outputs={
            "all": File("result/all of it.txt").stage("all.txt"),
            "more": [Dir("result/tree").stage("out"), File("-")],
        },
    )
    given = flow.run(expr)
    assert given["all"] == File("result/all of it.txt")
    assert given["all"].read() == "apple\nberry\ncherry\napricot\ndeep\n"
    tree, printed = given["more"]
    assert [file.path for file in tree] == ["result/tree/deep/copy"]
    assert printed == "5\n"
    flow.run(expr)
    assert flow.computed() == {}
    (flow.project.path / "result" / "all of it.txt").unlink()
    (flow.project.path / "result" / "tree" / "stale").write_text("x")
    tree, _ = flow.run(expr)["more"]
    assert [file.path for file in tree] == ["result/tree/deep/copy"]
    assert flow.computed() == {"script": 1}


def test_an_output_of_a_script_is_used_lazily_by_the_next_task(flow: Flow) -> None:
    made = script("cat in > out", inputs=File("one.txt").stage("in"), outputs={"out": File("copy.txt").stage("out")})
    assert flow.run(flow.module.size(made["out"])) == 12


def test_the_first_line_says_what_runs_a_script(flow: Flow) -> None:
    assert flow.run(script(f"#!{sys.executable}\nprint(1 + 2)")) == "3\n"
    assert flow.run(script("false; set -o | grep -c 'pipefail.*on'", shell="bash -o pipefail")) == "1\n"


def test_a_script_runs_in_its_own_directory_or_where_it_is_told_to(flow: Flow) -> None:
    assert flow.run(script("ls | wc -l")).strip() == "0"
    assert flow.run(script("pwd", tempdir=False)).strip() == str(flow.project.path)
    (flow.project.path / "sub").mkdir()
    inside = script("basename $(pwd); echo $COLOUR", tempdir=False, cwd="sub", env={"COLOUR": "red"})
    assert flow.run(inside) == "sub\nred\n"
    with pytest.raises(BadArguments, match="needs tempdir=False"):
        script("pwd", cwd="sub")


class TestFailures:
    def test_an_exit_code_is_an_error_with_the_command_and_the_end_of_stderr(self, flow: Flow) -> None:
        with pytest.raises(ScriptFailed) as caught:
            flow.run(script("echo told >&2; false | cat; echo never"))
        assert caught.value.code == 1
        assert caught.value.stderr == "told\n"
        assert "exit code 1" in str(caught.value)
        assert "false | cat" in str(caught.value)
        assert "told" in str(caught.value)

    def test_a_signal_is_named(self, flow: Flow) -> None:
        with pytest.raises(ScriptFailed, match="SIGKILL"):
            flow.run(script("kill -KILL $$"))

    def test_an_output_that_was_not_written_is_an_error_and_no_other_output_appears(self, flow: Flow) -> None:
        outputs = [File("here.txt").stage("here"), File("gone.txt").stage("gone")]
        with pytest.raises(ScriptFailed, match=r"did not write 'gone'.*'here'"):
            flow.run(script("echo x > here", outputs=outputs))
        assert not (flow.project.path / "here.txt").exists()
        with pytest.raises(ScriptFailed, match=r"(?m)did not write 'direct\.txt'\. Its directory is empty\.$"):
            flow.run(script("true", outputs=File("direct.txt")))

    def test_an_output_without_a_name_that_stands_in_the_scratch_directory_is_told_so(self, flow: Flow) -> None:
        with pytest.raises(ScriptFailed, match=r"write File\('out/a\.txt'\)\.stage\(\) for the one in the") as caught:
            flow.run(script("echo x > a.txt", outputs=File("out/a.txt")))
        assert f"stands for {flow.project.path}/out/a.txt itself" in str(caught.value)

    def test_a_call_of_a_script_is_shown_as_it_was_written(self, flow: Flow) -> None:
        staged = File("a").stage("b")
        with pytest.raises(ScriptFailed) as caught:
            flow.run(script("false", inputs=[], outputs=[Dir("c").stage("d"), File("-")]))
        assert "outputs=[Dir('c').stage('d'), File('-')]" in "\n".join(caught.value.__notes__)
        assert repr(staged) == preview(staged) == "File('a').stage('b')"

    @pytest.mark.parametrize("name", ["../out", "/tmp/out", "a/../../out", "", ".", "a\0b"])
    def test_a_name_outside_of_the_directory_is_refused(self, flow: Flow, name: str) -> None:
        with pytest.raises(BadArguments, match="is not a name inside"):
            flow.run(script("true", outputs=File("x.txt").stage(name)))
        with pytest.raises(BadArguments, match="is not a name inside"):
            flow.run(script("true", inputs=File("one.txt").stage(name)))

    def test_an_output_that_is_a_link_to_elsewhere_is_refused(self, flow: Flow) -> None:
        expr = script("ln -s in out", inputs=File("one.txt").stage("in"), outputs=File("copy.txt").stage("out"))
        with pytest.raises(ScriptFailed, match=r"is a link to .*one\.txt"):
            flow.run(expr)

    @pytest.mark.parametrize("target", ["$PWD/in", "../in", "/etc/passwd", "$PWD/dir/a"])
    def test_a_link_in_a_directory_that_leads_out_of_it_is_refused(self, flow: Flow, target: str) -> None:
        command = f"mkdir dir; touch dir/a; ln -s a dir/fine; ln -s {target} dir/link"
        expr = script(command, inputs=File("one.txt").stage("in"), outputs=Dir("tree").stage("dir"))
        with pytest.raises(ScriptFailed, match=r"output 'dir/link' is a link to"):
            flow.run(expr)
        assert not (flow.project.path / "tree").exists()

    def test_a_script_that_writes_to_its_input_is_told(self, flow: Flow) -> None:
        flow.run(script("echo more >> in", inputs=File("one.txt").stage("in")))
        assert any("has altered its own input one.txt" in line for line in flow.watching.lines)

    def test_a_script_that_removes_its_input_is_told(self, flow: Flow) -> None:
        flow.run(script('rm "$(readlink in)"', inputs=File("one.txt").stage("in")))
        (line,) = [line for line in flow.watching.lines if "rayflow:" in line]
        assert "one.txt, which rayflow.script was given, is not on " in line
        assert "Was it removed meanwhile? Or has this machine no share of that disk" in line

    def test_an_output_that_cannot_be_written_says_where(self, flow: Flow) -> None:
        (flow.project.path / "in the way").write_text("x")
        with pytest.raises(StoreUnavailable, match=r"Cannot write .*in the way/x: (Not a directory|File exists)"):
            flow.run(script("echo x > out", outputs=File("in the way/x").stage("out")))

    def test_a_missing_input_is_named(self, flow: Flow) -> None:
        with pytest.raises(FileMissing, match=r"never\.txt"):
            flow.run(script("true", inputs=File("never.txt").stage("in")))

    def test_two_files_under_one_name_are_both_named(self, flow: Flow) -> None:
        with pytest.raises(BadArguments, match=r"one\.txt.*two\.txt"):
            flow.run(script("true", inputs=[File("one.txt").stage("in"), File("two.txt").stage("in")]))
        with pytest.raises(BadArguments, match="go to one path"):
            flow.run(script("touch a b", outputs=[File("x").stage("a"), File("x").stage("b")]))

    def test_a_shell_that_is_not_there_says_so(self, flow: Flow) -> None:
        with pytest.raises(ScriptFailed, match="/no/such/shell cannot be run on"):
            flow.run(script("#!/no/such/shell\ntrue"))


def test_what_a_script_prints_is_the_jobs_log_and_is_seen_live(flow: Flow) -> None:
    flow.run(script("echo out; echo err >&2; printf rest", outputs=None))
    assert sorted(flow.watching.lines) == ["err\n", "out\n", "rest\n"]
    assert flow.project.sql("select stream, text from logs order by stream") == [
        ("stderr", "err\n"), ("stdout", "out\nrest")
    ]  # fmt: skip


def alive(marker: str) -> list[str]:
    found = subprocess.run(["pgrep", "-f", marker], capture_output=True, text=True).stdout.split()
    return [pid for pid in found if int(pid) != os.getpid()]


def test_a_timeout_leaves_no_process(flow: Flow) -> None:
    started = time.monotonic()
    with pytest.raises(TaskTimeout):
        flow.run(script("sleep 31.4159 & (trap '' TERM; sleep 31.4159) | cat", timeout=0.5))
    assert time.monotonic() - started < 5
    assert alive("sleep 31.4159") == []


def test_a_process_in_the_background_ends_with_its_script(flow: Flow) -> None:
    assert flow.run(script("sleep 27.1828 & echo done")) == "done\n"
    assert alive("sleep 27.1828") == []


def test_a_killed_worker_leaves_no_process_no_directory_and_no_output(flow: Flow, tmp_path: Path) -> None:
    started = tmp_path / "started"
    flow.project.write(
        "go.py",
        f"""
        import tempfile
        tempfile.tempdir = {str(tmp_path / "scratch")!r}
        from rayflow import File, run, script
        command = "echo half > out; touch {started}; sleep 23.5711"
        run(script(command, outputs=File("whole.txt").stage("out")), inline=True)
        """,
    )
    process = subprocess.Popen([sys.executable, "go.py"], cwd=flow.project.path)
    until(started.exists)
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: not alive("sleep 23.5711") and not os.listdir(tmp_path / "scratch"))
    assert not (flow.project.path / "whole.txt").exists()


@pytest.mark.parametrize("stage", ["_putting_beside", "_put_in_place"])
def test_a_worker_killed_while_it_moves_outputs_leaves_none_half_written(
    flow: Flow, tmp_path: Path, stage: str
) -> None:
    (flow.project.path / "old.txt").write_text("old")
    flow.project.write(
        "go.py",
        f"""
        import os, signal, shutil, sys, tempfile
        tempfile.tempdir = {str(tmp_path / "scratch")!r}
        from rayflow import File, run, script
        from rayflow.runtime.worker.scripts import scratch

        def die(*_):
            os.kill(os.getpid(), signal.SIGKILL)

        def half(source, target):
            with open(target, "wb") as stream:
                stream.write(b"half")
            die()

        if sys.argv[1] == "_putting_beside":
            rename = os.rename
            def elsewhere(source, target):
                if "rayflow-script" in source:
                    raise OSError("another disk")
                rename(source, target)
            os.rename, shutil.copyfile = elsewhere, half
        elif sys.argv[1] == "_put_in_place":
            scratch._put_in_place = die
        outputs = [File("new.txt").stage("a"), File("old.txt").stage("b")]
        print(run(script("echo whole > a; echo whole > b", outputs=outputs), inline=True))
        """,
    )
    assert flow.project.python("go.py", stage).returncode == -signal.SIGKILL
    assert not (flow.project.path / "new.txt").exists()
    assert (flow.project.path / "old.txt").read_text() == "old"
    until(lambda: not os.listdir(tmp_path / "scratch"))
    assert flow.project.python("go.py", "").returncode == 0
    assert (flow.project.path / "new.txt").read_text() == (flow.project.path / "old.txt").read_text() == "whole\n"
    assert not list(flow.project.path.glob(".*.rayflow-tmp"))  # whoever writes there next takes away what was left


def test_what_a_script_prints_may_be_no_text_when_it_is_not_the_result(project):
    flow = project.write(
        "flow.py",
        r"""
        from rayflow import File, script, task

        @task
        def main():
            return script("printf '\\377 latin'; echo hi > out", outputs=File("out.txt").stage("out"))
        """,
    ) and project.load("flow")
    with Scheduler(store=str(project.path / ".rayflow"), inline=True) as scheduler:
        assert scheduler.run(flow.main()).read() == "hi\n"


def test_a_directory_comes_in_and_goes_out_with_its_links_and_its_empty_folders(flow: Flow) -> None:
    project = flow.project.path
    for folder in ("in/empty", "far/deep"):
        (project / folder).mkdir(parents=True)
    (project / "far" / "deep" / "x").write_text("1\n")
    (project / "in" / "linked").symlink_to("../far")
    command = "cat in/linked/deep/x; mkdir -p out/none; test -d in/empty; ln -s . out/round; touch out/a; ln -s a out/b"
    expr = script(command, inputs=Dir("in").stage("in"), outputs=[File("-"), Dir("out").stage("out")])
    printed, _ = flow.run(expr)
    assert printed == "1\n" and (project / "out" / "none").is_dir() and (project / "out" / "b").is_symlink()
    flow.run(expr)
    assert flow.computed() == {}
    (project / "out" / "none").rmdir()
    flow.run(expr)
    assert flow.computed() == {"script": 1} and (project / "out" / "none").is_dir()
    (project / "far" / "deep" / "x").write_text("22\n")
    assert flow.run(expr)[0] == "22\n"


@pytest.mark.parametrize("how", ["ignored", "ignored meanwhile", "waited for by others"])
def test_where_nobody_can_know_how_a_script_ended_it_fails_and_says_so(
    flow: Flow, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.wait4

    def waited(pid: int, options: int) -> object:
        if how == "ignored meanwhile":
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        else:
            os.waitpid(pid, 0)
        return real(pid, options)

    before = signal.getsignal(signal.SIGCHLD)
    try:
        if how == "ignored":
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        else:
            monkeypatch.setattr("rayflow.runtime.worker.scripts.run_script.os.wait4", waited)
        with pytest.raises(ScriptFailed, match="SIGCHLD"):
            flow.run(script("touch ran; exit 1", outputs="x", tempdir=False))
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert (flow.project.path / "ran").exists() == (how != "ignored"), "what cannot be told is not begun"
