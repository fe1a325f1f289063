"""The task table: what the evaluator and the workers know of a task without its module.

In: what tasks.py found out about a function. Out: `TaskEntry`, plain data that crosses processes. Never: a function.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rayflow.lang.signatures import Parameters
from rayflow.lang.sources import Definition


@dataclass(frozen=True)
class TaskEntry:
    """A task as data.

    name: full name. hash: the task_hash.
    parameters: the signature. defaults: default values as a packed symbolic dict, or None when there are none.
    options: the options of the definition. tags: of the task itself.
    job_info: the parameters that are filled in with the job's JobInfo and do not count.
    module, file, qualname: where a worker finds the function; module is None when it travels by value in `code`.
    code: the pickled function, when it travels by value.
    source, place, doc, version, definitions, unresolved: for the provenance; no meaning here.
    """

    name: str
    hash: bytes
    parameters: Parameters
    defaults: bytes | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    module: str | None = None
    file: str | None = None
    qualname: str = ""
    code: bytes | None = None
    source: str | None = None
    place: str | None = None
    doc: str | None = None
    version: str | None = None
    definitions: tuple[Definition, ...] = ()
    unresolved: tuple[str, ...] = ()
    tags: Mapping[str, Any] | None = None
    job_info: tuple[str, ...] = ()
