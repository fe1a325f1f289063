"""What the calls of this process run in: Python, platform, image, accelerators, installed distributions.

In: this process's paths and its node. Out: one row, gathered once, which is equal in all processes of one environment.
Never: imports a distribution, starts a process.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import sysconfig
from collections import Counter
from pathlib import Path

from rayflow.records import EnvironmentRow
from rayflow.values.digests import digest
from rayflow.values.process.distributions import installed

IMAGE_VARIABLE = "RAYFLOW_IMAGE"
"""The environment variable that names the image of a node: a container cannot find out its own name."""

_DRIVER = Path("/proc/driver/nvidia/gpus")

_told: dict[str, str] = {}
"""What is known of this process from elsewhere: its image, the accelerators of its node."""


def tell_environment(*, image: str | None = None, accelerator: str | None = None) -> None:
    """Tell what a process does not see by itself. What was told before the first question counts."""
    _told.update({name: text for name, text in (("image", image), ("accelerator", accelerator)) if text})


@functools.cache
def own_environment() -> EnvironmentRow:
    """The environment of this process."""
    return row_of(
        python=_python_text(),
        system=_platform_text(),
        image=_told.get("image") or os.environ.get(IMAGE_VARIABLE) or None,
        accelerator=accelerators_here() or _told.get("accelerator"),
        distributions=installed(),
    )


class Descriptions:
    """The environments that the calls of executions ran in: each is recorded once in an execution."""

    def __init__(self) -> None:
        self._rows: dict[bytes, EnvironmentRow] = {}
        self._recorded: dict[str, frozenset[bytes]] = {}
        self._shared: dict[frozenset[bytes], frozenset[bytes]] = {}
        """One object for each set of environments: a service has very many runs that ran in the same ones."""

    def new(self, execution_id: str, environment: bytes | None, row: EnvironmentRow | None) -> list[EnvironmentRow]:
        """The rows that an execution has to record now that one of its calls ran in this environment. row: where the
        worker has sent it."""
        if environment is None:
            return []
        self.learn(row)
        recorded = self._recorded.get(execution_id, frozenset())
        if environment in recorded or environment not in self._rows:
            return []
        known = recorded | {environment}
        self._recorded[execution_id] = self._shared.setdefault(known, known)
        return [self._rows[environment]]

    def learn(self, row: EnvironmentRow | None) -> None:
        """Know an environment from an answer for an execution that has ended: later ones may run in it, too."""
        if row is not None:
            self._rows[row.environment] = row

    def forget(self, execution_id: str) -> None:
        """Forget an execution that has ended."""
        self._recorded.pop(execution_id, None)


def row_of(
    python: str, system: str, image: str | None, accelerator: str | None, distributions: dict[str, str]
) -> EnvironmentRow:
    """The row of an environment. Its key is a digest of all else."""
    packed = json.dumps(dict(sorted(distributions.items())), ensure_ascii=False, separators=(",", ":"))
    known = digest("environment", json.dumps([python, system, image, accelerator, packed]).encode())
    return EnvironmentRow(
        environment=known, python=python, platform=system, image=image, accelerator=accelerator, distributions=packed
    )


def accelerators_here(folder: Path = _DRIVER) -> str | None:
    """The accelerators that this machine's driver tells, such as `2 x NVIDIA L4`; None where it tells none."""
    models: Counter[str] = Counter()
    try:
        for each in folder.iterdir():
            for line in (each / "information").read_text().splitlines():
                name, _, value = line.partition(":")
                if name.strip() == "Model":
                    models[value.strip()] += 1
    except OSError:  # no such driver
        return None
    return ", ".join(f"{count} x {model}" for model, count in sorted(models.items())) or None


def _python_text() -> str:
    name = platform.python_implementation()
    return platform.python_version() if name == "CPython" else f"{name} {platform.python_version()}"


def _platform_text() -> str:
    """System, processor and C library. Not the kernel: nodes of one image may have several."""
    library = ""
    if hasattr(os, "confstr") and "CS_GNU_LIBC_VERSION" in os.confstr_names:
        library = os.confstr("CS_GNU_LIBC_VERSION") or ""
    return f"{sysconfig.get_platform()} {library}".strip()
