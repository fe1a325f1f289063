# ruff: noqa: E501  one case a line reads better than five
"""Odd but plausible code, run, edited in one place and run again: no answer is stale, and nothing runs needlessly."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from evaluations import Flow
from projects import Project


class Edited(NamedTuple):
    """A project and an edit of the one place where `old` stands; a text alone is its flow.py."""

    claim: str
    files: str | dict[str, str]
    old: str
    new: str
    changes_nothing: bool = False


H = "from rayflow import task\n"

CASES = [
    Edited("enum value by argument", H+"import enum\nclass E(enum.Enum):\n    A = 1\n@task\ndef mk(): return E.A\n@task\ndef use(e): return e.value\n@task\ndef main(): return use(mk())", "A = 1", "A = 2"),
    Edited("class as argument", H+"class C:\n    def go(self): return 1\n@task\ndef use(c): return c().go()\n@task\ndef main(): return use(C)", "return 1", "return 2"),
    Edited("class of other module as argument through a list", {"flow.py":H+"import h\n@task\ndef use(c): return c[0]().go()\n@task\ndef main(): return use([h.C])","h.py":"class C:\n    def go(self): return 1"}, "return 1", "return 2"),
    Edited("function as argument, its helper", H+"def g(): return 1\ndef f(): return g()\n@task\ndef use(c): return c()\n@task\ndef main(): return use(f)", "return 1", "return 2"),
    Edited("bound method as argument", H+"class C:\n    def go(self): return 1\n@task\ndef use(c): return c()\n@task\ndef main(): return use(C().go)", "return 1", "return 2"),
    Edited("partial as argument", H+"from functools import partial\ndef f(x): return x + 1\n@task\ndef use(c): return c()\n@task\ndef main(): return use(partial(f, 2))", "+ 1", "+ 2"),
    Edited("class method through module constant", H+"K = 1\nclass C:\n    def go(self): return K\n@task\ndef mk(): return C()\n@task\ndef use(c): return c.go()\n@task\ndef main(): return use(mk())", "K = 1", "K = 2"),
    Edited("attribute set on class later, instance as argument", H+"class C:\n    pass\nC.k = 1\n@task\ndef mk(): return C()\n@task\ndef use(c): return c.k\n@task\ndef main(): return use(mk())", ".k = 1", ".k = 2"),
    Edited("base in other module", {"flow.py":H+"from h import B\nclass C(B): pass\n@task\ndef mk(): return C()\n@task\ndef use(c): return c.go()\n@task\ndef main(): return use(mk())","h.py":"class B:\n    def go(self): return 1"}, "return 1", "return 2"),
    Edited("metaclass", H+"class M(type):\n    def go(cls): return 1\nclass C(metaclass=M): pass\n@task\ndef use(c): return c.go()\n@task\ndef main(): return use(C)", "return 1", "return 2"),
    Edited("default arg instance", H+"class C:\n    def go(self): return 1\n@task\ndef use(c=C()): return c.go()\n@task\ndef main(): return use()", "return 1", "return 2"),
    Edited("namedtuple class by argument", H+"from typing import NamedTuple\nclass P(NamedTuple):\n    a: int\n    def go(self): return self.a + 1\n@task\ndef mk(): return P(1)\n@task\ndef use(c): return c.go()\n@task\ndef main(): return use(mk())", "+ 1", "+ 2"),
    Edited("dict subclass by argument", H+"class D(dict):\n    def go(self): return 1\n@task\ndef mk(): return D(a=1)\n@task\ndef use(c): return c.go()\n@task\ndef main(): return use(mk())", "return 1", "return 2"),
    Edited("pydantic by argument", H+"import pydantic\nclass P(pydantic.BaseModel):\n    x: int\n    def go(self): return self.x + 1\n@task\ndef mk(): return P(x=1)\n@task\ndef use(c): return c.go()\n@task\ndef main(): return use(mk())", "+ 1", "+ 2"),
    Edited("attrs by argument", H+"import attrs\n@attrs.define\nclass P:\n    x: int\n    def go(self): return self.x + 1\n@task\ndef mk(): return P(x=1)\n@task\ndef use(c): return c.go()\n@task\ndef main(): return use(mk())", "+ 1", "+ 2"),
    Edited("slots dataclass by argument", H+"from dataclasses import dataclass\n@dataclass(slots=True, frozen=True)\nclass P:\n    x: int\n    def go(self): return self.x + 1\n@task\ndef mk(): return P(x=1)\n@task\ndef use(c): return c.go()\n@task\ndef main(): return use(mk())", "+ 1", "+ 2"),
    Edited("generic by argument", H+"from typing import Generic, TypeVar\nT = TypeVar('T')\nclass Box(Generic[T]):\n    def __init__(self, x): self.x = x\n    def go(self): return self.x + 1\n@task\ndef mk(): return Box[int](1)\n@task\ndef use(c): return c.go()\n@task\ndef main(): return use(mk())", "+ 1", "+ 2"),
    Edited("TYPE_CHECKING import", {"flow.py":"from __future__ import annotations\nfrom typing import TYPE_CHECKING\n"+H+"import make\nif TYPE_CHECKING:\n    from h import C\n@task\ndef use(c: C): return c.go()\n@task\ndef main(): return use(make.mk())","make.py":H+"from h import C\n@task\ndef mk(): return C()","h.py":"class C:\n    def go(self): return 1"}, "return 1", "return 2"),
    Edited("class and comment", H+"class C:\n    def go(self): return 1\n@task\ndef mk(): return C()\n@task\ndef use(c): return c.go()\n@task\ndef main(): return use(mk())", "return 1", "return 1  # one", True),
    Edited("unrelated class in module", H+"class C:\n    def go(self): return 1\nclass D:\n    def go(self): return 3\n@task\ndef mk(): return C()\n@task\ndef use(c): return c.go()\n@task\ndef main(): return use(mk())", "return 3", "return 4", True),
    Edited("local class in body", H+"@task\ndef mk():\n    class C:\n        def go(self): return 1\n    return C()\n@task\ndef use(c): return c.go()\n@task\ndef main(): return use(mk())", "return 1", "return 2"),
    Edited("local namedtuple in body", H+"from collections import namedtuple\n@task\ndef mk():\n    P = namedtuple('P', 'a b')\n    return P(1, 2)\n@task\ndef use(c): return list(c._asdict())\n@task\ndef main(): return use(mk())", "'a b'", "'a c'"),
    Edited("make_dataclass value", H+"from dataclasses import make_dataclass\ndef go(self): return 1\nP = make_dataclass('P', [('x', int)], namespace={'go': go})\n@task\ndef mk(): return P(1)\n@task\ndef use(c): return c.go()\n@task\ndef main(): return use(mk())", "return 1", "return 2"),
    Edited("static task in class", H+"class C:\n    K = 1\n    @staticmethod\n    @task\n    def t(): return C.K\n@task\ndef main(): return C.t()", "K = 1", "K = 2"),
    Edited("wraps_task helper", H+"from rayflow import wraps_task\ndef h(): return 1\n@wraps_task\ndef twice(t):\n    def f(*a): return t.func(*a) + h()\n    return f\n@twice\n@task\ndef use(x): return x\n@task\ndef main(): return use(1)", "return 1", "return 2"),
    Edited("async helper", H+"async def h(): return 1\n@task\nasync def use(): return await h()\n@task\ndef main(): return use()", "return 1", "return 2"),
    Edited("json data at import in class", {"flow.py":H+"import json, pathlib\nclass C:\n    table = json.loads((pathlib.Path(__file__).parent / 'd.json').read_text())\n@task\ndef use(): return C.table\n@task\ndef main(): return use()","d.json":'{"a": 1}'}, "1", "2"),
    Edited("lazy import plugin in body", {"flow.py":H+"@task\ndef use():\n    from plug import PLUGS\n    return [p() for p in PLUGS]\n@task\ndef main(): return use()","plug.py":"from impl import a\nPLUGS = [a]","impl.py":"def a(): return 1"}, "return 1", "return 2"),
    Edited("import star override", {"flow.py":H+"from h import *\nfrom g import *\n@task\ndef use(): return f()\n@task\ndef main(): return use()","h.py":"def f(): return 0","g.py":"def f(): return 1"}, "return 1", "return 2"),
    Edited("set arg of strings", H+"@task\ndef mk(): return {'a', 'b', 'c', ('x', 1), frozenset('qwe')}\n@task\ndef use(c): return len(c) + 1\n@task\ndef main(): return use(mk())", "+ 1", "+ 2"),
    Edited("object with set attribute", H+"class C:\n    def __init__(self): self.s = {'a', 'b', 'c', 'd'}; self.t = [{'x': {'q', 'w'}}]\n@task\ndef mk(): return C()\n@task\ndef use(c): return len(c.s) + 1\n@task\ndef main(): return use(mk())", "+ 1", "+ 2"),
    Edited("closure with set", H+"def mkf(s):\n    def f(): return len(s) + 1\n    return f\n@task\ndef use(c): return c()\n@task\ndef main(): return use(mkf({'a', 'b', 'c'}))", "+ 1", "+ 2"),
    Edited("property operation", H+"class C:\n    @property\n    def p(self): return 1\n@task\ndef mk(): return C()\n@task\ndef main(): return mk().p", "return 1", "return 2"),
    Edited("classmethod alt constructor", H+"class C:\n    @classmethod\n    def of(cls):\n        c = cls(); c.x = 1\n        return c\n@task\ndef mk(): return C.of()\n@task\ndef use(c): return c.x\n@task\ndef main(): return use(mk())", "x = 1", "x = 2"),
    Edited("value object with __reduce__", H+"def build(x): return C(x)\nclass C:\n    def __init__(self, x): self.x = x\n    def __reduce__(self): return (build, (self.x,))\n    def go(self): return self.x + 1\n@task\ndef mk(): return C(1)\n@task\ndef use(c): return c.go()\n@task\ndef main(): return use(mk())", "+ 1", "+ 2"),
    Edited("map_ plain function", H+"from rayflow import map_\ndef f(x): return g(x)\ndef g(x): return x + 1\n@task\ndef main(): return map_(f, [1, 2])", "+ 1", "+ 2"),
    Edited("script helper", H+"def cmd(): return 'echo 1'\n@task(script=True)\ndef use(): return cmd()\n@task\ndef main(): return use()", "echo 1", "echo 2"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.claim for case in CASES])
def test_an_edit_runs_what_it_changes(case: Edited, project: Project) -> None:
    flow = Flow(project)
    files = {"flow.py": case.files} if isinstance(case.files, str) else case.files
    (edited,) = [name for name, text in files.items() if case.old in text]
    for name, text in files.items():
        project.write(name, text)
    flow.module = project.load("flow")
    before = flow.call("main")
    assert flow.call("main") == before
    assert flow.computed() == {}
    project.edit(edited, case.old, case.new)
    flow.module = project.load("flow")
    after = flow.call("main")
    assert bool(flow.computed()) is not case.changes_nothing
    assert (after == before) is case.changes_nothing
    assert flow.call("main") == after
    assert flow.computed() == {}
    assert flow.run(flow.module.main(), cache=False) == after
