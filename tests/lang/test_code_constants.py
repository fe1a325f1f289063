# ruff: noqa: E501  one case a line reads better than five
"""Constants of classes that libraries define: an edit changes the code's identity, nothing else does, and what cannot be
told is named."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
from source_projects import Case, Projects, is_task

from rayflow.lang.code.code_graph import CodeIdentity
from rayflow.lang.code.constants import constants
from rayflow.lang.code.identity import code_identity
from rayflow.lang.registry import refresh_code

BODY = "\ndef main(x): return K"


def edited(claim: str, text: str, old: str, new: str, body: str = BODY) -> Case:
    """A module with a constant K before and after an edit of the one place where `old` stands."""
    assert text.count(old) == 1, (claim, old)
    return Case(claim, {"flow.py": text + body}, {"flow.py": text.replace(old, new) + body}, False)


READ = """
import json, os, re
import numpy as np
from sklearn.linear_model import Ridge
from types import SimpleNamespace
def DATA(): return json.load(open(os.path.join(os.path.dirname(__file__), 'data.json')))
class Mine:
    def __init__(self, a): self.a = a
class C:
    made = {}
def main(x): return C.made
"""

FIELDED = """
import os
from dataclasses import dataclass
@dataclass
class Model:
    path: str
    def __post_init__(self):
        self.path, where = "", self.path
        self.weights = open(os.path.join(os.path.dirname(where), 'w.txt')).read()
"""

MAKERS = """
from functools import partial
def scaler(k):
    def scale(x): return x * k
    return scale
def default(n):
    def g(k=n): return k
    return g
def keyword(n):
    def g(*, k=n): return k
    return g
def part(n): return partial(scaler(n), 1)
def kind(n):
    class C:
        a = n
        def get(self): return n
    return C
def below(n):
    class D(kind(n)): pass
    return D
def again(n):
    def f(x): return f(x - n)
    return f
"""
"""A library's functions that make functions and classes with data."""

