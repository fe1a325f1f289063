"""A run in a notebook: one display that is drawn again in its place, prints as the cell's output."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from rayflow import Scheduler
from rayflow.runtime.driver.notebook import PERIOD_SECONDS, Notebook, NotebookText, is_notebook
from rayflow.runtime.protocol.reports import Printing, Progress, Summary


class Page:
    """Stands for IPython in a kernel: keeps what each display shows."""

    def __init__(self, kernel: Any = "a kernel") -> None:
        self.displays: list[list[Any]] = []
        self.display = SimpleNamespace(display=self._display)
        self.shell = SimpleNamespace(kernel=kernel)

    def get_ipython(self) -> Any:
        return self.shell

    def _display(self, shown: Any, *, display_id: bool) -> Any:
        states = [shown]
        self.displays.append(states)
        return SimpleNamespace(update=states.append)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    made = Page()
    monkeypatch.setitem(sys.modules, "IPython", made)
    return made


def progress(seconds: float, execution: str = "e", **counts: int) -> Progress:
    return Progress(execution, seconds, {"flow.<b>": {"open": 4, **counts}}, ("flow.f needs a GPU",))


def summary(execution: str = "e") -> Summary:
    counts = {"jobs": 4, "computed": 3, "retries": 1}
    return Summary(execution, "done", 9.5, counts, {"flow.<b>": {"computed": 3, "retries": 1}}, (), 4.0)


def test_only_a_kernel_is_a_notebook(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_notebook()
    page.shell = SimpleNamespace()  # IPython in a terminal
    assert not is_notebook()
    page.shell = None
    assert not is_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not is_notebook()


def test_a_run_has_one_display_which_ends_with_the_sum(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [100.0]
    monkeypatch.setattr("rayflow.runtime.driver.notebook.time", SimpleNamespace(monotonic=lambda: moment[0]))
    notebook = Notebook()
    notebook.progress(progress(0.1, running=1))  # too early
    for step in range(10):
        moment[0] += PERIOD_SECONDS / 2
        notebook.progress(progress(1.0 + step, running=1, queued=2))
    notebook.progress(Progress("e", 30.0, {}))  # nothing is known any more
    notebook.ended(summary())
    [states] = page.displays
    assert 5 <= len(states) <= 7  # drawn twice a second, not each time
    assert states[0].text.splitlines() == [
        "1.00 s  1 running, 2 queued, 1 waiting",
        "  flow.<b>  1 running, 2 queued, 1 waiting",
        "  waiting: flow.f needs a GPU",
    ]
    assert states[-1].text.splitlines() == [
        "done in 9.50 s: 4 jobs, 3 computed, 1 retry, after 4.00 s to start up",
        "  flow.<b>  3 computed, 1 retry",
    ]
    notebook.progress(progress(2.0, execution="next", running=1))
    moment[0] += PERIOD_SECONDS
    notebook.progress(progress(2.0, execution="next", running=1))
    assert len(page.displays) == 2


def test_a_short_run_shows_nothing_but_its_result(page: Page) -> None:
    notebook = Notebook()
    notebook.progress(progress(0.1, running=1))
    notebook.ended(summary())
    assert page.displays == []


def test_names_are_text_in_the_page() -> None:
    bundle = NotebookText("a <script> & b")._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"] == repr(NotebookText("a <script> & b")) == "a <script> & b"
    assert "&lt;script&gt; &amp; b" in bundle["text/html"] and "<script" not in bundle["text/html"]


def test_prints_are_the_cells_output_and_warnings_are_on_stderr_each_once(
    page: Page, project: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write("flow.py", "from rayflow import task\n\n@task\ndef loud(x):\n    print('working')\n    return x\n")
    flow = project.load("flow")
    with Scheduler(store=project.path / ".rayflow", inline=True) as scheduler:
        assert scheduler.run(flow.loud(1)) == 1
        scheduler._driver.reporter.warned("careful")
    out, err = capsys.readouterr()
    assert out == "[loud(x=1)] working\n" and err == "rayflow: careful\n"


def test_a_program_is_no_notebook(project: Any) -> None:
    with Scheduler(store=project.path / ".rayflow", inline=True) as scheduler:
        assert type(scheduler._driver.reporter.reporter) is Printing
