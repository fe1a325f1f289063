"""A process that is forked from the warm one gives what a new interpreter gives."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest
from projects import Project
from warm_python import can_be_warm

SCRIPTS = {
    "a result": "print('out'); import sys; print('err', file=sys.stderr)",
    "the streams in their order": "import sys, os; print('a', flush=True); os.write(2, b'b\\n'); print('c')",
    "what it is": """
        import os, sys
        print(__name__, __file__, __spec__, __cached__, __doc__, type(__loader__).__name__, sorted(vars()))
        print(sys.argv, sys.path, os.getcwd(), os.environ["MINE"], os.environ["NO_COLOR"], sys.stdin.read())
        print(sys.modules["__main__"].__file__, sys.stdout.isatty(), sys.stdout.line_buffering, sys.stderr.encoding)
    """,
    "a class of its own": """
        import pickle
        class Own: ...
        print(pickle.loads(pickle.dumps(Own())).__class__, Own.__module__)
    """,
    "a word as its end": "import sys; sys.exit('that was it')",
    "a number as its end": "import sys; sys.exit(257)",
    "an error": """
        def inner():
            raise ValueError("no")
        try:
            inner()
        except ValueError as error:
            raise KeyError("either") from error
    """,
    "a mistake in the text": "print('never'\n",
    "what comes after its end": """
        import atexit, threading, time
        atexit.register(print, "at exit")
        threading.Thread(target=lambda: (time.sleep(0.05), print("a thread"))).start()
        print("main")
    """,
    "a signal": "import os, signal; print('lost'); os.kill(os.getpid(), signal.SIGTERM)",
    "handlers of signals": "import signal; print(*[signal.getsignal(n) for n in (2, 15, 1, 17)])",
    "a random number that nothing seeds": "import random, os; print(random.random() != 0.5, os.getpid() > 1)",
}


@pytest.mark.slow
@pytest.mark.parametrize("text", SCRIPTS.values(), ids=list(SCRIPTS))
def test_a_script_ends_and_prints_as_in_a_new_interpreter(text: str, project: Project) -> None:
    project.write("own.py", text)
    cold, warm = (project.python("own.py", "a word", is_warm=is_warm, MINE="1") for is_warm in (False, True))
    assert (warm.returncode, warm.stdout, warm.stderr) == (cold.returncode, cold.stdout, cold.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("words", [("-c", "import sys; print(sys.argv, sys.path, vars())", "x"), ("-m", "own", "x")])
def test_a_module_and_a_text_run_as_in_a_new_interpreter(words: tuple[str, ...], project: Project) -> None:
    project.write("own.py", "import sys; print(sys.argv, sys.path, __name__, __spec__.name, __file__)")
    cold, warm = (project.python(*words, is_warm=is_warm) for is_warm in (False, True))
    assert (warm.returncode, warm.stdout, warm.stderr) == (cold.returncode, cold.stdout, cold.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("words", [("--version",), ("run", "--inline", "own.py"), ("lgo",), ("log", "01")])
def test_a_command_ends_and_prints_as_in_a_new_interpreter(words: tuple[str, ...], project: Project) -> None:
    project.write("own.py", "from rayflow import task\n@task\ndef main():\n    print('x')\n    raise OSError('no')\n")
    cold, warm = (project.rayflow(*words, is_warm=is_warm, RAYFLOW_STORE=f"{is_warm}") for is_warm in (False, True))
    assert (warm.returncode, warm.stdout) == (cold.returncode, cold.stdout)
    differs = re.compile(r"True|False|(done|failed) in .*|(?<=rayflow log )\S+")
    assert differs.sub("", warm.stderr) == differs.sub("", cold.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("redirected", "encoding"),
    [({0: None, 1: None}, "utf-8"), ({2: None}, "utf-8"), ({1: "/dev/full"}, "utf-8"), ({}, "ascii"), ({}, "latin-1")],
)
def test_streams_are_those_of_a_new_interpreter(
    redirected: dict[int, str | None], encoding: str, project: Project
) -> None:
    project.write(
        "own.py",
        """
        import os, sys
        print([sys.stdin and 1, sys.stdout and sys.stdout.errors, sys.stderr and sys.stderr.encoding], file=sys.stderr)
        print(sys.__stdout__ is sys.stdout, [os.path.exists(f"/proc/self/fd/{n}") for n in range(3)])
        print([(s.name, s.mode, s.line_buffering, s.write_through, s.newlines) for s in (sys.stdout, sys.stderr) if s])
        print("ö€")
        """,
    )
    cold, warm = (
        project.python("own.py", is_warm=is_warm, redirected=redirected, encoding=encoding, PYTHONIOENCODING=encoding)
        for is_warm in (False, True)
    )
    ours = re.compile(r"(?s)Traceback.*(?=\w+Error: )|Exception ignored.*")
    assert (warm.returncode, warm.stdout) == (cold.returncode, cold.stdout)
    assert ours.sub("", warm.stderr).lower() == ours.sub("", cold.stderr).lower()


@pytest.mark.slow
def test_one_process_leaves_nothing_to_the_next(project: Project) -> None:
    project.write("own.py", "import os, sys, other; os.environ['LEFT'] = '1'; os.chdir('/'); sys.path.append('/left')")
    project.write("other.py", "text = 'one'")
    assert project.python("own.py").returncode == 0
    project.write("other.py", "text = 'the other'")
    project.write("own.py", "import os, sys, other; print(os.environ.get('LEFT'), '/left' in sys.path, other.text)")
    assert project.python("own.py").stdout == "None False the other\n"


@pytest.mark.slow
def test_a_process_that_takes_too_long_is_ended(project: Project) -> None:
    project.write("own.py", "import time; print('before', flush=True); time.sleep(60)")
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        project.python("own.py", timeout=0.3)
    assert caught.value.output == "before\n"
    assert project.python("-c", "print('the next')").stdout == "the next\n"


@pytest.mark.slow
def test_a_process_that_a_signal_ends_says_which(project: Project) -> None:
    ended = project.python("-c", "import os; os.kill(os.getpid(), 9)")
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_what_only_a_new_interpreter_can_be_is_one(project: Project) -> None:
    environment = project.full_environment()
    assert can_be_warm(["-c", ""], environment) and can_be_warm(["flow.py"], environment)
    assert not can_be_warm(["-W", "error", "flow.py"], environment)
    assert not can_be_warm(["flow.py"], {**environment, "PYTHONHASHSEED": "7"})
    assert project.python("-c", "import sys; print(sys.flags.hash_randomization)", PYTHONHASHSEED="0").stdout == "0\n"
    assert project.python("-W", "error", "-c", "import sys; print(sys.warnoptions)").stdout == "['error']\n"
    assert sys.executable == project.python("-c", "import sys; print(sys.executable)").stdout.strip()
