"""A service for the clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from projects import project_in
from services import RunningService

FLOW = """
    from dataclasses import dataclass

    from rayflow import flow, sleep, task, wait_for_event


    @dataclass
    class Order:
        id: str
        amount: float


    @task
    def double(order: Order) -> float:
        return order.amount * 2


    @flow
    def total(order: Order) -> float:
        return double(order)


    @flow
    def large(size: int) -> bytes:
        return bytes(size)


    @flow
    def fails(text: str):
        raise LookupError(text)


    @flow
    def waits(key: str):
        return wait_for_event("news", key=key).data
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One service for the tests of a module."""
    project = project_in(tmp_path_factory.mktemp("clients"), FLOW)
    made = RunningService(project).start()
    yield made
    made.close()


@pytest.fixture
def flow(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """The flows, as a client's program imports them."""
    monkeypatch.chdir(service.project.path)
    yield service.project.load("flow")
    service.project.forget()
