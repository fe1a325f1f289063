"""Runs: how they start, wait, end, are cancelled and retried."""

from __future__ import annotations

from keeper_talks import KeeperTalk, ends, evaluates, later, opens, parks, refuses, replies, resolves, start

from rayflow.testing.playbook import failure


def test_a_run_sleeps_wakes_and_ends() -> None:
    talk = KeeperTalk()
    assert (
        talk
        >> start("a")
        << evaluates("a", life=0)
        << replies("start", {"run_id": "a", "state": "running", "is_new": True})
        >> opens("a", "nap", "sleep", delay_us=5_000_000)
        >> parks("a", "nap")
        >> later(4)
        >> later(6)
        << resolves("a", "nap", None)
        >> ends("a", 1)
    )
    assert talk.keeper.runs() == []


def test_one_id_is_one_run_and_has_one_input() -> None:
    talk = KeeperTalk()
    assert (
        talk
        >> start(id="order-1")
        << evaluates(str)
        << replies("start", lambda answer: answer["is_new"])
        >> start(id="order-1")
        << replies("start", lambda answer: not answer["is_new"])
        >> start(id="order-1", root="other")
        << refuses("start", "RunConflict", "another input")
        >> start(id="order-1", reuse="reject")
        << refuses("start", "RunConflict", "already")
    )
    run_id = talk.keeper.runs()[0]["run_id"]
    assert (
        talk
        >> ends(run_id, failure())
        >> start(id="order-1")
        << replies("start", {"run_id": run_id, "state": "failed", "is_new": False})
        >> start(id="order-1", root="other", reuse="if_failed")
        << refuses("start", "RunConflict", "another input")
    )
