"""Services that run while a test runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from projects import Project
from services import RunningService


@pytest.fixture
def service(project: Project) -> Iterator[RunningService]:
    """The service of an inline project whose flows are in flow.py. The test starts it."""
    made = RunningService(project)
    yield made
    made.close()