CASES = [
    # --- models and arrays
    edited("an estimator", "from sklearn.linear_model import Ridge\nK = Ridge(alpha=1)", "=1", "=2"),
    edited("a fitted estimator", "from sklearn.linear_model import LinearRegression\nK = LinearRegression().fit([[1.], [2.]], [1., 3.])", "3.", "4."),
    edited("a pipeline", "from sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import StandardScaler\nfrom sklearn.linear_model import Ridge\nK = make_pipeline(StandardScaler(), Ridge(alpha=1))", "=1", "=2"),
    edited("a pipeline around a function", "from sklearn.preprocessing import FunctionTransformer\ndef f(x): return 1\nK = FunctionTransformer(f)", "return 1", "return 2"),
    edited("a pipeline around a function's helper", "from sklearn.preprocessing import FunctionTransformer\ndef g(): return 1\ndef f(x): return g()\nK = FunctionTransformer(f)", "return 1", "return 2"),
    edited("a tree", "from sklearn.tree import DecisionTreeClassifier\nK = DecisionTreeClassifier(random_state=0).fit([[0], [1]], [0, 1])", "[0, 1]", "[1, 0]"),
    edited("a frozen distribution", "from scipy.stats import norm\nK = norm(loc=1)", "=1", "=2"),
    edited("a distribution", "from scipy.stats import norm, uniform\nK = norm", "K = norm", "K = uniform"),
    edited("an interpolator", "from scipy.interpolate import CubicSpline\nK = CubicSpline([0, 1, 2], [0, 1, 4])", "4]", "5]"),
    edited("a sparse matrix", "from scipy.sparse import csr_matrix\nK = csr_matrix([[1, 0], [0, 2]])", "2]", "3]"),
    edited("a sparse array", "from scipy.sparse import coo_array\nK = coo_array([[1, 0], [0, 2]])", "2]", "3]"),
    edited("a rotation", "from scipy.spatial.transform import Rotation\nK = Rotation.from_quat([0, 0, 0, 1])", "[0, 0", "[1, 0"),
    edited("a search tree", "from scipy.spatial import KDTree\nK = KDTree([[0, 0], [1, 1]])", "[1, 1]", "[1, 2]"),
    edited("a linear operator's matrix", "import numpy as np\nK = np.matrix([[1, 2]])", "2", "3"),
    edited("a polynomial", "import numpy as np\nK = np.polynomial.Polynomial([1, 2])", "2", "3"),
    edited("an older polynomial", "import numpy as np\nK = np.poly1d([1, 2])", "2", "3"),
    edited("a record of a dtype", "import numpy as np\nK = np.dtype([('a', '<i4')])", "<i4", "<i8"),
    edited("a random generator", "import numpy as np\nK = np.random.default_rng(1)", "(1)", "(2)"),
    edited("a bit generator", "import numpy as np\nK = np.random.PCG64(1)", "(1)", "(2)"),
    edited("an older random generator", "import numpy as np\nK = np.random.RandomState(1)", "(1)", "(2)"),
    edited("a random generator of Python", "import random\nK = random.Random(1)", "(1)", "(2)"),
    edited("a random generator of one's own class", "import random\nclass R(random.Random): pass\nK = R(1)", "(1)", "(2)"),
    # --- functions made by calls
    edited("a function made a ufunc", "import numpy as np\ndef f(x): return 1\nK = np.frompyfunc(f, 1, 1)", "return 1", "return 2"),
    edited("a ufunc's helper", "import numpy as np\ndef g(): return 1\ndef f(x): return g()\nK = np.frompyfunc(f, 1, 1)", "return 1", "return 2"),
    edited("a ufunc's results", "import numpy as np\ndef f(x): return x, x\nK = np.frompyfunc(f, 1, 1)", "1, 1", "1, 2"),
    edited("which ufunc", "import numpy as np\nK = np.add", "add", "multiply"),
    edited("which special function", "from scipy import special\nK = special.expit", "expit", "logit"),
    edited("a vectorized function", "import numpy as np\ndef f(x): return 1\nK = np.vectorize(f)", "return 1", "return 2"),
    edited("a vectorized function's types", "import numpy as np\ndef f(x): return 1\nK = np.vectorize(f, otypes=[int])", "[int]", "[float]"),
    edited("a decorated ufunc", "import numpy as np\n@np.vectorize\ndef K(x): return 1", "return 1", "return 2"),
    edited("a bound method of a model", "from sklearn.linear_model import Ridge\nM = Ridge(alpha=1)\nK = M.get_params", "=1", "=2"),
    edited("a bound method of a pattern", "import re\nK = re.compile('a').match", "'a'", "'b'"),
    edited("a bound method of a dict", "K = {'a': 1}.get", "1", "2"),
    edited("a bound method of a text", "K = 'a {}'.format", "a ", "b "),
    edited("a bound method of an array", "import numpy as np\nK = np.arange(3).searchsorted", "3", "4"),
    edited("a bound special method", "K = {'a': 1}.__getitem__", "1", "2"),
    edited("a partial over a model", "from functools import partial\nfrom sklearn.linear_model import Ridge\nK = partial(print, Ridge(alpha=1))", "=1", "=2"),
    edited("a getter of several names", "from operator import attrgetter\nK = attrgetter('a', 'b')", "'b'", "'c'"),
    # --- texts, expressions, graphs
    edited("a template", "from string import Template\nK = Template('a $x')", "a ", "b "),
    edited("an expression of polars", "import polars as pl\nK = pl.col('a') + 1", "+ 1", "+ 2"),
    edited("a schema of polars", "import polars as pl\nK = pl.Schema({'a': pl.Int64})", "Int64", "Int32"),
    edited("a schema of Arrow", "import pyarrow as pa\nK = pa.schema([('a', pa.int64())])", "int64", "int32"),
    edited("an expression of Arrow", "import pyarrow.compute as pc\nK = pc.field('a') > 1", "> 1", "> 2"),
    edited("a frame of pandas", "import pandas as pd\nK = pd.DataFrame({'a': [1]})", "1", "2"),
    edited("a type of categories", "import pandas as pd\nK = pd.CategoricalDtype(['a', 'b'])", "'b'", "'c'"),
    edited("an offset of dates", "import pandas as pd\nK = pd.offsets.BDay(1)", "1", "2"),
    edited("a symbolic expression", "import sympy\nx = sympy.Symbol('x')\nK = x**2 + 1", "+ 1", "+ 2"),
    edited("a parser of arguments", "import argparse\nK = argparse.ArgumentParser(prog='a')", "'a'", "'b'"),
    edited("a graph", "import networkx as nx\nK = nx.Graph([(1, 2)])", "2", "3"),
    edited("a graph's attribute", "import networkx as nx\nK = nx.Graph()\nK.add_edge(1, 2, weight=3)", "=3", "=4"),
    edited("a directed graph", "import networkx as nx\nK = nx.DiGraph([(1, 2)])", "(1, 2)", "(2, 1)"),
    edited("a validator", "import pydantic\nK = pydantic.Field(gt=1)", "gt=1", "gt=2"),
    edited("a request's session", "import requests\nK = requests.Session()\nK.headers['a'] = 'b'", "'b'", "'c'"),
    edited("a mapping without case", "from requests.structures import CaseInsensitiveDict\nK = CaseInsensitiveDict(a=1)", "=1", "=2"),
    edited("a bunch", "from sklearn.utils import Bunch\nK = Bunch(a=1)", "=1", "=2"),
    # --- the standard library
    edited("a context of decimals", "import decimal\nK = decimal.Context(prec=5)", "=5", "=6"),
    edited("a namespace of arguments", "import argparse\nK = argparse.Namespace(a=1)", "=1", "=2"),
    edited("chained maps", "from collections import ChainMap\nK = ChainMap({'a': 1}, {})", "1", "2"),
    edited("a text in memory", "import io\nK = io.StringIO('a')", "'a'", "'b'"),
    edited("an address", "import ipaddress\nK = ipaddress.ip_network('10.0.0.0/8')", "/8", "/9"),
    edited("a calendar", "import calendar\nK = calendar.Calendar(1)", "(1)", "(2)"),
    edited("a distribution of Python", "import statistics\nK = statistics.NormalDist(1, 2)", "2", "3"),
    edited("a translation", "import html.parser, textwrap\nK = textwrap.TextWrapper(width=3)", "3", "4"),
    edited("a new type", "from typing import NewType\nK = NewType('K', int)", "int", "str"),
    edited("a cycle", "K = {'a': 1}\nK['k'] = K", "1", "2"),
    # --- where it stands
    edited("a constant in a dict", "from sklearn.linear_model import Ridge\nK = {'a': [Ridge(alpha=1)]}", "=1", "=2"),
    edited("a constant in a named tuple", "from collections import namedtuple\nfrom sklearn.linear_model import Ridge\nP = namedtuple('P', 'm')\nK = P(Ridge(alpha=1))", "=1", "=2"),
    edited("a constant in a dataclass", "from dataclasses import dataclass\nfrom sklearn.linear_model import Ridge\n@dataclass\nclass P:\n    m: object\nK = P(Ridge(alpha=1))", "=1", "=2"),
    edited("a constant in an object's attribute", "from sklearn.linear_model import Ridge\nclass P:\n    def __init__(self, m): self.m = m\nK = P(Ridge(alpha=1))", "=1", "=2"),
    edited("a constant in a slot", "from sklearn.linear_model import Ridge\nclass P:\n    __slots__ = ('m',)\n    def __init__(self, m): self.m = m\nK = P(Ridge(alpha=1))", "=1", "=2"),
    edited("an attribute of a dict of a library's class", "from werkzeug.datastructures import MultiDict\nK = MultiDict()\nK.note = 1", "1", "2"),
    edited("a class attribute", "from sklearn.linear_model import Ridge\nclass P:\n    m = Ridge(alpha=1)\nK = P", "=1", "=2"),
    edited("a class attribute set later", "from sklearn.linear_model import Ridge\nclass P: pass\nP.m = Ridge(alpha=1)\nK = P", "=1", "=2"),
    edited("a class attribute made elsewhere", "import numpy as np\ndef load(): return np.array([1])\nclass P:\n    m = load()\nK = P", "[1]", "[2]"),
    *(
        Case(f"{claim} of a class, read from a file", {"flow.py": READ.format(made), "data.json": "[1]"}, {"flow.py": READ.format(made), "data.json": "[2]"}, False)
        for claim, made in {
            "an array": "np.array(DATA())", "a model": "Ridge(alpha=DATA()[0])", "a pattern": "re.compile(str(DATA()))", "a table of models": "{'a': Ridge(alpha=DATA()[0])}",
            "a namespace": "SimpleNamespace(a=DATA())", "an object of one's own": "Mine(DATA())",
        }.items()
    ),
    edited("a function's attribute", "from sklearn.linear_model import Ridge\ndef K(): pass\nK.m = Ridge(alpha=1)", "=1", "=2"),
    edited("a captured model", "from sklearn.linear_model import Ridge\ndef make(m):\n    def main(x): return m\n    return main\nmain = make(Ridge(alpha=1))", "=1", "=2", ""),
    edited("a captured model's method", "from sklearn.linear_model import Ridge\ndef make(m):\n    def main(x): return m\n    return main\nmain = make(Ridge(alpha=1).predict)", "=1", "=2", ""),
    edited("a default", "from sklearn.linear_model import Ridge\nM = Ridge(alpha=1)\ndef main(x, m=M): return m", "=1", "=2", ""),
    edited("a default of a helper's keyword", "from sklearn.linear_model import Ridge\nM = Ridge(alpha=1)\ndef K(*, m=M): return m", "=1", "=2"),
]  # fmt: skip

