"""Digests: fixed length, unambiguous, the same however the bytes are handed over."""

from __future__ import annotations

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from rayflow.values.digests import SHORT_DIGEST_BYTES, checksum, digest, digest_buffers, digests, short_digest, to_hex

parts = st.lists(st.binary(max_size=20), max_size=4)
tags = st.text(max_size=5)


@given(tags, parts, tags, parts)
def test_different_tags_or_parts_give_different_digests(
    tag: str, one: list[bytes], other_tag: str, other: list[bytes]
) -> None:
    same = (tag, one) == (other_tag, other)
    assert (digest(tag, *one) == digest(other_tag, *other)) == same
    assert (short_digest(tag, *one) == short_digest(other_tag, *other)) == same


def test_parts_do_not_run_into_each_other() -> None:
    assert len({digest("t", b"ab"), digest("t", b"a", b"b"), digest("t", b"ab", b""), digest("ta", b"b")}) == 4


@given(tags, parts)
def test_buffers_give_the_digest_of_their_bytes(tag: str, given_parts: list[bytes]) -> None:
    assert digest_buffers(tag, [memoryview(part) for part in given_parts]) == digest(tag, *given_parts)


def test_large_and_read_only_buffers_give_the_digest_of_their_bytes() -> None:
    array = np.arange(400_000, dtype="f8").reshape(100, 4000)
    array.flags.writeable = False
    assert digest_buffers("t", [array, b"x"]) == digest("t", array.tobytes(), b"x")


def test_a_checksum_is_over_the_concatenation() -> None:
    assert checksum([b"ab", b"c"]) == checksum([b"abc"]) != checksum([b"abd"])


def test_lengths_are_20_and_16_and_hex_is_lower_case() -> None:
    assert len(digest("t")) == 20 and len(short_digest("t")) == 16
    assert to_hex(b"\xab\x01") == "ab01"


@pytest.mark.parametrize("count", [4_095, 4_096, 4_097, 8_192, 10_000])
def test_the_digest_of_very_many_parts_is_that_of_all_their_bytes(count: int) -> None:
    parts = [bytes([number % 256]) * (number % 300) for number in range(count)]
    whole = (1).to_bytes(2, "little") + b"t" + b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    assert digest("t", *parts) == blake3(whole).digest(20)


def test_many_digests_are_those_of_each_list_of_parts() -> None:
    same = [bytes([number]) * 20 for number in range(40)]
    others = [bytes([number]) * (9 * number) for number in range(40)]
    long = b"u" * 300
    assert digests("t", b"x", same) == [digest("t", b"x", each) for each in same]
    assert digests("t", same, size=SHORT_DIGEST_BYTES) == [short_digest("t", each) for each in same]
    for one, other in ((same, same), (same, others), (others, same)):
        pairs = list(zip(one, other, strict=True))
        assert digests("t", long, one, b"y", other, b"z") == [digest("t", long, a, b"y", b, b"z") for a, b in pairs]
    assert digests("t", same, others, same) == [digest("t", a, b, a) for a, b in zip(same, others, strict=True)]
    assert digests("t", []) == []
