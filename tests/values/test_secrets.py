"""Secrets: references in everything that is kept, text only where it is asked for."""

from __future__ import annotations

import base64
import pickle
import threading
from typing import Any

import pytest

from rayflow import Secret
from rayflow.errors import SecretUnavailable
from rayflow.lang.arguments.from_text import parse
from rayflow.testing.contracts import check_handler
from rayflow.values.display import masking
from rayflow.values.display.masking import masked
from rayflow.values.encoding.encoding import make_ref, to_bytes
from rayflow.values.encoding.previews import preview
from rayflow.values.failures import exception_from_failure, failure_from_exception
from rayflow.values.secrets import mask_again

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


def test_a_secret_is_read_once_to_mask_it_however_many_results_hold_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def read(name: str) -> str:
        asked.append(name)
        if name == "later" and asked.count(name) == 1:
            raise OSError
        return f"text-of-{name}"

    monkeypatch.setattr(Secret, "_providers", {"counted": read})
    for _ in range(3):
        assert mask_again([("counted:a",), ("counted:a",), ("counted:later",)], None) == [True] * 3
    assert sorted(asked) == ["a", "later", "later"]
    assert "text-of" not in masked("text-of-a text-of-later")


def test_each_line_of_a_long_secret_is_masked_and_a_very_short_one_is_not(monkeypatch) -> None:
    monkeypatch.setenv("KEY", "-----BEGIN-----\nabcdefghijkl\nx\n-----END-----")
    monkeypatch.setenv("PIN", "123")
    Secret("env:KEY").get()
    Secret("env:PIN").get()
    assert "abcdefghijkl" not in masked("first abcdefghijkl last")
    assert masked("x 123") == "x 123"


@pytest.mark.parametrize(
    "text",
    ["before hunter2 after", "hunter2hunter2", "hunter2000 hunter", "hun hunterhunter2", "abab2 ababab", "", "h"],
)
def test_a_text_that_comes_in_pieces_is_masked_as_the_whole_of_it(text: str) -> None:
    for number, secret in enumerate(("hunter2", "hunter2000", "abab")):
        masking.mask(secret, f"Secret('env:{number}')")
    whole = masking.MaskingStream()
    expected = whole.feed(text) + whole.finish()
    assert expected == masked(text)
    for first in range(len(text) + 1):
        for second in range(first, len(text) + 1):
            stream = masking.MaskingStream()
            pieces = [stream.feed(piece) for piece in (text[:first], text[first:second], text[second:])]
            assert "".join(pieces) + stream.finish() == expected


def test_nothing_but_the_beginning_of_a_secret_is_held_back() -> None:
    masking.mask("hunter2", "Secret('env:KEY')")
    stream = masking.MaskingStream()
    assert stream.feed("user: me, password: hun") == "user: me, password: "
    assert stream.feed("gry? ") == "hungry? "


class Text(str):
    """Another thread learns more secrets whenever somebody looks into this text."""

    learnt = 0

    def __contains__(self, part: object) -> bool:
        Text.learnt += 1
        more = [(f"another secret {Text.learnt}", "<another>")]
        other = threading.Thread(target=masking.learn, args=(more,))
        other.start()
        other.join()
        return super().__contains__(part)  # type: ignore[operator]


def test_secrets_that_other_threads_learn_meanwhile_disturb_nobody() -> None:
    masking.mask("hunter2hunter2", "Secret('env:KEY')")
    stream, text = masking.MaskingStream(), Text("x hunter2hunter2 y")
    assert masked(text) == "x <Secret('env:KEY')> y"
    assert stream.feed("another secret 1 ano") == "<another> ", "a stream knows what was learnt after it was made"

    seen: list[str] = []
    ended = threading.Event()

    def learn() -> None:
        for number in range(1000):
            masking.learn([(f"more of them {number}", "<more>")])
        ended.set()

    learning = threading.Thread(target=learn)
    learning.start()
    plain, data = str(text), text.encode()
    while not ended.is_set():
        whole = masking.MaskingStream()
        seen += [masked(plain), masking.masked_bytes(data).decode(), whole.feed(plain) + whole.finish()]
        assert masking.secrets_in(data) == ["<Secret('env:KEY')>"] and len(masking.known()) > 1
    learning.join()
    assert set(seen) <= {"x <Secret('env:KEY')> y"}


@pytest.mark.parametrize("before", ["", "u", "us", "user:", "user:x"])
def test_a_secret_in_base64_is_masked_whatever_stands_around_it(before: str) -> None:
    masking.mask("correct-horse", "Secret('env:KEY')")
    for after in ("", "!", "!!", ":rest"):
        coded = base64.b64encode(f"{before}correct-horse{after}".encode()).decode()
        assert "<Secret('env:KEY')>" in masked(coded)


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
