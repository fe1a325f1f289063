"""Whole numbers that Python refuses to write as text, wherever a value can stand."""

from __future__ import annotations

import fractions
import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflow.cli.output.json_form import to_json
from rayflow.lang.arguments.from_text import parse
from rayflow.values.encoding.previews import preview
from rayflow.values.encoding.whole_numbers import digits, json_text, number_of, text_of

LONG = 10**5000 + 7
DIGITS = "1" + "0" * 4999 + "7"

PLACES = {
    "result": "LONG",
    "negative": "-LONG",
    "in a list": "[LONG, [-LONG]]",
    "in a tuple": "(LONG,)",
    "key of a dict": "{LONG: LONG, 'a': 1}",
    "in a set": "{LONG, frozenset([LONG])}",
    "in a dataclass": "Data(LONG)",
    "in a named tuple": "Named(LONG)",
    "in an object": "Plain(LONG)",
    "in a text of its own": "Says(LONG)",
    "in an enum": "Members.LONG",
    "of a subclass": "Own(LONG)",
    "in a Fraction": "fractions.Fraction(LONG, LONG + 1)",
    "as a Decimal": "decimal.Decimal(LONG)",
    "in a Counter": "collections.Counter({LONG: LONG})",
    "in a deque": "collections.deque([LONG])",
    "in an OrderedDict": "collections.OrderedDict({LONG: LONG})",
    "in a range": "range(LONG)",
    "in a slice": "slice(LONG)",
    "in an exception": "ValueError(LONG, [LONG])",
    "in a closure": "keeps(LONG)",
    "in a partial": "functools.partial(pow, LONG)",
    "in a namespace": "types.SimpleNamespace(x=LONG)",
    "in an array": "numpy.array([LONG, 1], dtype=object)",
    "in an array of no dimension": "numpy.array(LONG, dtype=object)",
    "in a frame": "pandas.DataFrame({'a': [LONG]}, dtype=object)",
    "name of a column": "pandas.DataFrame({LONG: [1]})",
    "in a series": "pandas.Series([LONG], dtype=object, name=LONG)",
    "in an index": "pandas.DataFrame({'a': [1]}, index=pandas.Index([LONG], dtype=object))",
    "in a handle": "Database('name', LONG)",
    "in a Value": "Measured(LONG)",
}

FLOW = """
    import collections, dataclasses, decimal, enum, fractions, functools, types
    import numpy, pandas
    from rayflow import Handle, Value, apply_tags, catch, cond, get_context, map_, task, throw

    LONG = 10**5000 + 7
    WRITTEN = HEX

    @dataclasses.dataclass
    class Data:
        x: object

    class Named(collections.namedtuple("Named", "x")):
        pass

    class Plain:
        def __init__(self, x):
            self.x = x

    class Says(Plain):
        def __repr__(self):
            return f"Says({self.x})"

    class Members(enum.Enum):
        LONG = LONG

    class Own(int):
        pass

    class Database(Handle):
        def __init__(self, name, port):
            self.port = port

    class Measured(Value):
        def __init__(self, x):
            self.x = x

    def keeps(x):
        return lambda: x

    @task
    def give(x):
        return x

    @task
    def by_default(x=LONG):
        return x + WRITTEN

    @task
    def raises():
        raise ValueError(LONG)

    @task
    def lacks():
        return give({1: 1})[LONG]

    @task
    def thrown():
        return throw(KeyError(LONG))

    @task
    def caught():
        return catch(raises(), ValueError, caught_as)

    @task
    def caught_as(error):
        return type(error).__name__

    @task
    def many(x: int):
        return [map_(give, [x, x + 1]), cond(give(x), x + 2, 0), give(x) * 2, give([x])[0] - x]

    @task
    def tagged():
        applied = apply_tags(1, {"k": LONG, "list": [LONG]}, job_tags={"j": {LONG: LONG}}, execution_tags={"e": LONG})
        return [applied, give.options(tags={"o": LONG})(2)]

    @task(tags={"n": LONG}, version=LONG, hash_includes=[LONG])
    def defined():
        return 1

    @task
    def contexts():
        return [give(get_context("own")), below.update_context(a={"b": LONG})()]

    @task
    def below():
        return get_context("a.b")

    @task
    def misuses(option):
        return give.options(**{option: LONG if option != "limits" else {"db": LONG}})(1)

    @task
    def typed(x: str):
        return x

    @task
    def mistyped():
        return typed(LONG)

    PLACES = {ALL}

    @task
    def place(name: str):
        return give(PLACES[name]())

    @task
    def everywhere():
        return [place(name) for name in PLACES]
"""

FLOW = FLOW.replace("HEX", hex(LONG))
FLOW = FLOW.replace("ALL", ", ".join(f"{name!r}: lambda: {text}" for name, text in PLACES.items()))


@pytest.fixture
def flow(rayflow: Any) -> Any:
    rayflow.project.write(rayflow.file, FLOW)
    return rayflow


