"""Bytes and back: nothing lost, nothing copied that need not be, damage seen, refusals that name the part."""

from __future__ import annotations

import array
import collections
import dataclasses
import functools
import mmap
import os
import re
import socket
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflow.errors import BlobDamaged, NotSerializable, VersionMismatch
from rayflow.values.encoding.encoding import (
    ALIGNMENT,
    decode,
    decode_inline,
    encode,
    freeze,
    from_bytes,
    make_ref,
    to_bytes,
    verify,
    write_parts,
)
from rayflow.values.encoding.identity import value_hash
from rayflow.values.objects import handlers
from rayflow.values.refs import INLINE_BYTES, Encoded

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda below: (
        st.lists(below) | st.dictionaries(st.text(), below) | st.sets(st.integers()) | st.lists(below).map(tuple)
    ),
    max_leaves=20,
)


@dataclasses.dataclass
class Holder:
    content: Any


class Locked:
    def __init__(self) -> None:
        self.lock = threading.Lock()


class Chain:
    def __init__(self, below: Any) -> None:
        self.below = below


@given(values)
def test_what_goes_in_comes_out(value: Any) -> None:
    encoded = encode(value)
    again = decode(encoded)
    assert again == value and type(again) is type(value)
    blob = to_bytes(encoded)
    assert decode(from_bytes(blob)) == value
    assert b"".join(write_parts(encoded)) == blob
    assert verify(blob) and verify(memoryview(blob))


def test_text_and_bytes_have_formats_of_their_own_and_bytes_are_not_copied() -> None:
    data = b"x" * 1000
    encoded = encode(data)
    assert encoded.format == "bytes" and encoded.buffers[0] is data
    assert encode("ä\ud800").format == "text" and decode(encode("ä\ud800")) == "ä\ud800"


def test_dicts_come_back_in_the_order_in_which_they_went() -> None:
    assert list(decode(encode({"b": 1, "a": 2}))) == ["b", "a"]


def test_arrays_are_written_and_read_without_a_copy() -> None:
    array = np.arange(100_000.0)
    encoded = encode({"a": array})
    assert len(encoded.header) < 1000
    assert np.shares_memory(np.frombuffer(encoded.buffers[0]), array)
    blob = to_bytes(encoded)
    again = decode(from_bytes(blob))["a"]
    assert np.shares_memory(again, np.frombuffer(blob, dtype="u1"))


def test_arrays_of_a_mapped_file_stand_in_the_mapping_and_are_aligned(tmp_path: Path) -> None:
    parts = {"a": np.arange(999, dtype="u1"), "b": np.arange(5000.0), "c": pa.table({"x": list(range(5000))})}
    path = tmp_path / "blob"
    path.write_bytes(to_bytes(encode(parts)))
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    blob = np.frombuffer(mapped, dtype="u1")
    again = decode(from_bytes(mapped))
    start = blob.ctypes.data
    for name in ("a", "b"):
        assert np.shares_memory(again[name], blob)
        assert (again[name].ctypes.data - start) % ALIGNMENT == 0
    column = again["c"].column("x").chunk(0).buffers()[1]
    assert start <= column.address < start + len(blob)
    assert (column.address - start) % ALIGNMENT == 0
    assert value_hash(again) == value_hash(parts)


@pytest.mark.parametrize("size", [3, 10, 100_000])
def test_arrays_come_back_read_only_at_every_size(size: int) -> None:
    for make in (np.arange, lambda n: np.arange(2 * n)[::2], lambda n: np.array(["a"] * n, dtype=object)):
        again = decode(from_bytes(to_bytes(encode([Holder({"k": (make(size),)})]))))[0].content["k"][0]
        assert not again.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            again[0] = 1


def test_writable_arrays_are_copies_of_their_own() -> None:
    blob = to_bytes(encode([np.zeros(1000)]))
    again = decode(from_bytes(blob), writable=True)[0]
    again[0] = 1
    assert decode(from_bytes(blob))[0][0] == 0


def test_freezing_reaches_arrays_inside_containers_and_gives_the_value_back() -> None:
    value = {"a": [np.zeros(3)], "b": Holder(np.zeros(3))}
    assert freeze(value) is value
    assert not value["a"][0].flags.writeable and not value["b"].content.flags.writeable  # type: ignore[index,attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("depth", [10_000, 50_000])
def test_deep_nesting_is_kept(depth: int) -> None:
    deep: Any = [np.arange(3)]
    for level in range(depth):
        deep = [deep, level] if level % 3 else {"k": (deep,)}
    ref, encoded = make_ref(deep)
    again = decode(from_bytes(to_bytes(encoded)))
    assert value_hash(again) == ref.digest


def test_deep_containers_of_other_classes_are_kept() -> None:
    deep: Any = 1
    for _ in range(10_000):
        deep = Holder([deep])
    assert value_hash(decode(encode(deep))) == value_hash(deep)


