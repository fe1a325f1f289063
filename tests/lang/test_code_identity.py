# ruff: noqa: E501  one case a line reads better than five
"""What changes a task's code identity and what does not, over small projects written to disk and imported."""

from __future__ import annotations

import importlib
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from source_projects import Case, Projects, is_task

from rayflow.lang.code.code_graph import CodeIdentity
from rayflow.lang.code.definition import SourceUnknown
from rayflow.lang.code.identity import code_identity, function_identity

TASKS = """
class Task:
    def __init__(self, func, name):
        self.func, self.fullname = func, name
def named(name):
    return lambda func: Task(func, name)
"""


def flow(text: str | dict[str, str]) -> dict[str, str]:
    return {"flow.py": text} if isinstance(text, str) else text


def project(flow: str, **modules: str) -> dict[str, str]:
    """A project with a flow and further modules; two underscores in a name stand for a folder."""
    return {"flow.py": flow} | {name.replace("__", "/") + ".py": text for name, text in modules.items()}


USES_HELPERS = "import helpers\ndef main(x): return helpers.clean(x)\n"
ENUM = "import enum\nclass Colour(enum.Enum):\n    RED = {}\n    BLUE = 2\ndef main(x): return Colour.{}\n"
FACTORY = "def make(k):\n    def inner(x): return x + k\n    return inner\nmain = make({})\n"
DECORATED = """
import functools
def deco(f):
    @functools.wraps(f)
    def wrapper(*args): return {outer}
    return wrapper
@deco
def helper(x): return {inner}
def main(x): return helper(x)
"""
CLASS = """
from dataclasses import dataclass
class Base:
    limit = {limit}
    def shared(self): return {shared}
@dataclass
class Config(Base):
    n: {type} = 1
    @property
    def size(self): return {size}
    @staticmethod
    def plain(x: {hint}): return tool(x)
def tool(x): return {tool}
def main(x): return Config(x).size
"""
ARGUMENT = """
from typing import Annotated, Literal, Optional
from dataclasses import dataclass
@dataclass
class Cfg:
    n: int
    def factor(self): return {}
class Sub(Cfg): pass
@dataclass
class Holder:
    inside: "list[Cfg]"
def main(c: {}): return c
"""
CLASS_PLAIN = {"limit": "1", "shared": "1", "type": "int", "size": "1", "hint": "int", "tool": "1"}


def cls(**changed: str) -> str:
    return CLASS.format(**(CLASS_PLAIN | changed))