A_B, B_A = "a=1, b=2", "b=2, a=1"
CASES += [
    edited(f"the order of {claim}", text.replace("ITEMS", A_B), A_B, B_A)
    for claim, text in {
        "a dict": "K = dict(ITEMS)",
        "a dict in a dict": "K = {'x': [dict(ITEMS)]}",
        "a dict of functions": "def f(): return 1\ndef g(): return 2\na, b = f, g\nK = (lambda **k: {n: {'a': f, 'b': g}[n] for n in k})(ITEMS)",
        "a counter": "from collections import Counter\nK = Counter(ITEMS)",
        "a dict with a default": "from collections import defaultdict\nK = defaultdict(list, ITEMS)",
        "a read-only mapping": "from types import MappingProxyType\nK = MappingProxyType(dict(ITEMS))",
        "a namespace": "from types import SimpleNamespace\nK = SimpleNamespace(ITEMS)",
        "an object's attributes": "class C:\n    def __init__(self, **k): vars(self).update(k)\nK = C(ITEMS)",
        "a partial's keywords": "from functools import partial\nK = partial(dict, ITEMS)",
    }.items()
]
CASES += [
    edited("the name of an attribute", "class C:\n    def __init__(self, **k): vars(self).update(k)\nK = C(a=1)", "a=1", "b=1"),
    *(
        Case(f"what {claim} has besides its fields", {"flow.py": text + BODY, "w.txt": "1", "lib/site-packages/fielded.py": FIELDED}, {"flow.py": text + BODY, "w.txt": "2", "lib/site-packages/fielded.py": FIELDED}, False)
        for claim, text in {"a dataclass": FIELDED + "K = Model(__file__)", "a library's dataclass": "from fielded import Model\nK = Model(__file__)"}.items()
    ),
    *(
        Case(f"the data of {claim}", {"flow.py": f"import lib\nK = {made}" + BODY}, {"flow.py": f"import lib\nK = {made.replace('2', '3')}" + BODY}, False)
        for claim, made in {
            "a library's closure": "lib.scaler(2)", "a library's closure in a list": "[lib.scaler(2)]", "a closure in a closure": "lib.scaler(lib.scaler(2))",
            "a captured default": "lib.default(2)", "a captured keyword's default": "lib.keyword(2)", "a library's partial": "lib.part(2)",
            "a class made in a library": "lib.kind(2)", "an object of such a class": "lib.kind(2)()", "a method of such a class": "lib.kind(2).get", "a base of such a class": "lib.below(2)",
            "a closure that holds itself": "lib.again(2)", "a table that a closure holds": "lib.scaler({'a': [2]})",
        }.items()
    ),
    edited("a helper that a library's closure holds in a list", "import lib\ndef f(): return 1\nK = lib.scaler([f])", "return 1", "return 2"),
]  # fmt: skip

