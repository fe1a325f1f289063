# ruff: noqa: E501  one case a line reads better than five
"""Odd but plausible code: an edit of what a body uses, however it comes to it, changes the code's identity."""

from __future__ import annotations

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
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.claim for case in CASES])
def test_an_edit_of_what_a_body_uses_changes_its_identity(case: Case, projects: Projects) -> None:
    assert isinstance(case.before, dict) and isinstance(case.after, dict)
    before, after = projects.identity(case.before), projects.identity(case.after)
    assert (before.digest == after.digest) is case.same


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
