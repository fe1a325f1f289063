"""Webhooks: signed requests of others become events, once, and nothing else does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from api_services import ApiService
from projects import Project
from waiting import until

from rayflow.errors import BadArguments, BadConfig, SecretUnavailable
from rayflow.service.webhooks import Unsigned, received
from rayflow.webhook_settings import WebhookSettings, check_webhooks, webhooks_of

SECRET = b"correct horse"
NOW = 1_700_000_000.0
BODY = json.dumps({"id": "evt_1", "action": "opened", "order": {"lines": [{"key": 7}]}}).encode()


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET.decode())


def how(**table: Any) -> WebhookSettings:
    """The settings of a webhook, as a configuration gives them."""
    tables = {"hook": {"secret": "env:HOOK_SECRET", **table}}
    check_webhooks(tables, "rayflow.toml")
    return webhooks_of(tables)["hook"]


def signed(content: bytes, secret: bytes = SECRET) -> bytes:
    return hmac.new(secret, content, hashlib.sha256).digest()


def stripe(content: bytes, at: float = NOW, secret: bytes = SECRET) -> str:
    return f"t={at:.0f},v1={signed(f'{at:.0f}.'.encode() + content, secret).hex()}"


# --- signatures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "headers"),
    [
        ({}, {"x-signature": signed(BODY).hex()}),
        ({}, {"x-signature": signed(BODY).hex().upper()}),
        ({"encoding": "base64", "header": "X-Shop-Hmac"}, {"x-shop-hmac": base64.b64encode(signed(BODY)).decode()}),
        ({"prefix": "v0="}, {"x-signature": f"v0={signed(BODY).hex()}"}),
        ({"signature": "github"}, {"x-hub-signature-256": f"sha256={signed(BODY).hex()}", "x-github-delivery": "d"}),
        ({"signature": "stripe"}, {"stripe-signature": stripe(BODY)}),
        ({"signature": "stripe"}, {"stripe-signature": stripe(BODY, NOW - 299)}),
        ({"signature": "stripe"}, {"stripe-signature": f"{stripe(BODY, secret=b'x')},{stripe(BODY).split(',')[1]}"}),
    ],
)
def test_a_request_with_the_right_signature_becomes_an_event(table: Any, headers: Mapping[str, str]) -> None:
    event = received(how(**table), BODY, headers, NOW)
    assert (event.name, event.data) == ("hook", json.loads(BODY))
    assert event.id.startswith("webhook:hook:")


@pytest.mark.parametrize(
    ("table", "headers"),
    [
        ({}, {}),
        ({}, {"x-signature": ""}),
        ({}, {"x-signature": "é"}),
        ({}, {"x-signature": signed(BODY, b"other").hex()}),
        ({}, {"x-signature": signed(BODY + b" ").hex()}),
        ({}, {"x-signature": signed(BODY).hex()[:-1]}),
        ({}, {"x-hub-signature-256": f"sha256={signed(BODY).hex()}"}),
        ({"signature": "github"}, {"x-hub-signature-256": signed(BODY).hex(), "x-github-delivery": "d"}),
        ({"signature": "github"}, {"x-hub-signature-256": f"sha1={signed(BODY).hex()}", "x-github-delivery": "d"}),
        ({"signature": "stripe"}, {"stripe-signature": signed(BODY).hex()}),
        ({"signature": "stripe"}, {"stripe-signature": f"v1={signed(BODY).hex()}"}),
        ({"signature": "stripe"}, {"stripe-signature": f"t={NOW:.0f},v1={signed(BODY).hex()}"}),
        ({"signature": "stripe"}, {"stripe-signature": stripe(BODY, NOW - 301)}),
        ({"signature": "stripe"}, {"stripe-signature": stripe(BODY, NOW + 301)}),
        ({"signature": "stripe"}, {"stripe-signature": f"t={NOW - 900:.0f},{stripe(BODY)}"}),
        ({"signature": "stripe"}, {"stripe-signature": stripe(BODY).replace("t=", "t=\u0661")}),
        ({"signature": "stripe", "tolerance": 10}, {"stripe-signature": stripe(BODY, NOW - 11)}),
    ],
)
def test_a_request_without_the_right_signature_is_refused(table: Any, headers: Mapping[str, str]) -> None:
    with pytest.raises(Unsigned):
        received(how(**table), BODY, headers, NOW)


def test_a_secret_that_is_not_there_or_empty_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "")
    with pytest.raises((Unsigned, SecretUnavailable)):
        received(how(), BODY, {"x-signature": signed(BODY, b"").hex()}, NOW)
    monkeypatch.delenv("HOOK_SECRET")
    with pytest.raises(SecretUnavailable):
        received(how(), BODY, {"x-signature": signed(BODY, b"").hex()}, NOW)


# --- the event --------------------------------------------------------------------------------------------------------


def event_of(content: bytes = BODY, more: Mapping[str, str] | None = None, **table: Any) -> Any:
    return received(how(**table), content, {"x-signature": signed(content).hex(), **(more or {})}, NOW)


def test_id_and_key_are_taken_from_the_body_or_a_header_and_the_name_is_the_hooks_own_or_another() -> None:
    event = event_of(id="body:id", key="body:order.lines.0.key", event="order.changed")
    assert (event.name, event.id, event.key) == ("order.changed", "webhook:hook:evt_1", "7")
    assert event_of(more={"x-topic": "paid"}, key="header:X-Topic").key == "paid"


def test_without_an_id_the_same_content_is_the_same_event() -> None:
    assert event_of().id == event_of().id != event_of(BODY + b" ").id


@pytest.mark.parametrize(
    "where", ["body:none", "body:order", "body:order.lines.1", "body:id.x", "header:X-None", "body:."]
)
def test_a_request_that_lacks_its_id_or_key_is_refused_by_the_place(where: str) -> None:
    for name in ("id", "key"):
        with pytest.raises(BadArguments, match=where.replace(".", r"\.")):
            received(how(**{name: where}), BODY, {"x-signature": signed(BODY).hex()}, NOW)


@pytest.mark.parametrize("content", [b"", b"{", b"[NaN]", b"\xff", b'"\\ud800"', b"[" * 100_000])
def test_a_signed_body_that_is_not_json_is_refused(content: bytes) -> None:
    with pytest.raises(BadArguments, match="not JSON"):
        event_of(content)


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "lacks its secret"), ({"secret": "hunter2"}, "not itself"), ({"secret": 3}, "text"),
        ({"secret": "env:"}, "not itself"), ({"secret": "env:A", "signature": "md5"}, "plain or github"),
        ({"secret": "env:A", "heade": "X"}, "header"), ({"secret": "env:A", "tolerance": 0}, "seconds"),
        ({"secret": "env:A", "tolerance": True}, "seconds"), ({"secret": "env:A", "id": "id"}, "header:NAME"),
        ({"secret": "env:A", "key": "body:"}, "header:NAME"), ({"secret": "env:A", "event": ""}, "event"), (3, "table"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_and_no_secret_is_shown(table: Any, said: str) -> None:
    with pytest.raises(BadConfig, match=said) as raised:
        check_webhooks({"hook": table}, "rayflow.toml")
    assert "hunter2" not in str(raised.value)


# --- over the API -----------------------------------------------------------------------------------------------------

FLOW = """
    from rayflow import effect, event, flow

    @flow(on=event("push"))
    def pushed(data):
        return data["n"]
