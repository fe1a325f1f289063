"""Follow a job on a cluster, and show what it prints as if it ran here.

In: a job. Out: its texts and progress on stderr, its answer on stdout, its exit code. Never: stops the job,
which goes on when this process ends.
"""

from __future__ import annotations

import signal
import sys
from typing import TextIO

from rayflow.cli.output.errors import complain
from rayflow.cli.output.output import for_programs
from rayflow.cli.output.progress import PlainReporter, reporter_for
from rayflow.cli.output.style import short_execution
from rayflow.errors import ClusterUnavailable
from rayflow.pasting import command
from rayflow.runtime import signals
from rayflow.runtime.protocol.reports import Progress
from rayflow.submission.following import JobEnd, JobFollower
from rayflow.submission.frames import FrameWord, JobAnswer, JobText
from rayflow.submission.job_api import JobApi, RayJob


def follow_job(api: JobApi, job: RayJob, stdout: TextIO, *, address: str | None, tail: int | None = None) -> int:
    """Show what the job prints until it ends. Returns its exit code, or that of the signal that has ended this process.

    address: of the cluster, as it has to be typed again to come back; None where it need not be. tail: how many of the
    lines that are there already to show; None for all.
    """
    reporter = reporter_for(sys.stderr)
    answer: list[str] = []

    def told(word: FrameWord) -> None:
        if isinstance(word, JobText):
            reporter.pass_on(word.text.rstrip("\r"))
        elif isinstance(word, Progress):
            reporter.progress(word)
        elif isinstance(word, JobAnswer):
            answer.append(word.piece)

    follower = JobFollower(api, job, told, lambda text: reporter.say(text, "dim"), tail)
    try:
        with signals.raised((signal.SIGINT, *signals.ENDING)):
            end = follower.follow()
    except KeyboardInterrupt as error:
        reporter.stop()
        reporter.say(f"\nthe job runs on. {how_to_come_back(job, address)}")
        return signals.exit_code_of(error)
    except ClusterUnavailable as error:
        reporter.stop()
        raise ClusterUnavailable(
            f"{error} The job may still run. {_how_to_go_on(job)} {how_to_come_back(job, address)}"
        ) from None
    reporter.stop()
    return _ended(end, "".join(answer), reporter, stdout)


def _ended(end: JobEnd, answer: str, reporter: PlainReporter, stdout: TextIO) -> int:
    if end.problem is not None:
        complain(ClusterUnavailable(end.problem))
    if answer:
        for_programs(stdout).write(answer)
        stdout.flush()
    return end.code


def how_to_come_back(job: RayJob, address: str | None) -> str:
    """The command by which a user sees the job again."""
    words = ["attach", short_execution(job.execution_id)]
    return f"Come back with: {command(*words, *(['--address', address] if address else []))}"


def _how_to_go_on(job: RayJob) -> str:
    """The commands for an execution whose cluster may be gone."""
    name = short_execution(job.execution_id)
    log, resume = (command(verb, name, store=job.store) for verb in ("log", "resume"))
    return f"If the cluster is gone, {log} says so; what was finished is kept, and {resume} goes on on another one."
