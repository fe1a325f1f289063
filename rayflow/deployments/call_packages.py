"""A call on its way to another store: what the other side has to call, and on which values.

In: arguments, as a body has them. Out: one blob in the other store that names the values; there, the call. Never:
starts it. Values are packed as always: small ones are in the blob, large ones are blobs by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rayflow.errors import BadArguments
from rayflow.lang.packing.pack import pack
from rayflow.lang.tasks import Task
from rayflow.lang.terms.codec import dumps, loads
from rayflow.lang.terms.expressions import Expression, TaskCall, TaskRef, Term
from rayflow.store.history.values.packed_terms import whole_bytes
from rayflow.store.store import Store
from rayflow.values.digests import digest
from rayflow.values.encoding.nested import iter_leaves
from rayflow.values.refs import Encoded, ValueRef


@dataclass(frozen=True, slots=True)
class CallPackage:
    """A call without its task.

    args, kwargs: symbolic. options: of the call there. tags: of the execution there.
    """

    args: tuple[Term, ...]
    kwargs: Mapping[str, Term]
    options: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)

    def call_of(self, task: Task[..., Any]) -> TaskCall:
        """The call of a task. Raises BadArguments when the arguments do not fit its signature."""
        kwargs = dict(self.kwargs)
        task.parameters.bind(self.args, kwargs, name=task.name)
        return TaskCall(task.fullname, self.args, kwargs or None, dict(self.options) or None, task.nout)


def send_call(
    store: Store,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    options: Mapping[str, Any],
    tags: Mapping[str, Any],
) -> bytes:
    """Write a call and its values to a store. Returns the digest of its blob.

    Raises NotSerializable, StoreUnavailable; BadArguments for an argument that holds a task or an expression, since the
    code of these is not there.
    """
    packed = CallPackage(
        tuple([_packed(store, value, f"argument {place}") for place, value in enumerate(args, start=1)]),
        {name: _packed(store, value, f"the argument {name}") for name, value in kwargs.items()},
        options,
        tags,
    )
    content = dumps({
        "args": packed.args, "kwargs": dict(packed.kwargs), "options": dict(options), "tags": dict(tags),
    })  # fmt: skip
    name = digest("term", content)
    store.put_blob(name, Encoded("bytes", b"", (content,)))
    return name


def read_call(store: Store, name: bytes) -> CallPackage:
    """The call with this digest. Raises BlobMissing, BlobDamaged, StoreUnavailable."""
    term: Any = loads(whole_bytes(store.get_blob(name)))
    return CallPackage(tuple(term["args"]), term["kwargs"], term["options"], term["tags"])


def _packed(store: Store, value: Any, what: str) -> Term:
    def keep(ref: ValueRef, encoded: Encoded, _: Any) -> None:
        store.put_blob(ref.digest, encoded)

    symbolic = pack(value, keep, root=what)
    for leaf in iter_leaves(symbolic):
        if isinstance(leaf, Expression | TaskRef):
            raise BadArguments(
                f"{what} of a call to another deployment holds {leaf!r}. The code of tasks and expressions is not "
                "there: pass values, or name the task by a text."
            )
    return symbolic
