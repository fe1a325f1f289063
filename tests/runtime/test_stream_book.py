"""The book of streams numbers items, keeps the latest ones for readers, and never gives a number twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rayflow.records import StreamItemRow
from rayflow.runtime import stream_book
from rayflow.runtime.protocol.stream_items import WrittenItems, joined
from rayflow.runtime.stream_book import LOST_ROOM, StreamBook
from rayflow.store.open import Store, open_store

JOB, OTHER = b"j" * 16, b"o" * 16


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = open_store(str(tmp_path / "store"))
    yield made
    made.close()


@pytest.fixture
def book(store: Store) -> StreamBook:
    """The book of one execution, e, that has begun."""
    made = StreamBook(store, store)
    made.begin("e", is_new=True)
    return made


def taken_up(store: Store) -> StreamBook:
    """The book of the next process, which knows what a commit has kept."""
    made = StreamBook(store, store)
    made.begin("e", is_new=False)
    return made


def written(*texts: str, first: int = 1, body: str = "b1", job: bytes = JOB, attempt: int = 1) -> WrittenItems:
    return WrittenItems(job, "flow.f", attempt, body, False, "s", first, texts, tuple(range(len(texts))))


def replayed(*texts: str, body: str, first: int = 1, attempt: int = 1) -> WrittenItems:
    return written(*texts, body=body, first=first, attempt=attempt)._replace(is_replay=True)


def shown(book: StreamBook, after: int = 0, limit: int = 1000) -> list[tuple[int, str, int, int]]:
    """Number, value, attempt and number in the attempt of each item in memory."""
    found = book.read("e", "s", after, limit)
    assert found is not None
    return [(row.number, row.value, row.attempt, row.item) for row in found]


def recorded(store: Store, after: int = 0) -> list[StreamItemRow]:
    records = store.run_records()
    try:
        return records.stream_items("e", "s", after, 100_000, 1 << 40)
    finally:
        records.close()


def test_items_are_numbered_as_they_come_and_are_rows_of_the_next_commit(book: StreamBook, store: Store) -> None:
    book.take("e", written("1", "2"))
    book.take("e", written("7", body="b2", job=OTHER))
    book.take("e", written("3", first=3))
    assert shown(book) == [(1, "1", 1, 1), (2, "2", 1, 2), (3, "7", 1, 1), (4, "3", 1, 3)]
    assert shown(book, after=1, limit=2) == [(2, "2", 1, 2), (3, "7", 1, 1)]
    assert recorded(store) == []
    store.commit()
    assert recorded(store) == book.read("e", "s", 0, 1000)
    assert book.latest("e") == {"s": 4}


def test_what_comes_twice_counts_once(book: StreamBook) -> None:
    book.take("e", written("1", "2"))
    book.take("e", written("1", "2"))
    book.take("e", written("2", "3", first=2))
    assert [text for _, text, _, _ in shown(book)] == ["1", "2", "3"]


def test_another_run_of_a_body_is_another_attempt_whatever_it_says(book: StreamBook) -> None:
    book.take("e", written("1", "2"))
    book.take("e", written("1", body="b2", attempt=1))  # its first worker was lost: that counts for no retry
    book.take("e", written("1", body="b3", attempt=7))
    assert [(attempt, item) for _, _, attempt, item in shown(book)] == [(1, 1), (1, 2), (2, 1), (7, 1)]


def test_a_body_that_is_entered_again_goes_on_where_it_was(book: StreamBook) -> None:
    book.take("e", written("1", "2"))
    book.take("e", replayed("1", body="b2"))
    book.take("e", replayed("2", "3", body="b2", first=2))
    assert shown(book) == [(1, "1", 1, 1), (2, "2", 1, 2), (3, "3", 1, 3)]


def test_the_next_process_goes_on_far_above_what_is_recorded(book: StreamBook, store: Store) -> None:
    book.take("e", written("1", "2"))
    store.commit()
    book.take("e", written("3", first=3))  # a reader may have seen it, and no commit keeps it
    later = taken_up(open_store(store.url))
    assert later.read("e", "s", 0, 1000) is None
    later.take("e", written("1", body="b2", attempt=2))
    later.take("e", replayed("1", "2", body="b3"))
    assert later.read("e", "s", 1, 1000) is None
    assert shown(later, after=2) == [(LOST_ROOM + 3, "1", 2, 1), (LOST_ROOM + 4, "2", 2, 2)]


def test_the_next_process_knows_how_far_a_body_had_come_that_awaits(book: StreamBook, store: Store) -> None:
    book.take("e", written("1", "2"))
    store.commit()
    later = taken_up(open_store(store.url))
    later.take("e", replayed("1", "2", "3", body="b2"))
    assert shown(later, after=2) == [(LOST_ROOM + 3, "3", 1, 3)]


def test_a_stream_of_which_nothing_is_recorded_begins_above_what_readers_may_have_seen(store: Store) -> None:
    later = taken_up(store)
    later.take("e", written("1"))
    assert [number for number, *_ in shown(later)] == [LOST_ROOM + 1]


def test_nothing_is_lost_between_memory_and_store(
    book: StreamBook, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_book, "MOST_STREAM_ITEMS", 10)
    for number in range(1, 61):
        book.take("e", written(str(number), first=number))
        if number % 7 == 0:
            store.commit()
        for after in (0, number - 1):
            found = book.read("e", "s", after, 1000)
            rows = recorded(store, after) if found is None else found
            if found is None:
                rows += book.read("e", "s", rows[-1].number, 1000) or []
            assert [row.value for row in rows] == [str(each) for each in range(after + 1, number + 1)]
    assert len(book.read("e", "s", 51, 1000) or []) == 9
    assert book.read("e", "s", 30, 1000) is None


def test_what_no_commit_has_kept_stays_in_memory(book: StreamBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_book, "MOST_STREAM_ITEMS", 10)
    monkeypatch.setattr(stream_book, "MOST_BYTES", 1000)
    book.take("e", written(*map(str, range(100))))
    book.take("e", written("100", first=101))
    assert len(shown(book)) == 101


def test_all_streams_together_have_an_end(book: StreamBook, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_book, "MOST_BYTES", 20 * stream_book.ROW_BYTES)
    for number in range(30):
        book.take("e", written("1", job=bytes([number]) * 16, body=str(number))._replace(stream=f"s{number}"))
        store.commit()
    kept = [number for number in range(30) if book.read("e", f"s{number}", 0, 1)]
    assert kept == list(range(kept[0], 30))
    assert 5 < len(kept) <= 21


def test_a_waiting_reader_hears_of_the_next_item_and_of_the_end(book: StreamBook) -> None:
    item, other = book.wait("e", "s"), book.wait("e", "t")
    book.take("e", written("1"))
    assert item.done()
    assert not other.done()
    end = book.wait("e", "s")
    gone = book.wait("e", "s")
    book.leave("e", "s", gone)
    book.forget("e")
    assert end.done()
    assert other.done()
    assert not gone.done()


def test_a_reader_that_has_given_up_disturbs_nobody(book: StreamBook) -> None:
    given_up, waits = book.wait("e", "s"), book.wait("e", "s")
    given_up.cancel()
    book.take("e", written("1"))
    assert waits.done()


def test_after_its_end_nothing_of_an_execution_is_in_memory(book: StreamBook, store: Store) -> None:
    book.take("e", written("1"))
    assert book.has("e")
    book.forget("e")
    book.take("e", written("2", first=2))
    store.commit()
    assert not book.has("e")
    assert book.read("e", "s", 0, 10) is None
    assert book.latest("e") == {}
    assert [row.value for row in recorded(store)] == ["1"]


def test_an_execution_that_has_written_nothing_has_no_question_for_the_store(book: StreamBook) -> None:
    assert book.read("e", "s", 0, 10) == []
    book.take("e", written("1"))
    assert book.read("e", "t", 0, 10) == []


def test_parts_of_one_body_and_stream_are_joined_and_no_others() -> None:
    one, two, other = written("1"), written("2", first=2), written("1", body="b2")
    assert joined([one, other, two]) == [
        one._replace(texts=("1", "2"), times=(0, 0)),
        other,
    ]
