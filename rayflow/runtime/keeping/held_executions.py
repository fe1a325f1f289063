"""The leases of executions without a service: only one process may go on with an execution that has effects.

In: executions that begin, or that come to their first effect or wait. Out: their leases. Never: the lease of a whole
store; that is the service's.
"""

from __future__ import annotations

from rayflow.evaluator import messages
from rayflow.pasting import command as pasted
from rayflow.runtime.keeping.beside import with_places
from rayflow.store.lease import Lease
from rayflow.store.store import Store


class HeldExecutions:
    """The executions whose leases this process holds for one loop. From then on the store commits by the lease."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lease: Lease | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no execution of this loop had an effect or a wait so far."""
        return self._lease is None

    def begin(self, submitted: messages.Submitted) -> messages.Submitted:
        """The message for an execution that begins here, with what has happened at its places. One that has places is
        held from now on. Raises LeaseHeld if another process evaluates it."""
        found = with_places(submitted, self._store)
        if not found.pins:
            return found
        self.hold(found.execution_id)
        # The holder before may have committed more, until now.
        return with_places(submitted, self._store)

    def hold(self, execution_id: str) -> None:
        """Take the lease of an execution, unless this process holds it. Raises LeaseHeld if another process does."""
        if self._lease is None:
            self._lease = self._store.lease  # of an earlier execution of this process
        if self._lease is None:
            lease = Lease(self._store.folder, pasted("run"))
            lease.take(execution_id)
            lease.renew_beside()
            self._store.commit_by(lease)
            self._lease = lease
        elif execution_id not in self._lease.names:
            self._lease.take(execution_id)

    def leave(self, execution_id: str, *, is_over: bool) -> None:
        """Give the lease of an execution back, if it is held. is_over: the execution has ended, so that nobody will ask
        for the lease again."""
        if self._lease is not None and execution_id in self._lease.names:
            self._lease.release(execution_id, is_over=is_over)
