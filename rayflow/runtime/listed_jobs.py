"""The jobs that are recorded as open, of executions of which all is known.

In: rows as they are recorded; what earlier processes have recorded. Out: whether jobs of an execution stay open in the
records. Never: asks the store.

When a run ends that an earlier process had begun, its records may have open jobs which this life of it has not met.
Only the store knows their rows, and a question takes it as long as many wakes. Mostly there are none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rayflow.record_columns import Columns
from rayflow.records import JobRow, Row


class ListedJobs:
    """left: by execution, the jobs that earlier processes have left open."""

    def __init__(self, left: Mapping[str, Iterable[bytes]]) -> None:
        self._open = {execution_id: b"".join(jobs) for execution_id, jobs in left.items()}
        """Job ids, all of one length, one after the other: most runs that wait have one or two."""

    def note(self, rows: Iterable[Row], columns: Iterable[Columns]) -> None:
        """These rows are recorded."""
        for row in rows:
            if type(row) is JobRow:
                self._note(row.execution_id, row.job_id, row.finished_at is None)
        for each in columns:
            if each.row is JobRow and self._open:
                ids, jobs, ends = (each.column(name) for name in ("execution_id", "job_id", "finished_at"))
                for execution_id, job_id, ended in zip(ids, jobs, ends, strict=True):
                    self._note(execution_id, job_id, ended is None)

    def _note(self, execution_id: str, job_id: bytes, is_open: bool) -> None:
        known = self._open.get(execution_id, b"")
        at = next((start for start in range(0, len(known), len(job_id)) if known.startswith(job_id, start)), None)
        if is_open and at is None:
            self._open[execution_id] = known + job_id
        elif not is_open and at is not None:
            self._open[execution_id] = known[:at] + known[at + len(job_id) :]

    def take(self, execution_id: str) -> bool:
        """An execution has ended: whether jobs of it stay open in the records."""
        return bool(self._open.pop(execution_id, None))
