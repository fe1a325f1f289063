"""The world of `keeper_world`, with flows that ask something of admission, and queues with slots that change.

In: a seed, and what makes a keeper. Out: as there. Never: a wait, a clock.
"""

from __future__ import annotations

import random
from typing import Any

from admission_oracle import AdmissionOracle
from keeper_oracle import Oracle
from keeper_world import FLOWS, Evaluation, Request, World

from rayflow.keeper import commands, requests
from rayflow.keeper.demands import Debounce, Demands, Limit, Rate

SECOND = 1_000_000
QUEUES = ("default", "q")


def spec(name: str, demands: Demands | None = None, **fields: Any) -> requests.FlowSpec:
    """A flow."""
    return requests.FlowSpec(name, demands=demands, **fields)


ASKING = {
    "lab.a": spec("lab.a", Demands(queue="q", mutex="m"), on_failure="lab.hook", on_cancel="lab.hook"),
    "lab.b": spec(
        "lab.b", Demands(limits=(Limit("max_concurrency:lab.b:0:", 1),)), on=(("x", None),), timeout_us=20 * SECOND
    ),
    "lab.c": spec("lab.c", has_keys=True, on=(("y", None),)),
    "lab.hook": FLOWS["lab.hook"],
    "lab.t": spec("lab.t", Demands(queue="q", throttles=(Rate("throttle:lab.t:0:", 2, 5 * SECOND),))),
    "lab.r": spec("lab.r", has_keys=True, on_failure="lab.hook", on_cancel="lab.hook"),
    "lab.d": spec("lab.d", has_keys=True, on=(("x", None),)),
    "lab.f": spec("lab.f", has_keys=True),
}


def demands_of(flow: str, root: bytes) -> Demands | None:
    """What a flow asks whose demands depend on the arguments. None: its keys cannot be computed."""
    chance = random.Random(root + flow.encode())
    key = chance.choice("xyz")
    if chance.random() < 0.05:
        return None
    if flow == "lab.c":
        return Demands(
            mutex=key, release_on_wait=chance.random() < 0.5, limits=(Limit(f"max_concurrency:lab.c:0:{key}", 2),),
            queue=chance.choice((None, "q")),
        )  # fmt: skip
    if flow == "lab.r":
        return Demands(rates=(Rate(f"rate_limit:lab.r:0:{key}", 1, 4 * SECOND),), mutex=chance.choice((None, "m")))
    if flow == "lab.d":
        debounce = Debounce(f"debounce:lab.d:0:{key}", 3 * SECOND, chance.choice((None, 5 * SECOND)), "last")
        rates = (Rate(f"rate_limit:lab.d:0:{key}", 5, 9 * SECOND),)
        return Demands(debounce=debounce, mutex=chance.choice((None, key)), rates=chance.choice(((), rates)))
    return Demands(queue="q", fairness=key, priority=chance.choice((None, None, 1)))


class AdmissionWorld(World):
    """One play."""

    flows = ASKING

    def make_oracle(self) -> Oracle:
        return AdmissionOracle(self.flows)

    def configured(self) -> list[Request]:
        return [requests.QueuesConfigured(0, {"q": 1, "default": 3})]

    def client(self) -> Request:
        chance = self.chance
        if chance.random() < 0.06:
            slots = chance.choice((0, 1, 2, None))
            return requests.QueueRequested(0, "queue", chance.choice(QUEUES), slots)
        request = super().client()
        if isinstance(request, requests.StartRequested):
            flow = chance.choice((None, *self.flows))
            demands = self.asked_of(flow, request.root)
            request = request._replace(
                flow=flow, demands=demands, priority=chance.choice((None, 0, 2)),
                queue=chance.choice((None, None, "default")),
            )  # fmt: skip
        return request

    def asked_of(self, flow: str | None, root: bytes) -> Demands | None:
        """What the shell says with a start. (None of one whose keys cannot be computed: the keeper asks again.)"""
        known = self.flows.get(flow or "")
        return demands_of(flow or "", root) if known is not None and known.has_keys else None

    def carry_out(self, command: Any) -> None:
        if isinstance(command, commands.ComputeKeys):
            demands = demands_of(command.flow, command.root)
            error = None if demands is not None else "no such key"
            if not self.has_code and self.chance.random() < 0.2:
                self.asked.append(requests.KeysComputed(0, command.run_id, is_missing=True))
            else:
                self.asked.append(requests.KeysComputed(0, command.run_id, demands, error))
        else:
            super().carry_out(command)

    def bind(self, command: commands.BindEvent) -> None:
        super().bind(command)
        answer = self.asked[-1]
        if answer.root is not None:
            self.asked[-1] = answer._replace(demands=self.asked_of(answer.flow, answer.root))

    def open(self, evaluation: Evaluation, place: bytes, fields: dict[str, Any]) -> None:
        known = (evaluation.command.run_id, place) in self.opened
        if not known and fields["kind"] in ("child", "spawn", "continue_as"):
            fields = {**fields, "flow": self.chance.choice((None, *self.flows))}
        super().open(evaluation, place, fields)

    def last(self) -> list[Request]:
        """Before everything comes to its end: no queue is shut."""
        return [requests.QueueRequested(0, "queue", queue, 1) for queue in QUEUES]