PAGES = {
    "pages.py": "import jinja2\nK = L = jinja2.Template('{} {{{{ x }}}}')",
    "through.py": "from pages import L as K", "package/near.py": "from .far import K", "package/far.py": "from pages import K",
}  # fmt: skip

MADE = [
    edited("a template of jinja", "import jinja2\nK = jinja2.Template('a {{ x }}')", "a ", "b "),
    edited("a template of an environment", "import jinja2\nE = jinja2.Environment(trim_blocks=True)\nK = E.from_string('a {{ x }}')", "a ", "b "),
    edited("the environment of a template", "import jinja2\nE = jinja2.Environment(trim_blocks=True)\nK = E.from_string('a {{ x }}')", "True", "False"),
    edited("the filter of a template's environment", "import jinja2\ndef make():\n    e = jinja2.Environment()\n    e.filters['f'] = f\n    return e\ndef f(x): return 1\nE = make()\nK = E.from_string('a {{ x | f }}')", "return 1", "return 2"),
    edited("a lazy frame of polars", "import polars as pl\nK = pl.LazyFrame({'a': [1]}).filter(pl.col('a') > 0)", "> 0", "> 1"),
    edited("a database", "import sqlite3\nK = sqlite3.connect(':memory:', timeout=3)", "=3", "=4"),
    edited("a database at an annotated place", "import sqlite3\nT = 3\nK: object = sqlite3.connect(':memory:', timeout=T)", "T = 3", "T = 4"),
    edited("a database in a dict", "import sqlite3\nK = {'a': [sqlite3.connect(':memory:', timeout=3)]}", "=3", "=4"),
    edited("an open file", "K = open(__file__, encoding='utf-8')", "utf-8", "latin-1"),
    edited("a generator", "def f(): yield 1\nK = f()", "yield 1", "yield 2"),
    edited("a digest", "import hashlib\nK = hashlib.sha256(b'a')", "'a'", "'b'"),
    edited("a generator without a seed", "import numpy as np\nK = np.random.default_rng()", "default_rng()", "Generator(np.random.PCG64())"),
    edited("an object whose copies differ", "import odd\nK = odd.Odd(1)", "1", "2"),
    edited("a connection that a library's closure holds", "import lib, sqlite3\nK = lib.scaler(sqlite3.connect(':memory:', timeout=3))", "=3", "=4"),
    edited("what is set in it later", "import jinja2\ndef f(x): return 1\nE = jinja2.Environment()\nE.filters['f'] = f\nK = E.from_string('a {{ x | f }}')", "return 1", "return 2"),
    edited("one of two ways to make it", "import sqlite3\nimport os\nif os.sep == '/':\n    K = sqlite3.connect(':memory:', timeout=3)\nelse:\n    K = None", "=3", "=4"),
    *(
        Case(f"a template that is {claim}", {"flow.py": text + BODY, **PAGES, "pages.py": PAGES["pages.py"].format("a")}, {"flow.py": text + BODY, **PAGES, "pages.py": PAGES["pages.py"].format("b")}, False)
        for claim, text in {
            "imported": "from pages import K", "imported under another name": "from pages import L as K", "imported with all": "from pages import *",
            "imported through a module": "from through import K", "imported relatively": "from package.near import K",
            "imported if it is there": "try:\n    from pages import K\nexcept ImportError:\n    K = None", "named by its module": "import pages\nK = pages.K",
        }.items()
    ),
    edited("a library's object in an attribute", "import sqlite3\nclass C:\n    def __init__(self): self.c = sqlite3.connect(':memory:', timeout=T)\nT = 3\nK = C()", "T = 3", "T = 4"),
]  # fmt: skip

