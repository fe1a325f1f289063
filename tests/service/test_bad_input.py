"""What does not fit is refused by name, where it is given; and no request ends the service."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
from projects import project_in
from services import RunningService, ledger
from waiting import until

from rayflow.client.client import Client
from rayflow.errors import BadArguments, EventRefused, NoSuchTask, NotSerializable, RunConflict

FLOW = """
    import datetime
    import threading
    from dataclasses import dataclass

    from rayflow import ask, effect, event, flow, sleep_until, wait_for_event

    @dataclass
    class Order:
        id: str
        amount: int

        def __post_init__(self):
            if self.amount < 0:
                raise ValueError(f"nobody pays {self.amount}")

    @effect
    def do(what: str) -> str:
        with open("ledger.txt", "a") as file:
            file.write(what + "\\n")
        return f"did {what}"

    @effect
    def opens(what: str):
        do.func(what)
        return threading.Lock()

    @flow
    def unkept(what: str):
        return opens(what)

    @flow
    def naive(when: str):
        return sleep_until(datetime.datetime(2030, 1, 1))

    @flow(on=event("ordered"))
    def takes(order: Order) -> str:
        return do(f"took {order.id}")

    @flow(on=event("ordered"))
    def counts(data) -> str:
        return do("counted")

    @flow
    def hears(key: str):
        return wait_for_event("news", key=key, where=event.data["amount"] > 5).data

    @flow
    def asks(what: str):
        return [do(what), ask("how many?", int)]
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One service for the tests of this module: no test may end it."""
    project = project_in(tmp_path_factory.mktemp("bad"), FLOW)
    made = RunningService(project).start()
    process = made.process
    yield made
    assert process is not None
    assert process.poll() is None, made.log.read_text()
    made.close()


@pytest.fixture
def client(kept: RunningService) -> Client:
    return kept.client


def deliveries(client: Client, event_id: str) -> dict[str, dict[str, Any]]:
    """The deliveries of an event when none is pending, by the flow."""
    until(lambda: all(each["state"] != "pending" for each in client.event(event_id)["deliveries"]))
    return {each["target"]: each for each in client.event(event_id)["deliveries"]}


def test_an_effect_whose_value_cannot_be_kept_fails_its_run_and_says_which_part(
    client: Client, kept: RunningService
) -> None:
    run = client.start("unkept", {"what": "opened"})
    with pytest.raises(NotSerializable, match="lock"):
        run.result(60)
    assert ledger(kept.project)["opened"] == 1


def test_a_moment_without_a_time_zone_fails_the_run_that_makes_it(client: Client) -> None:
    with pytest.raises(BadArguments, match="time zone"):
        client.start("naive", {"when": "later"}).result(60)


@pytest.mark.parametrize(
    ("data", "why"),
    [({"id": "o1", "amount": -1}, "nobody pays -1"), ({"id": "o2"}, "amount"), ("text", "order"), (None, "order")],
)
def test_an_event_that_does_not_fit_one_subscriber_is_delivered_to_the_others(
    client: Client, data: Any, why: str
) -> None:
    found = deliveries(client, client.emit("ordered", data)["event_id"])
    assert found["flow.takes"]["state"] == "failed"
    assert why in found["flow.takes"]["error"]
    assert client.get(found["flow.counts"]["run_id"]).result(60) == "did counted"


def test_a_strict_event_that_does_not_fit_is_refused_and_nothing_is_recorded(client: Client) -> None:
    with pytest.raises(EventRefused, match="nobody pays -1"):
        client.emit("ordered", {"id": "o3", "amount": -1}, id="strict one", strict=True)
    assert all(each["event_id"] != "strict one" for each in client.events(limit=100))


def test_an_event_that_a_condition_cannot_be_tested_on_does_not_meet_it(client: Client) -> None:
    run = client.start("hears", {"key": "k"})
    for data in ("text", None, {"amount": "six"}, {}, [1]):
        client.emit("news", data, key="k")
    client.emit("news", {"amount": 6}, key="k")
    assert run.result(60) == {"amount": 6}


def test_an_answer_that_does_not_fit_is_refused_and_the_question_stays(client: Client) -> None:
    run = client.start("asks", {"what": "sold"})
    until(lambda: [each for each in client.asks() if each["run_id"] == run.id])
    for value in ("many", None, {"n": 1}, [1], 1.5):
        with pytest.raises(BadArguments, match="does not fit"):
            run.answer(value)
    run.answer(3)
    assert run.result(60) == ["did sold", 3]


def test_an_unknown_flow_and_an_id_with_another_input_are_refused(client: Client) -> None:
    with pytest.raises(NoSuchTask, match=r"flow\.takes"):
        client.start("gives", {"order": 1})
    client.start("asks", {"what": "once"}, id="this one")
    with pytest.raises(RunConflict, match="this one"):
        client.start("asks", {"what": "twice"}, id="this one")


# --- what no client of ours sends -------------------------------------------------------------------------------------


def asked(
    kept: RunningService, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    """Status and error of a request as it stands here."""
    address = kept.address
    connection = http.client.HTTPConnection(address.host, address.port, timeout=20)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {address.token}", **headers})
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"{}").get("error", {})
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("runs", b"", "names a task"),
        ("runs", b"{", "not JSON"),
        ("runs", b"[1]", "not a JSON object"),
        ("runs", b'{"task": 3}', "task"),
        ("runs", b'{"task": "asks", "arguments": [1]}', "arguments"),
        ("runs", b'{"task": "asks", "arguments": {"what": 1}}', "what"),
        ("runs", b'{"task": "asks", "words": ["a", 1]}', "words"),
        ("runs", b'{"task": "asks", "words": ["a"], "directory": 3}', "directory"),
        ("runs", b'{"task": "asks", "arguments": {"what": "a"}, "due_at": "tomorrow"}', "due_at"),
        ("runs", b'{"task": "asks", "arguments": {"what": "a"}, "due_at": 1e30}', "due_at"),
        ("runs", b'{"task": "asks", "arguments": {"what": "a"}, "due_at": 9999999999999999999999}', "due_at"),
        ("runs", b'{"task": "asks", "arguments": {"what": "a"}, "priority": "high"}', "priority"),
        ("runs", b'{"task": "asks", "arguments": {"what": "a"}, "priority": 1234567890123}', "priority"),
        ("runs", b'{"task": "asks", "arguments": {"what": "a"}, "id": 7}', "id"),
        ("runs", b'{"task": "asks", "arguments": {"what": "a"}, "id": "\\ud800"}', "not JSON"),
        ("runs", b'{"task": "asks", "arguments": {"what": "a"}, "tags": "x"}', "tags"),
        ("runs", b'{"task": "asks", "arguments": {"what": "a"}, "reuse": {}}', "reuse"),
        ("runs", b'{"task": "asks", "arguments": {"what": "a"}, "request_id": [1]}', "request_id"),
        ("runs", b'{"root": "?"}', "base64"),
        ("runs", b'{"root": "AAAA"}', "cannot be read"),
        ("runs", b'{"root": 3}', "root"),
        ("runs/this/answer", b'{"value": 1, "place": 3}', "place"),
        ("runs/this/cancel", b'{"reason": "\\udfff"}', "not JSON"),
        ("runs/this/retry", b'{"reason": 3}', "reason"),
        ("events", b'{"name": ""}', "name"),
        ("events", b'{"name": 3}', "name"),
        ("events", b'{"name": "a", "key": 3}', "key"),
        ("events", b'{"name": "a", "id": {}}', "id"),
        ("events", b'{"name": "a", "data": NaN}', "NaN"),
        ("events", b'{"name": "a", "strict": "yes"}', "strict"),
        ("events", b'{"name": "a", "due_at": true}', "due_at"),
        ("events", b'{"name": "a", "data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not JSON"),
    ],
)  # fmt: skip
def test_garbage_is_refused_by_the_name_of_the_field(kept: RunningService, path: str, body: bytes, said: str) -> None:
    status, error = asked(kept, "POST", f"/api/{path}", body)
    assert (status, error["type"]) == (400, "BadArguments"), error
    assert said in error["message"]


def test_data_of_any_size_and_depth_that_json_has_are_taken(kept: RunningService, client: Client) -> None:
    for data in (10**40, -(10**400), 1e308, "\x00", "😀", {"": {"": []}}, eval("[" * 200 + "]" * 200)):
        event_id = client.emit("odd", data)["event_id"]
        assert client.event(event_id)["event_id"] == event_id
    assert len(client.events(name="odd")) == 7


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/runs?limit=all", 400), ("GET", "/api/runs?flow=%00", 200), ("GET", "/api/runs/nothing", 404),
        ("GET", "/api/runs/%27%3B/history", 404), ("GET", "/api/runs/nothing/result?wait=long", 400),
        ("GET", "/api/runs/nothing/result?wait=nan", 400), ("GET", "/api/blobs/nothing", 400),
        ("GET", "/api/blobs/00", 400), ("GET", "/api/runs?state=%00", 400), ("GET", "/api/runs?stat=done", 400),
        ("GET", "/api/runs?limit=0", 400), ("GET", "/api/runs?limit=1001", 400),
        ("GET", "/api/runs?limit=1&limit=2", 400),
        ("GET", "/api/runs?cursor=nothing", 400), ("GET", "/api/runs?cursor=YWZ0ZXI6LTE", 400),
        ("GET", "/api/runs?tag=alone", 400), ("GET", "/api/runs?tag=a%22b=%27;--", 200),
        ("GET", "/api/runs?since=yesterday", 400), ("GET", "/api/runs?since=2026-01-01T00:00", 400),
        ("GET", "/api/runs?since=99999999999999999999", 400), ("GET", "/api/runs?text=%25%27%5C", 200),
        ("GET", "/api/runs?id_prefix=%25", 200), ("GET", "/api/events?name=%27", 200),
        ("GET", "/api/asks?cursor=%00", 400),
        ("GET", "/api/schedules/nothing", 404), ("DELETE", "/api/schedules/nothing", 404),
        ("GET", f"/api/blobs/{'0' * 40}", 404), ("PUT", f"/api/blobs/{'0' * 40}", 400), ("GET", "/api/none", 404),
        ("DELETE", "/api/runs", 405),
    ],
)  # fmt: skip
def test_a_wrong_path_or_query_has_the_status_that_says_so(
    kept: RunningService, method: str, path: str, status: int
) -> None:
    try:
        assert asked(kept, method, path)[0] == status
    except json.JSONDecodeError:
        assert status in (404, 405)  # no route: a plain text


def test_a_body_that_is_too_large_is_refused_before_it_is_read(kept: RunningService) -> None:
    for size in (8 * 1024 * 1024 + 1, 10**12):
        status, error = asked(kept, "POST", "/api/events", b"", **{"Content-Length": str(size)})
        assert (status, error["type"]) == (413, "BadArguments")
        assert "Put larger data into a file" in error["message"]


def test_who_has_not_the_token_is_told_nothing_under_whichever_name_he_comes(kept: RunningService) -> None:
    for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": ""}, {"Authorization": "Bearer é"}):
        for host in ("127.0.0.1", "evil.example"):
            assert asked(kept, "GET", "/api/runs", None, Host=host, **headers)[0] == 401
    assert asked(kept, "GET", "/healthz", None, Authorization="")[0] == 200
