"""How the price list is tested: no network, no waiting, no Ray, and an empty store for each test."""

import pytest
from flow import RATES, convert, download, main, parse

from rayflow.testing import Rehearsal


@pytest.fixture
def offline(rehearsal: Rehearsal) -> Rehearsal:
    rehearsal.replace(download, lambda url: "USD,2.00")
    return rehearsal


def test_a_body_is_a_plain_function() -> None:
    assert parse.func("USD,1.08\nGBP,0.86") == {"USD": 1.08, "GBP": 0.86}


def test_a_wrong_argument_is_told_at_the_call() -> None:
    with pytest.raises(TypeError, match="takes float for 'amount'"):
        convert("10", {"USD": 2.0})  # type: ignore[arg-type]  # type checkers tell it, too


def test_the_whole_workflow(offline: Rehearsal) -> None:
    assert offline.run(main([10.0, 20.0])) == [5.0, 10.0]
    offline.assert_computed("main", "download", "parse", "prices", convert=2)


def test_one_more_amount_converts_one_more_amount(offline: Rehearsal) -> None:
    offline.run(main([10.0, 20.0]))
    offline.run(main([10.0, 20.0, 30.0]))
    offline.assert_computed("main", "prices", "convert")
    offline.assert_cached("download", "parse", convert=2)
    assert offline.jobs("prices")[0].why == "amounts was [10.0, 20.0] and is [10.0, 20.0, 30.0]"


def test_a_mirror_that_is_down_for_a_while_is_asked_again_a_minute_later(offline: Rehearsal) -> None:
    offline.fail(download, OSError("no route"), attempts=(1, 2))
    assert offline.run(main([10.0])) == [5.0]
    assert offline.waited_seconds == pytest.approx(60 + 120, abs=1)


def test_a_mirror_that_stays_down_is_done_without(offline: Rehearsal) -> None:
    offline.fail(download, OSError("no route"), attempts=range(1, 5))
    assert offline.run(main([10.0])) == [10.0]
    offline.assert_failed("download")


def test_rates_are_old_after_a_day(offline: Rehearsal) -> None:
    offline.run(main([10.0]))
    offline.skip("25h")
    offline.run(main([10.0]))
    offline.assert_computed("download")  # it gives what it gave before, so nothing else runs


def test_a_lost_worker_changes_nothing(offline: Rehearsal) -> None:
    offline.lose("convert")
    assert offline.run(main([10.0])) == [5.0]


def test_the_result_is_the_same_in_any_order_and_after_any_accident(offline: Rehearsal) -> None:
    offline.storm(main([10.0, 20.0]), seeds=range(10))


def test_the_rates_come_from_where_they_should(rehearsal: Rehearsal) -> None:
    asked: list[str] = []

    def answer(url: str) -> str:
        asked.append(url)
        return "USD,2.00"

    rehearsal.replace("download", answer)
    rehearsal.run(main([10.0]))
    assert asked == [RATES]