ODD = """
class Odd:
    def __init__(self, a): self.a = a
    def __reduce__(self): return Odd, (id(self),)
"""
"""A library's class: each copy of an instance is another thing."""

STRUCTLOG = """
import sqlite3, threading
CONNECTION = sqlite3.connect(":memory:")
class Logger:
    def __init__(self): self.lock = threading.Lock()
def get_logger(): return Logger()
"""

SILENT = {
    "loggers": "import logging\nK = logging.getLogger('a')\nL = logging.LoggerAdapter(K, {})\nH = logging.StreamHandler()\ndef main(x): return K, L, H",
    "a logger of a class of one's own": "import logging\nclass Mine(logging.Logger): pass\nK = Mine('a')\ndef main(x): K.info(x)",
    "structured logging": "import structlog\nK = structlog.get_logger()\ndef main(x): K.info(x)",
    "locks": "import threading, multiprocessing, asyncio\nK = threading.Lock(), threading.RLock(), threading.Condition(), threading.Event(), threading.Semaphore(2), multiprocessing.Lock(), asyncio.Lock()\ndef main(x): return K",
    "a lock in a class": "import threading\nclass C:\n    lock = threading.Lock()\n    def __init__(self): self.mine = threading.RLock()\nK = C()\ndef main(x): return K",
    "what is local to a thread": "import threading\nK = threading.local()\ndef main(x): return K",
    "pools": "from concurrent.futures import ThreadPoolExecutor\nK = ThreadPoolExecutor(1)\ndef main(x): return K",
    "queues": "import queue, asyncio\nK = queue.Queue(), queue.SimpleQueue(), asyncio.Queue()\ndef main(x): return K",
    "weak references": "import weakref\nclass C: pass\nc = C()\nK = weakref.ref(c), weakref.WeakValueDictionary(), weakref.WeakKeyDictionary(), weakref.WeakSet()\ndef main(x): return K",
    "sentinels": "K = object()\ndef main(x): return x is K",
    "modules": "import json as K, os.path\nL = K\ndef main(x): return K.dumps(x), L, os.path",
    "a library's module in a table": "import json, pickle\nK = {'a': json, 'b': pickle}\ndef main(x): return K[x].dumps(1)",
    "types": "from typing import *\nT = TypeVar('T'); P = ParamSpec('P'); U = Union[int, 'C']; A = Annotated[int, 1]; Q = Callable[P, T]; N = NewType('N', int)\nclass C(Generic[T]): pass\ndef main(x): return T, P, U, A, Q, N, C, Any, Optional",
    "patterns": "import re\nK = re.compile('a')\nM = K.match\ndef main(x): return K.sub('', x), M(x)",
    "context variables": "from contextvars import ContextVar\nK = ContextVar('k'); L = ContextVar('l', default=1)\ndef main(x): return K, L",
    "caches": "import functools\n@functools.cache\ndef f(x): return x\n@functools.lru_cache(3)\ndef g(x): return x\nclass C:\n    @functools.cached_property\n    def p(self): return 1\nK = C()\ndef main(x): return f(x), g(x), K.p",
    "the streams of the process": "import sys\nfrom sys import stderr\nO = sys.stdout\nW = stderr.write\ndef main(x): return print(x, file=stderr), O, W",
    "a file to write": "import os\nK = open(os.devnull, 'w')\ndef main(x): K.write(x)",
    "a directory that goes": "import tempfile\nK = tempfile.TemporaryDirectory()\ndef main(x): return K",
    "the environment": "import os\nfrom os import environ, getenv\ndef main(x): return environ['A'], getenv('B'), os.environ.get('C')",
    "functions of the global generators": "from random import shuffle, choice, gauss\nimport random\nfrom numpy.random import rand, normal\nimport numpy as np\nG = random.random\ndef main(x): return shuffle(x), choice(x), gauss, G(), rand(), normal(), np.random.rand()",
    "a library's own objects": "from scipy.stats import norm\nfrom sympy.abc import x as y\nfrom numpy import add, pi\nfrom polars import col\ndef main(x): return norm, y, add, pi, col",
    "wrapped functions": "import functools\nfrom contextlib import contextmanager\ndef deco(f):\n    @functools.wraps(f)\n    def g(*a): return f(*a)\n    return g\n@deco\ndef f(x): return x\n@contextmanager\ndef c(): yield\ndef main(x): return f(x), c()",
    "a library's own object of another library's class": "from structlog import CONNECTION\nimport structlog\ndef main(x): return CONNECTION, structlog.CONNECTION",
    "getattr with a name": "import json\nclass C: a = 1\nimport helper\ndef main(x): return getattr(C, 'a'), getattr(helper, 'f'), getattr(json, 'dumps'), hasattr(helper, 'f')",
    "getattr on an argument": "def main(x, y='a'): return getattr(x, y), getattr(x.z, y), vars(x), x.__dict__, dir(x)",
    "getattr on an object": "class C:\n    def __init__(self): self.a = 1\nK = C()\ndef main(x): return getattr(K, x), vars(K), getattr(C, x)",
    "getattr on a library": "import json, importlib\ndef main(x): return getattr(json, x), vars(json), json.__dict__[x], importlib.reload",
    "setattr on an argument": "def main(x, y): setattr(x, y, 1); delattr(x, y)",
    "code with names of its own": "def main(x):\n    names = {}\n    exec(x, names)\n    return eval(x, {'__builtins__': {}}, names), eval(x, globals={})",
    "methods called eval": "import polars as pl\nclass C:\n    def eval(self, x): return x\nK = C()\ndef main(x): return x.eval('a'), K.eval(1), x.model.eval(), x.query('a')",
    "a library that is imported by name": "import importlib\nfrom importlib import import_module\ndef main(x): return importlib.import_module('json'), import_module('os.path'), __import__('json')",
    "a library that may be lacking": "import importlib\ntry: import nowhere\nexcept ImportError: HAS = False\ndef main(x):\n    try:\n        import nowhere2\n        from nowhere3.sub import y\n    except ImportError:\n        return importlib.import_module('nowhere4')\n    return nowhere.f() if HAS else nowhere2",
    "resources of a package": "import importlib.resources, importlib.metadata\ndef main(x): return importlib.metadata.version('rayflow'), importlib.resources.files('json')",
    "names of the function itself": "def main(x): return locals(), vars(), __name__, main.__name__, type(x).__name__",
    "a state of the module": "_model = None\ndef model():\n    global _model\n    if _model is None: _model = 3\n    return _model\ndef main(x): return model()",
    "a tree with parents": "class N:\n    def __init__(self, p=None): self.p = p; self.c = []; p and p.c.append(self)\nK = N(); N(K)\ndef main(x): return K",
    "an enum, a path, a date, a number": "import enum, pathlib, datetime, decimal, uuid, fractions, zoneinfo\nE = enum.Enum('E', 'A B')\nK = E.A, pathlib.Path('a'), datetime.date(2024, 1, 1), decimal.Decimal(1), uuid.UUID(int=1), fractions.Fraction(1), zoneinfo.ZoneInfo('UTC'), datetime.timezone.utc\ndef main(x): return K",
    "libraries for numbers": "import numpy as np, pandas as pd, polars as pl, pyarrow as pa\nK = np.float64(1), np.nan, pd.NA, pd.NaT, pd.Timestamp(0), pl.Int64, pl.lit(1), pa.int64(), pa.scalar(1), np.linalg, np.ndarray, np.int64, np.sum, np.linalg.norm, pd.concat\ndef main(x): return K",
    "values of rayflow": "from rayflow import File, Dir, Secret, get_context\nK = File('a'), Dir('b'), Secret('env:A')\ndef main(x): return K",
    "a connection in the text of a class": "import sqlite3\nclass C:\n    c = sqlite3.connect(':memory:')\ndef main(x): return C.c",
    "a class of a library that makes classes": "import pydantic\nclass C(pydantic.BaseModel):\n    a: int = pydantic.Field(default=1, gt=0)\n    b: list = pydantic.Field(default_factory=list)\n    @pydantic.field_validator('a')\n    def check(cls, v): return v\nK = C()\ndef main(x): return C(a=x), K",
    "classes of attrs": "import attrs\n@attrs.define\nclass C:\n    a: int = attrs.field(default=1, validator=attrs.validators.gt(0))\nK = C()\ndef main(x): return K, C",
    "an application of a library that registers functions": "import click\n@click.command()\n@click.option('--a')\ndef go(a): pass\ndef main(x): return x",
}  # fmt: skip
"""Common code of which nobody has to be told anything."""