CASES = [
    # --- what is written, but not meant
    Case("a comment", "def main(x): return x", "# note\ndef main(x):\n    # more\n    return x  # end", True),
    Case("a docstring", "def main(x):\n    return x", "def main(x):\n    '''Doc.'''\n    return x", True),
    Case("blank lines", "def main(x):\n    y = 1\n    return x", "\n\ndef main(x):\n\n    y = 1\n\n    return x", True),
    Case("parentheses", "def main(x): return x + 1 * 2", "def main(x): return (x + (1 * 2))", True),
    Case("quotes", "def main(x): return 'a'", 'def main(x): return "a"', True),
    Case("joined strings", "def main(x): return 'ab'", "def main(x): return ('a'\n 'b')", True),
    Case("line breaks", "def main(x): return [1, 2]", "def main(x):\n    return [\n        1,\n        2,\n    ]", True),
    Case("a type annotation", "def main(x): return x", "def main(x: int) -> 'int': return x", True),
    Case("a local annotation", "def main(x):\n    y = x\n    return y", "def main(x):\n    y: int = x\n    return y", True),
    Case("a bare annotation", "def main(x):\n    y = x\n    return y", "def main(x):\n    y: int\n    y = x\n    return y", True),
    Case("a pass", "def main(x):\n    if x: y = 1", "def main(x):\n    if x:\n        y = 1\n        pass", True),
    Case("an order of functions", "def main(x): return f(x)\ndef f(x): return x", "def f(x): return x\ndef main(x): return f(x)", True),
    Case("an unrelated function", "def main(x): return x", "def other(): return 2\nOTHER = 5\ndef main(x): return x", True),
    Case("an unused import", "def main(x): return x", "import json\ndef main(x): return x", True),
    Case("a nested docstring", "def main(x):\n    def f(): return 1\n    return f()", "def main(x):\n    def f():\n        'doc'\n        return 1\n    return f()", True),
    # --- what is meant
    Case("the body", "def main(x): return x", "def main(x): return x + 1", False),
    Case("a constant's type", "def main(x): return 1", "def main(x): return True", False),
    Case("a float for an int", "def main(x): return 1", "def main(x): return 1.0", False),
    Case("a parameter", "def main(x): return 1", "def main(x, y=1): return 1", False),
    Case("a default", "def main(x=1): return x", "def main(x=2): return x", False),
    Case("a default by name", "D = 1\ndef main(x=D): return x", "D = 2\ndef main(x=D): return x", False),
    Case("an f-string", "def main(x): return f'{x}a'", "def main(x): return f'{x!r}a'", False),
    Case("async", "def main(x): return x", "async def main(x): return x", False),
    Case("an operator", "def main(x): return x < 1", "def main(x): return x <= 1", False),
    Case("an else", "def main(x):\n    for i in x: pass\n    return 1", "def main(x):\n    for i in x: pass\n    else: return 2\n    return 1", False),
    # --- helpers
    Case("a helper of the file", "def f(x): return 1\ndef main(x): return f(x)", "def f(x): return 2\ndef main(x): return f(x)", False),
    Case("a helper's comment", "def f(x): return 1\ndef main(x): return f(x)", "def f(x): return 1  # one\ndef main(x): return f(x)", True),
    Case("a helper of another module", project(USES_HELPERS, helpers="def clean(x): return 1"), project(USES_HELPERS, helpers="def clean(x): return 2"), False),
    Case("another helper there", project(USES_HELPERS, helpers="def clean(x): return 1"), project(USES_HELPERS, helpers="def clean(x): return 1\ndef other(): return 2"), True),
    Case("three hops", project(USES_HELPERS, helpers="from a import f\ndef clean(x): return f(x)", a="import b\ndef f(x): return b.g(x)", b="def g(x): return 1"),
         project(USES_HELPERS, helpers="from a import f\ndef clean(x): return f(x)", a="import b\ndef f(x): return b.g(x)", b="def g(x): return 2"), False),
    Case("from pkg import module", project("from pkg import h\ndef main(x): return h.f(x)", pkg____init__="", pkg__h="def f(x): return 1"),
         project("from pkg import h\ndef main(x): return h.f(x)", pkg____init__="", pkg__h="def f(x): return 2"), False),
    Case("import pkg.sub as s", project("import pkg.h as s\ndef main(x): return s.f(x)", pkg____init__="", pkg__h="def f(x): return 1"),
         project("import pkg.h as s\ndef main(x): return s.f(x)", pkg____init__="", pkg__h="def f(x): return 2"), False),
    Case("import pkg.sub", project("import pkg.h\ndef main(x): return pkg.h.f(x)", pkg____init__="", pkg__h="def f(x): return 1"),
         project("import pkg.h\ndef main(x): return pkg.h.f(x)", pkg____init__="", pkg__h="def f(x): return 2"), False),
    Case("a namespace package", project("import space.h\ndef main(x): return space.h.f(x)", space__h="def f(x): return 1"),
         project("import space.h\ndef main(x): return space.h.f(x)", space__h="def f(x): return 2"), False),
    Case("a relative import in the package", project("import pkg.h\ndef main(x): return pkg.h.f(x)", pkg____init__="", pkg__h="from . import g\ndef f(x): return g.g()", pkg__g="def g(): return 1"),
         project("import pkg.h\ndef main(x): return pkg.h.f(x)", pkg____init__="", pkg__h="from . import g\ndef f(x): return g.g()", pkg__g="def g(): return 2"), False),
    Case("an import in the body", project("import helpers\ndef main(x):\n    from helpers import clean\n    return clean(x)", helpers="def clean(x): return 1"),
         project("import helpers\ndef main(x):\n    from helpers import clean\n    return clean(x)", helpers="def clean(x): return 2"), False),
    Case("a module imported in the body", project("import helpers\ndef main(x):\n    import helpers as h\n    return h.clean(x)", helpers="def clean(x): return 1"),
         project("import helpers\ndef main(x):\n    import helpers as h\n    return h.clean(x)", helpers="def clean(x): return 2"), False),
    Case("a helper moved to another module", project("from a import f\ndef main(x): return f(x)", a="def f(x): return 1"),
         project("from b import f\ndef main(x): return f(x)", b="def f(x): return 1"), True),
    Case("a name used in a comprehension", "K = 1\ndef main(x): return [i + K for i in x]", "K = 2\ndef main(x): return [i + K for i in x]", False),
    Case("a name used in a nested function", "K = 1\ndef main(x):\n    def f(): return lambda: K\n    return f", "K = 2\ndef main(x):\n    def f(): return lambda: K\n    return f", False),
    Case("a global that a local hides", "K = 1\ndef main(x):\n    K = 3\n    return K", "K = 2\ndef main(x):\n    K = 3\n    return K", True),
    Case("a global that a parameter hides", "K = 1\ndef main(K): return K", "K = 2\ndef main(K): return K", True),
    Case("a global that a comprehension hides", "K = 1\ndef main(x): return [K for K in x]", "K = 2\ndef main(x): return [K for K in x]", True),
    Case("a global read beside a comprehension of its name", "K = 1\ndef main(x): return [K for K in x], K", "K = 2\ndef main(x): return [K for K in x], K", False),
    Case("a helper used only as a value", "def f(): return 1\ndef main(x): return map(f, x)", "def f(): return 2\ndef main(x): return map(f, x)", False),
    Case("mutual recursion", "def f(x): return g(x)\ndef g(x): return f(x) + 1\ndef main(x): return f(x)", "def f(x): return g(x)\ndef g(x): return f(x) + 2\ndef main(x): return f(x)", False),
    Case("mutual recursion, moved", "def f(x): return g(x)\ndef g(x): return f(x) + 1\ndef main(x): return f(x)", "def main(x): return f(x)\ndef g(x): return f(x) + 1\ndef f(x): return g(x)", True),
    Case("a getattr with a constant name", project("import helpers\ndef main(x): return getattr(helpers, 'clean')(x)", helpers="def clean(x): return 1"),
         project("import helpers\ndef main(x): return getattr(helpers, 'clean')(x)", helpers="def clean(x): return 2"), False),
    Case("a helper that another takes over", "def f(x): return 1\ndef g(x): return 1\ndef main(x): return f(x)", "def f(x): return 1\ndef g(x): return 1\ndef main(x): return g(x)", False),
    Case("a helper's default", "def f(x, k=1): return k\ndef main(x): return f(x)", "def f(x, k=2): return k\ndef main(x): return f(x)", False),
    # --- constants
    Case("a module constant", "K = 1\ndef main(x): return K", "K = 2\ndef main(x): return K", False),
    Case("the same constant, computed", "K = 2\ndef main(x): return K", "K = 1 + 1\ndef main(x): return K", True),
    Case("a constant's type at module level", "K = 1\ndef main(x): return K", "K = 1.0\ndef main(x): return K", False),
    Case("a constant of another module", project("import c\ndef main(x): return c.K", c="K = 'a'"), project("import c\ndef main(x): return c.K", c="K = 'b'"), False),
    Case("an imported constant", project("from c import K\ndef main(x): return K", c="K = b'a'"), project("from c import K\ndef main(x): return K", c="K = b'b'"), False),
    Case("a nested container", "K = {'a': [1, (2, {3})]}\ndef main(x): return K", "K = {'a': [1, (2, {4})]}\ndef main(x): return K", False),
    Case("the order of a dict", "K = {'a': 1, 'b': 2}\ndef main(x): return K", "K = {'b': 2, 'a': 1}\ndef main(x): return K", False),
    Case("the order of a list", "K = [1, 2]\ndef main(x): return K", "K = [2, 1]\ndef main(x): return K", False),
    Case("a list for a tuple", "K = [1, 2]\ndef main(x): return K", "K = (1, 2)\ndef main(x): return K", False),
    Case("a set of mixed types", "K = {1, 'a', None}\ndef main(x): return K", "K = {None, 'a', 1}\ndef main(x): return K", True),
    Case("aliasing in a constant", "A = [1]\nK = [A, A]\ndef main(x): return K", "K = [[1], [1]]\ndef main(x): return K", True),
    Case("a date", "import datetime\nK = datetime.date(2024, 1, 1)\ndef main(x): return K", "import datetime\nK = datetime.date(2024, 1, 2)\ndef main(x): return K", False),
    Case("a path", "from pathlib import Path\nK = Path('a')\ndef main(x): return K", "from pathlib import Path\nK = Path('b')\ndef main(x): return K", False),
    Case("a decimal", "from decimal import Decimal\nK = Decimal('1.0')\ndef main(x): return K", "from decimal import Decimal\nK = Decimal('1.1')\ndef main(x): return K", False),
    Case("a pattern", "import re\nK = re.compile('a')\ndef main(x): return K", "import re\nK = re.compile('a', re.I)\ndef main(x): return K", False),
    Case("the same pattern", "import re\nK = re.compile('a')\ndef main(x): return K", "import re\nK = re.compile('a')\n\ndef main(x): return K", True),
    Case("an array", "import numpy\nK = numpy.arange(3)\ndef main(x): return K", "import numpy\nK = numpy.arange(4)\ndef main(x): return K", False),
    Case("an enum's value", ENUM.format(1, "RED"), ENUM.format(3, "RED"), False),
    Case("an enum's member", ENUM.format(1, "RED"), ENUM.format(1, "BLUE"), False),
    Case("an enum member as a constant", ENUM.format(1, "RED") + "K = Colour.RED\ndef main(x): return K", ENUM.format(1, "RED") + "K = Colour.BLUE\ndef main(x): return K", False),
    Case("a dispatch table", "def f(): return 1\nT = {'f': f}\ndef main(x): return T[x]()", "def f(): return 2\nT = {'f': f}\ndef main(x): return T[x]()", False),
    Case("a lambda in a table", "T = {'f': lambda: 1}\ndef main(x): return T[x]()", "T = {'f': lambda: 2}\ndef main(x): return T[x]()", False),
    Case("two lambdas on one line, the first", "T = [lambda: 1, lambda: 2]\ndef main(x): return T[x]()", "T = [lambda: 3, lambda: 2]\ndef main(x): return T[x]()", False),
    Case("two lambdas on one line, the used one", "f, g = lambda: 1, lambda: 2\ndef main(x): return g()", "f, g = lambda: 1, lambda: 3\ndef main(x): return g()", False),
    Case("two lambdas on one line, the unused one", "f, g = lambda: 1, lambda: 2\ndef main(x): return g()", "f, g = lambda: 9, lambda: 2\ndef main(x): return g()", True),
    Case("a table that holds its user", "T = {}\ndef main(x): return T[x]\nT['m'] = main", "T = {}\n\ndef main(x):\n    return T[x]\nT['m'] = main", True),
    Case("an instance's field", cls() + "K = Config(1)\ndef main(x): return K", cls() + "K = Config(2)\ndef main(x): return K", False),
    Case("an instance's class", cls() + "K = Config(1)\ndef main(x): return K", cls(size="2") + "K = Config(1)\ndef main(x): return K", False),
    Case("a plain instance", "class S:\n    def __init__(self, a): self.a = a\nK = S(1)\ndef main(x): return K.a", "class S:\n    def __init__(self, a): self.a = a\nK = S(2)\ndef main(x): return K.a", False),
    Case("a logger's name", "import logging\nlog = logging.getLogger('a')\ndef main(x): log.info(x)", "import logging\nlog = logging.getLogger('b')\ndef main(x): log.info(x)", True),
    Case("a union in code", "K = int | None\ndef main(x): return isinstance(x, K)", "K = int | str\ndef main(x): return isinstance(x, K)", False),
    # --- classes
    Case("a method", cls(), cls(size="2"), False),
    Case("a base's method", cls(), cls(shared="2"), False),
    Case("a class constant", cls(), cls(limit="2"), False),
    Case("a class annotation", cls(), cls(type="float"), False),
    Case("a class field without a value", "class A:\n    a: int\ndef main(x): return A", "class A:\n    a: int\n    b: int\ndef main(x): return A", False),
    Case("a method's annotation", cls(), cls(hint="str"), True),
    Case("a method's helper", cls(), cls(tool="2"), False),
    Case("a named tuple made by a call", "from collections import namedtuple\nP = namedtuple('P', 'a b')\ndef main(x): return P(1, 2)", "from collections import namedtuple\nP = namedtuple('P', 'a c')\ndef main(x): return P(1, 2)", False),
    Case("an enum made by a call", "import enum\nE = enum.Enum('E', {'A': 1})\ndef main(x): return E.A", "import enum\nE = enum.Enum('E', {'A': 2})\ndef main(x): return E.A", False),
    Case("a class that a type call made", "def go(self): return 1\nC = type('C', (), {'go': go})\ndef main(x): return C()", "def go(self): return 2\nC = type('C', (), {'go': go})\ndef main(x): return C()", False),
    Case("a nested class", "class A:\n    class B:\n        x = 1\ndef main(x): return A.B.x", "class A:\n    class B:\n        x = 2\ndef main(x): return A.B.x", False),
    Case("a class decorator of the project", "def deco(c): return c\n@deco\nclass A: x = 1\ndef main(x): return A", "def deco(c): c.y = 1; return c\n@deco\nclass A: x = 1\ndef main(x): return A", False),
    # --- classes of arguments
    *(
        Case(f"the class of an argument, {claim}", ARGUMENT.format(1, hint), ARGUMENT.format(2, hint), False)
        for claim, hint in {
            "named": "Cfg", "as text": "'Cfg'", "in a list": "list[Cfg]", "in a list as text": "list['Cfg']",
            "in a dict": "dict[str, Cfg]", "optional": "Optional[Cfg]", "in a union": "Cfg | None",
            "annotated": "Annotated['Cfg', 'note']", "beside what is not there": "'Nowhere[Cfg] | missing.Thing'",
        }.items()
    ),
    Case("a base of an argument's class", ARGUMENT.format(1, "Sub"), ARGUMENT.format(2, "Sub"), False),
    Case("a class in a field of an argument's class", ARGUMENT.format(1, "Holder"), ARGUMENT.format(2, "Holder"), False),
    Case("a spelling of an argument's class", ARGUMENT.format(1, "Optional[Cfg]"), ARGUMENT.format(1, "'Cfg | None'"), True),
    Case("a class that only a literal spells", ARGUMENT.format(1, "\"Literal['Cfg']\""), ARGUMENT.format(2, "\"Literal['Cfg']\""), True),
    Case("a class that is only returned", ARGUMENT.format(1, "int") + "def main(x) -> Cfg: return x", ARGUMENT.format(2, "int") + "def main(x) -> Cfg: return x", True),
    Case("the class of a helper's argument", ARGUMENT.format(1, "Cfg") + "helper = main\ndef main(x): return helper(x)", ARGUMENT.format(2, "Cfg") + "helper = main\ndef main(x): return helper(x)", False),
    # --- wrappers, closures
    Case("a factory's captured value", FACTORY.format("1"), FACTORY.format("2"), False),
    Case("a factory's equal product", FACTORY.format("1"), "# factory\n" + FACTORY.format("1"), True),
    Case("a factory's captured function", "def h(x): return 1\n" + FACTORY.format("h"), "def h(x): return 2\n" + FACTORY.format("h"), False),
    Case("a factory's captured list", FACTORY.format("[1]"), FACTORY.format("[2]"), False),
    Case("a wrapped function", DECORATED.format(outer="f(*args)", inner="1"), DECORATED.format(outer="f(*args)", inner="2"), False),
    Case("its wrapper", DECORATED.format(outer="f(*args)", inner="1"), DECORATED.format(outer="f(*args) + 1", inner="1"), False),
    Case("what a wrapper says it wraps", "def f(x): return 1\ndef g(x): return 0\ng.__wrapped__ = f\ndef main(x): return g(x)", "def f(x): return 2\ndef g(x): return 0\ng.__wrapped__ = f\ndef main(x): return g(x)", False),
    Case("a cached helper", "from functools import cache\n@cache\ndef f(x): return 1\ndef main(x): return f(x)", "from functools import cache\n@cache\ndef f(x): return 2\ndef main(x): return f(x)", False),
    Case("what a cached helper reaches", "from functools import lru_cache\ndef g(): return 1\n@lru_cache(maxsize=3)\ndef f(x): return g()\ndef main(x): return f(x)", "from functools import lru_cache\ndef g(): return 2\n@lru_cache(maxsize=3)\ndef f(x): return g()\ndef main(x): return f(x)", False),
    Case("a partial's argument", "from functools import partial\ndef f(x, k): return k\ng = partial(f, k=1)\ndef main(x): return g(x)", "from functools import partial\ndef f(x, k): return k\ng = partial(f, k=2)\ndef main(x): return g(x)", False),
    Case("a partial's function", "from functools import partial\ndef f(x, k): return k\ng = partial(f, k=1)\ndef main(x): return g(x)", "from functools import partial\ndef f(x, k): return k + 1\ng = partial(f, k=1)\ndef main(x): return g(x)", False),
    Case("a bound method", "class A:\n    def f(self): return 1\ng = A().f\ndef main(x): return g()", "class A:\n    def f(self): return 2\ng = A().f\ndef main(x): return g()", False),
    Case("a single dispatch", "from functools import singledispatch\n@singledispatch\ndef f(x): return 1\n@f.register\ndef _(x: int): return 1\ndef main(x): return f(x)", "from functools import singledispatch\n@singledispatch\ndef f(x): return 1\n@f.register\ndef _(x: int): return 2\ndef main(x): return f(x)", False),
    Case("a context manager of the project", "from contextlib import contextmanager\n@contextmanager\ndef f(): yield 1\ndef main(x):\n    with f() as y: return y", "from contextlib import contextmanager\n@contextmanager\ndef f(): yield 2\ndef main(x):\n    with f() as y: return y", False),
    # --- the border
    Case("a library's code", {"flow.py": "import lib_a\ndef main(x): return lib_a.f(x)", "lib/site-packages/lib_a.py": "def f(x): return 1"},
         {"flow.py": "import lib_a\ndef main(x): return lib_a.f(x)", "lib/site-packages/lib_a.py": "def f(x): return 2"}, True),
    Case("which function of a library", "from math import sin as f\ndef main(x): return f(x)", "from math import cos as f\ndef main(x): return f(x)", False),
    Case("a helper inside a library's wrapper", {"flow.py": "import lib_b\n@lib_b.deco\ndef f(x): return 1\ndef main(x): return f(x)", "lib/site-packages/lib_b.py": "def deco(f): return lambda x: f(x)"},
         {"flow.py": "import lib_b\n@lib_b.deco\ndef f(x): return 2\ndef main(x): return f(x)", "lib/site-packages/lib_b.py": "def deco(f): return lambda x: f(x)"}, False),
    Case("another task's body", project("from tasks import named\n@named('t')\ndef t(x): return 1\ndef main(x): return t(x)", tasks=TASKS),
         project("from tasks import named\n@named('t')\ndef t(x): return 2\ndef main(x): return t(x)", tasks=TASKS), True),
    Case("another task's name", project("from tasks import named\n@named('t')\ndef t(x): return 1\ndef main(x): return t(x)", tasks=TASKS),
         project("from tasks import named\n@named('u')\ndef t(x): return 1\ndef main(x): return t(x)", tasks=TASKS), False),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.claim for case in CASES])
