"""Value types of the user's own, and handlers for classes of others."""

from __future__ import annotations

import dataclasses
import enum
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy
import pytest

from rayflow import Handler, Value, register_handler
from rayflow.errors import BadArguments
from rayflow.lang.arguments.from_text import parse
from rayflow.lang.packing.pack import pack
from rayflow.lang.terms.codec import dumps, witnesses_of
from rayflow.testing.contracts import check_handler, check_other_processes
from rayflow.values.encoding.encoding import decode, decode_inline, from_bytes, make_ref, to_bytes
from rayflow.values.encoding.identity import value_hash
from rayflow.values.encoding.previews import preview
from rayflow.values.objects import handlers, hooks
from rayflow.values.objects.hooks import entering, leaving
from rayflow.values.witnesses import OF_VALUE, WitnessCollector, check

calls: list[str] = []


@pytest.fixture(autouse=True)
def no_classes(monkeypatch):
    """What a value's class is witnessed by has tests of its own."""
    monkeypatch.setattr(hooks, "definition_witness", lambda of: None)
    hooks.forget()
    yield
    hooks.forget()


class Plain(Value):
    def __init__(self, x: Any) -> None:
        self.x = x


@dataclasses.dataclass
class Fields(Value):
    x: int
    y: list[int]


class Slotted(Value):
    __slots__ = ("x",)

    def __init__(self, x: Any) -> None:
        self.x = x


class Folded(Value):
    """Its case does not count; it is kept as bytes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def identity(self) -> Any:
        return self.text.lower()

    def encode(self) -> Any:
        return self.text.encode()

    @classmethod
    def decode(cls, data: Any) -> Folded:
        return cls(data.decode())

    @classmethod
    def parse(cls, text: str) -> Folded:
        if not text:
            raise ValueError("nothing there")
        return cls(text)

    def preview(self) -> str:
        return f"<folded {self.text}>"


class Bulky(Value):
    """Encodes to an array, and holds an open thing that cannot be pickled."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.handle: Iterator[int] = iter(lambda: 1, 2)

    def identity(self) -> Any:
        return self.array

    def encode(self) -> Any:
        return {"array": self.array}

    @classmethod
    def decode(cls, data: Any) -> Bulky:
        return cls(data["array"])


class Checked(Value):
    """Valid while it is even."""

    def __init__(self, number: int, weight: str = "") -> None:
        self.number = number
        self.weight = weight

    def is_valid(self) -> bool:
        if self.number < 0:
            raise OSError("no such number")
        return self.number % 2 == 0


class Travelling(Value):
    def __init__(self, stamps: tuple[str, ...] = ()) -> None:
        self.stamps = stamps

    def prepare(self) -> Travelling:
        return Travelling((*self.stamps, "in"))

    def finish(self) -> Travelling:
        calls.append("finish")
        return Travelling((*self.stamps, "out"))


class Album(Value):
    def __init__(self, pages: list[Any]) -> None:
        self.pages = pages

    def parts(self) -> Iterable[Any]:
        return self.pages


