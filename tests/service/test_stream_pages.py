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

    @classmethod
    def forgotten(cls) -> Book:
        made = cls()
        made.items = None
        return made

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
        self.questions = 0

    def stream_items(self, run: str, stream: str, after: int, limit: int, size: int) -> list[StreamItemRow]:
        self.questions += 1
        found: list[StreamItemRow] = []
        for each in self.items:
            if each.number > after and len(found) < limit and sum(len(row.value) for row in found) < size:
                found.append(each)
        return found

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
    of = pages(Book.forgotten(), Recorded(item(1), item(2), item(3)), has_ended=True)
    assert read(of, limit=2) == ([1, 2], 2, False)
    assert read(of, after=2, limit=2) == ([3], 3, False)
    assert read(of, after=3, limit=2) == ([], 3, True)
    assert read(of, limit=4) == ([1, 2, 3], 3, False)
    assert of.names("r") == [{"name": "s", "last": 3}]


def test_a_full_page_is_not_the_end_of_a_stream() -> None:
    of = pages(Book(item(1), item(2)), Recorded(), has_ended=True)
    assert read(of, limit=1) == ([1], 1, False)
    assert read(of, limit=2) == ([1, 2], 2, False)
    assert read(of, after=2, limit=2) == ([], 2, True)


def test_a_run_that_goes_on_has_no_end() -> None:
    assert read(pages(Book(item(1)), Recorded(), has_ended=False)) == ([1], 1, False)


@pytest.mark.parametrize(("most_items", "most_bytes"), [(7, 1000), (1000, 20), (1000, 1000), (30, 90)])
def test_a_reader_of_what_is_recorded_gets_it_whole_and_with_few_questions(
    most_items: int, most_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_pages, "MOST_AHEAD_ITEMS", most_items)
    monkeypatch.setattr(stream_pages, "MOST_AHEAD_BYTES", most_bytes)
    recorded = Recorded(*map(item, range(5, 35)))
    of = pages(Book.forgotten(), recorded, has_ended=True)
    found: list[int] = []
    after, ended = 0, False
    while not ended:
        numbers, after, ended = read(of, after, limit=3)
        found += numbers
    assert found == list(range(5, 35))
    assert recorded.questions <= 2 + 30 // min(most_items, most_bytes // 3)


def test_a_read_ahead_hides_nothing_that_comes_later() -> None:
    recorded = Recorded(item(1), item(2), item(3))
    of = pages(Book(gone=9), recorded, has_ended=False)
    assert read(of, limit=2) == ([1, 2], 2, False)
    recorded.items.append(item(4))
    assert read(of, after=2, limit=2) == ([3], 3, False)
    assert read(of, after=3, limit=2) == ([4], 4, False)
    assert read(of, after=0, limit=1) == ([1], 1, False)


def test_few_reads_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_pages, "MOST_AHEAD_READS", 2)
    recorded = Recorded(item(1), item(2))
    of = pages(Book.forgotten(), recorded, has_ended=True)
    for stream in ("a", "b", "c"):
        of.page("r", stream, 0, 1)
    for stream in ("b", "c"):
        of.page("r", stream, 1, 1)
    assert recorded.questions == 3
    of.page("r", "a", 1, 1)
    assert recorded.questions == 4


def test_a_page_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_pages, "MOST_PAGE_BYTES", 10)
    of = pages(Book(*[item(number, '"1234567"') for number in (1, 2, 3)]), Recorded(), has_ended=True)
    assert read(of) == ([1, 2], 2, False)
    assert read(of, after=2) == ([3], 3, True)
