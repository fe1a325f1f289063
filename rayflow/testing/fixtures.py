"""Fixtures of pytest for the tests of a workflow.

In: a test that names a fixture. Out: a `Rehearsal`. Never: starts Ray, writes to the project's store.

Put `pytest_plugins = ["rayflow.testing.fixtures"]` into the project's `conftest.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rayflow.testing.rehearsals import Rehearsal


@pytest.fixture
def rehearsal() -> Iterator[Rehearsal]:
    """A scheduler in this process, with an empty store in memory and time that skips every wait."""
    with Rehearsal() as made:
        yield made