def test_a_chain_of_objects_too_long_to_pickle_is_refused_with_advice() -> None:
    chain: Any = None
    for _ in range(20_000):
        chain = Chain(chain)
    with pytest.raises(NotSerializable, match="chain"):
        encode(chain)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: {"model": Locked()}, r'result\["model"\]\.lock is a _thread\.lock.*__getstate__'),
        (lambda: [1, (number for number in [1])], r"result\[1\] is a generator.*list"),
        (lambda: Holder({"k": threading.Lock()}), r'result\.content\["k"\] is a _thread\.lock'),
        (lambda: open(os.devnull), r"result is a _io\.TextIOWrapper.*path"),  # noqa: SIM115
        (lambda: [open(os.devnull, "rb")], r"result\[0\] is a _io\.BufferedReader.*path"),  # noqa: SIM115
        (lambda: (1, socket.socket()), r"result\[1\] is a socket\.socket.*inside the task"),
        (lambda: sqlite3.connect(":memory:"), r"result is a sqlite3\.Connection.*path of the database"),
        (lambda: threading.Thread(), r"result is a threading\.Thread"),
        (lambda: {"f": (lambda lock: lambda: lock)(threading.Lock())}, r'result\["f"\]:lock is a _thread\.lock'),
        (lambda: {1, (2, type("T", (), {"__reduce__": None})())}, r"result\{\.\.\.\}\[1\]"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_the_part_is_named(make: Any, text: str) -> None:
    value = make()
    with pytest.raises(NotSerializable, match=text):
        make_ref(value)
    for each in value if isinstance(value, list | tuple) else (value,):
        if hasattr(each, "close"):
            each.close()


def test_a_coroutine_is_refused_with_advice() -> None:
    async def work() -> None:
        return None

    coroutine = work()
    with pytest.raises(NotSerializable, match=r"coroutine.*Await"):
        encode([coroutine])
    coroutine.close()


def test_modules_and_local_functions_are_kept() -> None:
    step = 3
    modules, function = decode(encode(([os], lambda x: x + step)))
    assert modules[0] is os and function(1) == 4


def test_every_damaged_byte_is_seen_without_decoding() -> None:
    blob = bytearray(to_bytes(encode({"a": np.arange(20.0), "b": "text"})))
    for position in range(0, len(blob), 3):
        blob[position] ^= 0x10
        assert not verify(blob)
        blob[position] ^= 0x10
    assert verify(blob)


def test_a_blob_cut_short_is_a_clear_error() -> None:
    blob = to_bytes(encode([np.arange(100.0)]))
    for length in (0, 5, 30, 40, len(blob) - 1):
        assert not verify(blob[:length])
        with pytest.raises(BlobDamaged):
            from_bytes(blob[:length])
    with pytest.raises(BlobDamaged):
        from_bytes(blob + b"x")


def test_a_format_of_a_later_version_is_a_clear_error() -> None:
    with pytest.raises(VersionMismatch, match="zstd9"):
        decode(from_bytes(to_bytes(Encoded("zstd9", b""))))


def test_many_buffers_fit_in_one_blob() -> None:
    arrays = [np.arange(3) + number for number in range(70_000)]
    again = decode(from_bytes(to_bytes(encode(arrays))))
    assert len(again) == 70_000 and again[69_999][0] == 69_999


def test_small_values_travel_inside_their_reference_and_large_ones_do_not() -> None:
    for value in (1, "a", b"b", [1, 2], {"a": np.arange(3)}):
        ref, encoded = make_ref(value)
        assert ref.inline == to_bytes(encoded) and ref.size == len(ref.inline)
        assert value_hash(decode_inline(ref)) == ref.digest == value_hash(value)
    for value in ("a" * INLINE_BYTES, np.zeros(INLINE_BYTES)):
        ref, encoded = make_ref(value)
        assert ref.inline is None and ref.size >= INLINE_BYTES and ref.format == encoded.format
        with pytest.raises(ValueError, match="not inside"):
            decode_inline(ref)


def test_a_reference_tells_kind_and_preview() -> None:
    ref, _ = make_ref(pd.DataFrame({"a": [1]}))
    assert ref.kind == "pandas.DataFrame" and "1 x 1" in ref.preview and ref.witnesses == ()


def test_a_handler_may_bring_a_format_of_its_own() -> None:
    class Temperature:
        def __init__(self, degrees: float) -> None:
            self.degrees = degrees

    class TemperatureHandler:
        kind = format = "tests.temperature"

        def structure(self, value: Temperature) -> tuple[float, ...]:
            return (value.degrees,)

        def encode(self, value: Temperature) -> Encoded:
            return Encoded(self.format, str(value.degrees).encode())

        def decode(self, encoded: Encoded) -> Temperature:
            return Temperature(float(encoded.header))

    handlers.register(Temperature, TemperatureHandler())
    ref, encoded = make_ref(Temperature(21.5))
    assert encoded.header == b"21.5"
    assert decode_inline(ref).degrees == 21.5


class Refuses:
    def __reduce__(self) -> str:
        raise RuntimeError("not me")


LOCK = threading.Lock()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([Refuses()], "result[0] is a .*Refuses, which cannot be kept or sent (RuntimeError: not me)"),
        (ValueError("x", LOCK), "result.args[1] is a _thread.lock"),
        (functools.partial(print, end=LOCK), "result.keywords['end'] is a _thread.lock"),
        (collections.defaultdict(list, {"a": LOCK}), 'result["a"] is a _thread.lock'),
        (collections.OrderedDict(a=[LOCK]), 'result["a"][0] is a _thread.lock'),
        ([sys._getframe()], "result[0] is a frame, which cannot be kept or sent. Keep the text of the traceback."),
        (lambda: LOCK, "result:LOCK is a _thread.lock"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_kept_is_named_by_its_way_with_the_reason(value: Any, says: str) -> None:
    with pytest.raises(NotSerializable, match=re.escape(says).replace(r"\.\*", ".*")):
        make_ref(value)


def test_a_view_of_bytes_stays_one() -> None:
    view = memoryview(array.array("i", range(6))).cast("B").cast("i", (2, 3))
    again = decode(make_ref([view])[1])[0]
    assert (type(again), again.format, again.tolist()) == (memoryview, "i", view.tolist())
    assert len(decode(make_ref(memoryview(b""))[1])) == 0