def test_identity_changes_with_meaning_and_with_nothing_else(case: Case, projects: Projects) -> None:
    before = projects.identity(flow(case.before))
    after = projects.identity(flow(case.after))
    assert (before.digest == after.digest) is case.same
    assert before.unresolved == after.unresolved == ()


def test_options_of_the_task_decorator_do_not_count(projects: Projects) -> None:
    plain = "from rayflow.lang.tasks import task\n{}\ndef main(x): return x\n"
    one = projects.identity(flow(plain.format("@task")))
    two = projects.identity(flow(plain.format("import rayflow.lang.tasks as rf\nN = 3\n@rf.task(name='other', retries=N, tags={'a': 1})")))
    assert one.digest == two.digest == projects.identity(flow("def main(x): return x")).digest


def test_a_task_that_names_itself_is_known_by_name(projects: Projects) -> None:
    source = "from tasks import named\n@named('m')\ndef main(x): return main(x - 1)\n"
    identity = projects.identity(project(source, tasks=TASKS))
    assert [(each.name, each.kind) for each in identity.definitions] == [
        ("flow.main", "function"), ("m", "task"), ("tasks.named", "function"), ("tasks.Task", "class"),
    ]  # fmt: skip


def test_helpers_can_be_left_out(projects: Projects) -> None:
    one = projects.identity(flow("def f(): return 1\ndef main(x): return f()"), track_helpers=False)
    two = projects.identity(flow("def f(): return 2\ndef main(x): return f()"), track_helpers=False)
    three = projects.identity(flow("def f(): return 2\ndef main(x): return f() + 1"), track_helpers=False)
    assert one.digest == two.digest != three.digest
    assert len(one.definitions) == 1


