"""The clock of a loop, and what wakes the loop."""

from __future__ import annotations

import threading
import time

from rayflow.runtime.clock import CLOCK, News


def test_news_that_was_told_before_ends_the_wait_at_once():
    news = News()
    news.set()
    begun = time.monotonic()
    CLOCK.wait(news, 60.0, None)
    assert time.monotonic() - begun < 30


def test_a_wait_lasts_no_longer_than_until_the_next_timer():
    begun = time.monotonic()
    CLOCK.wait(News(), 60.0, 0.01)
    CLOCK.wait(News(), 60.0, -1.0)
    assert time.monotonic() - begun < 30


def test_clearing_takes_all_that_was_told():
    news = News()
    for _ in range(3):
        news.set()
    assert news.is_set()
    news.clear()
    assert not news.is_set()
    news.clear()


def test_no_news_is_lost_between_threads():
    news, places, seen = News(), [], []

    def tell() -> None:
        for number in range(2_000):
            places.append(number)
            news.set()

    tellers = [threading.Thread(target=tell) for _ in range(4)]
    for each in tellers:
        each.start()
    end = time.monotonic() + 60
    while len(seen) < 8_000 and time.monotonic() < end:
        if not places:
            CLOCK.wait(news, 30.0, None)
        news.clear()
        while places:
            seen.append(places.pop())
    for each in tellers:
        each.join()
    assert len(seen) == 8_000
