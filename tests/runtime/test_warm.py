"""What is believed of a Ray that stays up between runs."""

from __future__ import annotations

import json
import os

import pytest

from rayflow.errors import ClusterUnavailable
from rayflow.runtime import warm


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder of the note, with the note of a Ray that runs."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(warm, "_is_alive", lambda pid: pid == 7)
    folder = tmp_path / f"rayflow-{os.getuid()}"
    folder.mkdir(mode=0o700)
    (folder / "up.json").write_text(json.dumps({"pid": 7, "address": "127.0.0.1:1234"}))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return folder


def test_a_note_of_ones_own_is_believed(place) -> None:
    assert warm.address_of_running() == "127.0.0.1:1234"


def test_a_note_that_others_could_have_written_is_not(place) -> None:
    place.chmod(0o777)
    assert warm.address_of_running() is None
    with pytest.raises(ClusterUnavailable, match="others may write there"):
        warm.up()


def test_a_folder_behind_a_link_is_not_believed(place) -> None:
    real = place.rename(place.with_name("elsewhere"))
    place.symlink_to(real)
    assert warm.address_of_running() is None


def test_a_ray_that_stays_up_says_nothing_about_the_tokens_of_other_clusters(place) -> None:
    token = place.parent / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("secret")
    warm.prepare_token("10.0.0.5:6379")
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_the_ray_that_stays_up_takes_no_token(place) -> None:
    warm.prepare_token("127.0.0.1:1234")
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