def test_captured_values_count_without_helpers_too(projects: Projects) -> None:
    one = projects.identity(flow(FACTORY.format("1")), track_helpers=False)
    two = projects.identity(flow(FACTORY.format("2")), track_helpers=False)
    assert one.digest != two.digest


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("return eval('K')", "eval('K')"),
        ("return globals()['K']", "globals()"),
        ("return getattr(helpers, x)()", "getattr(helpers, x)"),
        ("import importlib\n    return importlib.import_module(x)", "importlib.import_module(x)"),
        ("from missing_module import g\n    return g()", "missing_module"),
        ("return nowhere(x)", "nowhere"),
        ("return helpers.nothing(x)", "helpers.nothing"),
        ("return list(vars(helpers))", "vars(helpers)"),
    ],
)
def test_what_cannot_be_followed_is_listed(body: str, named: str, projects: Projects) -> None:
    identity = projects.identity(
        project(f"import helpers\nK = 1\ndef main(x):\n    {body}\n", helpers="def clean(x): return 1")
    )
    (told,) = (*identity.unresolved, *identity.missing)
    assert named in told
    assert told.startswith("flow.main: ")


LATE_IMPORTS = {
    "from a module": "from pkg.late import late\n    return late(x)",
    "a module under a name": "import pkg.late as l\n    return l.late(x)",
    "a module": "import pkg.late\n    return pkg.late.late(x)",
    "a module from its package": "from pkg import late\n    return late.late(x)",
    "a relative name": "from .late import late\n    return late(x)",
    "a relative module": "from . import late\n    return late.late(x)",
}


