"""Secrets: references in everything that is kept, text only where it is asked for."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from rayflow import Secret
from rayflow.errors import SecretUnavailable
from rayflow.lang.arguments import parse
from rayflow.testing.contracts import check_handler
from rayflow.values import masking
from rayflow.values.encoding import make_ref, to_bytes
from rayflow.values.failures import exception_from_failure, failure_from_exception
from rayflow.values.masking import masked
from rayflow.values.previews import preview

TEXT = "hunter2 'and' more"


@pytest.fixture(autouse=True)
def nothing_resolved(monkeypatch):
    monkeypatch.setattr(masking, "_masks", {})
    monkeypatch.setenv("PASSWORD", TEXT)


def test_a_secret_keeps_the_contract_of_values() -> None:
    check_handler(lambda: Secret("env:PASSWORD"), [Secret("env:OTHER"), "env:PASSWORD"])


def test_only_the_reference_is_kept_also_after_it_was_read() -> None:
    secret = Secret("env:PASSWORD")
    assert secret.get() == TEXT
    ref, encoded = make_ref({"key": [secret]})
    everything = to_bytes(encoded) + pickle.dumps(secret) + repr((secret, ref)).encode() + f"{secret}".encode()
    assert b"hunter2" not in everything
    assert str(secret) == "Secret('env:PASSWORD')"
    assert preview([secret]) == "[Secret('env:PASSWORD')]"


def test_a_file_and_a_provider_are_read_when_they_are_asked_for(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Secret, "_providers", {})
    (tmp_path / "key").write_text("from the file\n")
    assert Secret(f"file:{tmp_path / 'key'}").get() == "from the file"
    Secret.register("vault", lambda name: f"{name} of the vault")
    assert Secret("vault:a:b").get() == "a:b of the vault"
    assert parse("env:PASSWORD", Secret) == Secret("env:PASSWORD")


def broken(name: str) -> str:
    raise ValueError(TEXT)


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("env:NOT_SET", "the environment variable NOT_SET is not set"),
        ("file:/no/such/file", "the file /no/such/file cannot be read here: No such file"),
        ("unheard:x", "nothing here reads secrets of the kind 'unheard' .known: env, file, broken, numeric"),
        ("broken:x", "its provider raised ValueError"),
        ("numeric:x", "its provider gave a int, not a str"),
    ],
)
def test_a_secret_that_cannot_be_read_is_an_error_that_names_its_reference(monkeypatch, reference, says) -> None:
    monkeypatch.setattr(Secret, "_providers", {"broken": broken, "numeric": len})
    with pytest.raises(SecretUnavailable, match=says) as caught:
        Secret(reference).get()
    assert repr(reference) in str(caught.value) and "hunter2" not in str(caught.value)


def test_a_text_in_place_of_a_reference_is_refused_without_being_told() -> None:
    with pytest.raises(SecretUnavailable, match="not a text of 18 characters") as caught:
        Secret(TEXT)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(SecretUnavailable, match="rayflow's own"):
        Secret.register("env", str)


def test_text_that_was_read_is_masked_wherever_it_would_be_shown() -> None:
    assert masked(f"before {TEXT} after") == f"before {TEXT} after"
    Secret("env:PASSWORD").get()
    shown = "<Secret('env:PASSWORD')>"
    assert masked(f"before {TEXT} after {TEXT}") == f"before {shown} after {shown}"
    assert masked(repr([TEXT])).count(shown) == 1
    for value in (TEXT, [TEXT], {"k": "x" * 90 + TEXT + "y" * 500}):
        assert "hunter2" not in preview(value)


def test_each_line_of_a_long_secret_is_masked_and_a_very_short_one_is_not(monkeypatch) -> None:
    monkeypatch.setenv("KEY", "-----BEGIN-----\nabcdefghijkl\nx\n-----END-----")
    monkeypatch.setenv("PIN", "123")
    Secret("env:KEY").get()
    Secret("env:PIN").get()
    assert "abcdefghijkl" not in masked("first abcdefghijkl last")
    assert masked("x 123") == "x 123"


class Refused(Exception):
    def __init__(self, user: str, password: str) -> None:
        super().__init__(user, password)
        self.password = password


@pytest.mark.parametrize("make", [lambda: ValueError(f"no login with {TEXT}"), lambda: Refused("me", TEXT)])
def test_an_error_with_a_secret_in_it_is_told_without(make: Any) -> None:
    Secret("env:PASSWORD").get()
    error = make()
    error.add_note(f"tried {TEXT}")
    error.__cause__ = OSError(TEXT)
    failure = failure_from_exception(error)
    assert "hunter2" not in repr(failure)
    assert "<Secret('env:PASSWORD')>" in repr(failure.notes)
    assert failure.type_name.endswith(type(error).__name__)
    raised = exception_from_failure(failure)
    assert type(raised) is type(error) and "hunter2" not in repr(raised) + repr(raised.__dict__)