LOOKED_UP = {
    "globals()[x]": "globals()",
    "eval(x)": "eval(x)",
    "exec(x)": "exec(x)",
    "exec(x, globals())": "globals()",
    "getattr(helper, x)": "getattr(helper, x)",
    "getattr(package.inner, x)": "getattr(package.inner, x)",
    "vars(helper)[x]": "vars(helper)",
    "helper.__dict__[x]": "helper is used as a whole module",
    "dir(helper)": "helper is used as a whole module",
    "inspect.getmembers(helper)": "helper is used as a whole module",
    "operator.attrgetter(x)(helper)": "helper is used as a whole module",
    "TABLE[x].f()": "TABLE['h'] is used as a whole module",
    "importlib.import_module(x).f()": "importlib.import_module(x)",
    "importlib.import_module('helper').f()": "importlib.import_module('helper')",
    "importlib.import_module('.inner', 'package')": "importlib.import_module('.inner', 'package')",
    "import_module(x).f()": "import_module(x)",
    "load(x).f()": "load is Python's import_module",
    "run(x)": "run is Python's eval",
    "__import__(x)": "__import__(x)",
    "__import__('helper').f()": "__import__('helper')",
    "sys.modules[x].f()": "sys.modules depends on which modules are imported",
    "modules[x].f()": "modules depends on which modules are imported",
    "helper.f.__globals__[x]": "helper.f.__globals__",
    "sys._getframe().f_globals[x]": "sys._getframe().f_globals",
    "runpy.run_path(x)": "runpy.run_path(x)",
    "pkgutil.resolve_name(x)": "pkgutil.resolve_name(x)",
    "importlib.util.spec_from_file_location('a', x)": "importlib.util.spec_from_file_location('a', x)",
    "C.__subclasses__()": "C.__subclasses__ depends on which modules are imported",
}
"""Look-ups that nobody can follow, and what is said of each."""

