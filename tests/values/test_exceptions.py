"""Exceptions as values: they come back without their constructors, with all that they carry, and are known by it."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from rayflow.values.encoding.encoding import decode, encode
from rayflow.values.encoding.identity import value_hash
from rayflow.values.failures import exception_from_failure, failure_from_exception


class Diverged(Exception):
    """Pickle would call it with the one argument that it hands on."""

    def __init__(self, rate: float, step: int) -> None:
        super().__init__(f"diverged with {rate} at step {step}")
        self.rate, self.step = rate, step


class Slotted(Exception):
    __slots__ = ("code", "never_set")

    def __init__(self, *, code: int) -> None:
        self.code = code


class Refused(ConnectionError):
    def __init__(self, host: str, *, port: int) -> None:
        super().__init__(111, "refused", f"{host}:{port}")
        self.port = port


class Reduced(Exception):
    def __init__(self, one: int, other: int) -> None:
        super().__init__(one)
        self.other = other

    def __reduce__(self) -> Any:
        return Reduced, (self.args[0], self.other)


def undecodable() -> UnicodeDecodeError:
    with pytest.raises(UnicodeDecodeError) as caught:
        b"\xff".decode()
    return caught.value


ERRORS = [
    ValueError("a", {"b": 1}),
    KeyError("k"),
    Diverged(0.1, 3),
    Slotted(code=4),
    Refused("a.b", port=80),
    Reduced(1, 2),
    FileNotFoundError(2, "gone", "a.txt"),
    OSError(18, "other disk", "a", None, "b"),
    ImportError("no such name", name="a", path="b"),
    SyntaxError("bad", ("a.py", 1, 2, "x = (")),
    StopIteration(3),
    SystemExit(4),
    NameError("x", name="x"),
    undecodable(),
    ExceptionGroup("two", [Diverged(0.2, 1), ValueError(2)]),
]


def said_of(error: BaseException) -> list[object]:
    names = "args code rate step port other errno strerror filename filename2 name path msg lineno text value start end"
    return [type(error), str(error), *(getattr(error, name, None) for name in names.split())]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_exception_comes_back_with_all_that_it_carries(error: BaseException) -> None:
    again = decode(encode(error))
    if isinstance(error, ExceptionGroup):
        assert [said_of(each) for each in again.exceptions] == [said_of(each) for each in error.exceptions]
        assert str(again) == str(error)
    else:
        assert said_of(again) == said_of(error)
    assert value_hash(again) == value_hash(error)
    assert said_of(decode(encode([again]))[0])[:2] == said_of(error)[:2]


def test_what_built_in_classes_keep_beside_the_arguments_counts() -> None:
    pairs = [
        (FileNotFoundError(2, "gone", "a.txt"), FileNotFoundError(2, "gone", "b.txt")),
        (ImportError("no", name="a"), ImportError("no", name="b")),
        (Slotted(code=1), Slotted(code=2)),
    ]
    for one, other in pairs:
        assert one.args == other.args
        assert value_hash(one) != value_hash(other)


def test_an_attribute_error_does_not_carry_the_object_along() -> None:
    error = AttributeError("none", name="x", obj=(number for number in ()))
    again = decode(encode(error))
    assert again.name == "x" and again.obj is None
    assert value_hash(again) == value_hash(error)


class Model(pydantic.BaseModel):
    size: int


def test_an_exception_of_a_class_made_in_c_is_pickled_as_its_author_says() -> None:
    with pytest.raises(pydantic.ValidationError) as raised:
        Model(size="large")
    for again in (decode(encode(raised.value)), exception_from_failure(failure_from_exception(raised.value))):
        assert type(again) is pydantic.ValidationError
        assert again.errors() == raised.value.errors()