@pytest.mark.parametrize("body", LATE_IMPORTS.values(), ids=LATE_IMPORTS)
def test_a_module_that_only_a_body_imports_counts_whether_loaded_or_not(body: str, projects: Projects) -> None:
    def identity(late: str, first: str = "") -> CodeIdentity:
        return projects.identity(
            project("from pkg.body import main", pkg____init__="", pkg__late=late,
                    pkg__body=f"{first}\ndef main(x):\n    {body}\n")
        )  # fmt: skip

    one = identity("def late(x): return 1")
    assert one.unresolved == ()
    assert one.digest == identity("def late(x): return 1", "import pkg.late").digest
    assert one.digest != identity("def late(x): return 2").digest


def test_a_module_that_does_not_import_is_listed_with_the_reason(projects: Projects) -> None:
    late = project("def main(x):\n    import late\n    return late.f(x)", late="raise ValueError('no such luck')")
    (told,) = projects.identity(late).unresolved
    assert "late, which does not import (ValueError: no such luck)" in told


def test_getattr_on_a_local_is_no_dynamic_look_up(projects: Projects) -> None:
    assert projects.identity(flow("def main(x): return getattr(x, x.name)")).unresolved == ()


def test_definitions_tell_where_they_are_and_who_reached_them(projects: Projects) -> None:
    identity = projects.identity(
        project(
            "import helpers\n\ndef main(x): return helpers.clean(x)\n",
            helpers="RATE = 3\n\ndef clean(x):\n    return x * RATE\n",
        )
    )
    told = [(each.name, each.kind, each.reached_from, each.place, each.source) for each in identity.definitions]
    assert told == [
        ("flow.main", "function", None, "flow.py:3", "def main(x): return helpers.clean(x)"),
        ("helpers.clean", "function", "flow.main", "helpers.py:3", "def clean(x):\n    return x * RATE"),
        ("helpers.RATE", "constant", "helpers.clean", "helpers.py:1", "3"),
    ]
    assert {len(each.digest) for each in identity.definitions} == {20}


