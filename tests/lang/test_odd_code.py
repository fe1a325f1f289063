# ruff: noqa: E501  one case a line reads better than five
"""Odd but plausible code: an edit of what a body uses, however it comes to it, changes the code's identity."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from source_projects import Case, Projects


def edited(claim: str, text: str | dict[str, str], old: str, new: str, same: bool = False) -> Case:
    """A project before and after an edit of the one place where `old` stands."""
    before = {"flow.py": text} if isinstance(text, str) else text
    assert sum(each.count(old) for each in before.values()) == 1, (claim, old)
    return Case(claim, before, {name: each.replace(old, new) for name, each in before.items()}, same)


CASES = [
    edited("function attribute", "def f(x): return f.table[x]\nf.table = {1: 10}\ndef main(x): return f(x)", "10", "11"),
    edited("function attribute of main", "def main(x): return x\nmain.table = {1: 10}", "10", "11"),
    edited("function attribute read via name", "def f(): pass\nf.table = {1: 10}\ndef main(x): return f.table[x]", "10", "11"),
    edited("function attribute is function", "def f(): pass\ndef g(): return 1\nf.way = g\ndef main(x): return f.way()", "return 1", "return 2"),
    edited("class attr after def", "class C:\n    factor = 1\nC.factor = 3\ndef main(x): return C.factor", "= 3", "= 4"),
    edited("class attr after def new", "class C:\n    pass\nC.factor = 3\ndef main(x): return C.factor", "= 3", "= 4"),
    edited("class attr after def, function", "class C:\n    pass\ndef go(self): return 1\nC.go = go\ndef main(x): return C().go()", "return 1", "return 2"),
    edited("class attr after def, of base", "class B:\n    pass\nclass C(B):\n    pass\nB.factor = 3\ndef main(x): return C.factor", "= 3", "= 4"),
    edited("monkeypatched method", "class C:\n    def go(self): return 0\ndef go(self): return 1\nC.go = go\ndef main(x): return C().go()", "return 1", "return 2"),
    edited("class attribute computed", "def load(): return 7\nclass C:\n    factor = load()\ndef main(x): return C.factor", "7", "8"),
    edited("class attribute from a file read", {"flow.py":"import json, os\nclass C:\n    table = json.load(open(os.path.join(os.path.dirname(__file__), 'd.json')))\ndef main(x): return C.table", "d.json": "{\"a\": 1}"}, "1", "2"),
    edited("init_subclass registry", "REG = {}\nclass B:\n    def __init_subclass__(cls): REG[cls.__name__] = cls\nclass A(B):\n    def go(self): return 1\ndef main(x): return REG[x]().go()", "return 1", "return 2"),
    edited("decorator registry", "REG = {}\ndef reg(f):\n    REG[f.__name__] = f\n    return f\n@reg\ndef a(x): return 1\ndef main(x): return REG[x](x)", "return 1", "return 2"),
    edited("decorator registry in other module", {"flow.py":"from reg import REG\nimport plugins\ndef main(x): return REG[x](x)", "reg.py": "REG = {}\ndef reg(f):\n    REG[f.__name__] = f\n    return f\n","plugins.py":"from reg import reg\n@reg\ndef a(x): return 1"}, "return 1", "return 2"),
    edited("registry list of classes", "REG = []\ndef reg(c):\n    REG.append(c)\n    return c\n@reg\nclass A:\n    def go(self): return 1\ndef main(x): return REG[0]().go()", "return 1", "return 2"),
    edited("registry on the class", "class B:\n    reg = {}\n    def __init_subclass__(cls): B.reg[cls.__name__] = cls\nclass A(B):\n    def go(self): return 1\ndef main(x): return B.reg[x]().go()", "return 1", "return 2"),
    edited("registry instance", "class R:\n    def __init__(self): self.d = {}\n    def add(self, f):\n        self.d[f.__name__] = f\n        return f\nr = R()\n@r.add\ndef a(x): return 1\ndef main(x): return r.d[x](x)", "return 1", "return 2"),
    edited("contextvar default", "from contextvars import ContextVar\nV = ContextVar('V', default=1)\ndef main(x): return V.get()", "=1", "=2"),
    edited("doc read", "def f():\n    'one'\ndef main(x): return f.__doc__", "one", "two"),
    edited("doc read of main module", "'''one'''\ndef main(x): return __doc__", "one", "two"),
    edited("local class as global", "def make():\n    class L:\n        def go(self): return 1\n    return L\nL = make()\ndef main(x): return L().go()", "return 1", "return 2"),
    edited("local class as global, held", "def make(n):\n    class L:\n        size = n\n    return L\nL = make(1)\ndef main(x): return L().size", "make(1)", "make(2)"),
    edited("local class as global, captured", "def make(n):\n    class L:\n        def go(self): return n\n    return L\nL = make(1)\ndef main(x): return L().go()", "make(1)", "make(2)"),
    edited("local class as global, comment", "def make(n):\n    class L:\n        def go(self): return n\n    return L\nL = make(1)\ndef main(x): return L().go()", "return n\n", "return n  # n\n", True),
    edited("local class as global, base arg", "class A:\n    def go(self): return 1\ndef make(base):\n    class L(base):\n        pass\n    return L\nL = make(A)\ndef main(x): return L().go()", "return 1", "return 2"),
    edited("property", "class C:\n    @property\n    def p(self): return 1\ndef main(x): return C().p", "return 1", "return 2"),
    edited("property by call", "def get(self): return 1\nclass C:\n    p = property(get)\ndef main(x): return C().p", "return 1", "return 2"),
    edited("property by lambda", "class C:\n    p = property(lambda self: 1)\ndef main(x): return C().p", ": 1", ": 2"),
    edited("cached_property helper", "from functools import cached_property\ndef h(): return 1\nclass C:\n    @cached_property\n    def p(self): return h()\ndef main(x): return C().p", "return 1", "return 2"),
    edited("dataclass default factory", "from dataclasses import dataclass, field\ndef mk(): return [1]\n@dataclass\nclass C:\n    a: list = field(default_factory=mk)\ndef main(x): return C()", "[1]", "[2]"),
    edited("dataclass default const", "from dataclasses import dataclass, field\nD = 1\n@dataclass\nclass C:\n    a: int = D\ndef main(x): return C()", "D = 1", "D = 2"),
    edited("enum with method and helper", "import enum\ndef h(): return 1\nclass E(enum.Enum):\n    A = 1\n    def go(self): return h()\ndef main(x): return E.A.go()", "return 1", "return 2"),
    edited("enum function members", "import enum\nfrom functools import partial\ndef h(): return 1\nclass E(enum.Enum):\n    A = partial(h)\ndef main(x): return E.A.value()", "return 1", "return 2"),
    edited("class decorator", "def deco(c):\n    c.y = K\n    return c\nK = 1\n@deco\nclass C: pass\ndef main(x): return C.y", "K = 1", "K = 2"),
    edited("class decorator with args", "def deco(k):\n    def inner(c):\n        c.y = k\n        return c\n    return inner\n@deco(1)\nclass C: pass\ndef main(x): return C.y", "deco(1)", "deco(2)"),
    edited("class decorator replaces", "def deco(c):\n    class D(c):\n        def go(self): return 1\n    return D\n@deco\nclass C: pass\ndef main(x): return C().go()", "return 1", "return 2"),
    edited("class decorator replaces, inner", "def deco(c):\n    class D(c):\n        pass\n    D.__name__ = c.__name__; D.__qualname__ = c.__qualname__\n    return D\n@deco\nclass C:\n    def go(self): return 1\ndef main(x): return C().go()", "return 1", "return 2"),
    edited("import star", {"flow.py": "from h import *\ndef main(x): return f(x)", "h.py": "def f(x): return g()\ndef g(): return 1"}, "return 1", "return 2"),
    edited("import star pkg", {"flow.py": "from pkg import *\ndef main(x): return f(x)", "pkg/__init__.py": "from .h import *", "pkg/h.py": "__all__ = ['f']\ndef f(x): return g()\ndef g(): return 1"}, "return 1", "return 2"),
    edited("conditional import", {"flow.py": "try:\n    import nothere as h\nexcept ImportError:\n    import h\ndef main(x): return h.f(x)", "h.py": "def f(x): return 1"}, "return 1", "return 2"),
    edited("conditional import in body", {"flow.py": "def main(x):\n    try:\n        from nothere import f\n    except ImportError:\n        from h import f\n    return f(x)", "h.py": "def f(x): return 1"}, "return 1", "return 2"),
    edited("conditional def", "import sys\nif sys.version_info > (3, 0):\n    def f(): return 1\nelse:\n    def f(): return 5\ndef main(x): return f()", "return 1", "return 2"),
    edited("conditional def, other arm", "import sys\nif sys.version_info > (3, 0):\n    def f(): return 1\nelse:\n    def f(): return 5\ndef main(x): return f()", "return 5", "return 2", True),
    edited("star args default", "D = {'a': 1}\ndef f(*a, k=D, **kw): return k\ndef main(*x, **y): return f(*x)", "1", "2"),
    edited("walrus constant", "(K := 1)\nif (L := [1, 5]): pass\ndef main(x): return L", "5", "6"),
    edited("walrus in body", "K = [1]\ndef main(x):\n    if (k := K): return k", "[1]", "[2]"),
    edited("match", "import enum\nclass E(enum.Enum):\n    A = 1\nclass C:\n    __match_args__ = ('a',)\n    a = 3\nLIM = 4\ndef main(x):\n    match x:\n        case C(a): return 1\n        case E.A: return 2\n        case [*_, {'k': v}] if v > LIM: return LIM\n", "LIM = 4", "LIM = 5"),
    edited("match class", "class C:\n    __match_args__ = ('a',)\n    a = 3\ndef main(x):\n    match x:\n        case C(a): return 1\n", "= 3", "= 4"),
    edited("match dotted value", {"flow.py":"import c\ndef main(x):\n    match x:\n        case c.K: return 1\n","c.py":"K = 1"}, "K = 1", "K = 2"),
    edited("module getattr", {"flow.py":"import c\ndef main(x): return c.late(x)","c.py":"def __getattr__(name):\n    if name == 'late': return _late\n    raise AttributeError(name)\ndef _late(x): return 1"}, "return 1", "return 2"),
    edited("from module getattr", {"flow.py":"from c import late\ndef main(x): return late(x)","c.py":"def __getattr__(name):\n    if name == 'late': return _late\n    raise AttributeError(name)\ndef _late(x): return 1"}, "return 1", "return 2"),
    edited("lazy helper's lazy helper", {"flow.py":"def main(x):\n    from a import f\n    return f(x)","a.py":"def f(x):\n    import b\n    return b.g(x)","b.py":"def g(x): return 1"}, "return 1", "return 2"),
    edited("import inside with alias dotted", {"flow.py":"def main(x):\n    import pkg.sub.mod as m\n    return m.g(x)","pkg/__init__.py":"","pkg/sub/__init__.py":"","pkg/sub/mod.py":"def g(x): return 1"}, "return 1", "return 2"),
    edited("json read at import", {"flow.py":"import json, os\nT = json.load(open(os.path.join(os.path.dirname(__file__), 'd.json')))\ndef main(x): return T['a']", "d.json": "{\"a\": 1}"}, "1", "2"),
    edited("relative import", {"flow.py":"from pkg.a import main", "pkg/__init__.py":"", "pkg/a.py":"from .b import f\nfrom . import c\ndef main(x): return f(x) + c.K", "pkg/b.py":"def f(x): return 1", "pkg/c.py":"K = 5"}, "K = 5", "K = 6"),
    edited("relative import in body", {"flow.py":"from pkg.a import main", "pkg/__init__.py":"", "pkg/a.py":"def main(x):\n    from .b import f\n    from . import c\n    return f(x) + c.K", "pkg/b.py":"def f(x): return 1", "pkg/c.py":"K = 5"}, "K = 5", "K = 6"),
    edited("monkeypatch module function", {"flow.py":"import h\ndef better(x): return 1\nh.f = better\ndef main(x): return h.f(x)","h.py":"def f(x): return 0"}, "return 1", "return 2"),
    edited("generic", "from typing import Generic, TypeVar\nT = TypeVar('T')\nclass B(Generic[T]):\n    def go(self): return 1\nclass C(B[int]): pass\ndef main(x): return C().go()", "return 1", "return 2"),
    edited("generic alias use", "from typing import Generic, TypeVar\nT = TypeVar('T')\nclass B(Generic[T]):\n    def go(self): return 1\nA = B[int]\ndef main(x): return A().go()", "return 1", "return 2"),
    edited("protocol", "from typing import Protocol, runtime_checkable\n@runtime_checkable\nclass P(Protocol):\n    def go(self): ...\n    def rest(self): return 1\ndef main(x): return isinstance(x, P)", "return 1", "return 2"),
    edited("partialmethod", "from functools import partialmethod\nclass C:\n    def go(self, k): return k\n    one = partialmethod(go, 1)\ndef main(x): return C().one()", "go, 1", "go, 2"),
    edited("partialmethod outside", "from functools import partialmethod\ndef go(self, k): return k + 1\nclass C:\n    one = partialmethod(go, 1)\ndef main(x): return C().one()", "k + 1", "k + 2"),
    edited("descriptor", "class D:\n    def __init__(self, k): self.k = k\n    def __get__(self, o, t): return self.k + 1\nclass C:\n    d = D(3)\ndef main(x): return C().d", "+ 1", "+ 2"),
    edited("descriptor arg", "class D:\n    def __init__(self, k): self.k = k\n    def __get__(self, o, t): return self.k + 1\nK = 3\nclass C:\n    d = D(K)\ndef main(x): return C().d", "K = 3", "K = 4"),
    edited("metaclass", "class M(type):\n    def __call__(cls, *a):\n        o = super().__call__()\n        o.v = 1\n        return o\nclass C(metaclass=M): pass\ndef main(x): return C().v", "= 1", "= 2"),
    edited("metaclass of a base", "class M(type):\n    def go(cls): return 1\nclass B(metaclass=M): pass\nclass C(B): pass\ndef main(x): return C.go()", "return 1", "return 2"),
    edited("metaclass made class attr", "class M(type):\n    def __new__(m, n, b, d):\n        d['v'] = 1\n        return super().__new__(m, n, b, d)\nclass C(metaclass=M): pass\ndef main(x): return C.v", "= 1", "= 2"),
    edited("singledispatch method", "from functools import singledispatchmethod\nclass C:\n    @singledispatchmethod\n    def go(self, x): return 0\n    @go.register\n    def _(self, x: int): return 1\ndef main(x): return C().go(1)", "return 1", "return 2"),
    edited("singledispatch registered elsewhere", {"flow.py":"from h import f\nimport more\ndef main(x): return f(x)","h.py":"from functools import singledispatch\n@singledispatch\ndef f(x): return 0","more.py":"from h import f\n@f.register(int)\ndef _(x): return g()\ndef g(): return 1"}, "return 1", "return 2"),
    edited("functools.wraps chain", "import functools\ndef a(f):\n    @functools.wraps(f)\n    def w(*x): return f(*x)\n    return w\ndef g(): return 1\n@a\n@a\ndef h(): return g()\ndef main(x): return h()", "return 1", "return 2"),
    edited("reduce over list of functions", "def a(x): return 1\ndef b(x): return 5\nSTEPS = [a, b]\ndef main(x):\n    for s in STEPS: x = s(x)\n    return x", "return 1", "return 2"),
    edited("operator itemgetter", "from operator import itemgetter\nG = itemgetter('a')\ndef main(x): return G(x)", "'a'", "'b'"),
    edited("operator attrgetter/methodcaller", "from operator import methodcaller\nG = methodcaller('a', 1)\ndef main(x): return G(x)", "1", "2"),
    edited("string Template", "from string import Template\nT = Template('a $x')\ndef main(x): return T.substitute(x=x)", "'a ", "'b "),
    edited("struct", "import struct\nS = struct.Struct('<i')\ndef main(x): return S.pack(x)", "<i", "<q"),
    edited("type alias values", "from typing import NamedTuple\nclass P(NamedTuple):\n    a: int = 1\n    def go(self): return self.a\ndef main(x): return P().go()", "= 1", "= 2"),
    edited("TypedDict irrelevant", "from typing import TypedDict\nclass P(TypedDict):\n    a: int\ndef main(x): return P(a=1)", "a: int", "a: int\n    b: int"),
    edited("nested function closure over class", "class A:\n    def go(self): return 1\ndef mk():\n    a = A()\n    def main(x): return a.go()\n    return main\nmain = mk()", "return 1", "return 2"),
    edited("global mutated by function at import", "T = {}\ndef fill():\n    T['a'] = 1\nfill()\ndef main(x): return T['a']", "= 1", "= 2"),
    edited("lambda default", "f = lambda x, k=1: k\ndef main(x): return f(x)", "=1", "=2"),
    edited("del and rebinding", "def f(): return 1\ng = f\ndel f\ndef main(x): return g()", "return 1", "return 2"),
    edited("slots class", "class A:\n    __slots__ = ('a',)\n    def __init__(self): self.a = K\nK = 1\ndef main(x): return A().a", "K = 1", "K = 2"),
    edited("slots instance", "class A:\n    __slots__ = ('a',)\n    def __init__(self, a): self.a = a\nI = A(1)\ndef main(x): return I.a", "A(1)", "A(2)"),
    edited("instance of dict subclass", "class A(dict):\n    def go(self): return 1\nI = A(a=1)\ndef main(x): return I.go()", "return 1", "return 2"),
    edited("instance of dict subclass attrs", "class A(dict): pass\nI = A(a=1)\nI.k = 5\ndef main(x): return I.k", "= 5", "= 6"),
    edited("instance of Exception attrs", "class A(Exception): pass\nI = A(1)\nI.k = 5\ndef main(x): return I.k", "= 5", "= 6"),
    edited("instance of str subclass attrs", "class A(str): pass\nI = A('a')\nI.k = 5\ndef main(x): return I.k", "= 5", "= 6"),
    edited("chainmap", "from collections import ChainMap\nC = ChainMap({'a': 1}, {'b': 2})\ndef main(x): return C['b']", "2", "3"),
    edited("counter", "from collections import Counter\nC = Counter('aab')\ndef main(x): return C['a']", "aab", "aaab"),
    edited("itertools.count", "import itertools\nC = itertools.cycle([1, 2])\ndef main(x): return C", "[1, 2]", "[1, 3]"),
    edited("random.Random", "import random\nR = random.Random(1)\ndef main(x): return R.random()", "(1)", "(2)"),
    edited("timedelta", "import datetime\nC = datetime.timedelta(1)\ndef main(x): return C", "(1)", "(2)"),
    edited("SimpleNamespace config", "from types import SimpleNamespace\nC = SimpleNamespace(a=1, f=lambda: 1)\ndef main(x): return C.a", "a=1", "a=2"),
    edited("SimpleNamespace function", "from types import SimpleNamespace\ndef g(): return 1\nC = SimpleNamespace(a=1, f=g)\ndef main(x): return C.f()", "return 1", "return 2"),
    edited("async helper", "async def h(): return 1\nasync def main(x): return await h()", "return 1", "return 2"),
    edited("generator helper", "def h():\n    yield 1\ndef main(x): return list(h())", "yield 1", "yield 2"),
    edited("staticmethod through class", "class A:\n    @staticmethod\n    def f(): return g()\ndef g(): return 1\ndef main(x): return A.f()", "return 1", "return 2"),
    edited("unrelated attr of same module", {"flow.py":"import h\ndef main(x): return h.f(x)","h.py":"def f(x): return 0\nOTHER = 1\nf2 = lambda: 1\n"}, "OTHER = 1", "OTHER = 2", True),
    edited("super call", "class B:\n    def go(self): return 1\nclass C(B):\n    def go(self): return super().go()\ndef main(x): return C().go()", "return 1", "return 2"),
    edited("import time side table", {"flow.py":"from tbl import T\nimport fill\ndef main(x): return T","tbl.py":"T = []","fill.py":"import tbl\ntbl.T.append(1)"}, "(1)", "(2)"),
    edited("global statement", "C = 1\ndef bump():\n    global C\n    C = 5\nbump()\ndef main(x): return C", "= 5", "= 6"),
    edited("pkg __init__ reexport", {"flow.py":"from pkg import f\ndef main(x): return f(x)","pkg/__init__.py":"from .m import f as f","pkg/m.py":"def f(x): return 1"}, "return 1", "return 2"),
    edited("type parameter default", "from typing import Callable\ndef a(x): return 1\ndef apply(f: Callable = a): return f(1)\ndef main(x): return apply()", "return 1", "return 2"),
    edited("attribute of an instance global", "class C:\n    def __init__(self): self.k = mk()\n    def go(self): return self.k\ndef mk(): return 1\nI = C()\ndef main(x): return I.go()", "return 1", "return 2"),
    edited("abc register", "import abc\nclass B(abc.ABC):\n    @abc.abstractmethod\n    def go(self): ...\nclass C(B):\n    def go(self): return 1\nT = {'c': C}\ndef main(x): return T[x]().go()", "return 1", "return 2"),
    # --- more of the kind
    edited("a library's function that was replaced", "import wave\ndef better(x): return 1\nwave.open = better\ndef main(x): return wave.open(x)", "return 1", "return 2"),
    edited("callable instance", "class S:\n    def __init__(self, k): self.k = k\n    def __call__(self, x): return self.k * x\ns = S(2)\ndef main(x): return s(x)", "self.k * x", "self.k + x"),
    edited("callable instance arg", "class S:\n    def __init__(self, k): self.k = k\n    def __call__(self, x): return self.k * x\ns = S(2)\ndef main(x): return s(x)", "S(2)", "S(3)"),
    edited("exec function", "exec('def f(x): return 1')\ndef main(x): return f(x)", "return 1", "return 2"),
    edited("lazy package getattr", {"flow.py":"import pkg\ndef main(x): return pkg.f(x)","pkg/__init__.py":"import importlib\ndef __getattr__(name):\n    if name.startswith('_'): raise AttributeError(name)\n    return getattr(importlib.import_module('pkg.m'), name)","pkg/m.py":"def f(x): return 1"}, "return 1", "return 2"),
    edited("overloads", "from typing import overload\n@overload\ndef f(x: int) -> int: ...\n@overload\ndef f(x: str) -> str: ...\ndef f(x): return 1\ndef main(x): return f(x)", "return 1", "return 2"),
    edited("dataclass slots", "from dataclasses import dataclass\n@dataclass(frozen=True, slots=True)\nclass P:\n    x: int\n    def go(self): return 1\ndef main(x): return P(1).go()", "return 1", "return 2"),
    edited("attrs validator", "import attrs\n@attrs.define\nclass P:\n    x: int = attrs.field()\n    @x.validator\n    def _check(self, a, v):\n        if v > 10: raise ValueError\ndef main(x): return P(1)", "10", "11"),
    edited("attrs default factory", "import attrs\ndef mk(): return [1]\n@attrs.define\nclass P:\n    x: list = attrs.field(factory=mk)\ndef main(x): return P()", "[1]", "[2]"),
    edited("pydantic validator", "import pydantic\nclass P(pydantic.BaseModel):\n    x: int = 1\n    @pydantic.field_validator('x')\n    def _check(cls, v): return v + 1\ndef main(x): return P(x=1)", "v + 1", "v + 2"),
    edited("pydantic default", "import pydantic\nD = 1\nclass P(pydantic.BaseModel):\n    x: int = D\ndef main(x): return P()", "D = 1", "D = 2"),
    edited("pydantic comment", "import pydantic\nclass P(pydantic.BaseModel):\n    x: int = 1\ndef main(x): return P()", "x: int = 1\n", "x: int = 1  # one\n", True),
    edited("property setter", "class P:\n    @property\n    def x(self): return 1\n    @x.setter\n    def x(self, v): self.y = v + 1\ndef main(x):\n    p = P(); p.x = 1\n    return p.y", "v + 1", "v + 2"),
    edited("make_dataclass", "from dataclasses import make_dataclass\ndef go(self): return 1\nP = make_dataclass('P', [('x', int)], namespace={'go': go})\ndef main(x): return P(1).go()", "return 1", "return 2"),
    edited("make_dataclass default", "from dataclasses import make_dataclass, field\nP = make_dataclass('P', [('x', int, field(default=1))])\ndef main(x): return P().x", "=1", "=2"),
    edited("make_dataclass factory", "from dataclasses import make_dataclass, field\ndef mk(): return [1]\nP = make_dataclass('P', [('x', int, field(default_factory=mk))])\ndef main(x): return P().x", "[1]", "[2]"),
    edited("namedtuple defaults", "from collections import namedtuple\nP = namedtuple('P', 'a b', defaults=[1])\ndef main(x): return P(1).b", "[1]", "[2]"),
    edited("namedtuple subclass", "from collections import namedtuple\nclass P(namedtuple('P', 'a b')):\n    def go(self): return 1\ndef main(x): return P(1, 2).go()", "return 1", "return 2"),
    edited("namedtuple subclass fields", "from collections import namedtuple\nclass P(namedtuple('P', 'a b')):\n    def go(self): return 1\ndef main(x): return P(1, 2).go()", "'a b'", "'a c'"),
    edited("class getattr", "class P:\n    def __getattr__(self, n): return 1\ndef main(x): return P().any", "return 1", "return 2"),
    edited("classmethod constructor", "class P:\n    @classmethod\n    def of(cls, x):\n        p = cls(); p.x = 1\n        return p\ndef main(x): return P.of(x).x", "= 1", "= 2"),
    edited("int enum alias", "import enum\nclass E(enum.IntEnum):\n    A = 1\n    B = A + 1\ndef main(x): return E.B", "A = 1", "A = 5"),
    edited("flag", "import enum\nclass E(enum.Flag):\n    A = enum.auto()\n    B = enum.auto()\ndef main(x): return E.A | E.B", "    B =", "    C ="),
    edited("flag constant", "import enum\nclass E(enum.Flag):\n    A = enum.auto()\n    B = enum.auto()\nK = E.A | E.B\ndef main(x): return K", "E.A | E.B", "E.A"),
    edited("enum functional member", "import enum\ndef g(): return 1\nclass E(enum.Enum):\n    A = enum.member(g)\ndef main(x): return E.A.value()", "return 1", "return 2"),
    edited("enum missing", "import enum\nclass E(enum.Enum):\n    A = 1\n    @classmethod\n    def _missing_(cls, v): return cls.A if v > 10 else None\ndef main(x): return E(x)", "10", "11"),
    edited("computed enum", "import enum\ndef v(): return 7\nclass E(enum.Enum):\n    A = v()\ndef main(x): return E.A.value", "return 7", "return 8"),
    edited("lambda in class attr", "class P:\n    way = staticmethod(lambda x: 1)\ndef main(x): return P.way(x)", ": 1", ": 2"),
    edited("class dict of functions", "def g(): return 1\nclass P:\n    ways = {'g': g}\ndef main(x): return P.ways[x]()", "return 1", "return 2"),
    edited("class dict of own methods", "class P:\n    def g(self): return 1\n    ways = {'g': g}\ndef main(x): return P.ways[x](P())", "return 1", "return 2"),
    edited("nonlocal closure", "def mk():\n    n = 1\n    def f():\n        nonlocal n\n        return n\n    return f\nf = mk()\ndef main(x): return f()", "n = 1", "n = 2"),
    edited("decorator below task with args", "import functools\ndef times(n):\n    def deco(f):\n        @functools.wraps(f)\n        def w(*a): return n * f(*a)\n        return w\n    return deco\n@times(2)\ndef main(x): return x", "times(2)", "times(3)"),
    edited("decorator class", "class Times:\n    def __init__(self, f): self.f = f\n    def __call__(self, *a): return 2 * self.f(*a)\n@Times\ndef h(x): return x\ndef main(x): return h(x)", "2 *", "3 *"),
    edited("decorator class wrapped body", "class Times:\n    def __init__(self, f): self.f = f\n    def __call__(self, *a): return 2 * self.f(*a)\n@Times\ndef h(x): return x + 1\ndef main(x): return h(x)", "+ 1", "+ 2"),
    edited("TYPE_CHECKING", {"flow.py":"from __future__ import annotations\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from h import C\ndef main(x: C): return 1","h.py":"class C: pass"}, "class C: pass", "class C: x = 1", True),
    edited("chained comparison of constants in tuple default", "T = (1, 2)\ndef main(x, t=T[0]): return t", "(1, 2)", "(5, 2)"),
    edited("type(self) dispatch", "class B:\n    def go(self): return type(self).K\nclass C(B):\n    K = 1\ndef main(x): return C().go()", "K = 1", "K = 2"),
    edited("mixins", "class M:\n    def go(self): return self.K\nclass N:\n    K = 1\nclass C(M, N): pass\ndef main(x): return C().go()", "K = 1", "K = 2"),
    edited("order of mixins", "class M:\n    K = 2\nclass N:\n    K = 1\nclass C(M, N): pass\ndef main(x): return C().K", "(M, N)", "(N, M)"),
    edited("module-level loop building table", "T = {}\nfor i in range(3):\n    T[i] = i * 2\ndef main(x): return T[x]", "* 2", "* 3"),
    edited("module-level loop building functions", "T = {}\nfor i in range(3):\n    T[i] = lambda x, i=i: x + i\ndef main(x): return T[x](1)", "x + i", "x * i"),
    edited("module-level late-binding closure", "T = []\nfor i in range(3):\n    T.append(lambda x: x + i)\ndef main(x): return T[x](1)", "range(3)", "range(4)"),
    edited("contextmanager class", "class Cm:\n    def __enter__(self): return 1\n    def __exit__(self, *a): pass\ndef main(x):\n    with Cm() as c: return c", "return 1", "return 2"),
    edited("iterator class", "class It:\n    def __iter__(self):\n        yield 1\ndef main(x): return list(It())", "yield 1", "yield 2"),
    edited("global instance of class with property via base", "class B:\n    @property\n    def p(self): return 1\nclass C(B): pass\nc = C()\ndef main(x): return c.p", "return 1", "return 2"),
    edited("numpy ufunc from project function", "import numpy as np\ndef f(x): return x + 1\nv = np.vectorize(f)\ndef main(x): return v(x)", "+ 1", "+ 2"),
    edited("pandas constant", "import pandas as pd\nT = pd.DataFrame({'a': [1]})\ndef main(x): return T", "[1]", "[2]"),
    edited("polars constant", "import polars as pl\nT = pl.DataFrame({'a': [1]})\ndef main(x): return T", "[1]", "[2]"),
    edited("regex sub function", "import re\nP = re.compile('a')\ndef rep(m): return 'x'\ndef main(x): return P.sub(rep, x)", "'x'", "'y'"),
    edited("type hints used at run time", "import typing\ndef f(x: int): pass\ndef main(x): return typing.get_type_hints(f)", "x: int", "x: str"),
    edited("annotations read", "def f(x: int): pass\ndef main(x): return f.__annotations__", "x: int", "x: str"),
    edited("name read", "def f(x): pass\nALIAS = f\ndef main(x): return ALIAS.__name__", "def f(x): pass\nALIAS = f", "def g(x): pass\nALIAS = g"),
    edited("signature read", "import inspect\ndef f(x): pass\ndef main(x): return inspect.signature(f)", "f(x): pass", "f(x, y): pass"),
    edited("getdoc", "import inspect\ndef f(x):\n    'one'\ndef main(x): return inspect.getdoc(f)", "one", "two"),
    edited("class doc", "class C:\n    'one'\ndef main(x): return C.__doc__", "one", "two"),
    edited("own doc", "def main(x):\n    'one'\n    return main.__doc__", "one", "two"),
    edited("module doc via module", {"flow.py":"import h\ndef main(x): return h.__doc__","h.py":"'one'"}, "one", "two"),
    edited("prompt in docstring of helper method", "class C:\n    def ask(self):\n        'one'\ndef main(x): return C.ask.__doc__", "one", "two"),
    edited("docopt-like module __doc__ passed", "'''one'''\ndef parse(d): return d\ndef main(x): return parse(__doc__)", "one", "two"),
    edited("lru_cache of a method", "from functools import lru_cache\nclass C:\n    @lru_cache\n    def f(self): return 1\ndef main(x): return C().f()", "return 1", "return 2"),
    edited("total_ordering", "from functools import total_ordering\n@total_ordering\nclass C:\n    def __eq__(self, o): return True\n    def __lt__(self, o): return 1\ndef main(x): return C() >= C()", "return 1", "return 2"),
    edited("cached table function result", "def load(): return {'a': 1}\nT = load()\ndef main(x): return T['a']", "1", "2"),
    edited("constant re-exported under other name", {"flow.py":"from a import X as Y\ndef main(x): return Y","a.py":"from b import Z as X","b.py":"Z = 1"}, "Z = 1", "Z = 2"),
    edited("string type name", "TABLE = 'users'\nQUERY = f'select * from {TABLE}'\ndef main(x): return QUERY", "'users'", "'people'"),
    edited("unused branch of table", "A = 1\nB = 2\ndef main(x): return A", "B = 2", "B = 3", True),
    edited("class of unused method's helper", "class C:\n    def f(self): return 1\n    def g(self): return h()\ndef h(): return 5\ndef main(x): return C().f()", "return 5", "return 6"),
    edited("a lock beside", "import threading\nclass C:\n    lock = threading.Lock()\n    def f(self): return 1\nc = C()\ndef main(x): return c.f()", "return 1", "return 2"),
    edited("instance lock", "import threading\nclass C:\n    def __init__(self): self.lock = threading.Lock(); self.k = 1\n    def f(self): return self.k\nc = C()\ndef main(x): return c.f()", "k = 1", "k = 2"),
    edited("operator overloading class", "class V:\n    def __init__(self, x): self.x = x\n    def __add__(self, o): return V(self.x + o.x)\nO = V(0)\ndef main(x): return (O + V(x)).x", "self.x + o.x", "self.x - o.x"),
    edited("Ellipsis/NotImplemented", "S = ...\ndef main(x): return S", "...", "NotImplemented"),
    edited("class keyword args", "class B:\n    def __init_subclass__(cls, k=0): cls.k = k\nclass C(B, k=1): pass\ndef main(x): return C.k", "k=1", "k=2"),
    edited("abstract property", "import abc\nclass B(abc.ABC):\n    @property\n    @abc.abstractmethod\n    def k(self): ...\n    def go(self): return self.k\nclass C(B):\n    k = 1\ndef main(x): return C().go()", "k = 1", "k = 2"),
    edited("type: ignore comment", "def main(x): return x\n", "return x\n", "return x  # type: ignore\n", True),
    edited("del in class", "class C:\n    for i in range(3): pass\n    k = i\n    del i\ndef main(x): return C.k", "range(3)", "range(4)"),
    edited("class comprehension", "N = [1, 2]\nclass C:\n    k = [n + 1 for n in N]\ndef main(x): return C.k", "[1, 2]", "[1, 3]"),
    edited("setattr loop", "class C: pass\nfor n in 'ab': setattr(C, n, 1)\ndef main(x): return C.a", "n, 1", "n, 2"),
    edited("setattr functions", "class C: pass\ndef mk(n): return lambda self: n\nfor n in 'ab': setattr(C, n, mk(n + 'x'))\ndef main(x): return C().a()", "'x'", "'y'"),
    edited("types.MethodType instance patch", "import types\nclass C: pass\nc = C()\ndef go(self): return 1\nc.go = types.MethodType(go, c)\ndef main(x): return c.go()", "return 1", "return 2"),
    edited("dict of classes with methods", "class A:\n    def go(self): return 1\nclass B(A): pass\nT = dict(a=A, b=B)\ndef main(x): return T[x]().go()", "return 1", "return 2"),
    edited("importlib.import_module const", {"flow.py":"import importlib\nm = importlib.import_module('h')\ndef main(x): return m.f(x)","h.py":"def f(x): return 1"}, "return 1", "return 2"),
    edited("sys.path import", {"flow.py":"import os, sys\nsys.path.insert(0, os.path.join(os.path.dirname(__file__), 'lib2'))\nimport h2\ndef main(x): return h2.f(x)","lib2/h2.py":"def f(x): return 1"}, "return 1", "return 2"),
    edited("data in pkg resource", {"flow.py":"from pathlib import Path\nSQL = (Path(__file__).parent / 'q.sql').read_text()\ndef main(x): return SQL","q.sql":"select 1"}, "1", "2"),
    edited("toml config", {"flow.py":"import tomllib\nfrom pathlib import Path\nC = tomllib.loads((Path(__file__).parent / 'q.toml').read_text())\ndef main(x): return C['a']","q.toml":"a = 1"}, "1", "2"),
    edited("configparser", {"flow.py":"import configparser\nC = configparser.ConfigParser()\nC.read_string('''[a]\nb = 1\n''')\ndef main(x): return C['a']['b']"}, "1", "2"),
    edited("argparse namespace", "import argparse\nC = argparse.Namespace(a=1)\ndef main(x): return C.a", "1", "2"),
    edited("decimal context", "import decimal\nC = decimal.Context(prec=5)\ndef main(x): return C.divide(x, 3)", "5", "6"),
    edited("datetime zone", "from zoneinfo import ZoneInfo\nZ = ZoneInfo('Europe/Paris')\ndef main(x): return Z", "Paris", "Rome"),
    edited("uuid ns", "import uuid\nN = uuid.UUID(int=1)\ndef main(x): return N", "=1", "=2"),
    edited("ipaddress", "import ipaddress\nN = ipaddress.ip_network('10.0.0.0/8')\ndef main(x): return N", "/8", "/9"),
    edited("fractions", "from fractions import Fraction\nN = Fraction(1, 3)\ndef main(x): return N", "(1, 3)", "(2, 3)"),
    edited("array.array", "import array\nN = array.array('i', [1])\ndef main(x): return N", "[1]", "[2]"),
    edited("memoryview", "N = memoryview(b'a')\ndef main(x): return N", "b'a'", "b'b'"),
    edited("range", "N = range(3)\ndef main(x): return N", "3", "4"),
    edited("slice", "N = slice(3)\ndef main(x): return N", "3", "4"),
    edited("bytearray", "N = bytearray(b'a')\ndef main(x): return N", "b'a'", "b'b'"),
    edited("str.maketrans", "N = str.maketrans('a', 'b')\ndef main(x): return x.translate(N)", "'b'", "'c'"),
    edited("map object", "N = map(str, [1])\ndef main(x): return N", "[1]", "[2]"),
    edited("zip object", "N = dict(zip('ab', [1, 2]))\ndef main(x): return N", "[1,", "[3,"),
    edited("codecs", "import codecs\nE = codecs.getencoder('utf-8')\ndef main(x): return E(x)", "utf-8", "latin-1"),
    edited("random seeded function", "import random\nR = random.Random(1).random()\ndef main(x): return R", "(1)", "(2)"),
    edited("sklearn-like estimator", "class Est:\n    def __init__(self, **kw): self.__dict__.update(kw)\nE = Est(depth=3, inner=Est(k=1))\ndef main(x): return E.inner.k", "k=1", "k=2"),
    edited("weak method reference back", "class Node:\n    def __init__(self, v, parent=None):\n        self.v = v; self.parent = parent; self.children = []\n        if parent: parent.children.append(self)\nR = Node(1); Node(2, R)\ndef main(x): return R.children[0].v", "Node(2", "Node(3"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::rayflow.lang.code.definition.SourceUnknown")
@pytest.mark.parametrize("case", CASES, ids=[case.claim for case in CASES])
def test_an_edit_of_what_a_body_uses_changes_its_identity(case: Case, projects: Projects) -> None:
    assert isinstance(case.before, dict) and isinstance(case.after, dict)
    before, after = projects.identity(case.before), projects.identity(case.after)
    assert (before.digest == after.digest) is case.same


@pytest.mark.filterwarnings("ignore::rayflow.lang.code.definition.SourceUnknown")
@pytest.mark.parametrize("case", CASES, ids=[case.claim for case in CASES])
def test_comments_never_do(case: Case, projects: Projects) -> None:
    assert isinstance(case.before, dict)
    commented = {
        name: f"# first\n\n{text.replace(chr(10), '  # and more' + chr(10), 1)}" if name.endswith(".py") and text[:1] != "'" else text
        for name, text in case.before.items()
    }
    assert projects.identity(case.before).digest == projects.identity(commented).digest


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("class B: pass\ndef main(x): return B.__subclasses__()", "B.__subclasses__ depends on which modules are imported"),
        ("import sys\ndef main(x): return getattr(sys.modules[__name__], 'f')", "sys.modules depends on which modules are imported"),
    ],
)
def test_what_depends_on_the_process_is_listed(body: str, said: str, projects: Projects) -> None:
    assert projects.identity({"flow.py": body}).unresolved == (f"flow.main: {said}",)


HERE = Path(__file__).parent

ALL_DIGESTS = """
import sys, warnings
from pathlib import Path
from source_projects import Projects
import test_odd_code
warnings.simplefilter("ignore")
projects = Projects(Path(sys.argv[1]))
for case in test_odd_code.CASES:
    print(projects.identity(case.before).digest.hex())
"""


@pytest.mark.slow
def test_identities_are_equal_in_processes_with_other_hash_seeds(tmp_path: Path) -> None:
    answers = set()
    for seed in ("1", "2"):
        folder = tmp_path / seed
        ended = subprocess.run(
            [sys.executable, "-c", ALL_DIGESTS, str(folder)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{HERE}:{HERE.parent}/support:{HERE.parents[1]}"},
            capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        assert len(ended.stdout.split()) == len(CASES)
        answers.add(ended.stdout)
    assert len(answers) == 1
