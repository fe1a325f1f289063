"""The row about damage: what it costs that nothing is answered before it was compared with its checksum."""

from __future__ import annotations

import os
from contextlib import closing

import numpy

from rayflow.records import ValueRow
from rayflow.store.open import open_store
from rayflow.values.encoding.encoding import decode, encode
from tests.benchmarks.measuring import MIB, Growth, Plan, Row, clock

ROWS = 500_000


def verified(plan: Plan) -> Row:
    """The first read of a large array, and of a large table by SQL; then the second, which verifies nothing."""
    size = 128 * MIB if plan.quick else 1024 * MIB
    place = plan.folder("verified") / "store"
    store = open_store(place)
    store.put_blob(b"a" * 20, encode(numpy.arange(size // 8, dtype=numpy.int64)))
    count = plan.size(ROWS)
    store.append(ValueRow(number.to_bytes(20, "big"), "int", "x", 3, b"v", str(number)) for number in range(count))
    store.commit()
    store.compact()
    firsts, agains, grown, asked, asked_again = [], [], [], [], []
    for _ in range(plan.rounds):
        opened = open_store(place, read_only=True)
        growth = Growth(os.getpid())
        growth.start()
        with clock() as first:
            found = decode(opened.get_blob(b"a" * 20))
        grown.append(growth.bytes())
        with clock() as again:
            found = decode(opened.get_blob(b"a" * 20))
        assert found.nbytes == size and found[-1] == size // 8 - 1
        del found
        firsts.append(first.seconds)
        agains.append(again.seconds)
        for taken in (asked, asked_again):
            with clock() as asking, closing(opened.history()) as history:
                assert history.sql("select count(distinct preview) from values").fetchall() == [(count,)]
            taken.append(asking.seconds)
    first_seconds, growth_bytes = min(firsts), max(grown)
    return Row(
        "verified",
        f"{size // MIB:,} MiB array, first read",
        first_seconds,
        "s",
        budget="< 1 s, < 64 MiB",
        ok=first_seconds < 1 and growth_bytes < 64 * MIB,
        beside=(
            f"again: {min(agains) * 1000:.1f} ms; memory grew by {growth_bytes / MIB:.0f} MiB",
            f"SQL over {count:,} rows: {min(asked):.2f} s, again (a new connection) {min(asked_again):.2f} s",
        ),
        clock="open - value",
    )
