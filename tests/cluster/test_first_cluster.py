"""The tutorial `first-cluster`: two nodes on one machine, typed command by command as it stands in the page."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import processes
import pytest
from projects import REPOSITORY
from tutorials import Reader, TypedCommand, WrittenFile, pattern, plain, replaced, steps
from waiting import until

PAGE = (REPOSITORY / "rayflow" / "docs" / "first-cluster.md").read_text()
OWN = "RAYFLOW_TEST_TUTORIAL"
ID = "0197a3c2-51f0-7b3e"


@pytest.fixture
def home() -> Iterator[Path]:
    """The home of a new user. What they have left running at the end is ended."""
    folder = Path(tempfile.mkdtemp(prefix="rf", dir="/tmp"))  # short: the paths of Ray's sockets have a limit
    (folder / "home").mkdir()
    yield folder / "home"
    while left := processes.marked(OWN, str(folder)):
        processes.end(left)
    shutil.rmtree(folder, ignore_errors=True)


def environment_of(home: Path) -> dict[str, str]:
    """What the terminal of a new user has: no setting of Ray, but for the folder of its sessions."""
    commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {
        "HOME": str(home), "PATH": commands, "PYTHONPATH": os.environ["PYTHONPATH"], "LANG": "C.UTF-8",
        "NO_COLOR": "1", "RAY_TMPDIR": str(home.parent), "RAY_USAGE_STATS_ENABLED": "0", OWN: str(home.parent),
        processes.MARKER: os.environ[processes.MARKER],
    }  # fmt: skip


def places(home: Path) -> dict[str, str]:
    """Ports that are free, and a folder of this test, for those of the page."""
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(4)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        control, dashboard, agent, other_agent = (str(each.getsockname()[1]) for each in sockets)
    return {
        "--port=6379": f"--port={control} --dashboard-agent-listen-port={agent}", ":6379": f":{control}",
        "8265": dashboard, "52366": other_agent, "/tmp/second-node": str(home.parent / "n"),
    }  # fmt: skip


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_command_of_the_tutorial_prints_what_the_page_shows(home: Path) -> None:
    reader = Reader(home.parent, environment_of(home))
    try:
        for step in steps(replaced(PAGE, places(home))):
            if isinstance(step, WrittenFile):
                reader.write(step)
            else:
                reader.type(step)
    finally:
        reader.close()
    assert (home / ".ray" / "auth_token").stat().st_mode & 0o77 == 0
    assert (home / "rayflow-results").is_dir()

    def names() -> set[bytes]:
        return {Path(f"/proc/{pid}/comm").read_bytes().strip() for pid in processes.marked(OWN, str(home.parent))}

    until(lambda: not names() & {b"raylet", b"gcs_server"}, 60)


# --- the rule of the page ---------------------------------------------------------------------------------------------


def test_the_page_has_its_commands_and_its_files_in_their_order() -> None:
    found = steps(PAGE)
    assert [step.name for step in found if isinstance(step, WrittenFile)] == ["flow.py", "rayflow.toml"]
    typed = [step.text for step in found if isinstance(step, TypedCommand)]
    verbs = ["doctor", "submit", "log", "attach", "log", "sql", "submit", "submit", "why", "run"]
    assert [text.split()[1] for text in typed if text.startswith("rayflow ")] == verbs
    assert len(typed) == PAGE.count("\n$ ")
    assert any("\\\n" in text for text in typed), "a command of two lines is one command"


@pytest.mark.parametrize(
    ("shown", "printed", "is_so"),
    [
        ("done", "done", True),
        ("done", "done now", False),
        ("done ...", "done in 3 s", True),
        ("done ... (ok)", "done (ok)", True),
        ("done ... (ok)", "done in 3 s", False),
        ("a (b) [c]", "a (b) [c]", True),
        ("a   b", "a b", True),
        ("a\n\nb", "a\nb", True),
        ("a\nb", "a\nx\nb", False),
        ("a\n...\nb", "a\nx\ny\nb", True),
        ("a\n...\nb", "a\nb", True),
        ("a\n...", "a", True),
        ("a", "", False),
        ("", "a", False),
        ("as rayflow-ID-...\nlog ID", f"as rayflow-{ID}-8a41\nlog {ID}", True),
        ("as rayflow-ID-...\nlog ID", f"as rayflow-{ID}-8a41\nlog 0197a3c2-51f0-7b3f", False),
        ("id\nID ... main", f"id\n{ID} 2026 main", True),
    ],
)
def test_what_is_printed_matches_what_is_shown_by_the_rule_of_the_page(shown: str, printed: str, is_so: bool) -> None:
    assert bool(pattern(shown.splitlines(), None).fullmatch(plain(printed))) is is_so
    if is_so:
        assert pattern(shown.splitlines(), ID).fullmatch(plain(printed))
