"""The values of one call: those that it is given and those that it makes.

In: symbolic terms, and the bytes of large values. Out: objects for the body; large values in the store; the conditions
on which the call's result depends. Never: runs a body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayflow.lang.packing.realize import realize, task_of, tree_built
from rayflow.lang.parameters.kept import KeptObject
from rayflow.lang.terms.expressions import Term
from rayflow.runtime.worker.kept_objects import KeptUser
from rayflow.runtime.worker.result_conditions import ResultConditions
from rayflow.store.store import Store
from rayflow.values.encoding.encoding import decode, decode_inline
from rayflow.values.objects.hooks import entering
from rayflow.values.refs import Encoded, TaggedTree, ValueRef


class CallValues:
    """Reads the values that a call is given, and keeps the large ones that it makes.

    fetched: large values that came with the call, by digest. new: takes the large values that the call makes.
    conditions: what the result depends on, besides the task's own code. user: has the kept objects of the call, while
    the body may still need them. has_kept: whether an object that was read is, or may have inside, a `Kept`.
    """

    __slots__ = ("_fetched", "_new", "_store", "conditions", "has_kept", "user")

    def __init__(self, store: Store, fetched: Mapping[bytes, Encoded], new: dict[bytes, Encoded]) -> None:
        self._store = store
        self._fetched = fetched
        self._new = new
        self.conditions = ResultConditions()
        self.has_kept = False
        self.user = KeptUser()

    def for_body(self, term: Term) -> Any:
        """The object that a term stands for, made ready for a body."""
        with entering():
            return self.real(term)

    def real(self, term: Term) -> Any:
        """The object that a term stands for."""
        return realize(term, self._fetch, task_of, self._built)

    def _fetch(self, ref: ValueRef) -> Any:
        if ref.witnesses:
            self.conditions.take_ref(ref)
        before = KeptObject.latest
        if ref.inline is not None:
            value = decode_inline(ref)
        else:
            encoded = self._fetched.get(ref.digest) or self._new.get(ref.digest)
            value = decode(encoded if encoded is not None else self._store.get_blob(ref.digest))
        if KeptObject.latest != before:
            self.has_kept = True
        return value

    def _built(self, tree: TaggedTree, parts: Any) -> Any:
        container = tree_built(tree, parts)
        if type(container) is KeptObject:
            self.has_kept = True
        self.conditions.take_container(container)
        return container

    def keep(self, ref: ValueRef, encoded: Encoded, value: Any) -> None:
        """Store a large value that the call has made, before anything that names it is sent."""
        self._store.put_blob(ref.digest, encoded)
        self._new[ref.digest] = encoded
        self.conditions.take_large(encoded)