def test_names_of_definitions_are_unique_in_one_identity(projects: Projects) -> None:
    identity = projects.identity(
        flow("def make(k):\n    return lambda x: x + k\na, b = make(1), make(2)\ndef main(x): return a(x) + b(x)\n")
    )
    names = [each.name for each in identity.definitions]
    assert len(names) == len(set(names))


def test_a_mutable_constant_counts_as_it_is_now(projects: Projects) -> None:
    module = projects.load(flow("K = [1]\ndef main(x): return K"))
    one = code_identity(module.main, project_dir=projects.root, is_task=is_task)
    module.K.append(2)
    two = code_identity(module.main, project_dir=projects.root, is_task=is_task)
    module.K.pop()
    assert one.digest != two.digest
    assert code_identity(module.main, project_dir=projects.root, is_task=is_task).digest == one.digest


def test_a_helper_defined_again_counts_anew(projects: Projects) -> None:
    module = projects.load(flow("def f(): return 1\ndef main(x): return f()"))
    one = code_identity(module.main, project_dir=projects.root, is_task=is_task)
    module.f = lambda: 2
    assert code_identity(module.main, project_dir=projects.root, is_task=is_task).digest != one.digest


def test_a_file_edited_after_import_does_not_count(projects: Projects) -> None:
    files = flow("def main(x):\n    return 1\n")
    loaded = projects.load(files)
    path = Path(loaded.__file__)
    path.write_text("def main(x):\n    return 2222\n")
    with pytest.warns(SourceUnknown, match=r"flow\.main"):
        one = code_identity(loaded.main, project_dir=projects.root, is_task=is_task)
    assert one.digest != projects.identity(flow("def main(x):\n    return 2222\n")).digest


