"""A service knows which jobs its records have as open, without asking the store."""

from __future__ import annotations

from rayflow.record_columns import Columns
from rayflow.records import JobRow
from rayflow.runtime.listed_jobs import ListedJobs
from rayflow.values.digests import digest

A, B = digest("job", b"a"), digest("job", b"b")


def _row(job_id: bytes, *, ended: bool) -> JobRow:
    blank = JobRow(*[None] * len(JobRow._fields))  # type: ignore[arg-type]  # only these fields are looked at
    return blank._replace(execution_id="run", job_id=job_id, finished_at=1 if ended else None)


def test_a_job_that_an_earlier_process_has_left_open_stays_open_until_its_end_is_recorded() -> None:
    listed = ListedJobs({"run": [A, B], "other": [A]})
    listed.note([_row(A, ended=True)], ())
    assert listed.take("run"), "B has no end"
    assert not listed.take("run"), "it was taken"
    listed = ListedJobs({"run": [A, B]})
    listed.note([_row(A, ended=True)], [Columns.of_rows([_row(B, ended=True)])])
    assert not listed.take("run")


def test_a_job_that_is_recorded_as_open_here_counts_as_well() -> None:
    listed = ListedJobs({})
    listed.note([_row(A, ended=False)], ())
    assert listed.take("run")
    listed.note([_row(A, ended=False), _row(A, ended=True)], ())
    assert not listed.take("run")
