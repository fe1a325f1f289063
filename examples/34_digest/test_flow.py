"""How the digest is tested: days pass in no time, and every sale stands in one letter."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from flow import digest, send

from rayflow.testing import Rehearsal

OSLO = ZoneInfo("Europe/Oslo")


@pytest.fixture
def letters(rehearsal: Rehearsal) -> list[str]:
    """The letters that were sent."""
    rehearsal.strict = True
    sent: list[str] = []

    def noted(letter: str) -> str:
        sent.append(letter)
        return letter

    rehearsal.replace(send, noted)
    return sent


def to_morning(rehearsal: Rehearsal) -> None:
    """Let time pass until the next firing."""
    [moment] = rehearsal.schedules.next("digest", 1)
    rehearsal.advance_to(datetime.fromtimestamp(moment / 1_000_000, UTC))


def test_each_sale_stands_in_the_letter_of_its_morning(rehearsal: Rehearsal, letters: list[str]) -> None:
    to_morning(rehearsal)
    rehearsal.emit("sale", {"amount": 10})
    rehearsal.skip("2h")
    rehearsal.emit("sale", {"amount": 5})
    to_morning(rehearsal)
    rehearsal.emit("sale", {"amount": 7})
    to_morning(rehearsal)
    assert [letter.split(": ")[1] for letter in letters] == [
        "0 sales, 0 in all", "2 sales, 15 in all", "1 sales, 7 in all",
    ]  # fmt: skip


def test_the_letter_is_sent_at_seven_in_the_morning_of_oslo(rehearsal: Rehearsal, letters: list[str]) -> None:
    for moment in rehearsal.schedules.next("digest", 400):
        local = datetime.fromtimestamp(moment / 1_000_000, OSLO)
        assert (local.hour, local.minute) == (7, 0)


def test_a_letter_that_was_not_sent_is_made_up(rehearsal: Rehearsal, letters: list[str]) -> None:
    rehearsal.schedules.pause("digest")
    rehearsal.skip("20h")
    rehearsal.emit("sale", {"amount": 3})
    rehearsal.skip("30h")
    rehearsal.schedules.resume("digest")
    now = datetime.fromtimestamp(rehearsal.service.now() / 1_000_000, UTC)
    made = rehearsal.schedules.backfill("digest", now - timedelta(hours=50))["moments"]
    assert len(letters) == len(made) == 2
    assert sum("1 sales, 3 in all" in letter for letter in letters) == 1
    assert rehearsal.schedules.backfill("digest", now - timedelta(hours=50))["moments"] == []
    assert len(rehearsal.runs(digest)) == 2
