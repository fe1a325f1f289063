"""Workflows with redflow's names, which each test defines for itself.

| test_redflow_... | what redflow promises |
|---|---|
| definitions | definitions, the registry, settings and their defaults, errors, times, the default client |
| inline | one attempt in this process: steps, overrides, signals, timeouts, schemas, unique names, streams |
| attempts | values of done steps, delays, policies, errors that end a run, `on_failure`, input by a person |
| steps | steps that wait, emit and start runs: events, children, cancels, keys, moments |
| client | a worker and its client: starts, keys, results, cancels, states, lists, events, schedules, streams |
| on_ray, page | handlers and steps in processes of their own; a killed worker |
"""

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
