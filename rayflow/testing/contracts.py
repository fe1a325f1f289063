"""Checks for classes of values and for rules of forms, as functions that a test calls.

In: a function that makes an example value (called several times, so that equal content does not mean the same object).
Out: AssertionError that names the broken rule. Never: looks at how a class or rule is written.

    def make():
        return Table("genes", 3)

    def test_tables_are_values():
        check_handler(make, different=[Table("genes", 4), Table("cells", 3)])
        check_other_processes(make)
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import rayflow.lang.tasks  # noqa: F401  # it knows best what a function is
from rayflow.errors import BadForm
from rayflow.lang.packing.pack import pack
from rayflow.lang.rules import FAILED, NEED, VALUE, step
from rayflow.lang.terms.codec import dumps
from rayflow.values.digests import to_hex
from rayflow.values.encoding.encoding import decode, from_bytes, make_ref, to_bytes, verify
from rayflow.values.encoding.identity import identity, value_hash
from rayflow.values.encoding.nested import copy_containers, parts_of
from rayflow.values.encoding.previews import kind_of, preview
from rayflow.values.failures import failure_from_exception
from rayflow.values.refs import TaggedTree


def check_handler(make: Callable[[], Any], different: Sequence[Any] = ()) -> None:
    """Check that equal content has equal hashes (alone, inside others, after a round trip), and `different` has not."""
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
    shown = preview(first)
    assert 0 < len(shown) <= 200 and "\n" not in shown, f"a preview is one short line, not {shown!r}"
    assert kind_of(first)


def check_other_processes(make: Callable[[], Any]) -> None:
    """Check that another process gives an equal value the same hash, with any PYTHONHASHSEED.

    make: a function at the top level of a module that can be imported. It starts a Python for each of two seeds.
    """
    here = to_hex(value_hash(make()))
    program = (
        "import importlib, sys; sys.path[:0] = sys.argv[3:]; "
        "from rayflow.testing.contracts import value_hash; "
        "make = getattr(importlib.import_module(sys.argv[1]), sys.argv[2]); print(value_hash(make()).hex())"
    )
    for seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", program, make.__module__, make.__name__, *filter(None, sys.path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.split()[-1] == here, "another process gives an equal value another hash"


def check_form(make: Callable[..., Any], args: Sequence[Any], outcomes: Sequence[Any], most_steps: int = 100) -> None:
    """Check that the rule of a form is pure, and that it ends with any outcomes of its terms.

    make: the result of `@form`. args: arguments for it. outcomes: possible outcomes of a term, values and exceptions.
    The rule gets them in every rotation. Raises BadForm for a wrong answer, as an evaluation does.
    """
    rule, quoted = make(*args)._args
    coded: list[tuple[Any, ...]] = []
    for each in outcomes:
        if isinstance(each, BaseException):
            failure = failure_from_exception(each)
            coded.append((FAILED, failure.pickled, failure.summary))
        else:
            coded.append((VALUE, each))
    ways = [[each] for each in coded] + [coded[start:] + coded[:start] for start in range(len(coded))]
    for way in ways:
        seen: list[tuple[Any, ...]] = []
        for _ in range(most_steps):
            first, packed = _answer(rule, quoted, seen)
            assert _answer(rule, quoted, seen)[1] == packed, f"{rule.__qualname__} answers the same differently"
            if first is None or first[0] != NEED:
                break
            seen += [way[(len(seen) + place) % len(way)] for place in range(first[1])]
        else:
            raise AssertionError(f"{rule.__qualname__} has not come to an end after {most_steps} answers")


def _answer(rule: Any, args: tuple[Any, ...], seen: Sequence[tuple[Any, ...]]) -> tuple[list[Any] | None, bytes]:
    """A rule's answer, and bytes that are equal for equal answers."""
    try:
        answer = step(rule, args, seen)
    except BadForm:
        raise
    except Exception as error:  # the rule fails with an error of its own
        return None, failure_from_exception(error).digest
    return answer, dumps(pack(answer, lambda *_: None))


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
    assert value_hash(writable) == digest, "a writable copy hashes differently"
    (inside,) = decode(make_ref([value])[1])
    assert value_hash(inside) == digest, "what was decoded inside a list hashes differently"


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
