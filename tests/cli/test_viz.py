"""`rayflow viz`: an execution as a drawing."""

from __future__ import annotations

import json
import os
import re
import xml.dom.minidom
from pathlib import Path
from typing import Any

import pytest

from rayflow.cli.output import drawing
from rayflow.cli.verbs.viz import FORMATS
from rayflow.store.history.answer_types import Box, CallGraph

MORE = """
from rayflow import catch, task


@task
def leaf(i):
    return i


@task
def total(xs):
    return sum(xs)


@task
def down(n):
    return 0 if n == 0 else down(n - 1)


@task
def hurt(text):
    raise ValueError(text)


@task
def kind(error):
    return str(error)


@task
def main(n: int):
    return [total([leaf(i) for i in range(n)]), down(30), catch(hurt('<b> "x" #1;'), ValueError, kind)]
"""


@pytest.fixture
def drawn(rayflow: Any) -> Any:
    """A project where such a workflow ran with 50 leaves."""
    rayflow.path.write_text(MORE)
    assert rayflow.run("main", "--n", "50").code == 0
    return rayflow


def boxes(rayflow: Any, *words: str) -> dict[str, Any]:
    found = json.loads(rayflow("viz", *words, "--json").out)["boxes"]
    return {box["task_name"].rpartition(".")[2]: box for box in found}


def test_siblings_and_recursions_are_one_box_with_their_number(drawn: Any) -> None:
    found = boxes(drawn, "-")
    assert {name: box["counts"]["jobs"] for name, box in found.items()} == {
        "main": 1, "total": 1, "leaf": 50, "down": 31, "hurt": 1, "kind": 1
    }  # fmt: skip
    assert {box["parent"] for name, box in found.items() if name != "main"} == {found["main"]["number"]}
    assert found["main"]["call"].endswith("main(n=50)") and found["leaf"]["call"] is None


def test_results_that_went_into_calls_are_arrows(drawn: Any) -> None:
    found = boxes(drawn, "-")
    [flow] = json.loads(drawn("viz", "--json").out)["flows"]
    assert flow == {"source": found["leaf"]["number"], "target": found["total"]["number"], "calls": 50}


def test_a_box_tells_what_ran_and_what_was_cached(drawn: Any) -> None:
    drawn.run("main", "--n", "51")
    found = boxes(drawn, "-")
    assert found["leaf"]["counts"] == {"jobs": 51, "computed": 1, "cached": 50}
    assert found["down"]["counts"] == {"jobs": 31, "cached": 31}
    assert boxes(drawn, "~1")["leaf"]["counts"] == {"jobs": 50, "computed": 50}
    text = drawn("viz", "-").out
    assert re.search(r'leaf x 51<br/>1 computed, 50 cached, .*"\]:::computed', text)
    assert re.search(r'down x 31.*"\]:::cached', text) and re.search(r'hurt.*"\]:::failed', text)


def test_mermaid_names_every_box_and_arrow_and_quotes_what_has_a_meaning(drawn: Any) -> None:
    done = drawn("viz")
    lines = done.out.splitlines()
    assert done.code == 0 and lines[0] == "flowchart TD"
    numbers = {name: box["number"] for name, box in boxes(drawn).items()}
    assert f"    b{numbers['main']} -.-> b{numbers['leaf']}" in lines
    assert f"    b{numbers['leaf']} --> b{numbers['total']}" in lines
    [hurt] = [line for line in lines if "hurt" in line]
    assert re.fullmatch(r'    b\d+\["[^"<>]*<br/>[^"<>]*"\]:::failed', hurt) and "#60;b#62;" in hurt


def test_dot_is_quoted(drawn: Any) -> None:
    text = drawn("viz", "-", "--format", "dot").out
    assert text.startswith("digraph execution {\n") and text.endswith("}\n")
    [hurt] = [line for line in text.splitlines() if "hurt" in line]
    inside = re.fullmatch(r'    b\d+ \[label="((?:[^"\\]|\\.)*)", fillcolor="#\w+"\];', hurt)
    assert inside is not None and '\\"x\\"' in inside[1]


def test_a_page_is_complete_in_itself(drawn: Any) -> None:
    done = drawn("viz", "-", "--out", "run.html")
    assert (done.code, done.out, done.err) == (0, "", "drawn to run.html\n")
    page = Path("run.html").read_text()
    assert "<script" not in page and "href" not in page and "src=" not in page and "<b>" not in page
    drawing = xml.dom.minidom.parseString(page[page.index("<svg") : page.index("</svg>") + 6])
    assert len(drawing.getElementsByTagName("rect")) == 6
    places = {(each.getAttribute("x"), each.getAttribute("y")) for each in drawing.getElementsByTagName("rect")}
    assert len(places) == 6, "no box lies over another"