"""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiService]:
    """One service for the tests of this module."""
    folder = tmp_path_factory.mktemp("hooks") / "project"
    folder.mkdir()
    project = Project(folder)
    project.write("flow.py", FLOW)
    project.write(
        "rayflow.toml",
        """
        [webhooks.repository]
        secret = "env:HOOK_SECRET"
        signature = "github"
        event = "push"
        [webhooks.lost]
        secret = "env:NO_SUCH_SECRET"
        """,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made = ApiService(project)
        yield made
        made.close()


def send(api: ApiService, content: bytes, name: str = "repository", **headers: str) -> Any:
    return api.web.post(f"/api/events/{name}", content=content, headers=headers)


def test_a_webhook_needs_no_token_starts_what_is_subscribed_and_counts_once(api: ApiService) -> None:
    content = b'{"n": 5}'
    headers = {"X-Hub-Signature-256": f"sha256={signed(content).hex()}", "X-GitHub-Delivery": "one"}
    for _ in range(2):
        response = send(api, content, **headers)
        assert (response.status_code, response.json()) == (200, {"event_id": "webhook:repository:one"})
    until(lambda: api.ask("GET", "/api/events/webhook:repository:one")["status"] == "delivered")
    [run] = api.ask("GET", "/api/runs?flow=pushed")["runs"]
    assert api.result(run["run_id"])["value"] == 5
    other = b'{"n": 6}'
    changed = {**headers, "X-Hub-Signature-256": f"sha256={signed(other).hex()}"}
    assert send(api, other, **changed).status_code == 409


def test_a_wrong_signature_is_refused_and_its_sender_learns_nothing(api: ApiService) -> None:
    for headers in ({}, {"X-Hub-Signature-256": "sha256=00", "X-GitHub-Delivery": "two"}):
        response = send(api, b"{}", **headers)
        assert response.status_code == 401
        assert "signature" in response.json()["error"]["message"]
    assert any("the signature is wrong" in text for text in api.told.warnings)
    assert send(api, b"{}", "lost", **{"X-Signature": "00"}).status_code == 503
    assert send(api, b"{}", "unknown").status_code == 404
    assert api.ask("GET", "/api/events?limit=1000")["events"][0]["event_id"] == "webhook:repository:one"


def test_a_webhook_does_not_open_what_asks_for_the_token_and_has_a_limit(api: ApiService) -> None:
    assert api.web.get("/api/events/webhook:repository:one").status_code == 401
    assert api.web.post("/api/events", content=b'{"name": "push"}').status_code == 401
    assert send(api, b"", **{"Content-Length": str(10**9)}).status_code == 413

    def parts() -> Iterator[bytes]:
        for _ in range(26):
            yield b" " * 1024 * 1024

    response = api.web.post("/api/events/repository", content=parts())
    assert response.status_code == 413
