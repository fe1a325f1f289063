"""What every handler has to keep, as functions that a test calls with example values.

In: makers of values (called several times, so that equal content does not mean the same object). Out: assertions.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

from rayflow.values.encoding import decode, from_bytes, make_ref, to_bytes, verify
from rayflow.values.identity import identity, value_hash
from rayflow.values.nested import copy_containers, parts_of
from rayflow.values.previews import kind_of, preview
from rayflow.values.refs import TaggedTree


def check_handler(make: Callable[[], Any], different: Sequence[Any] = ()) -> None:
    """Equal content hashes alike, also after a round trip and when taken apart; other content does not."""
    first, second = make(), make()
    digest = value_hash(first)
    assert len(digest) == 20
    assert value_hash(second) == digest, "two equal values hash differently"
    assert value_hash(first) == digest, "hashing a value changed it"
    for other in different:
        assert value_hash(other) != digest, f"{other!r} hashes like {first!r}"
    _check_inside(first, second)
    _check_round_trip(first, digest)
    _check_container(first, digest)
    assert 0 < len(preview(first)) <= 200
    assert kind_of(first)


def _check_inside(first: Any, second: Any) -> None:
    assert value_hash([first, 1]) == value_hash([second, 1])
    ref, _ = make_ref(second)
    if len(identity(first)) == 21 and identity(first)[:1] == b"\xff":
        assert identity(first) == identity(ref)
        assert value_hash([first, 1]) == value_hash([ref, 1]), "inline and by reference differ"


def _check_round_trip(value: Any, digest: bytes) -> None:
    ref, encoded = make_ref(value)
    assert ref.digest == digest
    blob = to_bytes(encoded)
    assert verify(blob)
    again = decode(from_bytes(blob))
    assert type(again) is type(value)
    assert value_hash(again) == digest, "what was decoded hashes differently"
    writable = decode(from_bytes(blob), writable=True)
    assert value_hash(writable) == digest


def _check_container(value: Any, digest: bytes) -> None:
    container = parts_of(value)
    if container is None:
        return
    tree = TaggedTree(container.kind, container.header, tuple(container.parts))
    if container.header:
        assert value_hash(tree) == digest, "the tagged tree hashes unlike the value that it stands for"
        pickle.dumps(container.header)
    built = container.build(list(container.parts))
    assert type(built) is type(value)
    assert value_hash(built) == digest
    assert value_hash(copy_containers(value)) == digest