class Foreign:
    """A class of another library, with something in it that cannot be pickled."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = iter(lambda: 1, 2)


class ForeignHandler(Handler[Foreign]):
    def identity(self, value: Foreign) -> Any:
        return value.name

    def encode(self, value: Foreign) -> Any:
        return value.name

    def decode(self, data: Any, of: type[Foreign]) -> Foreign:
        return of(data)

    def parse(self, text: str, of: type[Foreign]) -> Foreign:
        return of(f"parsed {text}")

    def is_valid(self, value: Foreign) -> bool:
        return value.name != "gone"


register_handler(Foreign, ForeignHandler())


class Opaque:
    def __init__(self, inside: Any) -> None:
        self.inside = inside


def plain() -> Plain:
    return Plain({"b", "a", "c"})


MAKERS: dict[str, tuple[Any, list[Any]]] = {
    "plain": (plain, [Plain({"a"}), Opaque(1)]),
    "fields": (lambda: Fields(1, [2]), [Fields(1, [3]), Plain(1)]),
    "slotted": (lambda: Slotted((1, 2)), [Slotted((1, 3))]),
    "folded": (lambda: Folded("A"), [Folded("b"), "A", "a"]),
    "bulky": (lambda: Bulky(numpy.arange(5000)), [Bulky(numpy.arange(5001))]),
    "checked": (lambda: Checked(2), [Checked(4)]),
    "travelling": (Travelling, [Travelling(("in",))]),
    "album": (lambda: Album([1, "x"]), [Album([1])]),
    "foreign": (lambda: Foreign("a"), [Foreign("b"), "a"]),
}


@pytest.mark.parametrize("name", MAKERS)
def test_every_value_type_keeps_the_contract(name: str) -> None:
    make, different = MAKERS[name]
    check_handler(make, different)


@pytest.mark.slow
@pytest.mark.parametrize("make", [plain])
def test_another_process_gives_an_equal_value_the_same_hash(make: Any) -> None:
    check_other_processes(make)


def test_the_contract_finds_what_is_not_kept() -> None:
    numbers = iter(range(100))
    with pytest.raises(AssertionError, match="two equal values hash differently"):
        check_handler(lambda: Plain(next(numbers)))
    with pytest.raises(AssertionError, match="hashes like"):
        check_handler(lambda: Folded("a"), [Folded("A")])


def test_identity_alone_says_what_is_equal() -> None:
    assert value_hash(Folded("ABC")) == value_hash(Folded("abc")) != value_hash(Plain("abc"))


def test_a_value_is_one_value_also_when_its_class_is_a_dataclass() -> None:
    packed = pack([Fields(1, [2])], lambda *_: None)
    assert packed[0].kind.endswith("Fields") and "x=1" in packed[0].preview


def test_what_encode_gives_is_what_is_kept_wherever_the_value_stands() -> None:
    for value in (Bulky(numpy.arange(3)), [Bulky(numpy.arange(3))], Opaque({"k": Bulky(numpy.arange(3))})):
        again = decode(make_ref(value)[1])
        while not isinstance(again, Bulky):
            again = again[0] if isinstance(again, list) else again.inside["k"]
        assert again.array.tolist() == [0, 1, 2]


def test_arrays_that_encode_gives_are_not_copied_into_the_pickle() -> None:
    ref, encoded = make_ref(Bulky(numpy.arange(100_000)))
    assert len(encoded.header) < 2000 and ref.size > 800_000


def test_a_handler_treats_a_class_of_others_and_its_subclasses() -> None:
    again = decode_inline(make_ref(Foreign("a"))[0])
    assert type(again) is Foreign and again.name == "a"
    assert value_hash(again) == value_hash(Foreign("a"))


def test_a_handler_travels_with_its_values_to_where_nobody_registered_it() -> None:
    ref, _ = make_ref(Foreign("a"))
    registered = handlers._BY_TYPE.pop(Foreign)
    try:
        handlers._FOUND.clear()
        hooks.forget()
        again = decode_inline(ref)
        assert again.name == "a" and value_hash(again) == ref.digest
    finally:
        register_handler(Foreign, registered.handler)  # type: ignore[union-attr]


@pytest.mark.parametrize("wrong", [("Foreign", ForeignHandler()), (Foreign, ForeignHandler), (Foreign, object())])
def test_only_a_handler_can_be_registered_for_a_class(wrong: Any) -> None:
    with pytest.raises(TypeError, match="takes a class and an instance"):
        register_handler(*wrong)


def test_a_type_that_every_process_knows_has_no_other_handler() -> None:
    with pytest.raises(TypeError, match="dict is rayflow's own to treat"):
        register_handler(dict, ForeignHandler())


# --- validity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("around", [lambda value: value, lambda value: [value] * 3, lambda value: Opaque({"k": value})])
def test_is_valid_is_asked_of_the_value_wherever_it_stands(around: Any) -> None:
    for number, holds in ((2, True), (3, False)):
        found = witnesses_of(dumps(pack(around(Checked(number)), lambda *_: None)))
        assert [kind for kind, _ in found] == [OF_VALUE]
        assert list(check(found, None).values()) == [holds]


def test_a_large_value_is_checked_from_its_blob() -> None:
    blobs: dict[bytes, Any] = {}

    class Store:
        def get_blob(self, digest: bytes) -> Any:
            return blobs[digest]

    for value in (Checked(2, "x" * 10_000), Checked(3, "x" * 10_000)):
        with WitnessCollector() as noticed:
            packed = dumps(pack([Opaque(value)], lambda ref, encoded, value: blobs.update({ref.digest: encoded})))
        for _, parts in noticed.wholes:
            blobs.update((ref.digest, encoded) for ref, encoded, _ in parts)
        (witness,) = witnesses_of(packed)
        assert witness[1][1] is None and len(packed) < 1000
        assert check([witness], Store()) == {witness: value.number == 2}


def test_is_valid_that_raises_does_not_hold_and_says_so() -> None:
    (witness,) = make_ref(Checked(-1))[0].witnesses
    with pytest.warns(UserWarning, match="OSError: no such number"):
        assert check([witness], None) == {witness: False}


def test_a_value_that_does_not_override_is_valid_has_no_witness() -> None:
    assert make_ref([Plain(1), Folded("a"), Fields(1, [])])[0].witnesses == ()


# --- entering and leaving ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("around", [lambda value: value, lambda value: [value], lambda value: Opaque({"k": [value]})])
def test_a_value_is_finished_when_it_leaves_and_prepared_when_it_enters(around: Any) -> None:
    def stamps(value: Any) -> tuple[str, ...]:
        while not isinstance(value, Travelling):
            value = value[0] if isinstance(value, list) else value.inside["k"]
        return value.stamps

    ref, encoded = make_ref(around(Travelling()))
    assert stamps(decode(encoded)) == ()
    with leaving():
        left, encoded = make_ref(around(Travelling()))
    assert left.digest == value_hash(around(Travelling(("out",)))) != ref.digest
    assert stamps(decode(encoded)) == ("out",)
    with entering():
        assert stamps(decode(encoded)) == ("out", "in")
    assert stamps(decode(encoded)) == ("out",)


def test_a_value_that_stands_in_several_places_is_finished_once() -> None:
    value = Travelling()
    calls.clear()
    with leaving():
        packed = pack([value, [value], Opaque(value)], lambda *_: None)
    assert calls == ["finish"]
    assert packed[0].digest == packed[1][0].digest


def test_finish_has_to_give_a_value_of_the_same_class() -> None:
    class Turncoat(Value):
        def finish(self) -> Any:
            return "a text"

    with leaving(), pytest.raises(TypeError, match=r"finish of .*Turncoat gave a str"):
        make_ref(Turncoat())


def test_what_a_hook_raises_is_told_as_it_is() -> None:
    class Late(Value):
        def finish(self) -> Any:
            raise FileNotFoundError("out.txt was not written")

    deep: Any = Late()
    for _ in range(5_000):
        deep = [deep]
    for value in (Late(), [Opaque(Late())], deep):
        with leaving(), pytest.raises(FileNotFoundError, match=r"out\.txt was not written"):
            make_ref(value)


# --- parts ------------------------------------------------------------------------------------------------------------


def test_parts_are_references_of_their_own() -> None:
    with WitnessCollector() as noticed:
        ref, _ = make_ref(Album([Checked(2), "a text"]))
    ((whole, parts),) = noticed.wholes
    assert whole == ref.digest
    assert {part.digest for part, _, _ in parts} == {value_hash(Checked(2)), value_hash("a text")}


def test_values_inside_each_other_are_encoded_once_each() -> None:
    value: Any = Checked(2)
    for _ in range(40):
        value = Album([value])
    with WitnessCollector() as noticed:
        make_ref(value)
    assert len(noticed.wholes) == 40


# --- texts ------------------------------------------------------------------------------------------------------------


def test_a_value_and_a_handler_say_how_a_text_is_read() -> None:
    assert parse("abc", Folded).text == "abc"
    assert parse("abc", Foreign).name == "parsed abc"
    with pytest.raises(BadArguments, match="is not a Folded: nothing there"):
        parse("", Folded)
    with pytest.raises(BadArguments, match="class method parse"):
        parse("abc", Plain)


def test_the_preview_of_a_value_is_its_own() -> None:
    assert preview(Folded("a")) == "<folded a>"
    assert preview([Folded("a")]) == "[<folded a>]"
    assert len(preview(Plain("x" * 10_000))) <= 200
    assert preview(Plain([1, 2])) == "Plain(x=[1, 2])"
    assert preview(Fields(1, list(range(100_000)))).startswith("Fields(x=1, y=[0, 1")


def test_a_blob_of_a_value_type_that_is_gone_is_a_clear_error() -> None:
    encoded = make_ref(Folded("a"))[1]
    module = sys.modules[__name__]
    before = Folded

    class Gone(enum.Enum):
        A = 1

    try:
        module.Folded = Gone  # type: ignore[misc, attr-defined]
        with pytest.raises(TypeError, match="Gone is not a Value any more"):
            decode(from_bytes(to_bytes(encoded)))
    finally:
        module.Folded = before  # type: ignore[misc, attr-defined]
