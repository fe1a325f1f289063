# ruff: noqa: E501  the sample is denser than code should be
"""The normalised form of syntax: blind to formatting, sharp for meaning, the same under every Python."""

from __future__ import annotations

import ast
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayflow.lang.code.free_names import names_of
from rayflow.lang.code.normal_form import FIELDS, constant_bytes, normalised

NORMAL_FORM = Path(__file__).parents[2] / "rayflow" / "lang" / "code" / "normal_form.py"

SAMPLE = '''
@deco(1)
async def f(a, /, b: int = 2, *c, d=3, **e) -> None:
    """Doc."""
    x: int = 1
    y: str
    async with a as b, c: pass
    async for i in b: await i
    try: raise E from None
    except (A, B) as err: del err
    else: x += -1
    finally: assert x, "m"
    match x:
        case [1, *rest] | {"k": v, **r} if v: return
        case Point(x=0) as p: pass
        case None | "a": ...
    with open(x) as g, h() as (k, l): yield
    global q; q = [1, 2.5, 3j, b"x", "y", ..., None, True, 1 << 70]
    z = {**a, "k": (yield)}, {1, 2}, [j async for j in x if j], {k: v for k, v in z}, a[1:2, ::3], f"{x!r:>{y}} {z=}" "t"
    return lambda u, *w: (u if (n := w) else not u) and u @ w < 3 is not None
class C(Base, metaclass=M):
    a: int
    b: str = "x"
    def m(self): return super().m()
'''


def form(text: str) -> bytes:
    return normalised(ast.parse(text))


def test_every_field_that_python_parses_is_either_counted_or_left_out_on_purpose() -> None:
    left_out = {"ctx", "type_comment", "type_ignores", "returns", "annotation", "type_params", "kind", "simple", "lineno"}
    for name, fields in FIELDS.items():
        node = getattr(ast, name, None)
        if node is not None:
            assert set(node._fields) - set(fields) <= left_out, name


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_the_form_is_the_same_under_other_versions_of_python(version: str) -> None:
    pythons = Path.home().glob(f".pyenv/versions/{version}*/bin/python")
    python = next(map(str, pythons), None) or shutil.which(f"python{version}")
    if python is None:
        pytest.skip(f"no Python {version} here")
    script = (
        "import ast, sys, hashlib, importlib.util as u; s = u.spec_from_file_location('s', sys.argv[1]);"
        "m = u.module_from_spec(s); s.loader.exec_module(m);"
        "print(hashlib.sha256(m.normalised(ast.parse(sys.stdin.read()))).hexdigest())"
    )
    done = subprocess.run(
        [python, "-c", script, str(NORMAL_FORM)], input=SAMPLE, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == hashlib.sha256(form(SAMPLE)).hexdigest()


def test_neighbouring_texts_of_an_f_string_are_one() -> None:
    assert form("f'a{x}b' 'c'") == form("f'a{x}' 'b' f'c'") != form("f'a{x}b'")


def test_constants_of_different_types_differ() -> None:
    values = [1, True, 1.0, 1 + 0j, "1", b"1", None, ..., 0.0, -0.0, 0, False, "", b"", 10**5000]
    assert len({constant_bytes(value) for value in values}) == len(values)
    with pytest.raises(TypeError):
        constant_bytes([])


@pytest.mark.slow
def test_long_chains_of_operators_are_written_without_recursion() -> None:
    node: ast.expr = ast.Name("x", ast.Load())
    for _ in range(50_000):
        node = ast.BinOp(node, ast.Add(), ast.Constant(1))
    assert len(normalised(node)) > 50_000
    assert names_of(node).strong == (("x",),)


names = st.sampled_from(["a", "b", "c"])
numbers = st.integers(0, 9).map(str)
expressions = st.recursive(
    names | numbers,
    lambda inner: st.tuples(inner, st.sampled_from(["+", "*", "-", "and", "<"]), inner).map(
        lambda each: f"({each[0]} {each[1]} {each[2]})"
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(names, expressions), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_formatting_never_changes_the_form(statements: list[tuple[str, str]], chance: object) -> None:
    choose = chance.choice  # type: ignore[attr-defined]
    plain = ["def f(a, b, c):"]
    dressed = [choose(["", "# before\n", "\n\n"]) + "def f(\n    a,\n    b, c,  # the last\n):", "    '''Doc.'''"]
    for target, expression in statements:
        plain.append(f"    {target} = {expression}")
        dressed.append(choose(["", "\n", "    # note", "    'text alone'", "    pass"]))
        annotation = choose(["", ": int", ": 'str'"])
        value = choose([expression, f"({expression})", f"(\n        {expression}\n    )"])
        dressed.append(f"    {target}{annotation} = {value}{choose(['', '  # end', ';'])}")
    assert form("\n".join(plain)) == form("\n".join(dressed))


@settings(max_examples=60, deadline=None)
@given(expressions, expressions)
def test_expressions_have_equal_forms_only_when_their_trees_are_equal(one: str, other: str) -> None:
    same = ast.dump(ast.parse(one)) == ast.dump(ast.parse(other))
    assert (form(f"x = {one}") == form(f"x = {other}")) is same


SCOPES = [
    ("def f(x): return g(x.y) + h.i.j", {"g", "h.i.j"}),
    ("def f(x):\n    y = 1\n    def g(): return y + z\n    return g", {"z"}),
    ("def f(x):\n    global y\n    y = y + 1", {"y"}),
    ("def f(x): return [a for a in b for c in a if d(c)]", {"b", "d"}),
    ("def f(x): return [K for K in K]", {"K"}),
    ("def f(x): return [(w := a) for a in x] and w", set()),
    ("def f(x):\n    try: pass\n    except E as e: return e", {"E"}),
    ("def f(x):\n    match x:\n        case P(a=q) | [q, *r]: return q, r", {"P"}),
    ("def f(x: A, y=D) -> R: pass", set()),
    ("def f(x):\n    def g(y=D): pass", {"D"}),
    ("class C:\n    k = 1\n    def m(self): return k", {"k"}),
    ("class C:\n    def m(self): return super().m() or __class__ or __name__", {"super"}),
    ("def f(x):\n    for i, (j, k) in x: print(i, j, k)\n    with o() as p: p", {"o", "print"}),
    ("lambda x, *y, k=K: (x, y, k, z)", {"z"}),
    ("def f(x): return getattr(m, 'n')", {"m.n", "getattr"}),
]


@pytest.mark.parametrize(("text", "free"), SCOPES)
def test_free_names_follow_pythons_scoping(text: str, free: set[str]) -> None:
    statement = ast.parse(text).body[0]
    found = names_of(statement.value if isinstance(statement, ast.Expr) else statement)
    assert {".".join(chain) for chain in found.strong} == free


