"""Workflows with redflow's names, which each test defines for itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rayflow.compat.redflow import __unstable_reset_default_registry_for_tests as forget_workflows
from rayflow.compat.redflow import set_default_client
from rayflow.testing.fixtures import rehearsal

__all__ = ["rehearsal"]


@pytest.fixture
def workflows() -> Iterator[None]:
    """The workflows of a test are forgotten after it."""
    forget_workflows()
    yield
    forget_workflows()
    set_default_client(None)
