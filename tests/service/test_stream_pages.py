"""Pages of streams are whole: no reader takes a stream for ended while an item follows."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from rayflow.records import StreamItemRow
from rayflow.service import stream_pages
from rayflow.service.stream_pages import StreamPages


def item(number: int, value: str = '"x"') -> StreamItemRow:
    return StreamItemRow("r", "s", number, b"j", "flow.f", 1, number, 0, value)


class Book:
    """What is in memory: the items behind `gone`; nothing when the run is forgotten."""

    def __init__(self, *items: StreamItemRow, gone: int = 0) -> None:
        self.items: list[StreamItemRow] | None = list(items)
        self.gone = gone

    def read(self, run: str, stream: str, after: int, limit: int) -> list[StreamItemRow] | None:
        if self.items is None or after < self.gone:
            return None
        return [each for each in self.items if each.number > after][:limit]

    def has(self, run: str) -> bool:
        return self.items is not None

    def latest(self, run: str) -> dict[str, int]:
        return {} if not self.items else {"s": self.items[-1].number}

    def wait(self, run: str, stream: str) -> Future[None]:
        return Future()

    def leave(self, run: str, stream: str, future: Future[None]) -> None:
        pass


class Recorded:
    """What commits have kept."""

    def __init__(self, *items: StreamItemRow) -> None:
        self.items = list(items)

    def stream_items(self, run: str, stream: str, after: int, limit: int) -> list[StreamItemRow]:
        return [each for each in self.items if each.number > after][:limit]

    def streams_of(self, run: str) -> dict[str, int]:
        return {"s": self.items[-1].number} if self.items else {}


def pages(book: Book, recorded: Recorded, *, has_ended: bool) -> StreamPages:
    return StreamPages(book, recorded, lambda run: has_ended)  # type: ignore[arg-type]  # both stand in


def read(of: StreamPages, after: int = 0, limit: int = 10) -> tuple[list[int], int, bool]:
    page = of.page("r", "s", after, limit)
    return [each["number"] for each in page["items"]], page["last"], page["ended"]


def test_an_item_that_is_not_recorded_yet_follows_those_that_are() -> None:
    of = pages(Book(item(3), gone=2), Recorded(item(1), item(2)), has_ended=True)
    assert read(of) == ([1, 2], 2, False)
    assert read(of, after=2) == ([3], 3, True)
    assert read(of, after=3) == ([], 3, True)


def test_a_run_that_is_forgotten_is_the_store_s() -> None:
    book = Book()
    book.items = None
    of = pages(book, Recorded(item(1), item(2), item(3)), has_ended=True)
    assert read(of, limit=2) == ([1, 2], 2, False)
    assert read(of, after=2, limit=2) == ([3], 3, True)
    assert of.names("r") == [{"name": "s", "last": 3}]


def test_a_full_page_is_not_the_end_of_a_stream() -> None:
    of = pages(Book(item(1), item(2)), Recorded(), has_ended=True)
    assert read(of, limit=1) == ([1], 1, False)
    assert read(of, limit=2) == ([1, 2], 2, False)
    assert read(of, after=2, limit=2) == ([], 2, True)


def test_a_run_that_goes_on_has_no_end() -> None:
    assert read(pages(Book(item(1)), Recorded(), has_ended=False)) == ([1], 1, False)


def test_a_page_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_pages, "MOST_PAGE_BYTES", 10)
    of = pages(Book(*[item(number, '"1234567"') for number in (1, 2, 3)]), Recorded(), has_ended=True)
    assert read(of) == ([1, 2], 2, False)
    assert read(of, after=2) == ([3], 3, True)
