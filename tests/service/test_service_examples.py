"""The examples of runs that a service keeps do what their READMEs say, also when the service dies in the middle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import REPOSITORY, Project
from services import RunningService, ledger
from waiting import until

ORDER = {"id": "order-7", "customer": "ada", "items": [[9.5, 2], [3, 1]]}


@pytest.fixture
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningService]:
    """The service of a copy of the example that the test names."""
    folder = tmp_path / "project"
    shutil.copytree(REPOSITORY / "examples" / request.param, folder)
    made = RunningService(Project(folder)).start()
    yield made
    made.close()


def of(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kept", [name], indirect=True)


@of("30_order")
def test_an_order_is_charged_once_and_shipped_when_it_is_approved(kept: RunningService) -> None:
    event = kept.client.emit("order.created", ORDER)
    [started] = [each["run_id"] for each in until(lambda: kept.client.event(event["event_id"])["deliveries"])]
    until(lambda: kept.client.get(started).state() == "waiting")
    kept.kill()
    kept.start()
    run = kept.client.get(started)
    assert "'approval'" in run.explain()
    kept.client.emit("approval", {"by": "grace"}, key="order-7")
    assert run.result(60).startswith("order-7 is on its way (payment of ada, ")
    assert ledger(kept.project) == {"charge ada 22.0": 1, "ship order-7": 1}


@of("30_order")
def test_an_order_that_costs_nothing_fails_without_a_second_try(kept: RunningService) -> None:
    from rayflow.errors import NonRetriable

    run = kept.client.start("checkout", {"order": {**ORDER, "items": []}})
    with pytest.raises(NonRetriable, match="Nothing to pay"):
        run.result(60)
    assert ledger(kept.project) == {}


@of("31_approval")
def test_an_article_is_written_again_until_its_editor_likes_it(kept: RunningService) -> None:
    run = kept.client.start("article", {"topic": "bees"}, id="bees")
    [asked] = until(kept.client.asks)
    assert asked["prompt"] == "Publish 'About bees'?"
    run.answer({"is_fine": False, "remark": "more about honey"})
    until(lambda: [each for each in kept.client.asks() if "honey" in each["prompt"]])
    run.answer({"is_fine": True})
    assert run.result(60) == "published: About bees, more about honey"
    assert ledger(kept.project, "site.txt") == {"About bees, more about honey": 1}


@of("31_approval")
def test_an_answer_that_does_not_fit_its_form_is_refused(kept: RunningService) -> None:
    from rayflow.errors import BadArguments

    run = kept.client.start("article", {"topic": "bees"})
    until(kept.client.asks)
    with pytest.raises(BadArguments, match="is_fine"):
        run.answer({"is_fine": "perhaps"})
    assert len(kept.client.asks()) == 1


@of("32_agent")
def test_an_agent_goes_on_where_it_was(kept: RunningService) -> None:
    run = kept.client.start("agent")
    until(lambda: [each for each in run.history() if each["what"] == "flow.look_up" and each["state"] == "outcome"])
    kept.kill()
    kept.start()
    assert kept.client.get(run.id).result(60) == "Take the train: it rains in Oslo."
    assert ledger(kept.project, "notes.txt") == {"take the train, it rains": 1}
    shown = (REPOSITORY / "examples" / "32_agent" / "README.md").read_text()
    run = kept.client.get(run.id)
    steps = [json.dumps(item.value) for item in run.stream("steps")]
    answer = "".join([str(item.value) for item in run.stream("answer")]).rstrip()
    assert "\n".join([*steps, answer]) in shown


@of("33_backfill")
def test_a_backfill_loads_each_day_in_a_run_of_its_own(kept: RunningService) -> None:
    run = kept.client.start("backfill", {"first": "2026-05-11", "count": 4})
    shown = (REPOSITORY / "examples" / "33_backfill" / "README.md").read_text()
    assert str(run.result(60)) in shown
    states = {each["id"]: each["state"] for each in kept.client.runs() if each["id"]}
    assert states == {
        "load 2026-05-11": "done", "load 2026-05-12": "done", "load 2026-05-13": "failed", "load 2026-05-14": "done",
    }  # fmt: skip
    assert json.loads(json.dumps(kept.client.runs())) == kept.client.runs()


@of("34_digest")
def test_a_digest_tells_each_sale_once_though_its_service_was_killed(kept: RunningService) -> None:
    for amount in (10, 5):
        kept.client.emit("sale", {"amount": amount})
    kept.kill()
    kept.start()
    run = kept.client.schedules.trigger("digest")
    assert run.result(60).endswith(": 2 sales, 15 in all")
    assert list(ledger(kept.project, "post.txt").values()) == [1]
    [firing] = kept.client.schedules.show("digest")["firings"]
    assert (firing["kind"], firing["state"], firing["run_id"]) == ("trigger", "started", run.id)


@of("35_tenants")
def test_the_calls_of_each_tenant_come_one_at_a_time_and_two_in_a_second(kept: RunningService) -> None:
    run = kept.client.start("sync", {"tenants": ["ada", "bob", "eve"]})
    shown = (REPOSITORY / "examples" / "35_tenants" / "README.md").read_text()
    assert str(run.result(60)) in shown
    assert len(ledger(kept.project, "calls.txt")) == 9
    began: dict[str, list[int]] = {}
    for each in kept.client.runs(flow="fetch"):
        first = next(row["at"] for row in kept.client.get(each["run_id"]).history() if row["state"] == "running")
        began.setdefault(each["arguments"].split("'")[1], []).append(first)
    assert sorted(began) == ["ada", "bob", "eve"]
    for times in began.values():
        assert max(times) - min(times) >= 1_000_000, "three calls in a second"
    assert [each for each in kept.client.queues() if each["queue"] == "api"] == [
        {"queue": "api", "slots": 4, "used": 0, "waiting": 0}
    ]
