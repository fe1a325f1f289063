"""An execution has ended: its last records, and a tidy store; neither of them is worth losing its value for.

In: the store, what is left to record. Out: whether it is recorded; what was not possible, as warnings. Never: raises
because a store cannot be written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rayflow.errors import StoreUnavailable
from rayflow.records import Row
from rayflow.store.base import Store


def commit_last(store: Store, rows: Sequence[Row], warned: Callable[[str], None]) -> bool:
    """Record what is left; whether that could be done. If not, the rows wait for a later commit."""
    store.append(rows)
    try:
        store.commit()
    except StoreUnavailable as error:
        warned(
            "The execution has ended, but what it did last is not recorded, and is done again the next time. "
            f"{error}"
        )
        return False
    return True


def tidy_up(store: Store, execution_id: str, warned: Callable[[str], None]) -> None:
    """Merge the execution's small files."""
    try:
        store.compact(execution_id)
    except StoreUnavailable as error:
        warned(f"The store could not be tidied up: {error}")
