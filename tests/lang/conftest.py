"""What the tests of the language share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from source_projects import Projects


@pytest.fixture
def projects(tmp_path: Path) -> Iterator[Projects]:
    made = Projects(tmp_path)
    yield made
    made.forget()