BEGINNINGS = {
    "x": "flowchart TD\n", "x.mmd": "flowchart TD\n", "x.mermaid": "flowchart TD\n", "x.txt": "flowchart TD\n",
    "x.md": "```mermaid\nflowchart TD\n", "x.dot": "digraph", "x.gv": "digraph", "x.svg": "<svg ",
    "x.html": "<!doctype html>", "x.HTM": "<!doctype html>", "x.png": "drawn as -Tpng", "x.pdf": "drawn as -Tpdf",
}  # fmt: skip


@pytest.fixture
def graphviz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that stands for Graphviz'."""
    program = tmp_path / "bin" / "dot"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho drawn as $1\ncat\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return program


@pytest.mark.parametrize("name", BEGINNINGS)
def test_the_name_of_the_file_says_the_format(drawn: Any, graphviz: Path, name: str) -> None:
    done = drawn("viz", "-", "--out", name)
    assert (done.code, done.err) == (0, f"drawn to {name}\n")
    assert Path(name).read_text().startswith(BEGINNINGS[name])


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_goes_to_a_pipe(drawn: Any, graphviz: Path, form: str) -> None:
    done = drawn("viz", "-", "--format", form)
    assert done.code == 0 and any(done.out.startswith(text) for text in BEGINNINGS.values())


@pytest.mark.parametrize("form", ["png", "pdf"])
def test_an_image_without_graphviz_says_what_to_do(drawn: Any, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = drawn("viz", "-", "--out", f"run.{form}")
    assert done.code == 1 and "install Graphviz, or draw one of mermaid, markdown, dot, svg, html" in done.err
    assert not Path(f"run.{form}").exists()


def test_what_graphviz_says_of_a_failure_is_told(drawn: Any, graphviz: Path) -> None:
    graphviz.write_text("#!/bin/sh\necho no memory >&2\nexit 3\n")
    done = drawn("viz", "-", "--out", "run.png")
    assert done.code == 1 and "no memory" in done.err and not Path("run.png").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--out", "x.jpeg"],
        ["--out", "x.tar.gz"],
        ["--format", "dot", "--out", "x.png"],
        ["--format", "png", "--out", "x.html"],
        ["--format", "png", "--out", "x.dot"],
    ],
)
def test_a_name_that_no_format_has_is_an_error_that_names_them(drawn: Any, words: list[str]) -> None:
    done = drawn("viz", "-", *words)
    assert done.code == 1 and "png" in done.err and not Path(words[-1]).exists()


HARD = [
    '"', "'", "<b>", "&amp;", "#1;", "`x`", "a\nb", "a\tb", "a\\nb", "]]", "})", "end", "graph TD", "%%{init}%%", "-->",
    "$$x$$", "click a", "\x1b[31m", "é漢😀", "\u202e", "\r\n", ";", "|", "subgraph", "::: x", "x" * 500,
]  # fmt: skip


@pytest.mark.parametrize("text", HARD)
def test_any_text_stands_in_a_box_in_every_format(text: str) -> None:
    counts = {"jobs": 1, "computed": 1}
    boxes = (Box(0, None, "flow.main", f"main({text})", counts, 1.0, 1.0), Box(1, 0, text, None, counts, 1.0, 1.0))
    graph = CallGraph({"arguments": text, "execution_id": "e", "status": "done"}, boxes, ())
    lines = drawing.mermaid(graph).splitlines()
    assert len(lines) == 5 and lines[3] == "    b0 -.-> b1"
    for line in lines[1:3]:
        inside = re.fullmatch(r'    b\d\["(.*)"\]:::computed', line)
        assert inside is not None and re.fullmatch(r"[^\"`\\$%<>&\x00-\x1f\u202e]*", inside[1].replace("<br/>", ""))
    assert drawing.markdown(graph).count("`") == 6
    lines = drawing.dot(graph).splitlines()
    assert len(lines) == 7
    assert all(re.fullmatch(r'    b\d \[label="((?:[^"\\]|\\.)*)", fillcolor="#\w+"\];', line) for line in lines[3:5])
    for shown in (drawing.svg(graph), drawing.html(graph)):
        made = xml.dom.minidom.parseString(shown[shown.index("<svg") : shown.index("</svg>") + 6])
        assert [len(made.getElementsByTagName(name)) for name in ("rect", "text")] == [2, 4]
        if text.isprintable() and len(text) < 30:
            assert text in made.getElementsByTagName("text")[0].firstChild.data


def test_what_is_no_execution_is_an_error_of_the_users(drawn: Any) -> None:
    assert drawn("viz", "zz").code == 1
    assert "Nothing in the store is called 'zz'" in drawn("viz", "zz").err
    assert "Cannot write" in drawn("viz", "--out", f"{drawn.file}/x.html").err