LOOKING = """
import importlib, importlib.util, inspect, operator, pkgutil, runpy, sys
import helper, package.inner
from importlib import import_module
from sys import modules
load = importlib.import_module
run = eval
TABLE = {{'h': helper}}
class C: pass
def main(x): return {}
"""

HELPERS = {
    "helper.py": "def f(): return 1",
    "package/__init__.py": "", "package/inner.py": "",
    "lib/site-packages/odd.py": ODD, "lib/site-packages/lib.py": MAKERS, "lib/site-packages/structlog.py": STRUCTLOG,
}  # fmt: skip


def identity_of(projects: Projects, files: str | dict[str, str]) -> CodeIdentity:
    return projects.identity({**HELPERS, **({"flow.py": files} if isinstance(files, str) else files)})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.claim)
def test_an_edit_of_a_constant_changes_the_identity(case: Case, projects: Projects) -> None:
    before, after = (identity_of(projects, files) for files in (case.before, case.after))
    assert before.digest != after.digest
    assert before.unresolved == after.unresolved == ()


@pytest.mark.parametrize("case", MADE, ids=lambda case: case.claim)
def test_a_constant_whose_content_cannot_be_told_counts_by_how_it_is_made(case: Case, projects: Projects) -> None:
    before, after = (identity_of(projects, files) for files in (case.before, case.after))
    assert before.digest != after.digest
    (told,) = before.unresolved
    assert told.startswith("flow.main: K")
    assert told.endswith(", so only the statement that makes it counts")


@pytest.mark.parametrize("text", SILENT.values(), ids=SILENT)
def test_common_code_is_not_warned_of(text: str, projects: Projects) -> None:
    assert identity_of(projects, text).unresolved == ()


@pytest.mark.parametrize(("expression", "said"), LOOKED_UP.items(), ids=LOOKED_UP)
def test_a_look_up_that_cannot_be_followed_is_named(expression: str, said: str, projects: Projects) -> None:
    (told,) = identity_of(projects, LOOKING.format(expression)).unresolved
    assert told.startswith(f"flow.main: {said}")


HERE = Path(__file__).parent

ALL_DIGESTS = """
import sys, warnings
from pathlib import Path
from types import ModuleType
from source_projects import Projects
import test_code_constants as here
warnings.simplefilter("ignore")
projects = Projects(Path(sys.argv[1]))
for text in [*(case.before for case in [*here.CASES, *here.MADE]), *here.SILENT.values()]:
    print(here.identity_of(projects, text).digest.hex())
"""