def all_is_shown(flow: Any, task: str = "") -> None:
    """Every verb that shows records shows these."""
    verbs = ["log -", "log - --json", "why -", "viz -", "log --jobs", "log --failed", "tag list -", "why flow.give"]
    for verb in [*verbs, f"log {flow.namespace}.{task or 'give'}"]:
        done = flow(*verb.replace("flow.", f"{flow.namespace}.").split())
        assert done.code in (0, 1) and "mistake in rayflow" not in done.err, (verb, done.err)


@pytest.mark.parametrize("place", PLACES)
def test_a_long_number_may_stand_anywhere(flow: Any, place: str) -> None:
    for how in ([], ["--json"]):
        done = flow.run("place", "--name", place, *how)
        assert done.code == 0, done.err
        assert done.out.strip() and "raises" not in done.out
    assert "1 cached" in done.err or "2 cached" in done.err, "it is known again"


def test_every_verb_shows_a_long_number_anywhere(flow: Any) -> None:
    done = flow.run("everywhere")
    assert done.code == 0, done.err
    assert f"{1 + 2 * len(PLACES)} jobs" in done.err
    all_is_shown(flow, "place")


@pytest.mark.parametrize(
    ("task", "code", "said"),
    [
        ("by_default", 0, digits(2 * LONG)),
        ("raises", 1, "ValueError: <int of 16610 bits>"),
        ("lacks", 1, "KeyError: <int of 16610 bits>"),
        ("thrown", 1, "KeyError: <int of 16610 bits>"),
        ("caught", 0, "'ValueError'"),
        ("tagged", 0, "[1, 2]"),
        ("defined", 0, "1"),
        ("contexts", 0, "[None, <int of 16610 bits>]"),
        ("mistyped", 1, "typed() takes str for 'x', not <int of 16610 bits>"),
    ],
)
def test_a_long_number_may_be_used_anywhere(flow: Any, task: str, code: int, said: str) -> None:
    done = flow.run(task)
    assert done.code == code, done.err
    assert said in (done.err if code else done.out)
    all_is_shown(flow, task)


@pytest.mark.parametrize("option", ["retries", "memory", "timeout", "priority", "limits", "cache_for", "num_cpus"])
def test_an_option_that_is_too_long_a_number_is_refused(flow: Any, option: str) -> None:
    done = flow.run("misuses", "--option", option)
    assert done.code == 1
    assert f"option '{option}'" in done.err and "<int of 16610 bits>" in done.err


@pytest.mark.parametrize("text", [DIGITS, f"-{DIGITS}", hex(LONG), f" {DIGITS}"])
def test_a_long_number_can_be_written_on_the_command_line(flow: Any, text: str) -> None:
    done = flow.run("give", "--x", text, "--json")
    assert (done.code, done.out.strip().lstrip("-")) == (0, DIGITS), done.err
    if not text.startswith("0x"):
        assert flow.run("many", "--x", text).code == 0
        assert "No job" in flow("log", "--jobs", "--arg", f"x={text.strip()}1").out
    assert flow("log", "--jobs", "--arg", f"x={text.strip()}").out.count("give")


def test_a_long_number_can_stand_in_a_file_a_tag_and_a_context(flow: Any) -> None:
    flow.project.write("data.json", f'{{"x": {DIGITS}}}')
    done = flow.run("give", "--input", "data.json", "--tag", f"k={DIGITS}", "--context", f"own={DIGITS}", "--json")
    assert (done.code, done.out.strip()) == (0, DIGITS), done.err
    assert DIGITS in flow("tag", "list", "-").out
    assert "give" in flow("log", "--tag", f"k={DIGITS}").out
    assert flow("log", "--jobs", "--arg", "x=" + "1" * 400).code == 0, "too large for a float"


def test_a_long_number_inside_of_a_literal_is_refused(flow: Any) -> None:
    done = flow.run("give", "--x", f"({DIGITS},)")
    assert done.code == 1 and "write JSON, or 0x" in done.err


@given(st.integers(-(2**20000), 2**20000) | st.integers())
def test_numbers_become_text_and_come_back(number: int) -> None:
    assert number_of(digits(number)) == number
    assert number_of(f" {digits(number)} ") == number
    assert parse(digits(number), int) == parse(digits(number)) == number
    assert parse(text_of(fractions.Fraction(number, 7)), fractions.Fraction) == fractions.Fraction(number, 7)
    before = sys.get_int_max_str_digits()
    assert to_json([number]) == f"[{digits(number)}]"
    assert sys.get_int_max_str_digits() == before
    assert preview([number, {number}])


@pytest.mark.parametrize("text", ["", "_1", "1_", "1__2", "+-1", "1.5", *(f"{DIGITS}{end}" for end in "_x.")])
def test_what_is_no_number_stays_none(text: str) -> None:
    with pytest.raises(ValueError):
        number_of(text)


def test_json_of_any_data_can_be_written() -> None:
    ring: list[Any] = []
    ring.append(ring)

    class Silent:
        def __str__(self) -> str:
            raise ValueError

    long: Any
    for long in (ring, {(1, 2): 3}, [Silent(), LONG], {"a": Silent()}, {LONG: (LONG,)}):
        assert json.loads(json_text(long, str))
    assert json_text({"a": [1, LONG]}, str) == f'{{"a": [1, "{DIGITS}"]}}'
    assert json_text({"a": (1, None)}, str) == '{"a": [1, null]}'
