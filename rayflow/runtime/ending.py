"""The end of an execution in the store: its last rows, and the merging of its small files.

In: the store, the last rows. Out: whether they are recorded; problems, as warnings. Never: raises because a store
cannot be written: the value of the execution is worth more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rayflow.errors import StoreUnavailable
from rayflow.records import Row
from rayflow.store.store import Store


def commit_last(store: Store, rows: Sequence[Row], warned: Callable[[str], None]) -> bool:
    """Record the last rows; False when the store cannot be written. The rows then wait for a later commit."""
    store.append(rows)
    try:
        store.commit()
    except StoreUnavailable as error:
        warned(
            f"The execution has ended, but what it did last is not recorded, and is done again the next time. {error}"
        )
        return False
    return True


def tidy_up(store: Store, execution_id: str, warned: Callable[[str], None]) -> None:
    """Merge the execution's small files."""
    try:
        store.compact(execution_id)
    except StoreUnavailable as error:
        warned(f"The store could not be tidied up: {error}")