def test_lines_added_above_after_import_do_no_harm(projects: Projects) -> None:
    files = flow("def main(x):\n    return 1\n")
    expected = projects.identity(files).digest
    loaded = projects.load(files)
    Path(loaded.__file__).write_text("# new\n\ndef other(): return 3\n\ndef main(x):\n    return 1\n")
    assert code_identity(loaded.main, project_dir=projects.root, is_task=is_task).digest == expected


def test_a_class_edited_after_import_is_not_taken_from_the_file(projects: Projects) -> None:
    source = "class A:\n    rate = 1\n    def f(self): return 1\ndef main(x): return A\n"
    loaded = projects.load(flow(source))
    expected = code_identity(loaded.main, project_dir=projects.root, is_task=is_task).digest
    again = projects.load(flow(source))
    Path(again.__file__).write_text(source.replace("rate = 1", "rate = 22"))
    found = code_identity(again.main, project_dir=projects.root, is_task=is_task)
    newer = projects.identity(flow(source.replace("rate = 1", "rate = 22")))
    assert found.digest != newer.digest
    assert expected != newer.digest


def test_a_pyc_of_an_earlier_text_of_the_same_second_is_not_taken_for_the_new_text(projects: Projects) -> None:
    import os
    import py_compile

    source = "def main(x): return {}\n"
    new = projects.identity(flow(source.format(2))).digest
    file = Path(projects.load(flow(source.format(1))).__file__)
    py_compile.compile(str(file))
    stamp = file.stat().st_mtime_ns // 10**9 * 10**9
    file.write_text(source.format(2))
    os.utime(file, ns=(stamp, stamp))
    projects.forget()
    sys.path.insert(0, str(file.parent))
    projects.paths = [str(file.parent)]
    stale = importlib.import_module("flow")
    assert stale.main(0) == 1, "Python loads the .pyc"
    with pytest.warns(SourceUnknown) as told:
        found = code_identity(stale.main, project_dir=projects.root, is_task=is_task).digest
    assert found != new
    assert [(each.filename, each.lineno) for each in told] == [(str(file), 1)]


