"""Hashes of jobs: of their arguments, of the question that the cache is asked, and of the call.

In: a job whose arguments, or whose value and children, are there. Out: digests. Never: changes a job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rayflow.evaluator.graph import Job
from rayflow.lang.packing.staged_arguments import as_staged
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.expressions import Term
from rayflow.values.digests import digest, digests
from rayflow.values.encoding.identity import identity, scalar_identities, value_hash
from rayflow.values.refs import ValueRef

MEANING = b"3"
"""Part of every cache key. Raise it whenever the identity or the encoding of values changes. Older records name values
by hashes, and hold bytes, that mean something else from then on, so they must not answer any more."""


def hash_of(term: Term) -> bytes:
    """The value_hash of a symbolic value."""
    return term.digest if type(term) is ValueRef else value_hash(term)


def args_hash_of(job: Job) -> bytes:
    """The hash of the bound arguments: names and identities, in the order of the signature."""
    return _hash_of_arguments(job, job.work.bound)


def args_hashes_of(entry: TaskEntry, names: Sequence[str], arguments: Sequence[tuple[Any, ...]]) -> list[bytes]:
    """`args_hash_of` for many calls of a task. arguments: for each call, a scalar for each of these names."""
    parts: list[bytes | Sequence[bytes]] = []
    for name, column in zip(names, zip(*arguments, strict=True), strict=True):
        if name not in entry.ignored_arguments:
            parts += name.encode(), scalar_identities(column)
    return digests("args", *parts) if parts else [digest("args")] * len(arguments)


def _hash_of_arguments(job: Job, bound: Mapping[str, Term]) -> bytes:
    parts: list[bytes] = []
    ignored = job.entry.ignored_arguments
    for name, value in bound.items():
        if name in ignored:
            continue
        parts.append(name.encode())
        parts.append(identity(value))
    return digest("args", *parts)


def eval_hash_of(job: Job) -> bytes:
    """The cache key, made from the task, the arguments and MEANING.

    If a task sees only staged files, under other names, the key contains the contents of these files.
    The records name the files themselves.
    """
    assert job.work.args_hash is not None
    args_hash = job.work.args_hash
    if job.entry.sees_staged_alone:
        args_hash = _hash_of_arguments(job, {name: as_staged(value) for name, value in job.work.bound.items()})
    return digest("eval", MEANING, job.entry.hash, args_hash)


def eval_hashes_of(entry: TaskEntry, args_hashes: Sequence[bytes]) -> list[bytes]:
    """`eval_hash_of` for many calls of a task that sees more than staged files."""
    return digests("eval", MEANING, entry.hash, args_hashes)


def call_hash_of(job: Job) -> bytes:
    """The Merkle hash of a call that is done: task, arguments, result, and the calls below it."""
    assert job.work.args_hash is not None
    assert job.value_hash is not None
    if not job.work.children:
        return digest("call", job.entry.hash, job.work.args_hash, job.value_hash)
    children = sorted([each for child in job.work.children for each in child.call_hashes])
    return digest("call", job.entry.hash, job.work.args_hash, job.value_hash, *children)


def call_hashes_of(entry: TaskEntry, args_hashes: Sequence[bytes], value_hashes: Sequence[bytes]) -> list[bytes]:
    """`call_hash_of` for many calls of a task with no calls below them."""
    return digests("call", entry.hash, args_hashes, value_hashes)