@pytest.mark.slow
def test_constants_count_alike_in_processes_with_other_hash_seeds(tmp_path: Path) -> None:
    answers = []
    for seed in ("1", "2"):
        ended = subprocess.run(
            [sys.executable, "-c", ALL_DIGESTS, str(tmp_path / seed)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{HERE}:{HERE.parent}/support:{HERE.parents[1]}"},
            capture_output=True, text=True, check=True, timeout=200,
        )  # fmt: skip
        answers.append(ended.stdout.split())
    names = [*(case.claim for case in [*CASES, *MADE]), *SILENT]
    assert [name for name, one, other in zip(names, *answers, strict=True) if one != other] == []


USED = {
    "numbers are drawn from it": ("import random\nK = random.Random(1)", "random()"),
    "numbers are drawn from numpy's": ("import numpy as np\nK = np.random.default_rng(1)", "random()"),
    "it fills its caches": ("import networkx as nx\nK = nx.Graph([(1, 2)])", "adj"),
    "it is fitted": ("from sklearn.linear_model import Ridge\nK = Ridge()", "fit([[1.], [2.]], [1., 2.])"),
    "a decimal is rounded": ("import decimal\nK = decimal.Context(prec=2)", "divide(1, 3)"),
}


@pytest.mark.parametrize(("text", "use"), USED.values(), ids=USED)
def test_what_a_constant_is_does_not_change_when(text: str, use: str, projects: Projects) -> None:
    module = projects.load({"flow.py": text + BODY})
    before = code_identity(module.main, project_dir=projects.root, is_task=is_task).digest
    eval(f"K.{use}", vars(module))
    assert code_identity(module.main, project_dir=projects.root, is_task=is_task).digest == before
    module = projects.load({"flow.py": text + BODY})
    assert code_identity(module.main, project_dir=projects.root, is_task=is_task).digest == before


def test_what_a_person_changes_counts_once_it_is_looked_at_again(projects: Projects) -> None:
    module = projects.load({"flow.py": "from sklearn.linear_model import Ridge\nK = Ridge()" + BODY})
    before = code_identity(module.main, project_dir=projects.root, is_task=is_task)
    module.K.alpha = 7
    refresh_code(at_all=True)
    assert code_identity(module.main, project_dir=projects.root, is_task=is_task).digest != before.digest


def test_objects_that_use_each_other_through_functions_count_alike_from_both_ends(projects: Projects) -> None:
    text = """
    from sklearn.preprocessing import FunctionTransformer
    def f(x): return B
    def g(x): return A, {}
    A, B = FunctionTransformer(f), FunctionTransformer(g)
    def first(x): return A
    def second(x): return B
    """
    found = []
    for number in (1, 2):
        for order in (("first", "second"), ("second", "first")):
            module = projects.load({"flow.py": textwrap.dedent(text.format(number))})
            taken = {name: code_identity(getattr(module, name), project_dir=projects.root, is_task=is_task).digest for name in order}
            found.append((taken["first"], taken["second"]))
    assert found[0] == found[1] != found[2] == found[3]
    assert found[0][0] != found[2][0] and found[0][1] != found[2][1]


def test_the_order_in_which_modules_fill_a_table_of_functions_does_not_count(projects: Projects) -> None:
    files = {
        "table.py": "K = {}",
        "one.py": "from table import K\ndef f(): return 1\nK['f'] = f",
        "two.py": "from table import K\ndef g(): return 2\nK['g'] = g",
    }
    texts = [f"import {first}\nimport {last}\nfrom table import K" + BODY for first, last in (("one", "two"), ("two", "one"))]
    digests = {identity_of(projects, {**files, "flow.py": text}).digest for text in texts}
    assert len(digests) == 1


def test_the_order_in_which_modules_register_functions_does_not_count(projects: Projects) -> None:
    text = """
    from functools import singledispatch
    @singledispatch
    def K(x): return 0
    {}
    {}
    def main(x): return K(x)
    """
    ways = "@K.register(int)\n    def first(x): return 1", "@K.register(str)\n    def second(x): return 2"
    one, other = (identity_of(projects, textwrap.dedent(text.format(*each))) for each in (ways, ways[::-1]))
    assert one.digest == other.digest
    assert one.digest != identity_of(projects, textwrap.dedent(text.format(*ways).replace("return 2", "return 3"))).digest


@pytest.mark.filterwarnings("ignore::rayflow.lang.code.definition.SourceUnknown")
def test_in_a_notebook_a_constant_whose_content_cannot_be_told_is_named() -> None:
    cell = ModuleType("__main__")
    exec("import sqlite3\nK = sqlite3.connect(':memory:')\ndef main(x): return K", vars(cell))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "__main__", cell)
        (told,) = code_identity(cell.main, project_dir=None, is_task=is_task).unresolved
    assert told.endswith("K is a sqlite3.Connection, whose content cannot be told")


def test_a_part_that_nothing_but_the_walk_holds_is_not_taken_for_a_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def apart(value: list[int], is_own: object) -> tuple[bytes, list[tuple[str, object]]]:
        (depth,) = value
        return b"deep", [("", [depth - 1])] if depth else []  # made as the walk comes here

    monkeypatch.setattr(constants, "take_apart", apart)
    tokens, _ = constants.content("K", [50], lambda of: False, lambda way, part: None)
    assert tokens == [b"<deep"] * 51