def test_functions_made_by_exec_count_by_their_code() -> None:
    def made(text: str) -> bytes:
        space: dict[str, Any] = {"__name__": "made_up"}
        exec(text, space)
        with pytest.warns(SourceUnknown):
            return code_identity(space["main"], project_dir=None, is_task=is_task).digest

    assert made("K = 1\ndef main(x): return K") == made("\nK = 1\ndef main(x): return K")
    assert made("K = 1\ndef main(x): return K") != made("K = 2\ndef main(x): return K")
    assert made("def main(x): return 1") != made("def main(x): return 2")


def test_notebook_cells_have_source(monkeypatch: pytest.MonkeyPatch) -> None:
    import linecache

    def cell(name: str, text: str) -> bytes:
        monkeypatch.setitem(linecache.cache, name, (len(text), None, text.splitlines(True), name))
        space: dict[str, Any] = {"__name__": "notebook_of_no_module"}
        exec(compile(text, name, "exec"), space)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return code_identity(space["main"], project_dir=None, is_task=is_task).digest

    one = cell("<ipython-input-1-abc>", "def f(x): return 1\ndef main(x): return f(x)\n")
    two = cell("<ipython-input-2-abc>", "# note\ndef f(x): return 1\ndef main(x):\n    return f(x)\n")
    three = cell("/tmp/ipykernel_1/3.py", "def f(x): return 2\ndef main(x): return f(x)\n")
    assert one == two != three


def test_a_function_as_a_value_has_its_code_for_identity(projects: Projects) -> None:
    one = function_identity(projects.load(flow("def f(): return 1\ndef main(x): return f()")).main)
    two = function_identity(projects.load(flow("def f(): return 2\ndef main(x): return f()")).main)
    again = function_identity(projects.load(flow("def f(): return 1  # one\ndef main(x): return f()")).main)
    assert one == again != two
    assert len(one) == 20


@pytest.mark.slow
def test_a_long_chain_of_helpers_and_a_deep_constant_work(projects: Projects) -> None:
    lines = [f"def f{number}(x): return f{number + 1}(x)" for number in range(3000)]
    source = "\n".join([*lines, "def f3000(x): return {}", "K = []", "for _ in range(10000): K = [K]",
                        "def main(x): return f0(x), K"])  # fmt: skip
    one, two = projects.identity(flow(source.format(1))), projects.identity(flow(source.format(2)))
    assert one.digest != two.digest
    assert len(one.definitions) == 3003


@pytest.mark.slow
def test_identities_are_equal_in_other_processes(projects: Projects) -> None:
    import subprocess

    source = "import re\nK = {'a', 'b', 3, None, ('x', 1)}\nclass C:\n    t = {'p', 'q'}\ndef main(x): return K, C, x in {'u', 'v'}\n"
    here = projects.identity(flow(source)).digest.hex()
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import flow; from rayflow.lang.code.identity import code_identity; "
        "print(code_identity(flow.main, project_dir=sys.argv[1], is_task=lambda each: None).digest.hex())"
    )
    for seed in ("0", "7"):
        done = subprocess.run(
            [sys.executable, "-c", script, projects.root],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        assert done.stdout.strip() == here


def test_two_hundred_tasks_share_the_work(projects: Projects, capsys: pytest.CaptureFixture[str]) -> None:
    helpers = "\n".join(f"def h{i}(x):\n    y = [x + {i} for x in range(x)]\n    return sum(y)\n" for i in range(50))
    calls = " + ".join(f"helpers.h{i}(x)" for i in range(50))
    tasks = "\n".join(f"def t{i}(x):\n    return {i} + {calls}\n" for i in range(200))
    module = projects.load(project("import helpers\n" + tasks, helpers=helpers), "flow")
    start = time.perf_counter()
    digests = {
        code_identity(getattr(module, f"t{i}"), project_dir=projects.root, is_task=is_task).digest for i in range(200)
    }
    seconds = time.perf_counter() - start
    with capsys.disabled():
        print(f"\n200 tasks over 50 helpers: {seconds * 1000:.0f} ms, {seconds * 5:.2f} ms each")
    assert len(digests) == 200
