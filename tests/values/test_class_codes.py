"""What the code of a class is, as far as it is told from elsewhere."""

from __future__ import annotations

import dataclasses
import enum
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from rayflow.values.encoding.encoding import decode, make_ref
from rayflow.values.objects.pickling import dump
from rayflow.values.process import class_codes
from rayflow.values.process.class_codes import code_of, forget_codes, remember_code
from rayflow.values.process.code_reader import CodeReader


def test_what_another_process_has_told_of_a_class_is_known_as_long_as_the_class_is():
    class Told:
        pass

    remember_code(Told, b"as told")
    others = [type("Other", (), {}) for _ in range(10_001)]
    for other in others:
        remember_code(other, b"other")
    assert code_of(Told) == b"as told"


# --- a value comes back to the process that has its class -------------------------------------------------------------


def _named_tuple() -> Any:
    return namedtuple("Pair", "a b")(1, 2)


def _data() -> Any:
    return dataclasses.make_dataclass("Data", [("x", int), ("y", int, 3)])(1)


def _plain() -> Any:
    class Plain:
        names = ["a"]

        def go(self) -> int:
            return len(self.names)

    return Plain()


def _attrs() -> Any:
    return attrs.make_class("Made", {"x": attrs.field(factory=list), "y": attrs.field(default=1)})()


def _enum() -> Any:
    return enum.Enum("Colour", "RED GREEN").RED  # type: ignore[attr-defined]


@pytest.mark.parametrize("make", [_named_tuple, _data, _plain, _attrs, _enum])
def test_a_class_of_this_process_is_as_it_was_after_a_value_has_come_back(make: Callable[[], Any]):
    value = make()
    of = type(value)
    before = dict(vars(of))
    again = decode(make_ref(value)[1])
    assert type(again) is of
    changed = {name for name, part in vars(of).items() if part is not before.get(name)}
    assert changed <= {"__slotnames__"}  # Python's own note of how it is pickled
    of.added = 1  # what is set meanwhile stays, too
    decode(make_ref(value)[1])
    assert of.added == 1


def test_the_code_of_a_class_of_this_process_is_found_out_anew_after_a_value_has_come_back(
    monkeypatch: pytest.MonkeyPatch,
):
    class Counter:
        step = 1

    reader = CodeReader(lambda function: b"", lambda of: b"%d" % of.step)
    monkeypatch.setattr(class_codes, "code_reader", lambda: reader)
    before = code_of(Counter)
    decode(make_ref(Counter())[1])
    Counter.step = 2
    forget_codes()
    assert code_of(Counter) != before


@pytest.mark.slow
def test_fields_of_a_dataclass_without_a_default_have_none_in_another_process(tmp_path: Path):
    of = dataclasses.make_dataclass("Data", [("x", int), ("y", list, dataclasses.field(default_factory=list))])
    stream, _ = dump(of(1), apart=False)
    (tmp_path / "value").write_bytes(stream)
    code = """
import dataclasses, pickle, sys
value = pickle.loads(open(sys.argv[1], "rb").read())
x, y = dataclasses.fields(value)
assert x.default is dataclasses.MISSING and x.default_factory is dataclasses.MISSING, x
assert y.default is dataclasses.MISSING and y.default_factory is list, y
assert dataclasses.replace(value, x=2).x == 2
try:
    type(value)()
except TypeError:
    sys.exit(0)
sys.exit("a field without a default has got one")
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "value")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
